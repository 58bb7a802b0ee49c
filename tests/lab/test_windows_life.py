"""The life of a Windows instance, on the setup-simulator: a real VM that plays Windows from its documentation.

One daemon and one service for all tests, because every guest's two boots take half a minute of a core: the roles are
set up side by side. The tests stand in the order in which what they look at happens.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vmrole_images
from vmrole_images.setup_simulator.variant import variant

from tests.lab.harness import answers, enter
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.windows_files import file_on_c
from tests.world.waiting import until

VIP = "203.0.113.10"
PASSWORD = "pa55&<word>"
IMAGES = enter.REPOSITORY / "build" / "images"
DEADLINE_S = 400.0

# What waits for its services waits until the last tests look at it: no deadline may start it anew meanwhile.
ROLE = """
  {name}:
    image: {image}
    instances: 1
    size: {{vcpus: 1, memory: 256 MiB}}
    endpoints:
      http: {{port: {port}, target: 8080, protocol: http, probe: {{path: /healthz}}}}
    setup: {{within: 10 min}}
    ready: {{{ignored}within: 2 h}}
    answers:
      unattend:
        administratorPassword: {{secret: administrator}}
        timeZone: W. Europe Standard Time
        specialize: [{commands}]
"""

SLOW = ("pass-seconds=30", "slow-service=50", "failed-service=Broken")  # each lasts longer than a look at it

# What somebody left in the image who ran sysprep with an answer file at hand: it has a specialize pass of its own.
STALE = b"""<?xml version="1.0" encoding="utf-8"?>
<unattend xmlns="urn:schemas-microsoft-com:unattend">
  <settings pass="specialize">
    <component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64"
        publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">
      <ComputerName>TEMPLATE</ComputerName>
    </component>
  </settings>
  <settings pass="oobeSystem">
    <component name="Microsoft-Windows-International-Core" processorArchitecture="amd64"
        publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">
      <UserLocale>en-US</UserLocale>
    </component>
    <component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64"
        publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">
      <OOBE><HideEULAPage>true</HideEULAPage></OOBE>
      <UserAccounts><AdministratorPassword><Value>x</Value><PlainText>true</PlainText></AdministratorPassword>
      </UserAccounts>
    </component>
  </settings>
</unattend>
"""


@pytest.fixture(scope="module")
def shop(lab_session: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoleDaemon]:
    """A daemon with three images and a service whose roles are being set up."""
    place = tmp_path_factory.mktemp("windows")
    base = vmrole_images.ensure("setup-simulator", IMAGES).path
    lab_session.start_libvirtd()
    with contextlib.ExitStack() as undo:
        undo.callback(lab_session.sweep)
        daemon = lab_session.daemon(place / "vmrole")
        undo.callback(daemon.kill_with_children)
        daemon.give_secret("administrator", PASSWORD)
        daemon.start()
        for name, disk, files in (
            ("windows", "virtio", {}),
            ("stale", "sata", {"Windows/Panther/unattend.xml": STALE}),
            ("silent", "nvme", {"simulator.json": b'{"no_exec": true}'}),
        ):
            image = base if not files else place / f"{name}.qcow2"
            if files:
                variant(base, image, files)
            daemon.run("image", "add", str(image), "--name", name, "--os", "windows", "--disk", disk)
        daemon.run("apply", "-f", "-", text=service())
        yield daemon


def service(ignored: str = "") -> str:
    """The service file: a role for each thing that can happen. `ignored` are conditions of all roles."""
    roles = (
        ("web", "windows", ""),
        ("slow", "windows", ", ".join(f"{{run: simulate {wish}}}" for wish in SLOW)),
        ("stale", "stale", ""),
        ("silent", "silent", ""),
    )
    text = "".join(
        ROLE.format(name=name, image=image, commands=commands, ignored=ignored, port=80 + number)
        for number, (name, image, commands) in enumerate(roles)
    )
    return f"service: shop\nvip: {VIP}\nroles:{text}"


def instance(daemon: RoleDaemon, name: str) -> dict[str, Any]:
    """One instance as the API shows it."""
    found: list[dict[str, Any]] = daemon.json("get", "instances", name)
    return found[0]


def until_serving(daemon: RoleDaemon, name: str) -> dict[str, Any]:
    """Waits until it serves."""
    daemon.run("wait", name, "--for=serving", "--timeout", str(int(DEADLINE_S)))
    return instance(daemon, name)


def until_said(daemon: RoleDaemon, name: str, words: str) -> str:
    """Waits until `why` says these words, and returns all it says."""
    said = ""

    def says() -> bool:
        nonlocal said
        said = daemon.run("why", name).stdout
        return words in said

    until(says, DEADLINE_S, what=f"{words!r} in why of {name}; it says: {said}")
    return said


def test_setup_is_told_pass_by_pass(shop: RoleDaemon) -> None:
    """While Setup works, why says which pass it is in, in the words that people know from portals."""
    said = until_said(shop, "slow-0", "Windows is")
    assert "pass (IMAGE_STATE_UNDEPLOYABLE)" in said


def test_services_are_waited_for_and_named(shop: RoleDaemon) -> None:
    """Setup is over and the agent answers, but no traffic comes while a service is Start Pending or has crashed."""
    said = until_said(shop, "slow-0", "SimulatedSlow")
    assert instance(shop, "slow-0")["phase"] == "starting", said
    said = until_said(shop, "slow-0", "Broken")
    assert "its process ended unexpectedly (1067)" in said


def test_an_answer_file_in_the_image_is_found_out(shop: RoleDaemon) -> None:
    """The classic failure, on a SATA disk: Setup took the image's own cached file; why says where it lies."""
    said = until_said(shop, "stale-0", "not honoured")
    assert r"C:\Windows\Panther\unattend.xml" in said
    assert "TEMPLATE" in said
    assert instance(shop, "stale-0")["phase"] == "setup"


def test_an_agent_that_forbids_guest_exec_is_enough(lab_session: Lab, shop: RoleDaemon) -> None:
    """From an NVMe disk, with files alone: set up, restarted, served."""
    assert until_serving(shop, "silent-0")["generation"] == 1
    assert answers.distinct(lab_session.client, f"http://{VIP}:83/", 1, 30.0).keys() == {"silent-0.shop"}


def test_a_whole_windows_life(lab_session: Lab, shop: RoleDaemon) -> None:
    """Deploy, restart, reimage: the setup restart is counted, a restart keeps C:, a reimage renews it."""
    first = until_serving(shop, "web-0")
    assert (first["generation"], first["boot"]) == (1, 2), "the setup boot, and the restart that completes setup"
    answer = answers.distinct(lab_session.client, f"http://{VIP}/", 1, 30.0)["web-0.shop"]
    assert (answer["hostname"], answer["generation"]) == ("WEB-0", 1)
    cached = file_on_c(lab_session, "web-0.shop", r"C:\Windows\Panther\unattend.xml")
    assert "vmrole instance web-0.shop generation 1 id" in cached
    assert "W. Europe Standard Time" in cached
    assert "*SENSITIVE*DATA*DELETED*" in cached
    assert not list(shop.run_dir.glob("discs/web-0.shop/*.iso")), "the disc outlived its setup"
    file_on_c(lab_session, "web-0.shop", r"C:\marker.txt", "kept")

    shop.run("restart", "web-0", "--wait")
    restarted = instance(shop, "web-0")
    assert (restarted["generation"], restarted["boot"], restarted["vm_uuid"]) == (1, 3, first["vm_uuid"])
    assert file_on_c(lab_session, "web-0.shop", r"C:\marker.txt") == "kept"

    shop.run("reimage", "web-0", "--wait")
    reimaged = instance(shop, "web-0")
    assert (reimaged["generation"], reimaged["boot"]) == (2, 2)
    assert reimaged["vm_uuid"] != first["vm_uuid"]
    assert file_on_c(lab_session, "web-0.shop", r"C:\marker.txt") == ""
    answer = answers.distinct(lab_session.client, f"http://{VIP}/", 1, 30.0)["web-0.shop"]
    assert (answer["hostname"], answer["generation"]) == ("WEB-0", 2)


def test_no_secret_shows_itself(lab_session: Lab, shop: RoleDaemon) -> None:
    """Not in a log, the records, evidence, an answer of the API, a domain or a process list: neither the password nor
    what Windows is given for it. Only overlays, which are the guest's, discs in memory and its own file may hold it.
    """
    encoded = base64.b64encode((PASSWORD + "AdministratorPassword").encode("utf-16-le"))
    canaries = (PASSWORD.encode(), PASSWORD.encode("utf-16-le"), encoded)
    told = [
        shop.run(*words, check=words[0] != "verify").stdout.encode()
        for words in (
            ("get", "services", "-o", "json"),
            ("get", "instances", "-o", "json"),
            ("describe", "shop"),
            ("events", "shop"),
            ("why", "web-0"),
            ("verify", "-o", "json"),
        )
    ]
    told.append(lab_session.virsh("dumpxml", "web-0.shop").encode())
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # It has ended meanwhile.
            if process.name.isdigit():
                told.append((process / "cmdline").read_bytes())
    elsewhere = {"secrets", "overlays", "storage", "images", "discs", "nvram"}
    for root in (shop.state, shop.run_dir):
        for path in root.rglob("*"):
            if path.is_file() and not elsewhere & set(path.parts):
                told.append(path.read_bytes())
    assert len(told) > 10
    assert not [text[:200] for text in told for canary in canaries if canary in text]
    discs = list(shop.run_dir.glob("discs/*/*.iso"))
    assert [disc for disc in discs if disc.stat().st_mode & 0o077] == []


def test_a_failed_service_may_be_ignored(lab_session: Lab, shop: RoleDaemon) -> None:
    """What started slowly runs by now, what crashed still holds the instance up until its role says to ignore it."""
    until(lambda: "SimulatedSlow" not in shop.run("why", "slow-0").stdout, DEADLINE_S, what="the slow service")
    before = instance(shop, "slow-0")
    assert (before["phase"], before["boot"]) == ("starting", 2)
    shop.run("apply", "-f", "-", text=service("ignore: [Broken], "))
    after = until_serving(shop, "slow-0")
    assert (after["vm_uuid"], after["boot"]) == (before["vm_uuid"], 2), "another condition is no reason to start anew"
    assert answers.distinct(lab_session.client, f"http://{VIP}:81/", 1, 30.0).keys() == {"slow-0.shop"}


def test_nothing_stays_but_the_images(shop: RoleDaemon) -> None:
    """A deleted service leaves no overlay and no disc, its images are what they were, and no log holds its secret."""
    shop.run("image", "verify", "windows")
    shop.run("delete", "service", "shop", "--wait")
    assert len(shop.json("image", "ls")) == 3
    assert not list((shop.state / "lib" / "overlays").glob("*"))
    assert not list(shop.run_dir.glob("discs/*/*.iso"))
    assert PASSWORD not in (shop.state / "daemon.log").read_text(errors="replace")

"""A Windows that is reimaged from its checkpoint, restored or booted, on the setup-simulator."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest
import vmrole_images

from tests.lab.harness import enter
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import instance, ready
from tests.lab.windows_files import agent, file_on_c

__all__ = ["ready"]  # fixtures

NAME: Final = "web-0.shop"
SERVICE: Final = """service: shop
roles:
  web:
    image: windows
    reimage: warm
    size: {vcpus: 1, memory: 256 MiB}
    setup: {within: 10 min}
    ready: {within: 10 min}
    answers:
      unattend:
        administratorPassword: {secret: administrator}
        timeZone: W. Europe Standard Time
"""
STORING: Final = SERVICE + "    localStorage: {cache: {size: 64 MiB}}\n"
CLOCK_OFF_S: Final = 0.1
MARKER: Final = r"C:\marker"


def deployed(daemon: RoleDaemon, service: str, bus: str = "virtio") -> dict[str, Any]:
    """Serving, with its checkpoint."""
    daemon.give_secret("administrator", "pa55&<word>")
    image = vmrole_images.ensure("setup-simulator", enter.REPOSITORY / "build" / "images").path
    daemon.run("image", "add", str(image), "--name", "windows", "--os", "windows", "--disk", bus)
    daemon.run("apply", "-f", "-", text=service)
    daemon.run("wait", "shop", "--for=serving", "--timeout", "600")
    return instance(daemon, "web-0")


def kept(daemon: RoleDaemon) -> list[str]:
    """The files of its checkpoint."""
    return sorted(path.name for path in (daemon.state / "lib" / "checkpoints" / NAME).iterdir())


def clock_off_s(lab: Lab) -> float:
    """How far off the guest's clock is at least (seconds), for the question itself takes time."""
    before_s = time.time()
    guest_s = agent(lab, NAME, "guest-get-time") / 1e9
    return max(before_s - guest_s, guest_s - time.time(), 0.0)


def test_a_windows_is_restored_from_its_memory(lab: Lab, ready: RoleDaemon) -> None:
    """In the boot that was saved, with the right time, and without what was written since; again and again, after
    one setup. Without its memory it boots from the same disk, on which all is that it had written before.
    """
    before = deployed(ready, SERVICE)
    assert kept(ready) == ["1.memory", "1.qcow2"]
    for generation in (2, 3):
        file_on_c(lab, NAME, MARKER, "written")
        time.sleep(2 * CLOCK_OFF_S)  # Its saved clock stands further back than it may.
        said = ready.run("reimage", "web-0", "--wait").stderr
        assert f"{NAME}: warm, from its checkpoint" in said
        after = instance(ready, "web-0")
        assert (after["generation"], after["boot"]) == (generation, before["boot"])
        assert file_on_c(lab, NAME, MARKER) == ""
        assert clock_off_s(lab) <= CLOCK_OFF_S
    told = ready.run("events", "web-0").stdout
    assert told.count("answered -> setup") == 1
    assert told.count("its clock is right; its randomness was made anew by its kernel, which knows vmgenid") == 3

    (ready.state / "lib" / "checkpoints" / NAME / "1.memory").unlink()
    assert f"{NAME}: prepared, a boot from its checkpoint: " in ready.run("reimage", "web-0", "--wait").stderr
    assert file_on_c(lab, NAME, MARKER) == ""
    assert file_on_c(lab, NAME, r"C:\Windows\Setup\vmrole\instance").strip() == NAME
    assert ready.run("events", "web-0").stdout.count("answered -> setup") == 1


def test_a_windows_with_local_storage_boots_from_its_checkpoint(lab: Lab, ready: RoleDaemon) -> None:
    """Shut down when it has started for the first time, kept, and booted: no setup but the first. Why no memory is
    kept of it is told.
    """
    before = deployed(ready, STORING)
    assert kept(ready) == ["1.qcow2"]
    file_on_c(lab, NAME, MARKER, "written")
    said = ready.run("reimage", "web-0", "--wait").stderr
    why = "a Windows does not let go of its local storage and drives"
    assert f"{NAME}: prepared, a boot from its checkpoint: {why}" in said
    after = instance(ready, "web-0")
    assert (after["generation"], after["boot"], before["generation"]) == (2, before["boot"], 1)
    assert file_on_c(lab, NAME, MARKER) == ""
    assert ready.run("events", "web-0").stdout.count("answered -> setup") == 1


@pytest.mark.parametrize("bus", ["sata", "nvme"])
def test_disks_that_are_not_virtio_are_booted(lab: Lab, ready: RoleDaemon, bus: str) -> None:
    """QEMU does not give away an NVMe's memory, and nobody has tried a SATA's: both boot from what was kept."""
    deployed(ready, SERVICE, bus)
    assert kept(ready) == ["1.qcow2"]
    file_on_c(lab, NAME, MARKER, "written")
    said = ready.run("reimage", "web-0", "--wait").stderr
    assert f"{NAME}: prepared, a boot from its checkpoint: its disk is not a virtio one" in said
    assert instance(ready, "web-0")["generation"] == 2
    assert file_on_c(lab, NAME, MARKER) == ""
    assert ready.run("events", "web-0").stdout.count("answered -> setup") == 1

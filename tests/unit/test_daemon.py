"""The daemon as a process of its own, on a host without libvirtd and with nothing to do."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.control import deployment
from orchestrator.control.deployment import Capacity
from orchestrator.control.loop import Reconciler
from orchestrator.daemon import MIB, Bell, _backup, _capacity, _directories, vip_pool
from orchestrator.drivers.fake import FakeStore, World, fake_host
from orchestrator.drivers.network import vip
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.ownership import others_hold
from orchestrator.errors import InvalidInput, NoSpace
from orchestrator.host.config import Config
from orchestrator.host.process import STALLED_MOST_S, attend
from orchestrator.ports import Document
from tests.contract.suites.network import make_service
from tests.world.daemons import UP_S, configured
from tests.world.fabric import Fabric, web_role
from tests.world.waiting import comes_true

DAEMON = (sys.executable, "-m", "orchestrator.cli", "daemon", "--config")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name, for sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="vmr-") as made:
        yield Path(made)


def test_a_driver_that_rings_never_hears_of_our_troubles(caplog: pytest.LogCaptureFixture) -> None:
    """Its thread would end, and nobody would connect to libvirt or start HAProxy again."""

    class Full(FakeStore):
        def all(self, kind: str) -> list[Document]:
            raise NoSpace(f"no room to look for {kind}")

    bell = Bell()
    bell.connect(Reconciler(Full(), fake_host(World())))
    bell.ring("", "events were lost")
    assert "no room to look for" in caplog.text


@pytest.mark.parametrize("key", ["state_dir", "run_dir"])
def test_a_directory_that_cannot_be_made_is_a_fault_of_the_configuration(place: Path, key: str) -> None:
    """One sentence with the key, and exit status 78."""
    (place / "file").write_text("")
    file = configured(place, **{key: str(place / "file" / "below")})
    ended = subprocess.run([*DAEMON, str(file)], capture_output=True, text=True, timeout=UP_S, check=False)
    assert ended.returncode == 78
    assert f"{key}: {place}/file/below cannot be made: Not a directory" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("key", ["state_dir", "run_dir"])
def test_a_directory_of_others_is_not_begun_with(place: Path, key: str) -> None:
    """Whoever may write to it, or to one above it, could change records, discs and sockets; /tmp's way is fine."""
    above = place / "above"
    above.mkdir()
    above.chmod(0o777)
    (above / "below").mkdir()
    file = configured(place, **{key: str(above / "below" / "own")})
    ended = subprocess.run([*DAEMON, str(file)], capture_output=True, text=True, timeout=UP_S, check=False)
    assert (ended.returncode, "Traceback" in ended.stderr) == (78, False)
    assert f"{key}: {above} can be written by others" in ended.stderr
    above.chmod(0o1777)
    assert others_hold(above / "below") == ""
    (above / "below").chmod(0o1777)
    assert others_hold(above / "below") == f"{above}/below can be written by others"


def test_each_fault_of_the_configuration_is_a_line_of_the_log(place: Path) -> None:
    """All at once, exit status 78."""
    file = configured(place, accelerator="xen", log_level="loud")
    ended = subprocess.run([*DAEMON, str(file)], capture_output=True, text=True, timeout=UP_S, check=False)
    assert ended.returncode == 78
    assert [f"{file}:{line}: " in ended.stderr for line in (3, 5)] == [True, True]


@pytest.mark.slow
def test_a_strict_umask_locks_nobody_out(place: Path) -> None:
    """QEMU's user passes through the directories and lists none; what is secret is its owner's alone all the same."""
    file = configured(place)
    (place / "state" / "images").mkdir(mode=0o755, parents=True)  # as former versions made it
    (place / "state").chmod(0o711)
    with subprocess.Popen([*DAEMON, str(file)], umask=0o077, stderr=subprocess.PIPE) as daemon:
        try:
            socket_ = place / "run" / "vmrole.sock"
            up = comes_true(lambda: daemon.poll() is not None or _answers(socket_), UP_S)
            assert (daemon.poll(), up) == (None, True)
            modes = {str(path.relative_to(place)): _mode(path) for path in place.rglob("*")}
        finally:
            daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(UP_S) == 0
    passable = {name for name in modes if modes[name] & 0o001 and (place / name).is_dir()}
    for_qemu = {f"state/{name}" for name in ("images", "overlays", "storage", "consoles", "nvram", "names")}
    assert {"state", "run", *for_qemu} <= passable
    assert [
        name for name in modes if name.startswith("state") and (place / name).is_dir() and modes[name] & 0o044
    ] == []
    assert modes["state"] == 0o711
    assert modes["state/vmrole.db"] == 0o600
    assert modes["run/vmrole.sock"] == 0o660


def _mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as talk:
        return talk.connect_ex(str(path)) == 0


def test_no_service_is_taken_whose_vip_has_nowhere_to_go() -> None:
    """Told when it is applied, with the key to set, and not found out by waiting; one without a VIP is taken."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    spec = fabric.control.services()[0].spec
    capacity = Capacity(pool="10.90.0.0/16", memory_mib=16_384, vip_pool=lambda: vip_pool(Config()))
    with pytest.raises(InvalidInput, match="no interface for VIPs is configured") as caught:
        deployment.check(spec, [], capacity)
    (fault,) = caught.value.problems
    assert fault.key == "vip"
    assert "set vip_interface" in fault.hint
    deployment.check(spec, [], capacity, before=spec)
    quiet = dataclasses.replace(spec, vip="", roles=(dataclasses.replace(spec.roles[0], endpoints=()),))
    deployment.check(quiet, [], capacity)
    somewhere = Config(vip_interface="lo", vip_pool="203.0.113.0/28 198.51.100.0/24")
    assert vip_pool(somewhere) == ["203.0.113.0/28", "198.51.100.0/24"]


def test_the_host_is_asked_for_what_no_record_tells(tmp_path: Path) -> None:
    """The addresses that it holds, and the cards that networks are laid for: of what cannot be read they are all."""
    world = World()
    host = fake_host(world)
    service, instances = make_service("shop", "203.0.113.10", 1)
    host.machine.network.lay(service, instances)
    host.front.vips.hold({"203.0.113.10"})
    capacity = _capacity(Config(), Layout(tmp_path, tmp_path), "", host)
    assert set(capacity.held()) == {"203.0.113.10"}
    assert capacity.laid(service) == {instances[0].name: instances[0].nic}


def test_the_tmpfs_for_memories_is_the_configuration_s(tmp_path: Path) -> None:
    """In it we have a directory of our own, which is made with the first of them alone."""
    places = {"state_dir": tmp_path / "state", "run_dir": tmp_path / "run", "checkpoint_memory_dir": tmp_path / "ram"}
    (tmp_path / "ram").mkdir()
    layout = _directories(Config(**places))
    assert layout.memories.parent == tmp_path / "ram"
    assert [*(tmp_path / "ram").iterdir()] == []
    assert _directories(Config(state_dir=tmp_path / "state", run_dir=tmp_path / "run")).memories.parent == Path(
        "/dev/shm"
    )


def test_memory_is_promised_once_unless_it_is_said(tmp_path: Path) -> None:
    """What the host keeps for itself is never promised."""
    host, layout = fake_host(World()), Layout(tmp_path, tmp_path)
    total_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    for percent, promised_mib in ((100, 100), (150, 150), (1_000, 1_000)):
        settings = Config(memory_reserve_mib=total_mib - 100, memory_overcommit_percent=percent)
        assert _capacity(settings, layout, "", host).memory_mib == promised_mib


def test_a_backup_leaves_the_disk_its_reserve(tmp_path: Path) -> None:
    """None is begun that could take what is kept for guests that run."""
    layout, disk = Layout(tmp_path, tmp_path), shutil.disk_usage(tmp_path)
    with layout.records.open("wb") as records:  # Four such fit, and leave half of what is kept.
        records.truncate((disk.free - disk.total // 40) // 4)
    with SqliteStore(tmp_path / "small") as store:
        with _backup(store, layout, Config(disk_reserve_mib=0)) as made:
            assert made.read(1)
        with pytest.raises(NoSpace, match="a backup"):
            _backup(store, layout, Config(disk_reserve_mib=disk.total // MIB))


def test_one_that_stands_still_does_not_say_that_it_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd hears from it while turns end, and nothing while none does, so that it starts another."""
    stop, still_s = threading.Event(), [0.0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(UP_S)
        systemd.bind(str(place / "notify"))

        def hears() -> bool:
            with contextlib.suppress(TimeoutError):
                return systemd.recv(100) == b"WATCHDOG=1"
            return False

        monkeypatch.setenv("NOTIFY_SOCKET", str(place / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        attending = threading.Thread(target=attend, args=(stop, lambda: still_s[0]))
        attending.start()
        try:
            assert all(hears() for _ in range(3))
            still_s[0] = STALLED_MOST_S
            systemd.settimeout(0.5)
            assert not all(hears() for _ in range(5))
            still_s[0] = STALLED_MOST_S - 1
            systemd.settimeout(UP_S)
            assert hears()
        finally:
            stop.set()
            attending.join(UP_S)
    assert not attending.is_alive()


def test_no_service_is_given_the_host_s_own_address() -> None:
    """What is asked there is asked of the host; a service that has had the address keeps it."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    spec = fabric.control.services()[0].spec
    capacity = Capacity(pool="10.90.0.0/16", memory_mib=16_384, own=lambda: {spec.vip})
    with pytest.raises(InvalidInput, match=f"{spec.vip} is this host's own address") as caught:
        deployment.check(spec, [], capacity)
    (fault,) = caught.value.problems
    assert (fault.key, "a free one of the same network" in fault.hint) == ("vip", True)
    staging = dataclasses.replace(spec, vip="203.0.113.99", staging_vip=spec.vip)
    with pytest.raises(InvalidInput) as caught:
        deployment.check(staging, [], capacity)
    assert caught.value.problems[0].key == "stagingVip"
    deployment.check(spec, [], capacity, before=spec)


def test_the_host_s_own_addresses_are_not_its_vips() -> None:
    """As `ip` tells them."""
    assert "127.0.0.1" in vip.own()

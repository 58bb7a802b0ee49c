"""Drives: the record and the file, whatever ends between the two."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orchestrator.control import records, verify
from orchestrator.control.drives import Drives
from orchestrator.control.present import Present
from orchestrator.drivers.fake import FakeDrives, FakeStore, World
from orchestrator.drivers.fake.world import FakeDrive
from orchestrator.errors import Conflict, InvalidInput, NoSpace, NotFound
from orchestrator.model import Role, Service, ServiceNetwork, ServiceSpec, Size
from orchestrator.model.drive import SIZE_MIB_MAX, Drive
from orchestrator.ports import DriveFiles


class Died(BaseException):
    """kill -9 of the daemon, at this very instruction."""


class Host:
    """A store and a world that outlive the daemon; it dies before or after the n-th call that has an effect."""

    def __init__(self) -> None:
        self.store, self.world = FakeStore(), World()
        self.left: int | None = None  # calls until it dies; None: it does not
        self.after = False

    def drives(self) -> Drives:
        """As a daemon has them that has just been started."""
        store, files = Dying(self, self.store, ("commit",)), Dying(self, FakeDrives(self.world), EFFECTS)
        return Drives(Present(store), files, self.world)  # type: ignore[arg-type]

    def findings(self) -> list[str]:
        """The codes of what contradicts the records."""
        present, files = Present(self.store), FakeDrives(self.world)
        return [one.code for one in verify.drive_findings(present.all(Drive), files.inventory(), [])]


EFFECTS = ("lay", "grow", "take", "bring_back", "forget", "erase")


class Dying:
    """A port in front of which the end may stand."""

    def __init__(self, host: Host, port: object, effects: tuple[str, ...]) -> None:
        self._host, self._port, self._effects = host, port, effects

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._port, verb)
        if verb not in self._effects:
            return call

        def dying(*args: Any, **kwargs: Any) -> Any:
            host = self._host
            if host.left is not None:
                host.left -= 1
            mine = host.left is not None and host.left < 0
            if mine and not host.after:
                raise Died
            result = call(*args, **kwargs)
            if mine:
                raise Died
            return result

        return dying


@pytest.fixture
def host() -> Host:
    """A host with nothing on it."""
    return Host()


def test_a_drive_outlives_the_daemon(host: Host) -> None:
    """With its size, its snapshots and what is in it; the ledger tells what was done."""
    drives = host.drives()
    drives.create("db-0", 1024)
    host.world.drives["db-0"].written = "orders"
    host.world.pass_time(60)
    drives.snapshot("db-0")
    drives.grow("db-0", 2048)
    host.world.drives["db-0"].written = "garbage"
    (found,) = host.drives().all()
    assert (found.drive.size_mib, found.drive.made_at_s) == (2048, host.world.now_s() - 60)
    assert found.file is not None
    (kept,) = found.file.snapshots
    assert kept.name == "20270115-080100"  # by the clock of the host, in UTC
    host.drives().restore("db-0", kept.name)
    assert (host.world.drives["db-0"].written, host.world.drives["db-0"].size_mib) == ("orders", 2048)
    told = " ".join(event.message for event in host.store.events())
    for words in ("drive db-0 was made, 1024 MiB", "has grown to 2048 MiB", f"snapshot {kept.name}", "again what"):
        assert words in told
    assert host.findings() == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(2))
def test_whatever_ends_between_file_and_record_can_be_asked_for_again(host: Host, at: int, after: bool) -> None:
    """Each request, struck at each of its calls, before and after; asked again it is done, and nothing was lost."""
    wishes = (
        lambda drives: drives.create("db-0", 64),
        lambda drives: drives.grow("db-0", 128),
        lambda drives: drives.remove("db-0"),
    )
    for wish in wishes:
        host.left, host.after = at, after
        with pytest.raises(Died):
            wish(host.drives())
        host.left = None
        done = at == 1 and after  # Its record was written: who asks again is told.
        if not done or wish is wishes[1]:
            wish(host.drives())
        if wish is not wishes[2]:
            assert host.findings() == []
            assert host.drives().all()[0].file is not None
            host.world.drives["db-0"].written = "orders"
    assert (host.drives().all(), host.world.drives, host.findings()) == ([], {}, [])


def test_a_restore_that_is_struck_has_the_one_or_the_other(host: Host) -> None:
    """Never a drive that is neither."""
    for after in (False, True):
        host.drives().create("db-0", 64)
        host.world.drives["db-0"].written = "orders"
        host.drives().snapshot("db-0", "monday")
        host.world.drives["db-0"].written = "tuesday's"
        host.left, host.after = 0, after
        with pytest.raises(Died):
            host.drives().restore("db-0", "monday")
        assert host.world.drives["db-0"].written == ("orders" if after else "tuesday's")
        host.left = None
        host.drives().remove("db-0")


@pytest.mark.parametrize("name", ["", "..", "../db", "a/b", "DB", "a_b", "-a", "x" * 41, "a\n", "é"])
def test_a_name_is_a_label(host: Host, name: str) -> None:
    """It is a directory's, and a device's in the guest."""
    with pytest.raises(InvalidInput):
        host.drives().create(name, 64)
    with pytest.raises(NotFound):
        host.drives().remove(name)
    host.drives().create("db-0", 64)
    if name:
        with pytest.raises(InvalidInput):
            host.drives().snapshot("db-0", name)
    assert host.world.drives.keys() == {"db-0"}


@pytest.mark.parametrize("size_mib", [-1, 0, 15, SIZE_MIB_MAX + 1])
def test_a_size_is_one_that_a_disk_can_have(host: Host, size_mib: int) -> None:
    """Nothing is made of another."""
    with pytest.raises(InvalidInput, match="cannot have"):
        host.drives().create("db-0", size_mib)
    host.drives().create("db-0", 64)
    with pytest.raises(InvalidInput):
        host.drives().grow("db-0", size_mib)
    assert host.world.drives["db-0"].size_mib == 64


def test_a_drive_does_not_become_smaller(host: Host) -> None:
    """What is at its end would be lost; as large as it is already is fine."""
    host.drives().create("db-0", 64)
    with pytest.raises(InvalidInput, match="has 64 MiB, and does not become smaller"):
        host.drives().grow("db-0", 32)
    host.drives().grow("db-0", 64)
    assert host.world.drives["db-0"].size_mib == 64


def test_who_is_not_there_and_who_is(host: Host) -> None:
    """A name is given once; nothing is made, or lost, of one that is not."""
    drives = host.drives()
    drives.create("db-0", 64)
    host.world.drives["db-0"].written = "orders"
    with pytest.raises(Conflict, match="there is a drive db-0"):
        drives.create("db-0", 128)
    for ask in (drives.remove, drives.snapshot, lambda name: drives.grow(name, 64)):
        with pytest.raises(NotFound, match="there is no drive 'db-1'"):
            ask("db-1")
    with pytest.raises(NotFound, match="no snapshot"):
        drives.restore("db-0", "monday")
    with pytest.raises(NotFound, match="no snapshot"):
        drives.forget("db-0", "monday")
    assert host.world.drives["db-0"].written == "orders"


def test_a_full_disk_records_nothing(host: Host) -> None:
    """Neither a drive that is not there, nor the loss of one."""
    drives = host.drives()
    drives.create("db-0", 64)
    host.world.drives["db-0"].written = "orders"
    host.world.faults.disk_is_full = True
    for ask in (lambda: drives.create("db-1", 64), lambda: drives.snapshot("db-0")):
        with pytest.raises(NoSpace):
            ask()
    assert [one.drive.name for one in drives.all()] == ["db-0"]
    assert (host.world.drives["db-0"].written, host.findings()) == ("orders", [])


def test_nobody_else_is_at_a_drive_that_is_being_copied(host: Host) -> None:
    """He is told so at once, and others go on: a copy may take an hour."""
    begun, goes_on = threading.Event(), threading.Event()

    class Slow(FakeDrives):
        def take(self, name: str, snapshot: str) -> None:
            begun.set()
            assert goes_on.wait(60)
            super().take(name, snapshot)

    files: DriveFiles = Slow(host.world)
    drives = Drives(Present(host.store), files, host.world)
    drives.create("db-0", 64)
    copying = threading.Thread(target=lambda: drives.snapshot("db-0", "monday"))
    copying.start()
    try:
        assert begun.wait(60)
        for ask in (drives.remove, drives.snapshot, lambda name: drives.restore(name, "x")):
            with pytest.raises(Conflict, match="is being copied or changed"):
                ask("db-0")
        drives.create("db-1", 64)
    finally:
        goes_on.set()
        copying.join()
    drives.remove("db-0")
    assert [one.drive.name for one in drives.all()] == ["db-1"]


@pytest.mark.parametrize(
    ("code", "break_it"),
    [
        ("DRIVE-MISSING", lambda world: world.drives.pop("db-0")),
        ("DRIVE-MISSING", lambda world: setattr(world.drives["db-0"], "size_mib", None)),
        ("DRIVE-SIZE", lambda world: setattr(world.drives["db-0"], "size_mib", 32)),
        ("DRIVE-SIZE", lambda world: setattr(world.drives["db-0"], "size_mib", 65)),
        ("DRIVE-STRAY", lambda world: world.drives.update(ghost=FakeDrive(size_mib=64))),
    ],
)
def test_verify_knows_drives(host: Host, code: str, break_it: Any) -> None:
    """Files without a record, records without a file; no finding is a stray that `repair` would take away."""
    host.drives().create("db-0", 64)
    assert host.findings() == []
    break_it(host.world)
    present, files = Present(host.store), FakeDrives(host.world)
    (found,) = verify.drive_findings(present.all(Drive), files.inventory(), [])
    assert (found.code, found.stray) == (code, False)


def test_drives_are_promised_no_more_than_the_host_gives() -> None:
    """New ones and larger ones, beside what the instances of services may come to hold."""
    store, world = FakeStore(), World()
    present = Present(store)
    size = Size(disk_mib=300)
    web = Role(name="web", image="micro", image_sha256="a" * 64, instances=2, size=size)
    network = ServiceNetwork(name="vmrole-shop", bridge="vr-shop", subnet="10.90.1.0/24", gateway="10.90.1.1")
    shop = Service(spec=ServiceSpec(name="shop", vip="", roles=(web,)), network=network)
    store.commit([records.put_template(web), records.put(shop)])
    drives = Drives(present, FakeDrives(world), world, limit_mib=1000)
    drives.create("one", 300)
    with pytest.raises(
        InvalidInput, match="needs up to 101 MiB of disk; the host gives 1000 MiB, 900 MiB are prom"
    ) as caught:
        drives.create("two", 101)
    assert "disk_overcommit" in caught.value.hint
    with pytest.raises(InvalidInput, match="needs up to 101 MiB"):
        drives.grow("one", 401)
    assert [(each.drive.name, each.drive.size_mib) for each in drives.all()] == [("one", 300)]
    drives.grow("one", 400)
    drives.grow("one", 400)


def test_what_is_in_blobs_leaves_less_to_drives() -> None:
    """As it is by then."""
    present, world, used = Present(FakeStore()), World(), [600]
    drives = Drives(present, FakeDrives(world), world, limit_mib=1000, blobs_mib=lambda: used[0])
    with pytest.raises(InvalidInput, match="needs up to 401 MiB of disk; the host gives 1000 MiB, 600 MiB"):
        drives.create("data", 401)
    drives.create("data", 400)
    used[0] = 601
    with pytest.raises(InvalidInput, match="1001 MiB"):
        drives.grow("data", 401)

"""What is kept of a failed instance: bounded, harmless to show, once per boot, and gone when asked."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import resource
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from orchestrator.drivers import evidence, kept_evidence
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.evidence import Evidence, Source, Transcript
from orchestrator.drivers.kept_evidence import FILE_BYTES, KeptEvidence
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import NoSpace, NotFound, Transient, Unreachable
from orchestrator.model import Instance, InstanceName, Phase
from orchestrator.model.cause import recorded
from orchestrator.model.evidence import EvidenceCaps
from tests.world.instances import instance
from tests.world.waiting import until

FAILED = dataclasses.replace(
    instance(), phase=Phase.FAILED, failed_by=recorded("setup: not within 5 minutes"), boot=2
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A layout whose console directory exists."""
    layout = Layout(tmp_path / "state", tmp_path / "run")
    layout.consoles.mkdir(parents=True)
    return layout


def keeper_of(layout: Layout, transcript: Transcript | None = None, **sources: Source) -> Evidence:
    """Who keeps it, with these sources and the host's usual caps."""
    kept = KeptEvidence(layout, SystemClock())
    return Evidence(layout, transcript or Transcript(SystemClock()), kept, sources)


def test_what_is_kept(layout: Layout) -> None:
    """The reason, the last exchanges with the agent and the end of the console, readable by nobody else."""
    transcript = Transcript(SystemClock())
    transcript.note(FAILED.name, "identity", "Silence(\x1b[2J)")
    layout.console(FAILED.name).write_bytes(b"booting\x1b[31m\r\n\xffpanic\n")
    keeper = keeper_of(layout, transcript)
    keeper.keep(FAILED)
    place = keeper.place(FAILED)
    assert (place / "reason.txt").read_text().startswith("setup: not within 5 minutes\n")
    assert (place / "agent.txt").read_text().endswith(" identity -> Silence([2J)\n")
    assert (place / "console.log").read_text() == "booting[31m\n\ufffdpanic\n"
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_the_guests_own_logs_lie_beside(layout: Layout) -> None:
    """What a guest shows of the logs of its setup is kept as a file each, without what a terminal would act on."""
    keeper = keeper_of(layout, guest=lambda of: {"setuperr.log": f"{of.name}\x1b[2J\nend\n".encode()})
    keeper.keep(FAILED)
    assert (keeper.place(FAILED) / "setuperr.log").read_text() == "web-0.shop[2J\nend\n"


def test_first_evidence_of_a_boot_stays(layout: Layout) -> None:
    """Asked again for the same boot, nothing changes: the first moment after the failure is the telling one."""
    keeper = keeper_of(layout)
    keeper.keep(FAILED)
    keeper.keep(dataclasses.replace(FAILED, failed_by=recorded("later")))
    assert "setup" in (keeper.place(FAILED) / "reason.txt").read_text()
    keeper.keep(dataclasses.replace(FAILED, boot=3, failed_by=recorded("later")))
    assert len(list(layout.evidence(FAILED.name).iterdir())) == 2


def test_evidence_is_bounded(layout: Layout) -> None:
    """A flooded console is kept by its end, over a roll-over of its log; of many failures the newest are kept."""
    console = layout.console(FAILED.name)
    console.with_name(f"{console.name}.0").write_text("old\n" + "x" * (2 * evidence.CONSOLE_BYTES) + "\nbefore\n")
    console.write_text("the end\n")
    keeper, now_s = keeper_of(layout), SystemClock().now_s() - 1000.0
    for boot in range(evidence.KEPT + 3):
        failed = dataclasses.replace(FAILED, boot=boot)
        keeper.keep(failed)
        os.utime(keeper.place(failed), (now_s + boot, now_s + boot))
    kept = (keeper.place(failed) / "console.log").read_text()
    assert len(kept) == evidence.CONSOLE_BYTES
    assert kept.endswith("before\nthe end\n")
    assert sorted(path.name for path in layout.evidence(FAILED.name).iterdir()) == [
        f"1-{boot}" for boot in range(3, evidence.KEPT + 3)
    ]


def test_unfinished_evidence_is_not_there(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no room, nothing half is left, and it can be kept later."""
    keeper = keeper_of(layout)

    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(NoSpace):
            keeper.keep(FAILED)
    assert list(layout.evidence(FAILED.name).iterdir()) == []
    keeper.keep(FAILED)
    assert keeper.place(FAILED).is_dir()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EACCES, Transient),
        (errno.ENOTDIR, Transient),
        (errno.EROFS, Transient),
        (errno.EIO, Transient),
    ],
    ids=lambda one: errno.errorcode.get(one, "") if isinstance(one, int) else "",
)
@pytest.mark.parametrize("verb", ["mkdir", "exists", "rename"])
def test_each_refusal_is_told_as_what_it_is(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], verb: str
) -> None:
    """Only a full disk is want of room; where it happens, and what the system said, stand in the message."""
    keeper = keeper_of(layout)

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, verb, refuse)
        with pytest.raises(Transient, match=os.strerror(number)) as caught:
            keeper.keep(FAILED)
    assert type(caught.value) is kind
    assert str(layout.evidence(FAILED.name)) in str(caught.value)


def test_a_file_in_the_way_is_no_want_of_room(layout: Layout) -> None:
    """Where a directory should be lies a file."""
    layout.evidence(FAILED.name).parent.write_text("not a directory")
    with pytest.raises(Transient) as caught:
        keeper_of(layout).keep(FAILED)
    assert not isinstance(caught.value, NoSpace)


def test_erased_evidence_is_gone(layout: Layout) -> None:
    """Nothing of the instance is left, also when there was nothing."""
    keeper = keeper_of(layout)
    keeper.keep(FAILED)
    keeper.erase(FAILED.name)
    keeper.erase(FAILED.name)
    assert not layout.evidence(FAILED.name).exists()


def test_a_manifest_says_what_there_is_and_what_could_not_be_had(layout: Layout) -> None:
    """Each file with its size and digest; of what is missing why, and nothing else is missing for it."""

    def silent(of: object) -> dict[str, bytes]:
        raise Unreachable("libvirtd does not answer\x1b[2J")

    keeper = keeper_of(
        layout, libvirt=silent, guest=lambda _: {"journal.txt": b"one\ntwo\n", "screen.png": b"\x89PNG"}
    )
    keeper.keep(FAILED)
    place = keeper.place(FAILED)
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["absent"] == {"libvirt": "libvirtd does not answer[2J"}
    assert {file.name for file in place.iterdir()} == {*manifest["files"], "manifest.json"}
    for name, listed in manifest["files"].items():
        content = (place / name).read_bytes()
        assert listed == {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert (manifest["instance"], manifest["boot"], manifest["phase"]) == (FAILED.name, 2, "failed")
    assert manifest["reason"] == "setup: not within 5 minutes"


def test_a_hostile_guest_fills_nothing(layout: Layout) -> None:
    """A text is kept by its end, bytes that are no text grow past no cap, and a picture that is too large is not."""
    flood = b"\xff" * (3 * FILE_BYTES) + b"the end\n"
    keeper = keeper_of(layout, guest=lambda _: {"journal.txt": flood, "screen.png": flood})
    keeper.keep(FAILED)
    place = keeper.place(FAILED)
    kept = (place / "journal.txt").read_bytes()
    assert len(kept) <= FILE_BYTES
    assert kept.endswith(b"the end\n")
    assert not (place / "screen.png").exists()
    assert json.loads((place / "manifest.json").read_text())["absent"].keys() == {"screen.png"}


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/x.txt", ".hidden.txt", "a/b.txt", "", "journal"])
def test_no_source_names_a_file_elsewhere(layout: Layout, name: str) -> None:
    """Names are ours; one that could lead out is a fault of ours, and nothing is written."""
    with pytest.raises(AssertionError):
        keeper_of(layout, guest=lambda _: {name: b"x"}).keep(FAILED)
    assert list(layout.evidence(FAILED.name).iterdir()) == []


@contextlib.contextmanager
def unpacked(kept: KeptEvidence, mark: str) -> Iterator[tarfile.TarFile]:
    """What is fetched of this failure, which is a tar, compressed by Zstandard."""
    with (
        kept.packed(FAILED.name, mark) as packed,
        zstandard.ZstdDecompressor().stream_reader(packed) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        yield archive


def test_what_cannot_be_packed_is_said(layout: Layout) -> None:
    """Where there is no room for it; nothing is lost, and the next one who asks gets it."""
    kept = KeptEvidence(layout, SystemClock())
    keeper = Evidence(
        layout, Transcript(SystemClock()), kept, {"guest": lambda _: {"screen.png": os.urandom(1 << 20)}}
    )
    keeper.keep(FAILED)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(Transient, match=r"1-2: File too large"):
            kept.packed(FAILED.name, "1-2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with unpacked(kept, "1-2") as archive:
        assert f"{FAILED.name}-1-2/screen.png" in archive.getnames()


def test_what_is_kept_is_listed_fetched_and_removed(layout: Layout) -> None:
    """The oldest first; what is fetched is all of it under one folder, and what is not there is said."""
    kept = KeptEvidence(layout, SystemClock())
    assert list(kept.all()) == []
    keeper = Evidence(layout, Transcript(SystemClock()), kept, {})
    keeper.keep(FAILED)
    keeper.keep(dataclasses.replace(FAILED, boot=3))
    assert [(one.instance, one.mark) for one in kept.all()] == [(FAILED.name, "1-2"), (FAILED.name, "1-3")]
    first = kept.all()[0]
    assert first.reason == "setup: not within 5 minutes"
    assert first.size_bytes == sum(file.stat().st_size for file in keeper.place(FAILED).iterdir())
    with unpacked(kept, "1-2") as archive:
        there = list(archive)
    assert {member.name for member in there} == {f"{FAILED.name}-1-2/{name}" for name in first.files}
    assert all(member.isreg() and member.mode == 0o600 for member in there)
    assert kept.remove(FAILED.name, "1-2") == first
    assert [one.mark for one in kept.all()] == ["1-3"]
    for name, mark in [(FAILED.name, "1-2"), (FAILED.name, "../1-3"), ("../web-0.shop", "1-3"), (FAILED.name, "")]:
        with pytest.raises(NotFound, match="nothing is kept of"):
            kept.packed(InstanceName(name), mark)
        with pytest.raises(NotFound):
            kept.remove(InstanceName(name), mark)
    assert [one.mark for one in kept.all()] == ["1-3"]


def test_evidence_of_a_former_version_is_listed(layout: Layout) -> None:
    """It has no manifest."""
    place = layout.evidence(FAILED.name) / "1-1"
    place.mkdir(parents=True)
    (place / "reason.txt").write_text("it failed\nphase failed\n")
    (one,) = KeptEvidence(layout, SystemClock()).all()
    assert (one.mark, one.reason, one.files) == ("1-1", "it failed", ("reason.txt",))


@pytest.mark.parametrize(
    ("caps", "left"),
    [
        (EvidenceCaps(most=2), ["1-5", "1-6"]),
        (EvidenceCaps(most=100, days=2), ["1-5", "1-6"]),
        (EvidenceCaps(size_mib=3), ["1-5", "1-6"]),
        (EvidenceCaps(), ["1-3", "1-4", "1-5", "1-6"]),
    ],
)
def test_the_host_has_its_caps(layout: Layout, caps: EvidenceCaps, left: list[str]) -> None:
    """By number, by age and by size, over all instances; the newest stay."""
    kept = KeptEvidence(layout, SystemClock(), caps)
    source = {"guest": lambda _: {"journal.txt": b"x" * (5 << 18)}}
    keeper = Evidence(layout, Transcript(SystemClock()), kept, source)
    now_s = SystemClock().now_s()
    for boot in (3, 4, 5, 6):
        failed = dataclasses.replace(FAILED, index=boot % 2, boot=boot)
        keeper.keep(failed)
        at_s = now_s - (6 - boot) * 86_400.0 - 60.0
        os.utime(keeper.place(failed), (at_s, at_s))
    kept.drop_old()
    assert sorted(one.mark for one in kept.all()) == left


def test_the_caps_hold_as_it_is_kept(layout: Layout) -> None:
    """Whoever keeps another one makes room for it."""
    kept = KeptEvidence(layout, SystemClock(), EvidenceCaps(most=1))
    keeper = Evidence(layout, Transcript(SystemClock()), kept)
    for boot in (1, 2):
        keeper.keep(dataclasses.replace(FAILED, boot=boot))
        os.utime(keeper.place(dataclasses.replace(FAILED, boot=boot)), (SystemClock().now_s() - 50.0 + boot,) * 2)
    assert len(kept.all()) == 1


def with_disk(layout: Layout, failed: Instance, size_bytes: int = 4096) -> Instance:
    """Its overlay, of so many bytes, as its VM has left it."""
    overlay = layout.overlay(failed)
    overlay.parent.mkdir(parents=True, exist_ok=True)
    overlay.write_bytes(b"x" * size_bytes)
    return failed


def test_a_disk_is_kept_read_only_beside_the_rest(layout: Layout) -> None:
    """Taken where it lies: no byte is copied, and nobody writes to it; what is fetched is without it."""
    kept = KeptEvidence(layout, SystemClock())
    keeper = Evidence(layout, Transcript(SystemClock()), kept)
    keeper.keep(with_disk(layout, FAILED))
    number = layout.overlay(FAILED).stat().st_ino
    keeper.keep_disk(FAILED)
    keeper.keep_disk(FAILED)  # It is gone from where it was.
    disk = keeper.place(FAILED) / "disk.qcow2"
    assert disk.stat().st_ino == number
    assert stat.S_IMODE(disk.stat().st_mode) == 0o400
    assert not layout.overlay(FAILED).exists()
    (one,) = kept.all()
    assert "disk.qcow2" in one.files
    with unpacked(kept, one.mark) as archive:
        assert not [member.name for member in archive if "disk" in member.name]
    keeper.erase(FAILED.name)
    assert not disk.exists()


def test_disks_go_after_a_while_and_the_rest_stays(layout: Layout) -> None:
    """Those that are too old, and the oldest of those that are too much."""
    kept = KeptEvidence(layout, SystemClock(), EvidenceCaps(disks_mib=2, disk_hours=2))
    keeper = Evidence(layout, Transcript(SystemClock()), kept)
    now_s = SystemClock().now_s()
    for boot, ago_s in ((1, 9000.0), (2, 300.0), (3, 200.0), (4, 100.0)):
        failed = with_disk(layout, dataclasses.replace(FAILED, boot=boot), 900 * 1024)
        keeper.keep(failed)
        keeper.keep_disk(failed)
        os.utime(keeper.place(failed) / "disk.qcow2", (now_s - ago_s, now_s - ago_s))
    kept.drop_old()
    assert [one.mark for one in kept.all() if "disk.qcow2" in one.files] == ["1-3", "1-4"]
    assert len(kept.all()) == 4


def test_a_disk_that_is_too_large_is_told_and_left(layout: Layout) -> None:
    """Nothing of the rest goes for it."""
    kept = KeptEvidence(layout, SystemClock(), EvidenceCaps(disks_mib=1))
    keeper = Evidence(layout, Transcript(SystemClock()), kept)
    keeper.keep(with_disk(layout, FAILED, 2 << 20))
    with pytest.raises(NoSpace, match="evidence_disks_mib"):
        keeper.keep_disk(FAILED)
    assert layout.overlay(FAILED).exists()


def test_what_is_too_old_goes_by_itself(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while nothing fails."""
    monkeypatch.setattr(kept_evidence, "SWEEP_S", 0.01)
    kept = KeptEvidence(layout, SystemClock(), EvidenceCaps(days=1))
    keeper = Evidence(layout, Transcript(SystemClock()), kept)
    keeper.keep(FAILED)
    with kept.sweeping():
        old_s = SystemClock().now_s() - 2 * 86_400.0
        os.utime(keeper.place(FAILED), (old_s, old_s))
        until(lambda: not kept.all(), what="the sweep")


def test_a_daemon_that_begins_sweeps_at_once(layout: Layout) -> None:
    """What became too old while none ran does not wait for the next sweep."""
    kept = KeptEvidence(layout, SystemClock(), EvidenceCaps(days=1))
    keeper = Evidence(layout, Transcript(SystemClock()), kept)
    keeper.keep(FAILED)
    old_s = SystemClock().now_s() - 2 * 86_400.0
    os.utime(keeper.place(FAILED), (old_s, old_s))
    with kept.sweeping():
        until(lambda: not kept.all(), what="the sweep")

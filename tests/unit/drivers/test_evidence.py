"""What is kept of a failed instance: bounded, harmless to show, once per boot, and gone when asked."""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from pathlib import Path

import pytest

from orchestrator.drivers import evidence
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.evidence import Evidence, Transcript
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import NoSpace, Transient
from orchestrator.model import Phase
from orchestrator.model.cause import recorded
from tests.world.instances import instance

FAILED = dataclasses.replace(
    instance(), phase=Phase.FAILED, failed_by=recorded("setup: not within 5 minutes"), boot=2
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A layout whose console directory exists."""
    layout = Layout(tmp_path / "state", tmp_path / "run")
    layout.consoles.mkdir(parents=True)
    return layout


def test_what_is_kept(layout: Layout) -> None:
    """The reason, the last exchanges with the agent and the end of the console, readable by nobody else."""
    transcript = Transcript(SystemClock())
    transcript.note(FAILED.name, "identity", "Silence(\x1b[2J)")
    layout.console(FAILED.name).write_bytes(b"booting\x1b[31m\r\n\xffpanic\n")
    keeper = Evidence(layout, transcript)
    keeper.keep(FAILED)
    place = keeper.place(FAILED)
    assert (place / "reason.txt").read_text().startswith("setup: not within 5 minutes\n")
    assert (place / "agent.txt").read_text().endswith(" identity -> Silence([2J)\n")
    assert (place / "console.log").read_text() == "booting[31m\n\ufffdpanic\n"
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_the_guests_own_logs_lie_beside(layout: Layout) -> None:
    """What a guest shows of the logs of its setup is kept as a file each, without what a terminal would act on."""
    keeper = Evidence(layout, Transcript(SystemClock()), lambda of: {"setuperr.log": f"{of.name}\x1b[2J\nend\n"})
    keeper.keep(FAILED)
    assert (keeper.place(FAILED) / "setuperr.log").read_text() == "web-0.shop[2J\nend\n"


def test_first_evidence_of_a_boot_stays(layout: Layout) -> None:
    """Asked again for the same boot, nothing changes: the first moment after the failure is the telling one."""
    keeper = Evidence(layout, Transcript(SystemClock()))
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
    keeper = Evidence(layout, Transcript(SystemClock()))
    for boot in range(evidence.KEPT + 3):
        failed = dataclasses.replace(FAILED, boot=boot)
        keeper.keep(failed)
        os.utime(keeper.place(failed), (boot, boot))
    kept = (keeper.place(failed) / "console.log").read_text()
    assert len(kept) == evidence.CONSOLE_BYTES
    assert kept.endswith("before\nthe end\n")
    assert sorted(path.name for path in layout.evidence(FAILED.name).iterdir()) == [
        f"1-{boot}" for boot in range(3, evidence.KEPT + 3)
    ]


def test_unfinished_evidence_is_not_there(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no room, nothing half is left, and it can be kept later."""
    keeper = Evidence(layout, Transcript(SystemClock()))

    def full(path: Path, text: str) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
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
    keeper = Evidence(layout, Transcript(SystemClock()))

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
        Evidence(layout, Transcript(SystemClock())).keep(FAILED)
    assert not isinstance(caught.value, NoSpace)


def test_erased_evidence_is_gone(layout: Layout) -> None:
    """Nothing of the instance is left, also when there was nothing."""
    keeper = Evidence(layout, Transcript(SystemClock()))
    keeper.keep(FAILED)
    keeper.erase(FAILED.name)
    keeper.erase(FAILED.name)
    assert not layout.evidence(FAILED.name).exists()

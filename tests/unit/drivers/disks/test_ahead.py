"""Digests that are made ahead stand for a file that nobody has touched since."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.drivers.disks import ahead
from orchestrator.drivers.disks.ahead import Ahead
from orchestrator.drivers.disks.checkpoint_files import digested
from orchestrator.model import Digested
from tests.world.waiting import until

WHOLE = b"what it remembers" * 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What is read."""
    path = tmp_path / "1.memory"
    path.write_bytes(WHOLE)
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Whatever was read whole, in the order of its end."""
    done: list[Path] = []

    def reads(path: Path) -> Digested:
        found = digested(path)
        done.append(path)
        return found

    monkeypatch.setattr(ahead, "digested", reads)
    return done


def of(content: bytes) -> Digested:
    """Its digest."""
    return Digested(hashlib.sha256(content).hexdigest(), len(content))


def test_a_file_is_read_once_for_each_answer(file: Path, read: list[Path]) -> None:
    """Ahead, for the next one who asks; who comes after him has it read anew."""
    made = Ahead()
    made.begin(file)
    assert made.digested(file) == of(WHOLE)
    assert read == [file]
    assert made.digested(file) == of(WHOLE)
    assert read == [file, file]


def _flip(path: Path) -> None:
    with path.open("r+b") as held:
        held.write(b"W")


def _flip_in_secret(path: Path) -> None:
    before = path.stat()
    _flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _exchange(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(b"W" + WHOLE[1:])
    other.rename(path)


@pytest.mark.parametrize("change", [_flip, _flip_in_secret, _exchange])
def test_what_is_changed_after_it_was_read_is_read_again(
    file: Path, read: list[Path], change: Callable[[Path], None]
) -> None:
    """One bit, of the same length, the time of its change put back, or another file in its place."""
    made = Ahead()
    made.begin(file)
    until(lambda: read == [file], 10.0, what="the digest")
    change(file)
    assert made.digested(file) == of(b"W" + WHOLE[1:])


def test_what_is_gone_by_then_is_told(file: Path, read: list[Path]) -> None:
    """As by who reads it then; and what was never there, or is no file, is nothing to be begun."""
    made = Ahead()
    made.begin(file, file.with_suffix(".none"), file.parent)
    until(lambda: read == [file], 10.0, what="the digest")
    file.unlink()
    for path in (file, file.with_suffix(".none")):
        with pytest.raises(FileNotFoundError):
            made.digested(path)


def test_whoever_asks_waits_for_what_was_begun(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is slow is not read twice at once."""
    goes_on, reads = threading.Event(), list[Path]()

    def slow(path: Path) -> Digested:
        reads.append(path)
        assert goes_on.wait(10.0)
        return digested(path)

    monkeypatch.setattr(ahead, "digested", slow)
    made = Ahead()
    made.begin(file)
    until(lambda: reads == [file], 10.0, what="its beginning")
    threading.Timer(0.05, goes_on.set).start()
    assert made.digested(file) == of(WHOLE)
    assert reads == [file]


def test_what_is_erased_is_forgotten(file: Path, read: list[Path]) -> None:
    """Its directory goes with its instance."""
    made = Ahead()
    made.begin(file)
    until(lambda: read == [file], 10.0, what="the digest")
    made.forget(file.parent)
    assert made.digested(file) == of(WHOLE)
    assert read == [file, file]

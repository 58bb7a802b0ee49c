"""Files that a user names: read whole within bounds, or refused by name."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from orchestrator.cli import reading
from orchestrator.errors import InvalidInput, NotFound


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_file_and_a_pipe_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the bound, byte for byte."""
    content = b"\r\n\xff" + b"x" * (reading.FILE_MAX_BYTES - 3)
    Path("full").write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert reading.read_bytes("full", hint="") == reading.read_bytes("-", hint="") == content


@pytest.mark.parametrize("file", ["large", "endless", "-"])
def test_what_is_larger_is_not_read_to_its_end(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte too many, a device without an end, or a pipe."""
    Path("large").write_bytes(b"x" * (reading.FILE_MAX_BYTES + 1))
    Path("endless").symlink_to("/dev/zero")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path("large").read_bytes())))
    with pytest.raises(InvalidInput, match=f"{file} is larger than 1 MiB") as caught:
        reading.read_bytes(file, hint="name a small one")
    assert caught.value.hint == "name a small one"


def test_what_is_no_file_is_named() -> None:
    """A missing file, a directory, and text that is none."""
    with pytest.raises(NotFound, match="there is no file none"):
        reading.read_text("none", hint="")
    with pytest.raises(InvalidInput, match=r"^\. cannot be read: Is a directory"):
        reading.read_text(".", hint="")
    Path("latin").write_bytes(b"ab\ncd\ne\xe9")
    with pytest.raises(InvalidInput, match="latin:3: byte 0xe9 is not UTF-8"):
        reading.read_text("latin", hint="")

"""An image changed to be more like what people bring: its files are edited where they lie, and nothing is booted."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

_PARTITION_AT = 1 << 20  # where the file system begins in the disk
_EDIT_S = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """The file system of an image, open for editing; `place` is for scratch files."""

    raw: Path
    place: Path

    def read(self, path: str) -> bytes:
        """A file's bytes; AssertionError when there is none."""
        copy = self.place / "read"
        copy.unlink(missing_ok=True)
        self._debugfs(f"dump {path} {copy}")
        assert copy.exists(), f"the image has no {path}"
        return copy.read_bytes()

    def write(self, path: str, content: bytes) -> None:
        """Puts a file there, in place of the one that may be there; its directory must exist."""
        new = self.place / "write"
        new.write_bytes(content)
        self.remove(path)
        said = self._debugfs(f"write {new} {path}", writes=True)
        assert "Allocated inode" in said, f"{path}: {said}"

    def remove(self, path: str) -> None:
        """Removes a file; absent is fine."""
        self._debugfs(f"rm {path}", writes=True)

    def make_directory(self, path: str) -> None:
        """Makes a directory in one that is there."""
        self._debugfs(f"mkdir {path}", writes=True)

    def _debugfs(self, request: str, *, writes: bool = False) -> str:
        argv = ["debugfs", *(["-w"] if writes else []), "-R", request, f"{self.raw}?offset={_PARTITION_AT}"]
        done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=_EDIT_S)
        return done.stdout + done.stderr


@contextlib.contextmanager
def edited(image: Path, place: Path, name: str) -> Iterator[tuple[Disk, Path]]:
    """A disk to edit, and where the image made of it lies once the block has ended."""
    raw, made, scratch = place / f"{name}.raw", place / f"{name}.qcow2", place / f"{name}-files"
    scratch.mkdir()
    _qemu_img("convert", "-O", "raw", image, raw)
    yield Disk(raw, scratch), made
    _qemu_img("convert", "-O", "qcow2", raw, made)
    raw.unlink()


def _qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, timeout=_EDIT_S)

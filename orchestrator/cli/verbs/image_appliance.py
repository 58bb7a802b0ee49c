"""An appliance (OVA) is a tar with a description and a disk: the disk in it is what is added."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import tarfile
from typing import BinaryIO, cast

from orchestrator.errors import InvalidInput
from orchestrator.imagefiles.magics import looks_like
from orchestrator.imagefiles.reading import Source

_TO_CONVERT = (".vmdk", ".vhd", ".vhdx")
_DISKS = (*_TO_CONVERT, ".qcow2", ".img", ".raw", ".vdi")
_PACKED = (".gz", ".xz", ".zst", ".bz2")
_MEMBERS_MOST = 1000
_NAMED_MOST, _SHOWN_MAX = 10, 200  # names, characters of each
_MANIFEST_BYTES_MOST = 1 << 20
_HEADER_BYTES_MOST = 2 << 20  # of one: a manifest is the longest thing that is read
_HEADERS_BYTES_MOST = 16 << 20  # of all of them
_SUM = re.compile(r"SHA256 ?\(([^()]{1,255})\) ?= ?([0-9A-Fa-f]{64})")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Where in the file a disk lies (bytes). `sha256` as the appliance's own manifest says it, None without one."""

    name: str
    at: int
    size_bytes: int
    sha256: str | None
    is_to_convert: bool


class _Headers:
    """A file of which an archive's headers are read: a header that says that it is longer than any is not believed.

    tarfile reads a header whole, and goes from one to the next as long as there are bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _HEADERS_BYTES_MOST

    def read(self, count: int = -1) -> bytes:
        """As any file's; raises TarError."""
        if not 0 <= count <= _HEADER_BYTES_MOST or count > self._left:
            raise tarfile.ReadError("its headers are longer than those of any appliance")
        self._left -= max(512, count)
        return self._file.read(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As any file's."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As any file's."""
        return self._file.tell()


class Part(io.RawIOBase):
    """So many bytes of a file, as a file."""

    def __init__(self, file: BinaryIO, disk: Disk) -> None:
        self._file = file
        self._disk = disk
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As any file's."""
        base = {0: 0, 1: self._at, 2: self._disk.size_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: object, /) -> int:
        """As any file's."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = min(len(view), max(0, self._disk.size_bytes - self._at))
        self._file.seek(self._disk.at + self._at)
        data = self._file.read(count)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def disk_in(file: BinaryIO, name: str) -> Disk | None:
    """The disk in an appliance; None when the file is none. Raises InvalidInput unless there is exactly one."""
    try:
        looks = looks_like(Source(file))
    except OSError as error:  # Some that are called regular files have no size, or no beginning.
        raise InvalidInput(f"{name} cannot be read: {error.strerror}", hint="name the image's file itself") from error
    if "tar" not in looks:
        return None
    file.seek(0)
    disks, sums, others = _members(file, name)
    if len(disks) != 1:
        names = ", ".join(disk.name[:_SHOWN_MAX] for disk in disks[:_NAMED_MOST]) or "none of the kinds " + " ".join(
            _DISKS
        )
        told = f"{name} is an archive of {len(disks) + others} files, and not of one disk: {names}"
        raise InvalidInput(told, hint=f"unpack it and add the one you mean: tar xf {name}")
    (disk,) = disks
    file.seek(0, io.SEEK_END)
    if disk.size_bytes < 0 or disk.at + disk.size_bytes > file.tell():
        told = f"{name} is a damaged archive: its disk has {disk.size_bytes} bytes from byte {disk.at} on"
        raise InvalidInput(told, hint="copy the file again")
    return dataclasses.replace(disk, sha256=sums.get(disk.name))


def _members(file: BinaryIO, name: str) -> tuple[list[Disk], dict[str, str], int]:
    disks: list[Disk] = []
    sums: dict[str, str] = {}
    others = 0
    try:
        with tarfile.open(fileobj=cast("BinaryIO", _Headers(file)), mode="r:") as archive:
            for member in archive:
                if len(disks) + others > _MEMBERS_MOST:
                    raise InvalidInput(f"{name} is an archive of more than {_MEMBERS_MOST} files", hint="unpack it")
                kind = _kind(member.name)
                if kind and member.isreg() and not member.issparse():
                    found = Disk(
                        name=member.name,
                        at=member.offset_data,
                        size_bytes=member.size,
                        sha256=None,
                        is_to_convert=kind in _TO_CONVERT,
                    )
                    disks.append(found)
                    continue
                others += 1
                if member.name.lower().endswith(".mf") and member.isreg() and member.size <= _MANIFEST_BYTES_MOST:
                    text = archive.extractfile(member)
                    assert text is not None  # It is a regular file.
                    found_sums = _SUM.findall(text.read().decode("utf-8", "replace"))
                    sums |= {which: digest.lower() for which, digest in found_sums}
    except (tarfile.TarError, ValueError, LookupError, OverflowError, RecursionError) as error:  # unforeseen
        raise InvalidInput(f"{name} is a damaged archive: {error}", hint="copy the file again") from error
    return disks, sums, others


def _kind(name: str) -> str:
    plain = name.lower()
    for ending in _PACKED:
        plain = plain.removesuffix(ending)
    return next((ending for ending in _DISKS if plain.endswith(ending)), "")


def digest(file: BinaryIO) -> str:
    """Of the whole file, which is at its beginning afterwards."""
    found = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(1 << 20):
        found.update(chunk)
    file.seek(0)
    return found.hexdigest()

"""Appliances that were made to break a reader of archives: each is refused in a sentence, or its disk is named."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.cli.verbs import image_appliance
from orchestrator.errors import InvalidInput

DISK = b"KDMV" + bytes(2044)
END = bytes(1024)


def header(size: bytes, kind: bytes = b"0", name: bytes = b"d.vmdk") -> bytes:
    """A member's header (POSIX.1-1988, ustar) with a sum that is right."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[124:136], block[156:157], block[257:265] = b"0000644\0", size, kind, b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def goes_on(block: bytes) -> bytes:
    """The header of a sparse file (GNU) whose map goes on in the next block."""
    first = bytearray(block)
    first[482] = 1
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    return bytes(first)


def extended(**headers: str) -> bytes:
    """A tar of one disk with extended headers of POSIX.1-2001."""
    out = io.BytesIO()
    named: Mapping[str, str] = {key.replace("__", "."): value for key, value in headers.items()}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=dict(named)) as archive:
        member = tarfile.TarInfo("d.vmdk")
        member.size, member.pax_headers = len(DISK), dict(named)
        archive.addfile(member, io.BytesIO(DISK))
    return out.getvalue()


@pytest.mark.parametrize(
    "source",
    [
        header(b"\x80" + b"\x7f" * 11) + DISK + END,
        header(b"\xff" * 12) + DISK + END,
        header(b"77777777777\0") + DISK + END,
        header(b"zzzzzzzzzzz\0") + DISK + END,
        header(b"00000000000\0", b"x") * 20_000,
        header(b"77777777777\0", b"L", b"././@LongLink") + DISK,
        extended(GNU__sparse__major="1", GNU__sparse__minor="0", GNU__sparse__realsize="9" * 25),
        header(b"00000004000\0", b"S") + DISK + END,
        header(b"00000004000\0") + DISK[:100],
        goes_on(header(b"00000004000\0", b"S")),
    ],
    ids=[
        "huge",
        "negative",
        "lie",
        "no-number",
        "nested",
        "long-name",
        "sparse",
        "old-sparse",
        "cut",
        "cut-in-its-map",
    ],
)
def test_an_archive_that_lies_is_refused(source: bytes) -> None:
    """With a way out, and no traceback."""
    with pytest.raises(InvalidInput) as refused:
        image_appliance.disk_in(io.BytesIO(source), "box.ova")
    assert refused.value.hint
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("size", ["-5", "9" * 5000, "x"])
def test_a_size_that_is_none_is_not_believed(size: str) -> None:
    """What is left lies within the file."""
    source = extended(size=size)
    with contextlib.suppress(InvalidInput):
        disk = image_appliance.disk_in(io.BytesIO(source), "box.ova")
        assert disk is not None
        assert 0 <= disk.size_bytes <= len(source) - disk.at


def test_what_has_no_beginning_is_refused() -> None:
    """It is called a regular file."""
    with open("/proc/self/mem", "rb") as file, pytest.raises(InvalidInput):  # noqa: PTH123
        image_appliance.disk_in(file, "mem")


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_header_as_long_as_a_disk_is_not_read(tmp_path: Path, kind: bytes) -> None:
    """It costs who made it nothing: the file has a hole there."""
    path = tmp_path / "box.ova"
    with path.open("wb") as file:
        file.write(header(b"01000000000\0", kind))
        file.truncate(1 << 28)
    tracemalloc.start()
    try:
        with path.open("rb") as file, pytest.raises(InvalidInput, match="longer than those of any appliance"):
            image_appliance.disk_in(file, "box.ova")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_headers_without_end_are_not_read_to_it(tmp_path: Path) -> None:
    """A map of holes that goes on from block to block, as long as there is a file."""
    path = tmp_path / "box.ova"
    more = bytes(504) + b"\1" + bytes(7)
    with path.open("wb") as file:
        file.write(goes_on(header(b"00000004000\0", b"S")))
        for _ in range(64):
            file.write(more * 2048)
    with path.open("rb") as file, pytest.raises(InvalidInput, match="longer than those of any appliance"):
        image_appliance.disk_in(file, "box.ova")

"""Disk files for tests: made by qemu-img where it can, and VHDs written by hand, byte by byte, where it cannot."""

from __future__ import annotations

import dataclasses
import random
import struct
import subprocess
from pathlib import Path

MIB = 1024 * 1024
SECTOR = 512
BLOCK = 2 * MIB
SIZE = 8 * MIB + 7 * SECTOR  # neither whole MiB nor what cylinders, heads and sectors make


def qemu_img(*arguments: str | Path) -> str:
    """What qemu-img prints; its failure is the test's."""
    return subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def noise(size: int, seed: int) -> bytes:
    """Bytes that no program takes for zeros, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def content(seed: int = 1) -> bytearray:
    """A disk of SIZE bytes: some at the beginning, a hole, some at its very end."""
    disk = bytearray(SIZE)
    disk[: MIB // 2] = noise(MIB // 2, seed)
    disk[-3 * SECTOR :] = noise(3 * SECTOR, seed + 1)
    return disk


def make(path: Path, disk: bytes | bytearray, of: str, options: str) -> Path:
    """A file of that format with that disk in it."""
    raw = path.with_name(f"{path.name}.source")
    raw.write_bytes(disk)
    qemu_img("convert", "-f", "raw", "-O", of, "-o", options, raw, path)
    raw.unlink()
    return path


def identical(one: Path, format_one: str, disk: bytes | bytearray, place: Path) -> bool:
    """Whether qemu-img finds the same bytes and the same size."""
    raw = place / "expected.raw"
    raw.write_bytes(disk)
    argv = ["qemu-img", "compare", "-f", format_one, "-F", "raw", str(one), str(raw)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    return (done.returncode, done.stdout) == (0, "Images are identical.\n")  # another size is only warned of


@dataclasses.dataclass(kw_only=True)
class Vhd:
    """A VHD as a program might write it; every number can be a lie. `blocks`: number to (bitmap, data)."""

    kind: int = 3
    size: int = SIZE
    identity: bytes = b"i" * 16
    parent: bytes = bytes(16)
    parent_name: str = ""
    creator: bytes = b"win "
    geometry: tuple[int, int, int] = (10, 4, 17)  # far less than the size
    block: int = BLOCK
    entries: int = -1
    blocks: dict[int, tuple[bytes, bytes]] = dataclasses.field(default_factory=dict)
    locator: tuple[int, int, int, int] = (0, 0, 0, 0)  # code, space, length, offset
    saved: int = 0

    def footer(self) -> bytes:
        """512 bytes with a good checksum."""
        header_at = SECTOR if self.kind != 2 else 0xFFFFFFFFFFFFFFFF
        raw = bytearray(SECTOR)
        struct.pack_into(">8sIIQ", raw, 0, b"conectix", 2, 0x10000, header_at)
        struct.pack_into(">4sI4sQQ", raw, 28, self.creator, 0x60001, b"Wi2k", self.size, self.size)
        struct.pack_into(">HBBI", raw, 56, *self.geometry, self.kind)
        raw[68:85] = self.identity + bytes([self.saved])
        return summed(raw, 64)

    def header(self) -> bytes:
        """1024 bytes with a good checksum."""
        raw = bytearray(1024)
        struct.pack_into(">8sQQ", raw, 0, b"cxsparse", 0xFFFFFFFFFFFFFFFF, 3 * SECTOR)
        struct.pack_into(">III", raw, 24, 0x10000, self._entries(), self.block)
        raw[40:56] = self.parent
        name = self.parent_name.encode("utf-16-be")
        raw[64 : 64 + len(name)] = name
        code, space, length, offset = self.locator
        struct.pack_into(">IIIIQ", raw, 576, code, space, length, 0, offset)
        return summed(raw, 36)

    def bytes(self, disk: bytes = b"") -> bytes:
        """The file; `disk` is that of a fixed one."""
        if self.kind == 2:
            return disk + self.footer()
        table_bytes = -(-self._entries() * 4 // SECTOR) * SECTOR
        table = bytearray(b"\xff" * table_bytes)
        body = b""
        for number, (bitmap, data) in self.blocks.items():
            struct.pack_into(">I", table, number * 4, (3 * SECTOR + table_bytes + len(body)) // SECTOR)
            body += bitmap + data.ljust(self.block, b"\0")
        return self.footer() + self.header() + bytes(table) + body + self.footer()

    def _entries(self) -> int:
        return self.entries if self.entries >= 0 else -(-self.size // self.block)


def summed(raw: bytearray, at: int) -> bytes:
    """With the one's complement of the sum of its bytes in four bytes at `at`."""
    raw[at : at + 4] = bytes(4)
    struct.pack_into(">I", raw, at, ~sum(raw) & 0xFFFFFFFF)
    return bytes(raw)


def bitmap(*sectors: range, block: int = BLOCK) -> bytes:
    """Which sectors of a block are the disk's own, highest bit first."""
    bits = bytearray(-(-block // SECTOR // 8 // SECTOR) * SECTOR)
    for part in sectors:
        for sector in part:
            bits[sector // 8] |= 0x80 >> sector % 8
    return bytes(bits)


ALL = bitmap(range(BLOCK // SECTOR))


def dynamic(disk: bytes | bytearray, *, identity: bytes = b"i" * 16) -> bytes:
    """A dynamic disk, with every block that is not zero."""
    found = Vhd(size=len(disk), identity=identity)
    for number in range(-(-len(disk) // BLOCK)):
        data = disk[number * BLOCK : (number + 1) * BLOCK]
        if any(data):
            found.blocks[number] = (ALL, bytes(data))
    return found.bytes()

"""Disk files for tests: made by qemu-img where it can, and VHDs written by hand, byte by byte, where it cannot."""

from __future__ import annotations

import dataclasses
import random
import struct
import subprocess
import zlib
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


def exported_vmdk(disk: bytes | bytearray, name: str = "generated-stream.vmdk") -> bytes:
    """A stream as VirtualBox and ovftool write it into an OVA: a read-only extent, a marker before each part.

    Source: VMware's "Virtual Disk Format 5.0", with the descriptor's words as they stand in published OVAs.
    """
    grain, per_table, overhead = 128, 512, 128
    sectors = len(disk) // SECTOR
    descriptor = (
        '# Disk DescriptorFile\nversion=1\nCID=9b2f2b79\nparentCID=ffffffff\ncreateType="streamOptimized"\n\n'
        f'# Extent description\nRDONLY {sectors} SPARSE "{name}"\n\n# The disk Data Base\n#DDB\n\n'
        'ddb.virtualHWVersion = "4"\nddb.adapterType="ide"\n'
        'ddb.uuid.parent="00000000-0000-0000-0000-000000000000"\nddb.comment=""\n'
    )

    def header(directory_at: int) -> bytes:
        fields = (3, 0x30001, sectors, grain, 1, 20, per_table, 0, directory_at, overhead, 0, b"\n \r\n", 1)
        return struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", *fields).ljust(SECTOR, b"\0")

    def marker(parts: int, kind: int) -> bytes:
        return struct.pack("<QII", parts, 0, kind).ljust(SECTOR, b"\0")

    out = bytearray(header(0xFFFFFFFFFFFFFFFF) + descriptor.encode()).ljust(overhead * SECTOR, b"\0")
    directory = []
    for table_first in range(0, sectors, grain * per_table):
        table = []
        for first in range(table_first, min(sectors, table_first + grain * per_table), grain):
            data = bytes(disk[first * SECTOR : (first + grain) * SECTOR]).ljust(grain * SECTOR, b"\0")
            table.append(len(out) // SECTOR if any(data) else 0)
            if any(data):
                packed = zlib.compress(data)
                out += struct.pack("<QI", first, len(packed)) + packed
                out += bytes(-len(out) % SECTOR)
        out += marker(4, 1)
        directory.append(len(out) // SECTOR)
        out += struct.pack(f"<{per_table}I", *table, *[0] * (per_table - len(table)))
    out += marker(1, 2)
    directory_at = len(out) // SECTOR
    out += struct.pack(f"<{len(directory)}I", *directory).ljust(SECTOR, b"\0")
    return bytes(out + marker(1, 3) + header(directory_at) + marker(0, 0))


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

"""Just enough ELF to follow libraries and kernel modules without ldd, readelf or kmod. Little-endian 64-bit only."""

from __future__ import annotations

import struct
from pathlib import Path

from vmrole_images.report import BuildError

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC = struct.Struct("<qQ")
_DT_NEEDED = 1
_ELF64_LSB = b"\x7fELF\x02\x01"


def sections(content: bytes) -> dict[str, bytes]:
    """The sections of an ELF file by name; sections without bytes in the file (.bss) are left out."""
    if not content.startswith(_ELF64_LSB):
        raise BuildError("not a 64-bit little-endian ELF file")
    header = _HEADER.unpack_from(content)
    table_at, entry_size, count, names_index = header[6], header[11], header[12], header[13]
    entries = [_SECTION.unpack_from(content, table_at + i * entry_size) for i in range(count)]
    names = content[entries[names_index][4] :]
    found: dict[str, bytes] = {}
    for name_at, kind, _flags, _address, offset, size, *_rest in entries:
        nobits = 8
        if kind != nobits:
            found[_string(names, name_at)] = content[offset : offset + size]
    return found


def needed(file: Path) -> tuple[str, ...]:
    """The sonames that a program or shared library asks for (DT_NEEDED), in its order; a static one asks for none."""
    found = sections(file.read_bytes())
    dynamic, names = found.get(".dynamic", b""), found.get(".dynstr", b"")
    whole = len(dynamic) - len(dynamic) % _DYNAMIC.size
    return tuple(_string(names, value) for tag, value in _DYNAMIC.iter_unpack(dynamic[:whole]) if tag == _DT_NEEDED)


def module_info(content: bytes) -> dict[str, str]:
    """The `.modinfo` of a kernel module, key to last value (`name`, `depends`, `vermagic`...)."""
    lines = sections(content).get(".modinfo", b"").split(b"\0")
    return dict(line.decode("utf-8", "replace").split("=", 1) for line in lines if b"=" in line)


def _string(table: bytes, at: int) -> str:
    return table[at : table.index(b"\0", at)].decode("ascii", "replace")

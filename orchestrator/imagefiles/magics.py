"""What a file looks like: the magics of all formats that a program might take it for, from their specifications."""

from __future__ import annotations

from orchestrator.imagefiles.reading import SECTOR, Source

ISO_MAGIC_AT = 0x8001  # ISO 9660 volume descriptor, sector 16
# Format by the bytes that a file of it begins with.
_MAGICS = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "VMDK",
    b"COWD": "VMDK of ESX 2",
    b"# Disk DescriptorFile": "VMDK descriptor",
    b"conectix": "VHD",
    b"cxsparse": "VHD",
    b"vhdxfile": "VHDX",
    b"QED\x00": "QED",
    b"LUKS\xba\xbe": "LUKS",
    b"SKUL\xba\xbe": "LUKS",
    b"WithoutFreeSpace": "Parallels",
    b"WithouFreSpacExt": "Parallels",
    b"Bochs Virtual HD Image": "Bochs",
    b"#!/bin/sh\n#V2.0 Format": "cloop",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
}
_VDI_MAGIC, _VDI_AT = b"\x7f\x10\xda\xbe", 64
_VHD_FOOTER = b"conectix"


def looks_like(source: Source) -> set[str]:
    """Every format whose magic stands where it would have to stand."""
    head = source.at(0, min(source.size, SECTOR), "beginning")
    looks = {name for magic, name in _MAGICS.items() if head.startswith(magic)}
    if head[_VDI_AT : _VDI_AT + 4] == _VDI_MAGIC:
        looks.add("VDI")
    if source.size >= SECTOR and source.at(source.size - SECTOR, 8, "end") == _VHD_FOOTER:
        looks.add("VHD")
    if source.size > ISO_MAGIC_AT + 5 and source.at(ISO_MAGIC_AT, 5, "sector 16") == b"CD001":
        looks.add("ISO 9660")
    return looks

"""Our own readers of disk images: what may become a base image, decided before any other program opens the file.

A base must stand alone: whatever could make a program open another file, ask for a key or misread the size is
refused. Here is the verdict on a whole file; each format has its own reader, which names the source of its facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from orchestrator.imagefiles import magics, qcow2, vhd, vhdx, vmdk
from orchestrator.imagefiles.magics import ISO_MAGIC_AT, looks_like
from orchestrator.imagefiles.reading import SECTOR, Inspection, Source, SourceFormat, check_size, rejected

__all__ = ["ISO_MAGIC_AT", "Inspection", "SourceFormat", "inspect"]
CHAIN_MAX = 16  # a VHD and its parents
_NAMES = {
    SourceFormat.QCOW2: "qcow2",
    SourceFormat.VHD: "VHD",
    SourceFormat.VHDX: "VHDX",
    SourceFormat.VMDK: "VMDK",
}


def inspect(
    file: BinaryIO,
    claimed: SourceFormat | None,
    *,
    virtual_size_max: int,
    convert: bool = False,
    parents: Sequence[BinaryIO] = (),
) -> Inspection:
    """Reads the headers of a whole, seekable file, and of the disks that it stands on, the nearest first.

    `claimed` None means qcow2, and what the file looks like when it is to be converted: raw must be said. Raises
    ImageRejected with a reason that is a stable word.
    """
    source = Source(file)
    wanted = _settled(source, claimed, convert=convert)
    if parents and wanted is not SourceFormat.VHD:
        hint = vhdx.MERGE if wanted is SourceFormat.VHDX else "leave --parent away"
        raise rejected(
            "parent", f"a parent was given, but only a differencing VHD is joined to one, not {wanted}", hint
        )
    match wanted:
        case SourceFormat.RAW:
            if source.size % SECTOR:
                told = f"a raw disk of {source.size} bytes is not a whole number of sectors"
                raise rejected("size", told, "was it cut?")
            found = Inspection(format=SourceFormat.RAW, virtual_size_bytes=source.size)
        case SourceFormat.QCOW2:
            found = qcow2.inspect(source, convert=convert)
        case SourceFormat.VHD:
            for parent in parents:
                _settled(Source(parent), SourceFormat.VHD, convert=True)
            found = vhd.inspect([source, *map(Source, parents)], virtual_size_max)
        case SourceFormat.VHDX:
            found = vhdx.inspect(source, virtual_size_max)
        case SourceFormat.VMDK:
            found = vmdk.inspect(source, virtual_size_max)
    check_size(found.virtual_size_bytes, virtual_size_max)
    return found


def _settled(source: Source, claimed: SourceFormat | None, *, convert: bool) -> SourceFormat:
    """The format, when the file is what it is said to be, and nothing else at the same time."""
    if source.size == 0:
        raise rejected("truncated", "the file is empty", "was the copy or the download cut off? fetch it again")
    looks = looks_like(source)
    wanted = claimed or SourceFormat.QCOW2
    if convert and claimed is None:
        wanted = next((one for one, name in _NAMES.items() if name in looks), SourceFormat.QCOW2)
    own = {_NAMES[wanted]} if wanted in _NAMES else set()
    if own - looks:
        kind = " and ".join(sorted(looks)) or "raw, or nothing that we know"
        raise rejected("format", f"not {_NAMES[wanted]}: it looks like {kind}", _hint(looks, claimed))
    if looks - own:
        also = " and ".join(sorted(looks - own))
        raise rejected("second-magic", f"claimed to be {wanted}, but it looks like {also} too", _hint(looks, claimed))
    if not convert and wanted not in (SourceFormat.QCOW2, SourceFormat.RAW):
        raise rejected("format", f"{_NAMES[wanted]} has to be converted", "add --convert")
    return wanted


def _hint(looks: set[str], claimed: SourceFormat | None) -> str:
    if not looks:
        return "if it is a raw disk, say --format raw" if claimed is None else "check the format"
    if len(looks) == 1 and looks < set(_NAMES.values()):
        name = next(one.value for one, name in _NAMES.items() if name in looks)
        return f"add --convert --format {name}"
    hints = [magics.hint(name) for name in sorted(looks)]
    return next((hint for hint in hints if hint), "name the disk image itself, of one format only")

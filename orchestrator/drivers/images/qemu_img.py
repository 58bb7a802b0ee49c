"""qemu-img on files that nobody trusts: always with the format said, without backing files, by a program that
has no rights (see `confinement`) and limits. What an image may be at all is decided before, by `imagefiles`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.drivers.images.confinement import by_descriptor, confined, readable, status_of, writable
from orchestrator.drivers.tools.command import Limits, follow, run
from orchestrator.errors import CommandFailed, ImageRejected, NoSpace, Permanent, VmroleError
from orchestrator.imagefiles import Inspection, SourceFormat
from orchestrator.model import DiskFormat

MIB = 1024 * 1024
# qemu-img reads a header and tables: seconds and a few hundred MiB; a hostile file must not get more.
INSPECT_WITHIN_S = 120.0
_INSPECT_CPU_S = 30
INSPECT_LIMITS = Limits(cpu_s=_INSPECT_CPU_S, memory_bytes=2048 * MIB)
# A conversion reads and writes every byte, at 50 MiB/s and more where compressed, in a small part of this memory.
CONVERT_WITHIN_S = 6 * 3600.0
_SLOWEST_BYTES_PER_S = 4 * MIB
_BLOCK_BYTES = 512  # of st_blocks: stat(2)
_CHECKED_BYTES_PER_S = 2048 * MIB  # of what a file really holds; with clusters of 4 KiB there is much to count
_LINES_MOST, _LINE_MOST = 3, 200
_OUR_NAMES = re.compile(r"json:\{[^}]*\}[^}]*\}|/dev/fd/[0-9]+")
_LEAKS_ONLY = 3  # of qemu-img check: clusters that are counted and not used, which waste room and harm nothing
_NO_COMMAND = 127  # as from a shell
_OPTIONS = "compat=1.1,lazy_refcounts=off,cluster_size=64k"
_DRIVERS = {SourceFormat.VHD: "vpc"}
_DONE = re.compile(r"\(([0-9]{1,3}\.[0-9]{1,2})/100%\)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One file of a disk."""

    path: Path
    format: DiskFormat
    virtual_size_bytes: int


def node(of: SourceFormat, file: str) -> str:
    """The file as qemu-img is to open it: this driver, this file, and nothing that the file itself names."""
    options: dict[str, object] = {
        "driver": _DRIVERS.get(of, of.value),
        "file": {"driver": "file", "filename": file},
    }
    match of:
        case SourceFormat.QCOW2 | SourceFormat.VMDK:
            options["backing"] = None
        case SourceFormat.VHD:
            options["force_size_calc"] = "current_size"  # Without it, QEMU rounds the disks of some programs.
        case SourceFormat.RAW | SourceFormat.VHDX:
            pass
    return "json:" + json.dumps(options)


def agree(path: Path, found: Inspection) -> None:
    """qemu-img must see what we saw; raises ImageRejected."""
    with readable(path) as handle:
        told = json.loads(_ask("info", ["--output=json", node(found.format, by_descriptor(handle))], handle))
    driver = _DRIVERS.get(found.format, found.format.value)
    faults = [key for key in ("backing-filename", "encrypted") if told.get(key)]
    if told["format"] != driver or told["virtual-size"] != found.virtual_size_bytes or faults:
        seen = f"{told['format']}, {told['virtual-size']} bytes {' '.join(faults)}"
        raise ImageRejected(
            f"the image is refused (disagreement): qemu-img sees {seen}; its header says {found.format}, "
            f"{found.virtual_size_bytes} bytes",
            reason="disagreement",
            hint="convert it: qemu-img convert -O qcow2 IN OUT",
        )


def check(path: Path) -> None:
    """The structure of a qcow2 must be clean but for clusters that nobody uses; raises ImageRejected."""
    with readable(path) as handle:
        _ask("check", ["-q", node(SourceFormat.QCOW2, by_descriptor(handle))], handle, sound=_LEAKS_ONLY)


def convert(source: Path, found: Inspection, out: Path, hear: Callable[[float], None], *, most_bytes: int) -> None:
    """Writes `out` anew as a qcow2; `hear` gets the percentage done, also when it stays the same, and may raise.

    Raises ImageRejected when qemu-img fails, and NoSpace when `out` would have more than `most_bytes`; either may
    leave a part of `out`.
    """
    work = found.virtual_size_bytes if found.compressed else min(source.stat().st_size, found.virtual_size_bytes)
    with readable(source) as read:
        node_of_it = node(found.format, by_descriptor(read))
        _convert(node_of_it, (read,), found.virtual_size_bytes, work, out, hear, most_bytes)


def flatten(chain: Sequence[Layer], out: Path, hear: Callable[[float], None], *, most_bytes: int) -> None:
    """As `convert`, of a disk and all that it stands on, the disk first: one qcow2 that stands alone.

    What the files themselves say of others is not heeded. They stay who they are for whoever has them open, and one
    that is written to meanwhile comes out as nobody knows what.
    """
    with contextlib.ExitStack() as stack:
        handles = tuple(stack.enter_context(readable(layer.path)) for layer in chain)
        disk: dict[str, object] | None = None
        for layer, handle in reversed([*zip(chain, handles, strict=True)]):
            file = {"driver": "file", "filename": by_descriptor(handle), "locking": "off"}
            below = {"backing": disk} if layer.format is not DiskFormat.RAW else {}
            disk = {"driver": layer.format.value, "file": file, **below}
        top = chain[0]
        work = sum(layer.path.stat().st_size for layer in chain)
        _convert("json:" + json.dumps(disk), handles, top.virtual_size_bytes, work, out, hear, most_bytes)


def _convert(
    node_of_it: str,
    handles: tuple[int, ...],
    virtual_size_bytes: int,
    work: int,
    out: Path,
    hear: Callable[[float], None],
    most_bytes: int,
) -> None:
    seconds = min(CONVERT_WITHIN_S, 60 + work / _SLOWEST_BYTES_PER_S)
    expected = virtual_size_bytes + virtual_size_bytes // 64 + 64 * MIB
    limits = Limits(cpu_s=int(seconds), memory_bytes=2048 * MIB, file_bytes=min(most_bytes, expected))
    with writable(out) as written:
        files = [node_of_it, by_descriptor(written)]
        argv = [*confined("qemu-img"), "qemu-img", "convert", "-p", "-O", "qcow2", "-o", _OPTIONS, *files]
        try:
            follow(argv, _heard(hear), within_s=2 * seconds, limits=limits, handles=(*handles, written))
        except CommandFailed as error:
            full = status_of(error) == -signal.SIGXFSZ or _says(error, errno.EFBIG)
            if _says(error, errno.ENOSPC) or (full and most_bytes < expected):
                raise NoSpace(
                    "no room for the converted image", hint="make room under the state directory"
                ) from error
            raise _damaged("convert", error) from error


def unpack(path: Path, found: Inspection, hear: Callable[[float], None]) -> None:
    """Reads all that a qcow2 holds and keeps nothing of it: a compressed cluster that is damaged lies well, and gives
    every guest that comes to it an error of its disk. `hear` as of `convert`. Raises ImageRejected.
    """
    seconds = min(CONVERT_WITHIN_S, 60 + found.virtual_size_bytes / _SLOWEST_BYTES_PER_S)
    limits = Limits(cpu_s=int(seconds), memory_bytes=2048 * MIB)
    nowhere = f"driver=null-co,size={found.virtual_size_bytes}"
    with readable(path) as read:
        source = node(found.format, by_descriptor(read))
        argv = [*confined("qemu-img"), "qemu-img", "convert", "-p", "-n", "--target-image-opts", source, nowhere]
        try:
            follow(argv, _heard(hear), within_s=2 * seconds, limits=limits, handles=(read,))
        except CommandFailed as error:
            raise _damaged("convert", error) from error


def _heard(hear: Callable[[float], None]) -> Callable[[str], None]:
    """Of what qemu-img prints, the percentage that is done."""
    percent = 0.0

    def heard(text: str) -> None:
        nonlocal percent
        if done := _DONE.findall(text):
            percent = float(done[-1])
        hear(percent)

    return heard


def _ask(verb: str, arguments: list[str], handle: int, *, sound: int = 0) -> str:
    argv = [*confined("qemu-img"), "qemu-img", verb, *arguments]
    try:
        more_s = os.fstat(handle).st_blocks * _BLOCK_BYTES // _CHECKED_BYTES_PER_S
        limits = replace(INSPECT_LIMITS, cpu_s=_INSPECT_CPU_S + more_s)
        return run(argv, within_s=INSPECT_WITHIN_S + more_s, limits=limits, handles=(handle,))
    except CommandFailed as error:
        if sound and status_of(error) == sound:
            return ""
        raise _damaged(verb, error) from error


def _says(error: CommandFailed, number: int) -> bool:
    return os.strerror(number) in error.stderr


def _damaged(verb: str, error: CommandFailed) -> VmroleError:
    """Whose turn it is: the host's without qemu-img, else that of whoever sent the file."""
    status = status_of(error)
    if status == _NO_COMMAND:
        return Permanent("qemu-img: no such command", hint="run: vmrole doctor")
    if status < 0:
        return ImageRejected(
            f"the image is refused (limit): qemu-img {verb} took too much time or memory",
            reason="limit",
            hint="convert it where it was made; a sound disk takes minutes",
        )
    return ImageRejected(
        f"the image is refused (damaged): qemu-img {verb} says: {_words(error.stderr) or f'exit status {status}'}",
        reason="damaged",
        hint="copy it again, or repair it where it was made: qemu-img check -r all FILE",
    )


def _words(text: str) -> str:
    """The first few different lines, without the names that the file has only for us."""
    plain = _OUR_NAMES.sub("the file", text)
    lines = dict.fromkeys(line.strip().removeprefix("qemu-img: ") for line in plain.splitlines() if line.strip())
    kept = [line if len(line) <= _LINE_MOST else f"{line[:_LINE_MOST]}…" for line in list(lines)[:_LINES_MOST]]
    more = len(lines) - len(kept)
    return "; ".join(kept) + (f"; and {more} lines more" if more else "")

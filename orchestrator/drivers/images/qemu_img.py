"""qemu-img on files that nobody trusts: always with the format said, without backing files, under limits, apart from
every network. What an image may be at all is decided before, by `imagefiles`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from orchestrator.drivers.command import Limits, apart, follow, run
from orchestrator.errors import CommandFailed, ImageRejected, Permanent, VmroleError
from orchestrator.imagefiles import Inspection, SourceFormat

MIB = 1024 * 1024
# qemu-img reads a header and tables: seconds and a few hundred MiB; a hostile file must not get more.
INSPECT_WITHIN_S = 120.0
INSPECT_LIMITS = Limits(cpu_s=30, memory_bytes=2048 * MIB)
# A conversion reads and writes every byte, at 50 MiB/s and more where compressed, in a small part of this memory.
CONVERT_WITHIN_S = 6 * 3600.0
_SLOWEST_BYTES_PER_S = 4 * MIB
_LEAKS_ONLY = 3  # of qemu-img check: clusters that are counted and not used, which waste room and harm nothing
_NO_COMMAND = 127  # from unshare(1), as from a shell
_OPTIONS = "compat=1.1,lazy_refcounts=off,cluster_size=64k"
_DRIVERS = {SourceFormat.VHD: "vpc"}
_DONE = re.compile(r"\(([0-9]{1,3}\.[0-9]{1,2})/100%\)")


def node(of: SourceFormat, path: Path) -> str:
    """The file as qemu-img is to open it: this driver, this file, and nothing that the file itself names."""
    options: dict[str, object] = {
        "driver": _DRIVERS.get(of, of.value),
        "file": {"driver": "file", "filename": str(path)},
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
    told = json.loads(_ask("info", [node(found.format, path)]))
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
    try:
        run(
            [*apart(), "qemu-img", "check", "-q", "-f", "qcow2", str(path)],
            within_s=INSPECT_WITHIN_S,
            limits=INSPECT_LIMITS,
        )
    except CommandFailed as error:
        if error.status != _LEAKS_ONLY:
            raise _damaged("check", error) from error


def convert(source: Path, found: Inspection, out: Path, hear: Callable[[float], None]) -> None:
    """Writes `out` anew as a qcow2; `hear` gets the percentage done, also when it stays the same, and may raise.

    Raises ImageRejected when qemu-img fails, which may leave a part of `out`.
    """
    work = found.virtual_size_bytes if found.compressed else min(source.stat().st_size, found.virtual_size_bytes)
    seconds = min(CONVERT_WITHIN_S, 60 + work / _SLOWEST_BYTES_PER_S)
    limits = Limits(
        cpu_s=int(seconds),
        memory_bytes=2048 * MIB,
        file_bytes=found.virtual_size_bytes + found.virtual_size_bytes // 64 + 64 * MIB,
    )
    percent = 0.0

    def heard(text: str) -> None:
        nonlocal percent
        if done := _DONE.findall(text):
            percent = float(done[-1])
        hear(percent)

    argv = ["qemu-img", "convert", "-p", "-O", "qcow2", "-o", _OPTIONS, node(found.format, source), str(out)]
    try:
        follow([*apart(), *argv], heard, within_s=2 * seconds, limits=limits)
    except CommandFailed as error:
        raise _damaged("convert", error) from error


def _ask(verb: str, arguments: list[str]) -> str:
    argv = [*apart(), "qemu-img", verb, "--output=json", *arguments]
    try:
        return run(argv, within_s=INSPECT_WITHIN_S, limits=INSPECT_LIMITS)
    except CommandFailed as error:
        raise _damaged(verb, error) from error


def _damaged(verb: str, error: CommandFailed) -> VmroleError:
    """Whose turn it is: the host's without qemu-img, else that of whoever sent the file."""
    if error.status == _NO_COMMAND:
        return Permanent("qemu-img: no such command", hint="run: vmrole doctor")
    if error.status < 0:
        return ImageRejected(
            f"the image is refused (limit): qemu-img {verb} took too much time or memory: {error}",
            reason="limit",
            hint="convert it where it was made; a sound disk takes minutes",
        )
    return ImageRejected(
        f"the image is refused (damaged): qemu-img {verb} says: {(error.stderr.strip() or str(error))[-300:]}",
        reason="damaged",
        hint="copy it again, or repair it: qemu-img check -r all",
    )

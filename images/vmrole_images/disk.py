"""From a directory to a bootable qcow2: file system, boot loader, partition table. No mount, no loop device, no root.

The same directory gives the same bytes: times (unless the plan keeps them), UUIDs and hash seeds are fixed, and
mke2fs -d sorts the entries.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from pathlib import Path

from vmrole_images.report import BuildError
from vmrole_images.tools import run

MIB = 1 << 20
EPOCH_S = 1_735_689_600  # 2025-01-01: every file time in an image, unless SOURCE_DATE_EPOCH says otherwise.
_SECTOR = 512
PARTITION_START = MIB  # Leaves the boot loader's core its room between table and partition.
_BOOT_CODE_SIZE = 440
_GRUB = Path("/usr/lib/grub/i386-pc")
_GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "linux")


@dataclasses.dataclass(frozen=True, slots=True)
class DiskPlan:
    """The layout: `size_mib` with the table, a fixed file system UUID, and the kernel's command line."""

    size_mib: int
    uuid: str
    label: str
    inodes: int
    journal_mib: int
    kernel_path: str
    initramfs_path: str
    command_line: str
    grows: bool = False  # Whether guests may enlarge it to far more: the file system keeps room for its tables.
    keep_times: bool = False  # Where files' times mean something: Python's compiled files hold their sources' times.


def epoch_s() -> int:
    """The time stamped on every file: SOURCE_DATE_EPOCH where set, else a constant."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or EPOCH_S)


def make_bootable(tree: Path, plan: DiskPlan, work: Path, output: Path) -> None:
    """Write `tree` as a BIOS-bootable standalone qcow2 to `output` (which must not exist)."""
    partition, raw = work / "partition.img", work / "disk.raw"
    _make_filesystem(tree, plan, partition)
    core = _boot_core(plan, work)
    boot = _grub_file("boot.img").read_bytes()[:_BOOT_CODE_SIZE]
    with raw.open("wb") as disk:
        disk.truncate(plan.size_mib * MIB)
        disk.write(boot.ljust(_BOOT_CODE_SIZE, b"\0"))
        disk.write(_partition_table(plan))
        disk.seek(_SECTOR)
        disk.write(core)
        _copy_sparse(partition, disk.fileno(), PARTITION_START)
    partition.unlink()
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, output])
    raw.unlink()


def _make_filesystem(tree: Path, plan: DiskPlan, partition: Path) -> None:
    """An ext4 with a journal; without metadata_csum, so that GRUB reads it and times can be set after."""
    stamp = epoch_s()
    if not plan.keep_times:
        for path in (tree, *sorted(tree.rglob("*"))):
            os.utime(path, (stamp, stamp), follow_symlinks=False)
    extended = f"hash_seed={plan.uuid},lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0"
    # fmt: off
    command = [
        "mke2fs", "-q", "-t", "ext4",
        "-O", f"^metadata_csum,^64bit,{'' if plan.grows else '^resize_inode,'}^orphan_file",
        "-b", "4096", "-m", "0", "-N", str(plan.inodes),
        "-J", f"size={plan.journal_mib}",
        "-U", plan.uuid, "-L", plan.label, "-E", extended,
        "-d", str(tree),
        str(partition), f"{plan.size_mib - PARTITION_START // MIB}M",
    ]
    # fmt: on
    if "orphan_file" not in _mke2fs_features():
        command = [word.removesuffix(",^orphan_file") for word in command]
    if os.geteuid() != 0:
        command = ["unshare", "--map-root-user", *command]  # So that files of ours become root's in the image.
    try:
        run(command, env=_clock(stamp))
    except BuildError as error:
        if os.geteuid() != 0 and "unshare" in str(error):
            raise BuildError(str(error), hint="this kernel forbids user namespaces: build as root") from error
        raise
    if not plan.keep_times:
        _fix_change_times(tree, partition, stamp)


def _clock(stamp: int) -> dict[str, str]:
    """What makes the tools of e2fsprogs, old and new, believe that it is this time."""
    return {"E2FSPROGS_FAKE_TIME": str(stamp), "SOURCE_DATE_EPOCH": str(stamp)}


def _mke2fs_features() -> str:
    """What this host's mke2fs.conf switches on: older versions do not know the newer features' names."""
    config = Path("/etc/mke2fs.conf")
    return config.read_text() if config.exists() else ""


def _fix_change_times(tree: Path, partition: Path, stamp: int) -> None:
    """Give every inode the fixed change time: mke2fs -d copies it from the host, where nobody can set it."""
    lines = []
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree)).replace('"', '""')
        lines += [f'sif "/{name}" ctime @{stamp}', f'sif "/{name}" ctime_extra 0']
    script = partition.with_suffix(".debugfs")
    script.write_text("\n".join([f"sif / ctime @{stamp}", *lines, ""]))
    run(["debugfs", "-w", "-f", script, partition], env=_clock(stamp))
    script.unlink()


def _boot_core(plan: DiskPlan, work: Path) -> bytes:
    """GRUB's core image with the commands inside: it reads no file but the kernel and the initramfs."""
    commands = work / "boot.cfg"
    commands.write_text(
        f"set root=(hd0,msdos1)\nlinux {plan.kernel_path} {plan.command_line}\ninitrd {plan.initramfs_path}\nboot\n"
    )
    core = work / "core.img"
    _grub_file("kernel.img")
    # fmt: off
    run(["grub-mkimage", "-O", "i386-pc", "-d", _GRUB, "-o", core, "-p", "(hd0,msdos1)/boot/grub", "-c", commands,
         *_GRUB_MODULES])
    # fmt: on
    content = core.read_bytes()
    if len(content) > PARTITION_START - _SECTOR:
        raise BuildError(f"the boot loader's core takes {len(content)} bytes, more than the gap before the partition")
    return content


def _grub_file(name: str) -> Path:
    file = _GRUB / name
    if not file.exists():
        raise BuildError(f"{file} is missing: GRUB for PC BIOS is not installed", hint="apt-get install grub-pc-bin")
    return file


def _partition_table(plan: DiskPlan) -> bytes:
    """Bytes 440 to 511: a fixed disk signature and one active Linux partition up to the end."""
    start = PARTITION_START // _SECTOR
    count = plan.size_mib * MIB // _SECTOR - start
    chs_unused = b"\xfe\xff\xff"
    entry = struct.pack("<B3sB3sII", 0x80, chs_unused, 0x83, chs_unused, start, count)
    signature = struct.pack("<IH", int(plan.uuid[:8], 16), 0)
    return signature + entry + bytes(3 * 16) + b"\x55\xaa"


def _copy_sparse(source: Path, target: int, at: int) -> None:
    """Copy a file's data to an offset, leaving its holes holes."""
    with source.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        here = 0
        while here < end:
            try:
                here = os.lseek(stream.fileno(), here, os.SEEK_DATA)
            except OSError:
                return  # ENXIO: only a hole is left.
            stop = os.lseek(stream.fileno(), here, os.SEEK_HOLE)
            while here < stop:
                block = os.pread(stream.fileno(), min(stop - here, 4 * MIB), here)
                os.pwrite(target, block, at + here)
                here += len(block)

"""The setup-simulator image: a small Linux that plays a generalized Windows image, from the documentation.

What plays is the package `guest`, which needs no VM to be tested; the scripts that start it are in `files/`.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from vmrole_images import disk, initramfs
from vmrole_images import kernel as kernels
from vmrole_images.disk import DiskPlan
from vmrole_images.kernel import Kernel
from vmrole_images.packages import (
    cache_dir,
    copy_file,
    fetch,
    fetch_with,
    first_available,
    libraries_of,
    program,
    unpack,
)
from vmrole_images.report import Contents, Deb
from vmrole_images.setup_simulator.guest.drive import Drive, DriveType
from vmrole_images.setup_simulator.guest.registry import SEALED, Registry
from vmrole_images.tools import run

# Not the cloud kernel, which has no AHCI: the answer disc is on a SATA CD. Debian's name, then Ubuntu's.
KERNELS: Final = ("linux-image-amd64", "linux-image-generic")
UUID: Final = "73696d75-6c61-4c1b-9e57-766d726f6c65"
FILES: Final = Path(__file__).parent / "files"
GUEST: Final = Path(__file__).parent / "guest"
SYSTEM_DRIVE: Final = "c"  # where the tree that stands for C: lies on the Linux disk
ROOT_DRIVERS: Final = ("virtio_pci", "virtio_blk", "ahci", "sd_mod", "nvme", "crc32c_generic", "ext4")
# By the moment the boot script loads them: needed, and taken where the kernel has them.
MODULES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "agent": (("virtio_console", "sr_mod", "isofs"), ("virtio_scsi",)),
    "machine": (("virtio_net", "af_packet"), ("virtio_rng", "button", "evdev")),
}
_LIBRARIES: Final = "usr/lib/x86_64-linux-gnu"
_PACKAGES: Final = "usr/lib/simulator"
PLAN: Final = DiskPlan(
    size_mib=256,
    uuid=UUID,
    label="simulator",
    inodes=8192,
    journal_mib=4,
    kernel_path="/boot/vmlinuz",
    initramfs_path="/boot/initramfs",
    command_line=(
        "quiet console=ttyS0 panic=5 no_timer_check net.ifnames=0 random.trust_cpu=on init=/sbin/init"
        # What a toy without users does not need, and what each costs a tenth of an emulated boot or so.
        " mitigations=off nokaslr cryptomgr.notests=1 audit=0 lsm= nowatchdog"
    ),
)
_DIRECTORIES: Final = (
    "boot", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "usr/lib64", _LIBRARIES,
    f"{_PACKAGES}/modules", "var", SYSTEM_DRIVE,
)  # fmt: skip
_LINKS: Final = {
    "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
    "usr/sbin/init": "../bin/busybox",
    "usr/lib64/ld-linux-x86-64.so.2": "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "etc/resolv.conf": "/run/resolv.conf", "etc/mtab": "/proc/self/mounts", "var/run": "/run",
}  # fmt: skip
_TEXTS: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/hostname": "simulator\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n",
    "etc/os-release": 'ID=vmrole-setup-simulator\nID_LIKE=debian\nNAME="vmrole setup simulator"\nVERSION_ID=1\n',
}
# Parts of Python's library that the simulator has no use for, and that are big.
_UNUSED: Final = (
    "asyncio", "concurrent", "ctypes", "curses", "dbm", "distutils", "ensurepip", "idlelib", "lib2to3",
    "multiprocessing", "pydoc_data", "sqlite3", "test", "tkinter", "turtledemo", "unittest", "venv",
    "wsgiref", "xmlrpc",
)  # fmt: skip


def build(output: Path, work: Path, progress: Callable[[str], None]) -> Contents:
    """Write the image to `output`; takes seconds once the packages are in the cache."""
    cache = cache_dir() / "debs"
    progress("fetching packages")
    kernel_debs = fetch_with(first_available(KERNELS), _is_kernel_part, cache)
    python_debs = fetch_with("python3", _is_python_part, cache)
    debs = fetch(("busybox-static",), cache)
    progress("unpacking")
    trees = _unpack_all([*debs.values(), *kernel_debs.values(), *python_debs.values()], work / "packages")
    kernel = kernels.find([trees[name] for name in kernel_debs])
    tree, busybox = work / "tree", program(trees["busybox-static"], "busybox")

    progress("laying out the system disk")
    lay_out(tree)
    copy_file(busybox, tree / "usr/bin/busybox", 0o755)
    for applet in run([busybox, "--list"]).split():
        if applet != "busybox":
            (tree / "usr/bin" / applet).symlink_to("busybox")
    libraries = _add_python(tree, python_debs, trees, work, cache)
    _copy_modules(kernel, tree)
    copy_file(kernel.image, tree / "boot/vmlinuz", 0o644)
    archive = initramfs.build(kernel, busybox, UUID, epoch_s=disk.epoch_s(), drivers=ROOT_DRIVERS)
    # GRUB reads through the BIOS, which under emulation costs more than the kernel's unpacking.
    (tree / "boot/initramfs").write_bytes(gzip.compress(archive, mtime=0))

    progress("writing the disk image")
    disk.make_bootable(tree, PLAN, work, output)
    used = {deb.name: deb for deb in (*debs.values(), *kernel_debs.values(), *python_debs.values(), *libraries)}
    return Contents(
        tuple((d.name, d.version, d.sha256) for _, d in sorted(used.items())), kernel.release, os="windows"
    )


def lay_out(tree: Path) -> None:
    """Directories, links, texts, the scripts, the simulator itself, and C: as Sysprep leaves it."""
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "tmp").chmod(0o1777)
    for name, text in _TEXTS.items():
        (tree / name).write_text(text)
    for name, target in _LINKS.items():
        (tree / name).symlink_to(target)
    for file in sorted(FILES.iterdir()):
        plain = file.name == "inittab"
        place = tree / ("etc/inittab" if plain else f"{_PACKAGES}/{file.name}")
        copy_file(file, place, 0o644 if plain else 0o755)
    for file in sorted(GUEST.glob("*.py")):
        copy_file(file, tree / _PACKAGES / "vmrole_images/setup_simulator/guest" / file.name, 0o644)
    seal(Drive("C", tree / SYSTEM_DRIVE, DriveType.FIXED))


def seal(system: Drive) -> None:
    """Makes a directory tree what C: is after `sysprep /generalize /oobe`."""
    (system.root / "Windows" / "Panther").mkdir(parents=True)
    Registry(system).set(SEALED)


def _is_kernel_part(name: str) -> bool:
    return name.startswith(("linux-image-", "linux-modules-")) and any(c.isdigit() for c in name)


def _is_python_part(name: str) -> bool:
    """Python itself and its library; not what they recommend, nor the mailcap and media types."""
    return name.startswith(("python3", "libpython3"))


def _unpack_all(debs: list[Deb], work: Path) -> dict[str, Path]:
    for deb in debs:
        unpack(deb, work / deb.name)
    return {deb.name: work / deb.name for deb in debs}


def _add_python(tree: Path, debs: Mapping[str, Deb], trees: Mapping[str, Path], work: Path, cache: Path) -> list[Deb]:
    """Python with its library, compiled by itself so that no boot has to, and the C libraries that it needs."""
    owner = next(name for name in debs if name.startswith("python3.") and name.endswith("-minimal"))
    name = owner.removesuffix("-minimal")
    interpreter = program(trees[owner], name)
    copy_file(interpreter, tree / "usr/bin" / name, 0o755)
    (tree / "usr/bin/python3").symlink_to(name)
    library = tree / "usr/lib" / name
    for part in debs:
        if (source := trees[part] / "usr/lib" / name).is_dir():
            shutil.copytree(source, library, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    for unused in (*_UNUSED, "lib-dynload"):
        shutil.rmtree(library / unused, ignore_errors=True)
    (library / "lib-dynload").mkdir()  # Python complains when it is not there.
    found = libraries_of([(debs[owner], interpreter)], work, cache)
    for soname, (_deb, file) in found.items():
        copy_file(file, tree / _LIBRARIES / soname, 0o755)
    loader = tree / _LIBRARIES / "ld-linux-x86-64.so.2"
    # fmt: off
    run([loader, "--library-path", tree / _LIBRARIES, tree / "usr/bin" / name, "-S", "-s", "-m", "compileall", "-q",
         "--invalidation-mode", "unchecked-hash", "-s", tree, library, tree / _PACKAGES],
        env={"PYTHONHOME": str(tree / "usr"), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"})
    # fmt: on
    return [deb for deb, _file in found.values()]


def _copy_modules(kernel: Kernel, tree: Path) -> None:
    """The drivers and, for each moment of the boot, the list that the boot script reads."""
    early = kernels.load_order(kernel, ROOT_DRIVERS)
    place = tree / _PACKAGES / "modules"
    for moment, (required, optional) in MODULES.items():
        names = [*kernels.load_order(kernel, required), *kernels.load_order(kernel, optional, optional=True)]
        names = [name for name in dict.fromkeys(names) if name not in early]
        (place / f"{moment}.list").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            (place / f"{name}.ko").write_bytes(kernels.content(kernel, name))

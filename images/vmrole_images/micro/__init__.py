"""The micro image: what goes onto its disk. The scripts that run in the guest are in `files/`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vmrole_images import disk, initramfs
from vmrole_images import kernel as kernels
from vmrole_images.disk import DiskPlan
from vmrole_images.kernel import Kernel
from vmrole_images.micro import reseed
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
from vmrole_images.tools import run

# One name each: Debian's, then Ubuntu's. All are meta packages that depend on the kernel of the day.
KERNELS = ("linux-image-cloud-amd64", "linux-image-virtual", "linux-image-kvm", "linux-image-generic")
UUID = "6d6963f2-6f00-4c1b-9e57-766d726f6c65"
FILES = Path(__file__).parent / "files"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
# Not tsc=reliable: on a busy host an emulated clock is measured wrong, and the guest's time then runs several times
# too fast; the kernel must be free to find that out.
_COMMAND_LINE = "quiet console=ttyS0 panic=5 no_timer_check net.ifnames=0 random.trust_cpu=on init=/sbin/init"
_PLAN = DiskPlan(
    size_mib=256,
    uuid=UUID,
    label="micro",
    inodes=8192,
    journal_mib=4,
    kernel_path="/boot/vmlinuz",
    initramfs_path="/boot/initramfs",
    command_line=_COMMAND_LINE,
)

# Modules by the moment the boot script loads them; those of the second tuple are taken where the kernel has them.
MODULES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "agent": (("virtio_console",), ()),
    "drivers": (("virtio_net",), ("virtio_rng", "pvpanic_pci", "pvpanic_mmio")),
    "disc": (("virtio_scsi", "sr_mod", "isofs"), ()),
    "late": ((), ("button", "evdev")),
    "shares": ((), ("virtiofs",)),  # loaded by what the answers leave in a guest that has some
}

# What insmod gets beside the file; the setup script searches the controller itself.
OPTIONS = {"scsi_mod": "scan=manual"}

# Where each script of files/ goes; all others lie in /usr/lib/vmrole.
PLACES = {
    "inittab": "etc/inittab",
    "httpd.conf": "etc/httpd.conf",
    "shutdown": "usr/sbin/shutdown",
    "powerbutton": "etc/acpi/PWRF/00000080",
}
_PLAIN = {"inittab", "httpd.conf", "common", "meta-data", "parts.awk"}
_DIRECTORIES = (
    "boot", "dev", "etc/vmrole/start.d", "local", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin",
    "usr/lib64", f"{_LIBRARIES}", "usr/lib/vmrole/modules", "usr/local/bin", "usr/local/sbin", "var/lib/vmrole",
    "var/log",
)  # fmt: skip
_LINKS = {
    "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
    "usr/sbin/init": "../bin/busybox", "usr/sbin/reboot": "shutdown", "usr/sbin/poweroff": "shutdown",
    "usr/sbin/halt": "shutdown", "usr/sbin/hwclock": "../bin/busybox",
    "usr/lib64/ld-linux-x86-64.so.2": "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "etc/resolv.conf": "/run/resolv.conf", "etc/mtab": "/proc/self/mounts", "var/run": "/run",
}  # fmt: skip
_TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/hostname": "micro\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
    "etc/os-release": 'ID=vmrole-micro\nID_LIKE=debian\nNAME="vmrole micro"\nVERSION_ID=1\n',
}


def build(output: Path, work: Path, progress: Callable[[str], None]) -> Contents:
    """Write the micro image to `output`; takes seconds once the packages are in the cache."""
    cache = cache_dir() / "debs"
    progress("fetching packages")
    kernel_debs = fetch_with(first_available(KERNELS), _is_kernel_part, cache)
    debs = fetch(("busybox-static", "qemu-guest-agent", "e2fsprogs"), cache)
    progress("unpacking the kernel")
    trees = _unpack_all([*debs.values(), *kernel_debs.values()], work / "packages")
    kernel = kernels.find([trees[name] for name in kernel_debs])
    agent = trees["qemu-guest-agent"] / "usr/sbin/qemu-ga"
    disk_tools = [program(trees["e2fsprogs"], name) for name in ("mke2fs", "resize2fs")]
    progress("following the agent's libraries")
    needed = [(debs["qemu-guest-agent"], agent), *((debs["e2fsprogs"], tool) for tool in disk_tools)]
    libraries = libraries_of(needed, work, cache)

    progress("laying out the system disk")
    tree, busybox = work / "tree", program(trees["busybox-static"], "busybox")
    lay_out(tree)
    copy_file(busybox, tree / "usr/bin/busybox", 0o755)
    copy_file(agent, tree / "usr/sbin/qemu-ga", 0o755)
    for tool in disk_tools:
        copy_file(tool, tree / "usr/sbin" / tool.name, 0o755)
    copy_file(trees["e2fsprogs"] / "etc/mke2fs.conf", tree / "etc/mke2fs.conf", 0o644)
    for soname, (_deb, file) in libraries.items():
        copy_file(file, tree / _LIBRARIES / soname, 0o755)
    (tree / "usr/lib/vmrole/reseed").write_bytes(reseed.program())
    (tree / "usr/lib/vmrole/reseed").chmod(0o755)
    _link_applets(busybox, tree)
    _copy_modules(kernel, tree)
    copy_file(kernel.image, tree / "boot/vmlinuz", 0o644)
    archive = initramfs.build(kernel, busybox, UUID, epoch_s=disk.epoch_s())
    (tree / "boot/initramfs").write_bytes(archive)

    progress("writing the disk image")
    disk.make_bootable(tree, _PLAN, work, output)
    used = {deb.name: deb for deb in (*debs.values(), *kernel_debs.values(), *(deb for deb, _ in libraries.values()))}
    return Contents(tuple((d.name, d.version, d.sha256) for _, d in sorted(used.items())), kernel.release)


def lay_out(tree: Path) -> None:
    """Directories, links, texts and the guest's scripts: everything that does not come out of a package."""
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "tmp").chmod(0o1777)
    (tree / "root").chmod(0o700)
    for name, text in _TEXTS.items():
        (tree / name).write_text(text)
    for name, target in _LINKS.items():
        (tree / name).symlink_to(target)
    for file in sorted(FILES.iterdir()):
        place = tree / PLACES.get(file.name, f"usr/lib/vmrole/{file.name}")
        copy_file(file, place, 0o644 if file.name in _PLAIN else 0o755)


def _is_kernel_part(name: str) -> bool:
    return name.startswith(("linux-image-", "linux-modules-")) and any(c.isdigit() for c in name)


def _unpack_all(debs: list[Deb], work: Path) -> dict[str, Path]:
    for deb in debs:
        unpack(deb, work / deb.name)
    return {deb.name: work / deb.name for deb in debs}


def _link_applets(busybox: Path, tree: Path) -> None:
    """A link for each applet, except where a program or a script of ours has the name."""
    taken = {path.name for path in (tree / "usr/sbin").iterdir()} | {"busybox"}
    for applet in run([busybox, "--list"]).split():
        if applet not in taken:
            (tree / "usr/bin" / applet).symlink_to("busybox")


def _copy_modules(kernel: Kernel, tree: Path) -> None:
    """The drivers and, for each moment of the boot, the list that `load` reads."""
    early = kernels.load_order(kernel, initramfs.ROOT_DRIVERS)
    place = tree / "usr/lib/vmrole/modules"
    for moment, (required, optional) in MODULES.items():
        names = [*kernels.load_order(kernel, required), *kernels.load_order(kernel, optional, optional=True)]
        names = [name for name in dict.fromkeys(names) if name not in early]
        lines = (f"{name} {OPTIONS.get(name, '')}".rstrip() for name in names)
        (place / f"{moment}.list").write_text("".join(f"{line}\n" for line in lines))
        for name in names:
            (place / f"{name}.ko").write_bytes(kernels.content(kernel, name))

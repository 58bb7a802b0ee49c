"""The debian image: Debian 12 by mmdebstrap, with systemd, the real cloud-init and the real qemu-guest-agent.

Needs root: ownership of the files is part of what is built. What differs from a plain installation is said in
README.md beside this file, line by line.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from vmrole_images import disk, initramfs
from vmrole_images import kernel as kernels
from vmrole_images.disk import DiskPlan
from vmrole_images.packages import cache_dir, copy_file, fetch, program, unpack
from vmrole_images.report import BuildError, Contents
from vmrole_images.tools import locate, run

SUITE = "bookworm"
UUID = "64656269-616e-4c1b-9e57-766d726f6c65"
FILES = Path(__file__).parent / "files"
PACKAGES = (
    "ca-certificates", "cloud-guest-utils", "cloud-init", "dbus", "e2fsprogs", "fdisk", "iproute2", "iputils-ping",
    "kmod", "less", "linux-image-cloud-amd64", "netbase", "openssh-server", "procps", "qemu-guest-agent", "sudo",
    "systemd-resolved", "systemd-sysv", "tzdata", "udev",
)  # fmt: skip

# Units that a generation of a role has no use for, or that slow down each of its boots.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "getty@tty1.service", "systemd-binfmt.service", "systemd-pstore.service", "systemd-update-utmp-runlevel.service",
    "cloud-init-hotplugd.socket",
)  # fmt: skip
ENABLED = ("systemd-networkd.service", "systemd-resolved.service", "ssh.socket")
DISABLED = ("ssh.service",)

# Where each file of files/ goes.
PLACES = {
    "cloud.cfg": "etc/cloud/cloud.cfg.d/90_vmrole-image.cfg",
    "early-agent.conf": "etc/systemd/system/qemu-guest-agent.service.d/early.conf",
    "fast-scan.conf": "etc/modprobe.d/vmrole-scsi.conf",
}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# mmdebstrap mounts /dev and others of the host in the tree: of one that was killed none is left there for an `rm -r`.
_APART = ("unshare", "--mount", "--propagation", "private")
_ARCHIVE_PROBLEM = "is http://deb.debian.org reachable? (a proxy is taken from apt's own configuration)"
_EXCLUDED = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")
_EMPTIED = ("var/cache/apt", "var/lib/apt/lists", "var/log", "var/cache/debconf", "tmp", "run")
_PLAN = DiskPlan(
    size_mib=3072,
    uuid=UUID,
    label="root",
    inodes=131_072,
    journal_mib=32,
    grows=True,
    kernel_path="/vmlinuz",
    initramfs_path="/initrd.img",
    command_line=(
        f"root=UUID={UUID} rw quiet console=ttyS0 panic=5 net.ifnames=0 no_timer_check random.trust_cpu=on"
    ),
    keep_times=True,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What tells one image of this recipe from another: packages, layout, units, and the last hand on its files."""

    packages: Sequence[str] = PACKAGES
    plan: DiskPlan = _PLAN
    enabled: Sequence[str] = ENABLED
    disabled: Sequence[str] = DISABLED
    places: Mapping[str, str] = dataclasses.field(default_factory=PLACES.copy)
    finish: Callable[[Path], None] | None = None


def build(output: Path, work: Path, progress: Callable[[str], None], kind: Kind | None = None) -> Contents:
    """Write the debian image, or another kind of it, to `output`: about a minute, most of it in mmdebstrap."""
    kind = kind or Kind()
    if os.geteuid() != 0:
        raise BuildError("the debian image is built as root: it holds files of several users", hint="use sudo")
    if not _KEYRING.exists():
        raise BuildError(f"{_KEYRING} is missing", hint="apt-get install debian-archive-keyring")
    tree = work / "tree"
    progress("installing Debian 12 into a directory (mmdebstrap)")
    _bootstrap(tree, kind.packages)
    contents = _contents(tree)
    progress("configuring")
    _configure(tree, kind)
    kernel = kernels.find([tree])
    archive = initramfs.build(kernel, _busybox(work), UUID, epoch_s=disk.epoch_s())
    (tree / "boot" / f"initrd.img-{kernel.release}").write_bytes(archive)
    _link(tree / "vmlinuz", f"boot/vmlinuz-{kernel.release}")
    _link(tree / "initrd.img", f"boot/initrd.img-{kernel.release}")
    for name in ("vmlinuz.old", "initrd.img.old"):
        (tree / name).unlink(missing_ok=True)
    progress("writing the disk image")
    disk.make_bootable(tree, kind.plan, work, output)
    return Contents(contents, kernel.release, follows_host=False)


def _busybox(work: Path) -> Path:
    """For the initramfs only; the image itself has none."""
    deb = fetch(("busybox-static",), cache_dir() / "debs")["busybox-static"]
    unpack(deb, work / "busybox")
    return program(work / "busybox", "busybox")


def _bootstrap(tree: Path, packages: Sequence[str]) -> None:
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED]
    options.append("--dpkgopt=path-include=/usr/share/doc/*/copyright")
    for scheme in ("http", "https"):
        if proxy := _apt_setting(f"Acquire::{scheme}::Proxy"):
            options.append(f'--aptopt=Acquire::{scheme}::Proxy "{proxy}"')
    # fmt: off
    command = [
        *_APART, locate("mmdebstrap"), "--quiet", "--variant=minbase", "--format=directory",
        "--include", ",".join(packages), "--components=main", "--keyring", str(_KEYRING),
        "--skip=cleanup/apt/lists",
        *options,
        SUITE, str(tree),
    ]
    # fmt: on
    try:
        run(command)
    except BuildError as error:
        raise BuildError(str(error), hint=error.hint or _ARCHIVE_PROBLEM) from error


def _apt_setting(name: str) -> str:
    found = re.search(r"='?([^'\n]*)'?", run(["apt-config", "shell", "VALUE", name]))
    return found[1] if found else ""


def _contents(tree: Path) -> tuple[tuple[str, str, str], ...]:
    """What dpkg says is installed, with the digest that the archive's signed index gives for each .deb."""
    digests = {
        (fields["Package"], fields["Version"]): fields["SHA256"]
        for index in sorted((tree / "var/lib/apt/lists").glob("*_Packages"))
        for fields in _stanzas(index.read_text(encoding="utf-8"))
    }
    installed = _stanzas((tree / "var/lib/dpkg/status").read_text(encoding="utf-8"))
    names = sorted((fields["Package"], fields["Version"]) for fields in installed)
    return tuple((name, version, digests.get((name, version), "")) for name, version in names)


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    for stanza in text.split("\n\n"):
        lines = (line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
        if fields := {key: value.strip() for key, value in lines}:
            yield fields


def _configure(tree: Path, kind: Kind) -> None:
    for name, place in kind.places.items():
        copy_file(FILES / name, tree / place, 0o644)
    for unit in MASKED:
        _link(tree / "etc/systemd/system" / unit, "/dev/null")
    run(["systemctl", "--root", tree, "enable", *kind.enabled])
    run(["systemctl", "--root", tree, "disable", *kind.disabled])
    run(["systemctl", "--root", tree, "set-default", "multi-user.target"])
    (tree / "etc/fstab").write_text(f"UUID={UUID} / ext4 defaults,noatime 0 0\n")
    (tree / "etc/default/locale").write_text("LANG=C.UTF-8\n")  # As in cloud.cfg; cloud-init then leaves it alone.
    (tree / "etc/hostname").write_text("debian\n")
    (tree / "etc/hosts").write_text("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    _link(tree / "etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    (tree / "etc/machine-id").write_text("")  # Empty: made at the first boot, without systemd's first-boot questions.
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    if kind.finish:
        kind.finish(tree)
    for place in _EMPTIED:
        _empty(tree / place)
    (tree / "var/lib/apt/lists/partial").mkdir(mode=0o700)
    (tree / "var/log/journal").mkdir()  # Journald keeps its journal on the disk where it finds this.


def _empty(place: Path) -> None:
    for path in place.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)

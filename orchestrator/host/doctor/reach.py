"""Who and what gets to files: QEMU to its disks, as whatever user libvirt runs it, and answer discs to no disk."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import stat
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from orchestrator.drivers.hypervisor.accelerator import KVM_DEVICE
from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import CommandFailed
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, existing, fail, ok, warn

_ASK = "import sys, libvirt; print(libvirt.openReadOnly(sys.argv[1]).getCapabilities())"
_ANSWER_S = 20.0
_NAME = "qemu's way"
_SWAPS = Path("/proc/swaps")
_RULE: Final = "/etc/udev/rules.d/65-kvm.rules"


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """Whom libvirt runs QEMU as: with the groups that the user has on this host beside the one that is given."""

    uid: int
    gid: int

    def may(self, right: str, path: Path) -> bool:
        """Whether test(1), run as the user, says so: -x, -r or -w."""
        groups = "--clear-groups"
        with contextlib.suppress(KeyError):
            pwd.getpwuid(self.uid)
            groups = "--init-groups"
        argv = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", groups, "test", right, str(path)]
        try:
            run(argv)
        except CommandFailed:
            return False
        return True


def ways(settings: Config) -> Check:
    """QEMU's user passes through every directory down to its disks, its answer disc and our monitor; tried as it."""
    user = _user_of(settings)
    if isinstance(user, Check):
        return user
    layout = Layout(settings.state_dir, settings.run_dir)
    places = (layout.images, layout.overlays, layout.storage, layout.consoles, layout.discs)
    return judge(_NAME, user, [existing(place) for place in places], [layout.monitor])


def judge(name: str, user: User, places: Sequence[Path], sockets: Sequence[Path] = ()) -> Check:
    """The verdict on places, and on sockets that may be there, and QEMU's user and groups."""
    directories = dict.fromkeys(above for place in places for above in reversed((place, *place.parents)))
    for directory in directories:
        if not user.may("-x", directory):
            told = f"QEMU (uid {user.uid}) cannot enter {directory}: no VM would find what lies below"
            return fail(name, told, f"set state_dir or run_dir to another place, or: chmod o+x {directory}")
    for path in sockets:
        if path.is_socket() and not user.may("-w", path):
            told = f"QEMU (uid {user.uid}) cannot connect to {path}: restarts of guests are noticed late"
            if path.stat().st_mode & stat.S_IWGRP == 0:  # As the daemon makes it, before it has found libvirt.
                return ok(name, f"QEMU (uid {user.uid}) gets to its disks; {path} is opened to it with the first VM")
            return fail(
                name, told, f"restart the daemon: it makes {path} anew, for the group that libvirt gives QEMU"
            )
    return ok(name, f"QEMU (uid {user.uid}) gets to {', '.join(str(place) for place in dict.fromkeys(places))}")


def kvm(settings: Config) -> Check:
    """QEMU's user may open KVM where root may; also where guests run without it, for libvirt looks each time."""
    if not KVM_DEVICE.exists():
        return ok("kvm", f"there is no {KVM_DEVICE}")
    user = _user_of(settings)
    if isinstance(user, Check):
        return dataclasses.replace(user, name="kvm")
    return judge_kvm(user, KVM_DEVICE)


def judge_kvm(user: User, device: Path) -> Check:
    """The verdict on the device and QEMU's user.

    Where root may open it and QEMU may not, libvirt (9.0) takes what it knows of QEMU for outdated whenever it looks.
    """
    if user.may("-r", device) and user.may("-w", device):
        return ok("kvm", f"QEMU (uid {user.uid}) may open {device}")
    found = device.stat()
    told = (
        f"QEMU (uid {user.uid}) may not open {device} (mode {stat.S_IMODE(found.st_mode):04o}, gid {found.st_gid}): "
        "no guest starts in KVM, and in TCG libvirt asks QEMU again and again what it can do at each start of a VM"
    )
    lines = (
        f"chgrp kvm {device} && chmod 0660 {device}",
        f'in {_RULE}, to keep it so: KERNEL=="kvm", GROUP="kvm", MODE="0660", OPTIONS+="static_node=kvm"',
        'in /etc/libvirt/qemu.conf: group = "kvm"; then restart libvirtd',
    )
    return warn("kvm", told, "; ".join(lines))


def swap(settings: Config) -> Check:
    """What lies in memory stays there: answer discs hold passwords until setup is over."""
    return judge_swap(_SWAPS.read_text() if _SWAPS.exists() else "", settings.run_dir)


def judge_swap(swaps: str, run_dir: Path) -> Check:
    """The verdict on /proc/swaps, proc(5); compressed memory (zram) is no disk."""
    disks = [line.split()[0] for line in swaps.splitlines()[1:] if "/zram" not in line]
    if not disks:
        return ok("swap", "there is none on a disk")
    told = f"{', '.join(disks)} may come to hold passwords of answer discs in {run_dir}"
    return warn("swap", told, "encrypt it, switch it off, or mount a tmpfs with noswap there (Linux 6.4)")


def _user_of(settings: Config) -> User | Check:
    """Whom libvirt runs QEMU as; a warning when that cannot be known, or cannot be tried."""
    if os.geteuid() != 0:
        return warn(_NAME, "only root can try to be QEMU's user", "sudo vmrole doctor")
    try:
        return _user(run([sys.executable, "-c", _ASK, settings.libvirt_uri], within_s=_ANSWER_S))
    except CommandFailed:
        return warn(_NAME, "libvirt does not say as whom it runs QEMU", "see what is said about libvirt")


def _user(capabilities: str) -> User:
    """The base label of libvirt's own access control, "+64055:+108"; ours when there is none."""
    for model in ElementTree.fromstring(capabilities).iterfind("host/secmodel"):  # noqa: S314 - libvirtd's own
        user, _, group = (model.findtext("baselabel") or "").replace("+", "").partition(":")
        if model.findtext("model") == "dac" and user.isdigit() and group.isdigit():
            return User(int(user), int(group))
    return User(os.geteuid(), os.getegid())

"""Who and what gets to files: QEMU to its disks, as whatever user libvirt runs it, and answer discs to no disk."""

from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from orchestrator.drivers.tools.command import run
from orchestrator.errors import CommandFailed
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, existing, fail, ok, warn

_ASK = "import sys, libvirt; print(libvirt.openReadOnly(sys.argv[1]).getCapabilities())"
_ANSWER_S = 20.0
_NAME = "qemu's way"
_SWAPS = Path("/proc/swaps")


def way_to_disks(settings: Config) -> Check:
    """QEMU's user passes through every directory down to the state directory; tried as that user."""
    if os.geteuid() != 0:
        return warn(_NAME, "only root can try to be QEMU's user", "sudo vmrole doctor")
    try:
        user, group = _user(run([sys.executable, "-c", _ASK, settings.libvirt_uri], within_s=_ANSWER_S))
    except CommandFailed:
        return warn(_NAME, "libvirt does not say as whom it runs QEMU", "see what is said about libvirt")
    return judge(existing(settings.state_dir), user, group)


def judge(place: Path, user: int, group: int) -> Check:
    """The verdict on a place and QEMU's user and group."""
    for directory in reversed((place, *place.parents)):
        try:
            run(["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "test", "-x", str(directory)])
        except CommandFailed:
            told = f"QEMU (uid {user}) cannot enter {directory}: no VM would find its disk"
            return fail(_NAME, told, f"set state_dir to another place, or: chmod o+x {directory}")
    return ok(_NAME, f"QEMU (uid {user}) gets to {place}")


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


def _user(capabilities: str) -> tuple[int, int]:
    """The base label of libvirt's own access control, "+64055:+108"; ours when there is none."""
    for model in ElementTree.fromstring(capabilities).iterfind("host/secmodel"):  # noqa: S314 - libvirtd's own
        user, _, group = (model.findtext("baselabel") or "").replace("+", "").partition(":")
        if model.findtext("model") == "dac" and user.isdigit() and group.isdigit():
            return int(user), int(group)
    return os.geteuid(), os.getegid()

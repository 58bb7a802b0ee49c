"""Whether what confines QEMU on this host lets it do what vmrole asks of it."""

from __future__ import annotations

from pathlib import Path

from orchestrator.config import Config
from orchestrator.doctor.check import Check, fail, ok

_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_ABSTRACTION = Path("/etc/apparmor.d/abstractions/libvirt-qemu")
_LOCAL = Path("/etc/apparmor.d/local/abstractions/libvirt-qemu")


def apparmor(settings: Config) -> Check:
    """QEMU may make our monitor sockets: libvirt's profile knows nothing of what stands on a command line."""
    enabled = _text(_ENABLED).strip() == "Y"
    return judge(enabled and _ABSTRACTION.exists(), _text(_LOCAL), settings.run_dir)


def judge(confined: bool, local_rules: str, run_dir: Path) -> Check:
    """The verdict on a host where QEMU is confined or not, with these local rules."""
    rule = f"{run_dir}/monitors/*.sock rw,"
    if not confined:
        return ok("apparmor", "does not confine QEMU on this host")
    lines = [line.strip() for line in local_rules.splitlines()]
    if rule not in lines:
        return fail("apparmor", f"keeps QEMU from {run_dir}/monitors: no VM can start", f"add to {_LOCAL}: {rule}")
    return ok("apparmor", "lets QEMU make our monitor sockets")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

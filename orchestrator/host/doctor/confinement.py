"""Whether what confines QEMU on this host lets it do what vmrole asks of it."""

from __future__ import annotations

from pathlib import Path

from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, fail, ok, warn

_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_ABSTRACTION = Path("/etc/apparmor.d/abstractions/libvirt-qemu")
_LOCAL = Path("/etc/apparmor.d/local/abstractions/libvirt-qemu")


def apparmor(settings: Config) -> Check:
    """QEMU may bring its monitor: libvirt's profile knows nothing of what stands on a command line."""
    enabled = _text(_ENABLED).strip() == "Y"
    return judge(enabled and _ABSTRACTION.exists(), _text(_LOCAL), settings.run_dir)


def judge(confined: bool, local_rules: str, run_dir: Path) -> Check:
    """The verdict on a host where QEMU is confined or not, with these local rules."""
    rule = f"{run_dir}/monitor.sock rw,"
    former = f"{run_dir}/monitors/*.sock rw,"
    if not confined:
        told = "does not confine QEMU on this host: a guest that breaks out reaches the files of all others"
        return warn(
            "apparmor", told, "switch AppArmor or SELinux on, and set security_driver in /etc/libvirt/qemu.conf"
        )
    lines = [line.strip() for line in local_rules.splitlines()]
    if rule not in lines:
        told = f"keeps QEMU from {run_dir}/monitor.sock: restarts of guests are noticed late"
        return fail("apparmor", told, f"add to {_LOCAL}: {rule}")
    if former in lines:
        told = f"lets every QEMU reach what others have below {run_dir}/monitors, by a rule of former versions"
        return warn("apparmor", told, f"remove from {_LOCAL}: {former}")
    return ok("apparmor", "lets QEMU bring its monitor")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

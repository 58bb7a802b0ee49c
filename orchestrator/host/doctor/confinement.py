"""What confines QEMU on this host: that it does, and that it lets QEMU do what vmrole asks of it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from orchestrator.drivers.hypervisor import probe_domain
from orchestrator.drivers.hypervisor.probe_domain import Rights
from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import CommandFailed
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, Verdict, fail, ok, warn

_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_ABSTRACTION = Path("/etc/apparmor.d/abstractions/libvirt-qemu")
_LOCAL = Path("/etc/apparmor.d/local/abstractions/libvirt-qemu")
_DAEMONS: Final = ("usr.sbin.libvirtd", "usr.sbin.virtqemud")  # the profile of the one daemon, or of the modular one


def apparmor(settings: Config) -> Check:
    """QEMU may bring its monitor: libvirt's profile knows nothing of what stands on a command line. And libvirt may
    run what serves shares, where the host's owner gives any.
    """
    found = judge(_apparmor() and _ABSTRACTION.exists(), _text(_LOCAL), settings.run_dir)
    if found.verdict is Verdict.FAIL or not (settings.shares and _apparmor()):
        return found
    profiles = [name for name in _DAEMONS if Path("/etc/apparmor.d", name).exists()]
    rules = {name: _text(Path("/etc/apparmor.d/local", name)) for name in profiles}
    return judge_shares(rules, Layout(settings.state_dir, settings.run_dir).share_server) or found


def judge_shares(local_rules: Mapping[str, str], program: Path) -> Check | None:
    """What is wrong where libvirt's daemons have these profiles, each with what the host's owner added to it."""
    rule = f"{program} PUx,"
    for name, text in local_rules.items():
        if rule not in (line.strip() for line in text.splitlines()):
            told = f"keeps {name.rpartition('.')[2]} from {program}: no VM with shares starts"
            return fail(
                "apparmor", told, f"add to /etc/apparmor.d/local/{name}: {rule}; then systemctl reload apparmor"
            )
    return None


def judge(confined: bool, local_rules: str, run_dir: Path) -> Check:
    """The verdict on a host where QEMU is confined or not, with these local rules."""
    rule = f"{run_dir}/monitor.sock rw,"
    former = f"{run_dir}/monitors/*.sock rw,"
    if not confined:
        return ok("apparmor", "has no profile for QEMU here, so none that keeps it from our socket")
    lines = [line.strip() for line in local_rules.splitlines()]
    if rule not in lines:
        told = f"keeps QEMU from {run_dir}/monitor.sock: restarts of guests are noticed late"
        return fail("apparmor", told, f"add to {_LOCAL}: {rule}")
    if former in lines:
        told = f"lets every QEMU reach what others have below {run_dir}/monitors, by a rule of former versions"
        return warn("apparmor", told, f"remove from {_LOCAL}: {former}")
    return ok("apparmor", "lets QEMU bring its monitor")


# The process itself --------------------------------------------------------------------------------------------

PROCESS: Final = "qemu's rights"
_STARTED_WITHIN_S = 90.0  # libvirt may ask QEMU what it can do first
_QEMU_CONF: Final = "/etc/libvirt/qemu.conf"
_SELINUX: Final = Path("/sys/fs/selinux/enforce")  # "1": what a label forbids is refused
_BY_A_FILTER = 2  # proc(5), Seccomp
_OF_A_VM = re.compile(r"libvirt-|.*:svirt")  # the labels that libvirt gives: AppArmor's profile, SELinux's type


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a QEMU, and what to set in qemu.conf; a grave one makes every break-out the host's end."""

    grave: bool
    told: str
    remedy: str


def process(settings: Config) -> Check:
    """A QEMU of libvirt's is nobody's but its guest's: a domain that does nothing is started and its process seen."""
    if os.geteuid() != 0:
        return warn(PROCESS, "only root may start a VM to look at", "sudo vmrole doctor")
    argv = [sys.executable, "-m", probe_domain.__name__, settings.libvirt_uri]
    try:
        rights = Rights(**json.loads(run(argv, within_s=_STARTED_WITHIN_S)))
    except CommandFailed as error:
        why = (error.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if error.status == probe_domain.NO_ANSWER:
            return warn(PROCESS, "no VM can be started to look at", "see what is said about libvirt")
        return fail(PROCESS, f"libvirt starts not even a VM that does nothing: {why}", "look at libvirtd's log")
    modules = [name for name, on in (("AppArmor", _apparmor()), ("SELinux", _SELINUX.exists())) if on]
    return judge_process(rights, modules, enforced=_text(_SELINUX).strip() != "0")


def judge_process(rights: Rights, modules: Sequence[str], *, enforced: bool = True) -> Check:
    """The verdict on a QEMU with these rights, on a host with these security modules; SELinux may not be enforced."""
    faults = list(_faults(rights, modules, enforced))
    if not faults:
        user = f"uid {rights.ids[0]}, without capabilities, under a filter of system calls"
        return ok(PROCESS, f"{user}, confined as {rights.label}")
    told = "; ".join(fault.told for fault in faults)
    remedy = "; ".join(dict.fromkeys(fault.remedy for fault in faults))
    verdict = Verdict.FAIL if any(fault.grave for fault in faults) else Verdict.WARN
    return Check(PROCESS, verdict, told, f"{remedy}; then restart libvirtd, and each VM by a restart of its instance")


def _faults(rights: Rights, modules: Sequence[str], enforced: bool) -> Iterator[Fault]:
    if 0 in rights.ids:
        told = "QEMU is root: a guest that breaks out has the host"
        yield Fault(True, told, f'in {_QEMU_CONF}: user = "libvirt-qemu"')
    if 0 in rights.groups:
        told = "QEMU is of root's group: a guest that breaks out reads what is that group's"
        yield Fault(True, told, f'in {_QEMU_CONF}: group = "kvm"')
    if rights.capabilities and 0 not in rights.ids:
        told = f"QEMU has capabilities ({rights.capabilities:#x}): a guest that breaks out may change the host"
        yield Fault(True, told, f"in {_QEMU_CONF}: clear_emulator_capabilities = 1")
    if rights.seccomp != _BY_A_FILTER:
        told = "QEMU may make every system call: a guest that breaks out has the whole kernel to attack"
        yield Fault(False, told, f"in {_QEMU_CONF}: seccomp_sandbox = 1 (QEMU must be built with seccomp)")
    reaches = "a guest that breaks out reaches the files of all others"
    if not modules:
        told = f"no AppArmor or SELinux confines QEMU on this host: {reaches}"
        yield Fault(False, told, f'switch one of them on, and in {_QEMU_CONF} have no security_driver = "none"')
    elif not _OF_A_VM.match(rights.label):
        label = rights.label or "nothing"
        told = f"{' and '.join(modules)} is on, and QEMU is confined by {label}: {reaches}"
        yield Fault(True, told, f'in {_QEMU_CONF}: security_driver = "{modules[0].lower()}", not "none"')
    elif rights.label.endswith("(complain)"):
        told = f"the profile {rights.label.split()[0]} only complains: {reaches}"
        yield Fault(True, told, "aa-enforce /etc/apparmor.d/usr.lib.libvirt.virt-aa-helper /etc/apparmor.d/libvirt/*")
    elif "SELinux" in modules and not enforced:
        yield Fault(True, f"SELinux is permissive: {reaches}", "setenforce 1, and SELINUX=enforcing in its config")


def _apparmor() -> bool:
    return _text(_ENABLED).strip() == "Y"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

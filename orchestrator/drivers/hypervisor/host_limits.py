"""Which limits of a VM this host can keep: libvirt refuses to start one with a limit for which the host has no means.

CPUs are shared by control groups, which libvirt may have been told to leave alone; networks are limited by classes
and policing of the kernel, which are tried on a bridge that goes again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.command import run
from orchestrator.errors import CommandFailed, VmroleError

CGROUPS: Final = Path("/sys/fs/cgroup")
QEMU_CONF: Final = Path("/etc/libvirt/qemu.conf")
_CONTROLLERS: Final = re.compile(r"^[ \t]*cgroup_controllers[ \t]*=[ \t]*\[([^\]]*)\]", re.MULTILINE)
_LINK: Final = "vrl-trial"
# What libvirt has tc(8) do for an interface with a bandwidth, its classes for what comes in and its policing for what
# goes out.
_TRIAL: Final = """
ip link delete "$1" 2>/dev/null || true
ip link add "$1" type bridge
trap 'ip link delete "$1"' EXIT
tc qdisc add dev "$1" root handle 1: htb default 1
tc class add dev "$1" parent 1: classid 1:1 htb rate 1000kbps quantum 87
tc qdisc add dev "$1" parent 1:1 handle 2: sfq perturb 10
tc filter add dev "$1" parent 1:0 protocol all prio 1 handle 1 fw flowid 1
tc qdisc add dev "$1" ingress
tc filter add dev "$1" parent ffff: protocol all u32 match u32 0 0 \\
  police rate 1000kbps burst 1000kb mtu 64kb drop flowid :1
"""


def cpu_fault(cgroups: Path = CGROUPS, qemu_conf: Path = QEMU_CONF) -> str:
    """Why the host's CPUs cannot be shared by weight, in a few words; "" when they can."""
    try:
        allowed = _CONTROLLERS.search(qemu_conf.read_text(encoding="utf-8", errors="replace"))
    except OSError:  # libvirt's defaults hold.
        allowed = None
    if allowed is not None and "cpu" not in re.findall(r'"([^"]*)"', allowed[1]):
        return f"cgroup_controllers in {qemu_conf} does not name cpu"
    unified = cgroups / "cgroup.controllers"
    if unified.exists():
        return "" if "cpu" in unified.read_text().split() else f"{unified} does not name cpu"
    return "" if (cgroups / "cpu").is_dir() else f"there is no control group of CPUs in {cgroups}"


def traffic_fault(prefix: Sequence[str] = ()) -> str:
    """Why networks cannot be limited, in a few words; "" when they can. `prefix` runs the trial elsewhere."""
    try:
        run([*prefix, "sh", "-ec", _TRIAL, "trial", _LINK])
    except CommandFailed as error:
        return (error.stderr.strip() or str(error)).splitlines()[0].removeprefix("Error: ")
    except VmroleError as error:
        return str(error)
    return ""

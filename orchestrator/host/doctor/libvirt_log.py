"""Where libvirt's own log goes, asked of the daemon that runs: its error messages quote what a guest's agent sends.

No filter of libvirt's keeps an error back, so it has to go to where its amount is bounded.
"""

from __future__ import annotations

from typing import Final

from orchestrator.drivers.tools.command import run
from orchestrator.errors import CommandFailed, Permanent
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, ok, warn

NAME: Final = "libvirt's log"
_WITHIN_S = 10.0
# The one daemon of a host, or the modular one for VMs; and the file that each reads.
_DAEMONS: Final = (("libvirtd:///system", "libvirtd"), ("virtqemud:///system", "virtqemud"))


def outputs(settings: Config) -> Check:
    """libvirt logs to nothing that a guest could fill."""
    del settings
    words = ""
    for uri, daemon in _DAEMONS:
        try:
            return judge(run(["virt-admin", "--connect", uri, "daemon-log-outputs"], within_s=_WITHIN_S), daemon)
        except CommandFailed as error:
            words = (error.stderr.strip() or str(error)).splitlines()[-1]
        except Permanent as error:
            return warn(NAME, f"where it goes is not known: {error}", "apt-get install libvirt-clients")
    return warn(NAME, f"where it goes is not known: {words}", "start libvirtd-admin.socket or virtqemud-admin.socket")


def judge(told: str, daemon: str) -> Check:
    """What `virt-admin daemon-log-outputs` prints of that daemon: LEVEL:KIND[:WHERE], any number."""
    words = [word.split(":", 2) for word in told.replace("Logging outputs:", "").split()]
    files = [word[2] for word in words if len(word) == 3 and word[1] == "file"]
    if not files:
        return ok(NAME, f"goes to {', '.join(sorted({word[1] for word in words if len(word) > 1})) or 'nothing'}")
    return warn(
        NAME,
        f"{daemon} logs to {', '.join(files)}, which a guest fills whose agent sends rubbish: errors quote it",
        f'have the journal bound it: log_outputs = "3:journald" in /etc/libvirt/{daemon}.conf, then: '
        f"systemctl restart {daemon}",
    )

"""Ending a VM's process, before libvirt does: it looks only every 200 ms whether what it has asked to end is gone.

The signal is the one that libvirt sends, at which QEMU writes what it holds back. Where nothing has to be written any
more QEMU is killed. Its monitor is held open until it has ended (monitor_end.py), for libvirt, which sees that it is
closed before that, waits 200 ms then.

Its receiver is held by a descriptor, and known by the VM's UUID on its command line: a number that has come to mean
another process is never signalled. Who has ended can be signalled until its parent has taken note of that, and
libvirt would wait for it all the same.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

from orchestrator.drivers.hypervisor import monitor_end
from orchestrator.drivers.tools.ended import await_noted, is_gone

WITHIN_S: Final = 1.0  # A QEMU that takes longer is left to libvirt, which kills it in the end.
NOTED_WITHIN_S: Final = 0.1  # Its parent is the host's first process, which has nothing else to do.


def ask(pid: int, vm_uuid: str, within_s: float = WITHIN_S, noted_within_s: float = NOTED_WITHIN_S) -> bool:
    """Whether the VM's process is gone; it was asked to end, and waited for. False also where nobody may ask it."""
    return _end(pid, vm_uuid, signal.SIGTERM, within_s, noted_within_s)


def kill(pid: int, vm_uuid: str) -> bool:
    """The same of one that has no time to write what it holds back."""
    return _end(pid, vm_uuid, signal.SIGKILL, WITHIN_S, NOTED_WITHIN_S)


def _end(pid: int, vm_uuid: str, by: signal.Signals, within_s: float, noted_within_s: float) -> bool:
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if vm_uuid.encode() not in words or is_gone(process, 0.0):  # Else it may be another's number since.
            return False
        with monitor_end.held(pid, process):
            signal.pidfd_send_signal(process, by)
            if not is_gone(process, within_s):
                return False
            await_noted(process, noted_within_s)
        return True
    except OSError:
        return False
    finally:
        os.close(process)

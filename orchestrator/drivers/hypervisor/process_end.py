"""Ending a VM's process, before libvirt does: it looks only every 200 ms whether what it has asked to end is gone.

The signal is the one that libvirt sends. Its receiver is held by a descriptor, and known by the VM's UUID on its
command line: a number that has come to mean another process is never signalled.
"""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Final

WITHIN_S: Final = 1.0  # A QEMU that takes longer is left to libvirt, which kills it in the end.


def ask(pid: int, vm_uuid: str, within_s: float = WITHIN_S) -> bool:
    """Whether the VM's process is gone; it was asked to end, and waited for. False also where nobody may ask it."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if vm_uuid.encode() not in words or _is_gone(process, 0.0):  # Else it may be another's number since.
            return False
        signal.pidfd_send_signal(process, signal.SIGTERM)
        return _is_gone(process, within_s)
    except OSError:
        return False
    finally:
        os.close(process)


def _is_gone(process: int, within_s: float) -> bool:
    """As the kernel has it: the descriptor is readable then."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(within_s * 1000))

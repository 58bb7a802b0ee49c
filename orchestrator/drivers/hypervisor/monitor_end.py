"""QEMU's end of its monitor, held open from outside while QEMU ends.

libvirt sees the monitor closed a moment before QEMU has ended, and waits 200 ms for that, with each VM that is
stopped or made anew. With another descriptor of the same end it sees nothing before QEMU is gone.

The kernel gives a descriptor of another process to who may trace it: to one of the same user. A thread of ours is
that for this one call, as a file server's threads are its clients; in what it may do otherwise it stays root. The C
library would change all threads, so the kernel is asked itself. Where it says no (Yama's ptrace_scope, AppArmor, a
filter of system calls without pidfd_getfd) nothing is held, and libvirt waits.

Who has broken out of a QEMU and is its user could end us by a signal to that thread while it lives (1 ms), and would
find a new daemon in our place. He has all guests of the host by then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PIDFD_GETFD: Final = 438  # on every machine
# setresgid, setresuid, setfsgid, setfsuid: Linux numbers them by machine.
_BECOME: Final = {"x86_64": (119, 117, 123, 122), "aarch64": (149, 147, 152, 151)}
_SAME: Final = -1
MONITOR: Final = "/monitor.sock"  # as libvirt calls it in the directory of each VM


@contextlib.contextmanager
def held(pid: int, process: int) -> Iterator[int]:
    """Holds the monitors of the QEMU with that number, which `process` is a pidfd of; yields how many ends that are.

    0 where the kernel does not let us.
    """
    ends: list[int] = []
    # One of its own, which ends with that user: a pool's would go on with it.
    thread = threading.Thread(target=_take, args=(pid, process, ends), name="monitor-end")
    thread.start()
    thread.join()
    try:
        yield len(ends)
    finally:
        for end in ends:
            os.close(end)


def _take(pid: int, process: int, ends: list[int]) -> None:
    with contextlib.suppress(OSError, ValueError, KeyError):
        _become(*_owner(pid))
        sockets = set(_monitors(Path(f"/proc/{pid}/net/unix").read_text()))
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if str(descriptor.readlink()) in sockets:
                ends.append(_kernel(_PIDFD_GETFD, process, int(descriptor.name), 0))


def _owner(pid: int) -> tuple[int, int]:
    """The user and the group of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    ids = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith(("Uid:", "Gid:"))}
    return ids["Uid:"], ids["Gid:"]


def _become(user: int, group: int) -> None:
    """Of this thread alone, who asks and who reads files; what root may it still may."""
    setresgid, setresuid, setfsgid, setfsuid = _BECOME[platform.machine()]
    _kernel(setresgid, group, _SAME, _SAME)
    _kernel(setresuid, user, _SAME, _SAME)
    _kernel(setfsgid, group)
    _kernel(setfsuid, user)


def _monitors(listed: str) -> Iterator[str]:
    """Of /proc/net/unix the monitors that listen and those that somebody is connected to, as /proc/*/fd has them."""
    for line in listed.splitlines():
        if line.endswith(MONITOR):
            yield f"socket:[{line.split()[6]}]"


def _kernel(*call: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    if (answer := int(libc.syscall(*map(ctypes.c_long, call)))) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer

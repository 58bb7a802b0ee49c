"""The lab from the outside: makes the namespaces, runs one command in them, leaves nothing.

A lab is a tree of processes in fresh network, mount, PID and IPC namespaces. Its first process (`init.py`) is PID 1
in there: when it ends, for whatever reason, the kernel kills every process of the lab and with them go the mounts,
the links, the nft tables and the client's namespace. Only files stay; this module removes them, and those of labs
whose owner was killed. Whether a lab lives is told by a file lock that its PID 1 holds, never by a process id.

What runs inside is not known here; what is inside is made by `init.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
ROOT_ENV = "VMROLE_LAB_ROOT"  # set inside a lab: the directory of its files
_PARENT = Path("/var/tmp")  # On a disk, where /tmp may be memory; short, because sockets lie below.
_PREFIX = "vmlab-"
_LOCK = "lock"
_KEPT = "kept"
_DIE_S = 10.0  # The kernel kills the lab at once; QEMU may need seconds to write back what it holds.
_NAMESPACES = ("--net", "--mount", "--pid", "--ipc")


class LabError(RuntimeError):
    """The lab could not be made or found."""


def inside() -> bool:
    """Whether this process runs in a lab."""
    return ROOT_ENV in os.environ


def run(command: Sequence[str], *, keep: bool = False) -> int:
    """Runs `command` (argv) in a lab of its own; returns its exit status. `keep` leaves the lab up afterwards."""
    if os.geteuid() != 0:
        raise LabError("namespaces, libvirtd and the firewall need root; run it through sudo")
    _sweep()
    with contextlib.ExitStack() as undo:
        root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PARENT))
        undo.callback(shutil.rmtree, root, ignore_errors=True)
        undo.enter_context(_signals_raise())
        if keep:
            (root / _KEPT).touch()  # At once: such a lab outlives even a kill -9 of this process, and must be found.
        started = _start(root, command, keep)
        undo.callback(started.end)
        status = started.wait()
        if keep:
            undo.pop_all()
            print(f"The lab stays up. A shell in it: {root}/enter   One command: {root}/enter vmrole get instances")
            print("It ends with: make demo-down")
    return status


def end_kept() -> int:
    """Ends the labs that were left up on purpose, and no others; returns how many there were."""
    kept = [root for root in _PARENT.glob(f"{_PREFIX}*") if (root / _KEPT).exists()]
    for root in kept:
        if _held(root):
            with contextlib.suppress(ProcessLookupError):  # It ended by itself between the two looks.
                _end(int((root / "holder").read_text()))
        shutil.rmtree(root, ignore_errors=True)  # Nobody holds it any more: another start may sweep it meanwhile.
    return len(kept)


@dataclasses.dataclass(frozen=True, slots=True)
class _Started:
    """A lab that runs: the process in whose hand it lies, and the pipe on which its PID 1 tells the exit status."""

    holder: subprocess.Popen[bytes]
    status_pipe: int

    def wait(self) -> int:
        """Blocks until the command in the lab ended; a lab that died with it counts as killed (137)."""
        with os.fdopen(self.status_pipe) as pipe:
            told = pipe.readline().strip()  # The end of file comes only when the whole lab has ended.
        return int(told) if told else 128 + signal.SIGKILL

    def end(self) -> None:
        """Ends the lab, if it has not ended by itself; returns when every process of it is gone."""
        if self.holder.poll() is None:
            _end(self.holder.pid)
        self.holder.wait(timeout=_DIE_S)


def _start(root: Path, command: Sequence[str], keep: bool) -> _Started:
    """Starts PID 1 of a lab on `root`. Unless kept, the lab dies with this process, even if that is killed."""
    lock = _lock(root)
    reader, writer = os.pipe()
    argv = [] if keep else ["setpriv", "--pdeathsig", "KILL", "--"]
    argv += ["unshare", *_NAMESPACES, "--propagation", "private", "--"]
    argv += [sys.executable, "-m", "tests.lab.harness.init", str(root), str(writer), str(lock), str(int(keep)), "--"]
    holder = subprocess.Popen([*argv, *command], cwd=REPOSITORY, pass_fds=(writer, lock), start_new_session=keep)
    os.close(writer)
    os.close(lock)
    _write_enter(root, holder.pid)
    return _Started(holder, reader)


def _write_enter(root: Path, holder_pid: int) -> None:
    """Writes ROOT/enter, a script that runs a command (default: a shell) in the lab, and who holds the lab."""
    (root / "holder").write_text(str(holder_pid))
    script = root / "enter"
    script.write_text(
        "#!/bin/sh\n"
        f"# Runs a command in the lab of {root}; without one, a shell.\n"
        f"pid=$(cat /proc/{holder_pid}/task/{holder_pid}/children) || exit 1\n"
        f"cd {shlex.quote(str(REPOSITORY))} || exit 1\n"
        "[ $# -gt 0 ] || set -- bash\n"
        'exec nsenter --target "${pid% }" --net --mount --pid --ipc --wd="$PWD" '
        f'env $(cat {root}/environment) "$@"\n'
    )
    script.chmod(0o700)


def _end(holder_pid: int) -> None:
    """Ends the lab's PID 1 and waits for its parent, the holder: the kernel lets PID 1 be reaped last of all."""
    with contextlib.closing(_PidFd(os.pidfd_open(holder_pid))) as holder:
        children = Path(f"/proc/{holder_pid}/task/{holder_pid}/children").read_text().split()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(children[0]) if children else holder_pid, number)
            if holder.ends_within(_DIE_S):
                return
        raise LabError(f"the lab of process {holder_pid} does not end")


@dataclasses.dataclass(frozen=True, slots=True)
class _PidFd:
    """A process by descriptor: unlike its number it cannot come to mean another one."""

    descriptor: int

    def ends_within(self, timeout_s: float) -> bool:
        """Whether the process ended before the time was over."""
        return bool(select.select([self.descriptor], [], [], timeout_s)[0])

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self.descriptor)


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Turns a polite request to end into an exception, so that the files go too."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _lock(root: Path) -> int:
    """Takes the lab's lock and returns its descriptor. The file gets its name when it is locked already.

    Between two steps another lab's start would find a lock that nobody holds, and remove the files of this one.
    """
    unnamed = root / f"{_LOCK}.new"
    lock = os.open(unnamed, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    unnamed.rename(root / _LOCK)
    return lock


def _held(root: Path) -> bool:
    """Whether some process holds the lab's lock; a directory without a lock file is being made right now."""
    try:
        with (root / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return True
    return False


def _sweep() -> None:
    """Removes the files of labs that nobody holds any more: their owner was killed before it could.

    Two starts may sweep at once, and then one of them finds things gone.
    """
    for root in _PARENT.glob(f"{_PREFIX}*"):
        if not _held(root):
            shutil.rmtree(root, ignore_errors=True)

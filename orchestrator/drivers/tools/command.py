"""The only place that runs a command and waits for it. Daemons that we supervise are started by their drivers.

A command gets an environment of its own: what stands in the daemon's may be a secret, and a program that talks to the
outside, or reads what others made, is no place for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import select
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence

from orchestrator.drivers.tools.deadline import Deadline
from orchestrator.errors import CommandFailed, Permanent

log = logging.getLogger(__name__)
WITHIN_S = 60.0  # No command of ours does more than a few seconds' work; a hung one must not hold a turn for ever.
STILL_RUNS = -1  # the status of CommandFailed then
_HEAR_EVERY_S = 0.5
_STDERR_BYTES = 64 * 1024
_PIPE_BYTES = 64 * 1024  # all that a pipe holds; pipe(7)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a command may use at most: RLIMIT_CPU, RLIMIT_AS, RLIMIT_FSIZE; None means no limit of ours."""

    cpu_s: int | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None

    def words(self) -> list[str]:
        """What to write before the command: prlimit(1). Set between fork and exec, they would be set by Python in a
        process whose other threads are gone with the locks they hold.
        """
        wanted = {"cpu": self.cpu_s, "as": self.memory_bytes, "fsize": self.file_bytes}
        return ["prlimit", *(f"--{what}={most}" for what, most in wanted.items() if most is not None), "--"]


def environment() -> dict[str, str]:
    """All that a program of ours gets of the daemon's environment."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    within_s: float = WITHIN_S,
    limits: Limits | None = None,
    handles: Sequence[int] = (),
) -> str:
    """Runs `argv` (never through a shell) and returns its standard output, decoded leniently.

    `handles` are file descriptors that it keeps, under the same numbers.

    Raises CommandFailed when it exits non-zero or is still running after `within_s` seconds, and Permanent when
    there is no such command.
    """
    log.debug("run: %s", shlex.join(argv))
    try:
        done = subprocess.run(
            _limited(argv, limits),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within_s,
            check=False,
            env=environment(),
            stdin=subprocess.DEVNULL if stdin is None else None,
            pass_fds=handles,
        )
    except FileNotFoundError as error:
        raise _absent(argv[0]) from error
    except OSError as error:
        raise _unusable(argv[0], error) from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(tuple(argv), STILL_RUNS, f"still running after {within_s:.0f} s") from error
    if done.returncode != 0:
        raise CommandFailed(tuple(argv), done.returncode, done.stderr)
    return done.stdout


def _limited(argv: Sequence[str], limits: Limits | None) -> list[str]:
    if limits is None:
        return list(argv)
    if shutil.which(argv[0]) is None:  # prlimit would say so as the command's own failure.
        raise _absent(argv[0])
    return [*limits.words(), *argv]


def _absent(command: str) -> Permanent:
    return Permanent(f"{command}: no such command", hint="run: vmrole doctor")


def _unusable(command: str, error: OSError) -> Permanent:
    return Permanent(f"{command} cannot be run: {error.strerror}", hint="run: vmrole doctor")


def follow(
    argv: Sequence[str],
    hear: Callable[[str], None],
    *,
    within_s: float,
    limits: Limits,
    handles: Sequence[int] = (),
) -> None:
    """As `run`, for work that takes long and prints little: `hear` gets it twice a second, "" when there is nothing.

    What `hear` raises ends the command.
    """
    log.debug("run: %s", shlex.join(argv))
    deadline = Deadline(within_s)
    with tempfile.TemporaryFile() as told:
        try:
            process = subprocess.Popen(
                _limited(argv, limits),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=told,
                env=environment(),
                pass_fds=handles,
            )
        except FileNotFoundError as error:
            raise _absent(argv[0]) from error
        except OSError as error:
            raise _unusable(argv[0], error) from error
        with process:
            try:
                _listen(process, hear, deadline)
            except TimeoutError as error:
                raise CommandFailed(tuple(argv), STILL_RUNS, f"still running after {within_s:.0f} s") from error
            finally:
                process.kill()  # Nothing, when it has ended.
        if process.returncode != 0:
            told.seek(0)
            raise CommandFailed(tuple(argv), process.returncode, told.read(_STDERR_BYTES).decode(errors="replace"))


def is_readable(descriptor: int, within_s: float) -> bool:
    """Waits until there is something to read. By poll(2), for select(2) knows no descriptor from 1,024 on."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(within_s * 1000))


def _listen(process: subprocess.Popen[bytes], hear: Callable[[str], None], deadline: Deadline) -> None:
    """Until the process has ended; looks now and then, since waking for each word would take time from the work."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    handle = os.pidfd_open(process.pid)
    try:
        ended = False
        while not ended:
            if deadline.over:
                raise TimeoutError
            ended = is_readable(handle, min(deadline.left_s, _HEAR_EVERY_S))
            heard = b""
            with contextlib.suppress(BlockingIOError):
                heard = os.read(process.stdout.fileno(), _PIPE_BYTES)
            hear(heard.decode(errors="replace"))
    finally:
        os.close(handle)

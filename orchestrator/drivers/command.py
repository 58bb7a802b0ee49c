"""The only place that runs a command and waits for it. Daemons that we supervise are started by their drivers."""

from __future__ import annotations

import logging
import resource
import shlex
import subprocess
from collections.abc import Sequence

from orchestrator.errors import CommandFailed, Permanent

log = logging.getLogger(__name__)
WITHIN_S = 60.0  # No command of ours does more than a few seconds' work; a hung one must not hold a turn for ever.


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    within_s: float = WITHIN_S,
    cpu_s: int | None = None,
    memory_bytes: int | None = None,
) -> str:
    """Runs `argv` (never through a shell) and returns its standard output, decoded leniently.

    `cpu_s` and `memory_bytes` limit the child (RLIMIT_CPU, RLIMIT_AS). Raises CommandFailed when it exits non-zero
    or is still running after `within_s` seconds, and Permanent when there is no such command.
    """
    log.debug("run: %s", shlex.join(argv))

    def limit() -> None:
        if cpu_s is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        if memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    limited = cpu_s is not None or memory_bytes is not None
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within_s,
            check=False,
            preexec_fn=limit if limited else None,
            stdin=subprocess.DEVNULL if stdin is None else None,
        )
    except FileNotFoundError as error:
        raise Permanent(f"{argv[0]}: no such command", hint="run: vmrole doctor") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(tuple(argv), -1, f"still running after {within_s:.0f} s") from error
    if done.returncode != 0:
        raise CommandFailed(tuple(argv), done.returncode, done.stderr)
    return done.stdout

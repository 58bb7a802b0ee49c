"""One vmrole on one libvirt: two would take each other's networks, addresses and firewall apart."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.errors import ConfigError

# The same for all daemons of a host, wherever their own directories are. root's, so that nobody else can hold a lock,
# and what the unit's RuntimeDirectory makes: in the rest of /run a confined daemon cannot write.
LOCKS: Final = Path("/run/vmrole")


@contextlib.contextmanager
def sole_daemon(libvirt_uri: str, locks: Path = LOCKS) -> Iterator[None]:
    """Holds the host's lock for this libvirt until the context, or the process, ends.

    Raises ConfigError when another daemon holds it, or when there can be no lock. Who may not write there for want of
    rights could change no host, either, and needs none.
    """
    same = libvirt_uri.replace("+unix:", ":", 1)  # two ways to say it
    path = locks / f"libvirt-{hashlib.sha256(same.encode()).hexdigest()[:16]}.lock"
    try:
        locks.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except PermissionError:
        yield
        return
    except OSError as error:
        hint = f"root must be able to make files in {locks}; in a systemd unit: RuntimeDirectory={locks.name}"
        raise ConfigError(f"the host's lock {path} cannot be made: {error.strerror}", hint=hint) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            told = f"another vmrole daemon (process {holder}) runs on {libvirt_uri}"
            hint = f"stop it first, or give this one another libvirt_uri; the lock is {path}"
            raise ConfigError(told, hint=hint) from error
        if not _is_at(lock, path):  # Its holder ended, and took the file away, between our two calls.
            raise ConfigError(f"another vmrole daemon on {libvirt_uri} has just ended", hint="start this one again")
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _is_at(lock: int, path: Path) -> bool:
    """Whether the file that is open is the one that others find there."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), path.stat())
    return False

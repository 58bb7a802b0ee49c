"""Programs that read what nobody trusts: as nobody, without network, under limits, and never longer than the daemon.

They get files by descriptor, so that they need no right to any directory. util-linux's tools do the rest: `setpriv`
and `unshare`, as far as the daemon may use them; what is not to be had is logged once. The user is `nobody`, to whom
nothing belongs: QEMU's own has the disks of every guest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pwd
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.deadline import Deadline
from orchestrator.errors import CommandFailed, Permanent

log = logging.getLogger(__name__)
_TRIED_WITHIN_S = 10.0
TRIED_AGAIN_S: Final = 60.0  # one program that does nothing, beside a conversion that takes minutes
_USER = "nobody"
# The kernel sends the signal when the parent dies. A parent that died before it was asked to is seen by its number.
_PARENT, _SELF = "VMROLE_PARENT", "VMROLE_SELF"
_SEEN: Final = f'test "$PPID" -eq "${_PARENT}" && exec "$@"'
_TIED = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", f'export {_PARENT}="$0" {_SELF}="$$"; {_SEEN}')
# Who becomes another user loses the signal and asks for it anew: the parent may have died in between.
_STILL_TIED: Final = ("sh", "-c", _SEEN, "sh")
# The first process of a namespace takes all others with it, whatever they have started and to whom they belong. It
# is not the program itself, to which most signals would mean nothing then. It sees no parent of its own, but for the
# host's /proc: this may have died before the first process was tied to it.
_NOT_LEFT: Final = f'read -r _ _ _ parent _ </proc/self/stat && test "$parent" -eq "${_SELF}" || exit 1'
_ALONE = ("--pid", "--fork", "--kill-child=KILL", "sh", "-c", f'{_NOT_LEFT}; "$@"; exit $?', "init")
_NO_NETWORK: Final = ("unshare", "--net")
# Whoever may not do that may do it as the root of a user namespace, in which no user of the host has a number: what
# comes is then who it was before. So it is nobody who makes it, and never root, whose files would stay its own.
_NO_NETWORK_OF_ITS_OWN: Final = ("unshare", "--user", "--net")
_BARE: Final = ("setpriv", "--no-new-privs", "--pdeathsig", "KILL")  # last: another user loses the signal
_KILLED = 128  # and the number of the signal: what a shell says of a program that was killed


def confined(program: str) -> tuple[str, ...]:
    """What to write before a command that begins with `program`."""
    return (*_tied(), *_without_rights(shutil.which(program) or program))


def _tied() -> tuple[str, ...]:
    """The number of our process is looked up each time: a fork has another."""
    return (*_TIED, str(os.getpid()))


def status_of(error: CommandFailed) -> int:
    """The exit status of a program that was confined: negative when it was killed, by a signal of that number."""
    return _KILLED - error.status if error.status > _KILLED else error.status


@contextlib.contextmanager
def readable(path: Path) -> Iterator[int]:
    """The file, to be handed on by descriptor to a program that may be another user; its directory must keep it."""
    with _opened(path, os.O_RDONLY, 0o444) as handle:
        yield handle


@contextlib.contextmanager
def writable(path: Path) -> Iterator[int]:
    """As `readable`, and to be written to; it is ours alone again at the end."""
    with _opened(path, os.O_RDWR, 0o666) as handle:
        yield handle


def by_descriptor(handle: int) -> str:
    """Its name for the program that gets it."""
    return f"/dev/fd/{handle}"


@contextlib.contextmanager
def _opened(path: Path, flags: int, mode: int) -> Iterator[int]:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        before = os.fstat(handle).st_mode & 0o7777
        os.fchmod(handle, before | mode)
        try:
            yield handle
        finally:
            os.fchmod(handle, before)
    finally:
        os.close(handle)


@dataclasses.dataclass(frozen=True, slots=True)
class _Tried:
    """What worked for a program, and how long that is believed."""

    argv: tuple[str, ...]
    believed: Deadline


_tried: dict[str, _Tried] = {}  # by the program's path


def _without_rights(program: str) -> tuple[str, ...]:
    """The strictest way that works here, for a program by its path.

    What works may change while the daemon runs: an administrator allows user namespaces or forbids them, and on a
    busy host a try fails that would do.
    """
    before = _tried.get(program)
    if before is not None and not before.believed.over:
        return before.argv
    argv = _first_that_works(program)
    if before is None or argv != before.argv:
        _warn_of(program, argv)
    _tried[program] = _Tried(argv, Deadline(TRIED_AGAIN_S))
    return argv


def _warn_of(program: str, argv: tuple[str, ...]) -> None:
    if os.geteuid() == 0 and not any(word.startswith("--reuid") for word in argv):
        log.warning("%s runs as root: it cannot be run as %s here", program, _USER)
    if "--net" not in argv:
        log.warning("%s has the host's network in reach: no right to unshare(2) it", program)


def _first_that_works(program: str) -> tuple[str, ...]:
    for argv in ways():
        try:
            run([*_tied(), *argv, "test", "-x", program], within_s=_TRIED_WITHIN_S)
        except Permanent as error:
            log.debug("%s cannot be used: %s", shlex.join(argv), error)
        else:
            return argv
    return ()


def ways() -> Iterator[tuple[str, ...]]:
    """From the strictest on. A unit without CAP_SYS_ADMIN and CAP_SETPCAP leaves the fourth."""
    for user in _as_nobody() if os.geteuid() == 0 else ():
        for alone in (_ALONE, ()):  # goes on with the options of unshare(1)
            # Alone it is the first process of its namespace that is tied, and that stays who it is.
            yield (*_NO_NETWORK, *alone, *user, *(() if alone else _STILL_TIED))
            yield (*user, *_STILL_TIED, *_NO_NETWORK_OF_ITS_OWN, *alone, *_BARE)
        yield (*user, *_STILL_TIED)
    for alone in (_ALONE, ()):
        for network in (_NO_NETWORK, _NO_NETWORK_OF_ITS_OWN):
            yield (*network, *alone, *_BARE)
    yield _BARE


def _as_nobody() -> Iterator[tuple[str, ...]]:
    """No way leads back to a capability without new privileges; where we may, none is left to be had either."""
    try:
        user = pwd.getpwnam(_USER)
    except KeyError:
        return
    ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    for bounding in (("--bounding-set=-all",), ()):
        yield ("setpriv", *ids, "--no-new-privs", "--inh-caps=-all", *bounding, "--pdeathsig", "KILL")

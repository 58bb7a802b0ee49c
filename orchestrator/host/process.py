"""The daemon's process: what asks it to end, what systemd hears of it, and how it begins anew.

Anew is in the same process by execve(2): whoever supervises it sees no end, no socket is closed, and of what was in
memory, threads that do not end included, nothing is left, as after a kill.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NoReturn

from orchestrator.errors import ConfigError, VmroleError

logger = logging.getLogger(__name__)
STALLED_MOST_S = 600.0  # Every wait of a turn has an end, and none is nearly as long.
_ENDS: Final = (signal.SIGTERM, signal.SIGINT)
# Descriptors, with blanks between: of sockets that we made, and of those that we were lent.
_LISTENING: Final = {False: "VMROLE_LISTENING", True: "VMROLE_LENT"}
_FIRST_LENT: Final = 3  # sd_listen_fds(3)


@dataclasses.dataclass(frozen=True, slots=True)
class Inherited:
    """A socket that listens already when the program begins.

    One that is lent is whoever's who started us: it and its file stay when we end, and who comes meanwhile waits.
    """

    socket: socket.socket
    is_lent: bool = False


class End:
    """What the daemon waits for: it is asked to end, or to begin anew. Of both, the first is done."""

    def __init__(self) -> None:
        self.due = threading.Event()
        self.asked = False
        self.is_anew = False
        self.listening: list[Inherited] = []  # what goes on listening until it is there again

    def ask(self, *_: object) -> None:
        """It is to end; a handler of signals."""
        self.asked = True
        self.due.set()

    def begin_anew(self) -> None:
        """It is to begin anew; from any thread."""
        self.is_anew = True
        self.due.set()


def hear(end: End) -> None:
    """From now on signals ask for the end."""
    for number in _ENDS:
        signal.signal(number, end.ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)  # Who began anew let them wait.


def tell_systemd(state: str) -> None:
    """sd_notify(3): one datagram to the socket that systemd named, if it did."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notify, contextlib.suppress(OSError):
        notify.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def attend(stop: threading.Event, stalled_s: Callable[[], float]) -> None:
    """Waits to be stopped; tells systemd meanwhile that all goes on, where its unit has a WatchdogSec.

    One that has come to a standstill is silent, and systemd starts another: it resumes what was begun.
    """
    usec = os.environ.get("WATCHDOG_USEC", "")
    every_s = int(usec) / 2_000_000 if usec.isdecimal() and int(usec) else None
    while not stop.wait(every_s):
        if (for_s := stalled_s()) < STALLED_MOST_S:
            tell_systemd("WATCHDOG=1")
        else:
            logger.error("nothing has gone on for %.0f s: systemd is not told that all is well", for_s)


def raise_descriptor_limit() -> int:
    """Lets this process have as many descriptors as the host allows, and returns how many: a VM costs two.

    systemd's soft limit is 1,024, for programs that use select(2) on any descriptor; nothing here does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextlib.contextmanager
def anew_after(end: End) -> Iterator[None]:
    """Begins the program anew after what is in the context, if that is due, however it ended.

    A signal that asks for its end meanwhile is not lost: it waits for the handlers of the next one.
    """
    try:
        yield
    except VmroleError as error:
        if not end.is_anew:
            raise
        logger.warning("the former daemon did not end as it should: %s", error)  # Its threads go with it.
    if end.is_anew:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        if not end.asked:
            tell_systemd("WATCHDOG=1")
            try:
                _begin(end.listening)
            except OSError as error:
                hint = "start it: what waits to be restored is restored then"
                raise ConfigError(f"the daemon cannot begin anew: {error}", hint=hint) from error


def _begin(listening: Iterable[Inherited]) -> NoReturn:
    """With the arguments and the environment of now. Raises OSError when it cannot."""
    left = list(listening)
    for is_lent, variable in _LISTENING.items():
        sockets = [each.socket for each in left if each.is_lent is is_lent]
        for each in sockets:
            each.set_inheritable(True)
        os.environ[variable] = " ".join(str(each.fileno()) for each in sockets)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves


def inherited() -> Mapping[str, Inherited]:
    """What listens already, by path: left by the program before this one, and lent by systemd. Once: no program that
    is started from now on is told of any.
    """
    left: dict[str, Inherited] = {}
    numbers = [(word, is_lent) for is_lent, name in _LISTENING.items() for word in os.environ.pop(name, "").split()]
    for word, is_lent in [*numbers, *((str(number), True) for number in _lent())]:
        with contextlib.suppress(OSError, ValueError):
            listening = socket.socket(fileno=int(word))
            listening.set_inheritable(False)
            left[str(listening.getsockname())] = Inherited(listening, is_lent)
    return left


def _lent() -> Sequence[int]:
    """The descriptors of a socket unit, if they are for this process: sd_listen_fds(3)."""
    pid, count, _names = (os.environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return ()
    return range(_FIRST_LENT, _FIRST_LENT + int(count))

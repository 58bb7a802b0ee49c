"""Messages of netlink(7), and a thread of its own that hears what the kernel tells everybody."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Final

from orchestrator.drivers.tools.deadline import Deadline

log = logging.getLogger(__name__)
WAKES_S = 1.0  # How long the end of a watch may take.
SETTLES_S = 0.05  # What belongs together is told in many messages.
SETTLES_LONGEST_S = 0.5  # Where something is told all the time, no longer than this is waited for silence.
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr
_ATTRIBUTE: Final = struct.Struct("=HH")  # nlattr, rtattr
_TYPE: Final = 0x3FFF  # without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER
_MESSAGE_BYTES: Final = 1 << 18


@contextlib.contextmanager
def watch(
    family: int, groups: int, *, what: str, read: Callable[[bytes], str], wake: Callable[[str], None]
) -> Iterator[None]:
    """Calls `wake` with the reason that `read` gives for messages of the groups, until the context ends.

    `what` names in the plural what is watched, for the log. Without the right to listen (CAP_NET_ADMIN) nothing is
    told, as the log says; what is missing is found by the next audit then.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family) as ear:
        try:
            ear.bind((0, groups))
        except OSError as error:
            log.warning("%s are noticed late: netlink: %s", what, error.strerror)
            yield
            return
        ending = threading.Event()
        thread = threading.Thread(target=_listen, args=(ear, what, read, wake, ending), name=what, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join(WAKES_S * 2)


def _listen(
    ear: socket.socket,
    what: str,
    read: Callable[[bytes], str],
    wake: Callable[[str], None],
    ending: threading.Event,
) -> None:
    reason, settles = "", Deadline(0.0)
    while not ending.is_set():
        ear.settimeout(SETTLES_S if reason else WAKES_S)
        now = ""
        try:
            now = read(ear.recv(_MESSAGE_BYTES))
            silent = False
        except TimeoutError:
            silent = True
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                log.warning("%s are noticed late from now on: netlink: %s", what, error.strerror)
                return
            now, silent = "changes came faster than they were read", False
        if now and not reason:
            reason, settles = now, Deadline(SETTLES_LONGEST_S)
        if reason and (silent or settles.over):
            wake(reason)
            reason = ""


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message; what is cut off ends them."""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if length < _HEADER.size:
            return
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def message(kind: int, flags: int, body: bytes) -> bytes:
    """One to the kernel, the only one of its sequence."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def attributes(body: bytes) -> dict[int, bytes]:
    """Value of each attribute by its type; what is cut off ends them."""
    there: dict[int, bytes] = {}
    while len(body) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(body)
        if length < _ATTRIBUTE.size:
            break
        there[kind & _TYPE] = body[_ATTRIBUTE.size : length]
        body = body[(length + 3) & ~3 :]
    return there


def attribute(kind: int, value: bytes) -> bytes:
    """One, filled up to where another may begin."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def text(body: bytes, wanted: int) -> str:
    """The attribute of that type as text; "" when there is none."""
    return attributes(body).get(wanted, b"").rstrip(b"\0").decode(errors="replace")

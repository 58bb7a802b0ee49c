"""The connection to libvirtd: opened and opened again in the background, its events, and its errors as ours.

Callers never wait for a daemon that is away: a thread of our own does, because opening a connection to a stopped
libvirtd has no end, and everybody else gets Unreachable at once. Events come through libvirt's own loop in one
thread; the asyncio loop that libvirt-python offers is not thread-safe (measured: 835 of 836 calls came from other
threads).
Nothing here knows what an instance is made of.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import libvirt

from orchestrator.drivers.tools.patience import Event
from orchestrator.errors import Busy, NoSpace, Permanent, Transient, Unreachable, WorldError
from orchestrator.ports import Clock

log = logging.getLogger(__name__)
FIRST_S = 10.0  # How long `open` waits for the first connection before it lets the daemon go on without.
RETRY_S = 0.5  # A restarted libvirtd is back after about a second; asking a missing socket costs nothing.
KEEPALIVE_S = 2  # Asks a silent libvirtd every 2 s, and gives it up after 3 unanswered ones: a call ends in 8 s.
KEEPALIVE_COUNT = 3
_ENOSPC, _EDQUOT = 28, 122

Wake = Callable[[str, str], None]  # domain name ("" = all of them), why


class LibvirtConnection:
    """One connection at a time to one libvirtd, from `open` to `close`. Thread-safe.

    `wake` is called on threads of this class and must not block. After a gap, in which events are lost, it is called
    with the name "". Without a `wake` it hears no events.
    """

    def __init__(self, uri: str, wake: Wake | None, clock: Clock) -> None:
        _run_events()
        self.uri = uri
        self._hears = wake is not None
        self._wake: Wake = wake or (lambda _name, _why: None)
        self._connection: libvirt.virConnect | None = None
        self._why_not = "not connected yet"
        self._callbacks: list[int] = []
        self._closed = Event(clock)
        self._lost = threading.Event()
        self._ready = Event(clock)
        self._keeper = threading.Thread(target=self._keep, name="libvirt-connection", daemon=True)

    def open(self) -> None:
        """Begins to keep a connection, and waits a while for the first one."""
        open_all([self])

    def close(self) -> None:
        """Ends the connection; later calls raise Unreachable."""
        close_all([self])

    def begin(self) -> None:
        """Begins to keep a connection, without waiting for it."""
        self._keeper.start()

    def is_ready_within(self, seconds: float) -> bool:
        """Whether there was a connection; waits so long for the first one."""
        return self._ready.within(seconds)

    def end(self) -> None:
        """Begins to end the connection."""
        self._closed.set()
        self._lost.set()

    def has_ended(self) -> bool:
        """Whether it has ended; waits a while for that."""
        self._keeper.join(RETRY_S * 4)  # It may be inside an open that has no end; it is a daemon thread.
        return not self._keeper.is_alive()

    @contextlib.contextmanager
    def use(self, what: str) -> Iterator[libvirt.virConnect]:
        """The open virConnect, inside a block whose libvirt errors become ours, as "`what`: libvirt's words".

        Raises Unreachable when there is no connection, at once.
        """
        connection = self._connection
        if connection is None:
            raise self._unreachable(what, self._why_not)
        try:
            yield connection
        except libvirt.libvirtError as error:
            if not self._alive(connection):
                self._lose(connection, str(error))
                raise self._unreachable(what, str(error)) from error
            raise translated(what, error) from error

    def _unreachable(self, what: str, why: str) -> Unreachable:
        return Unreachable(
            f"{what}: libvirtd does not answer at {self.uri}: {why}",
            hint="is libvirtd running? It is asked again all the time; guests run on without it",
        )

    # The keeper ----------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while True:
            self._lost.clear()
            if self._closed.is_set():  # Looked at after the clearing: `close` sets it before the other.
                return
            connection = self._open()
            if connection is not None:
                self._ready.set()
                self._wake("", "connected to libvirt")
                self._lost.wait()
                self._drop(connection)
            # Also after a loss: a libvirtd that is dying still takes connections, and libvirt's client (9.0) keeps an
            # eventfd for ever of one that ends while it is opened.
            self._closed.within(RETRY_S)

    def _open(self) -> libvirt.virConnect | None:
        connection = None
        try:
            connection = libvirt.open(self.uri)
            connection.setKeepAlive(KEEPALIVE_S, KEEPALIVE_COUNT)
            connection.registerCloseCallback(self._on_close, None)
            if self._hears:
                self._register(connection)
        except libvirt.libvirtError as error:
            if self._why_not != str(error):
                log.warning("libvirtd does not answer at %s: %s", self.uri, error)
            self._why_not = str(error)
            if connection is not None:  # It ended between its opening and its last event.
                self._drop(connection)
            return None
        self._connection = connection
        self._why_not = ""
        log.info("connected to libvirt at %s", self.uri)
        return connection

    def _drop(self, connection: libvirt.virConnect) -> None:
        """Closes it also when it is dead: its callbacks would keep it, and its descriptors, for ever."""
        self._lose(connection, "the connection was closed")
        for callback in self._callbacks:
            with contextlib.suppress(libvirt.libvirtError):
                connection.domainEventDeregisterAny(callback)
        self._callbacks.clear()
        with contextlib.suppress(libvirt.libvirtError):
            connection.unregisterCloseCallback()
        with contextlib.suppress(libvirt.libvirtError):
            connection.close()

    def _alive(self, connection: libvirt.virConnect) -> bool:
        try:
            return bool(connection.isAlive())
        except libvirt.libvirtError:
            return False

    def _lose(self, connection: libvirt.virConnect, why: str) -> None:
        if self._connection is connection:
            self._why_not = why
            self._connection = None
            self._lost.set()

    def _on_close(self, connection: libvirt.virConnect, reason: int, _: object) -> None:
        log.warning("libvirtd closed the connection (reason %d)", reason)
        self._lose(connection, "the connection was closed")
        self._lost.set()

    # Events --------------------------------------------------------------------------------------------------

    def _register(self, connection: libvirt.virConnect) -> None:
        def on(event: int, why: Callable[..., str]) -> None:
            def call(_connection: libvirt.virConnect, domain: libvirt.virDomain, *details: object) -> None:
                self._wake(domain.name(), why(*details[:-1]))  # The last one is our own "opaque", unused.

            self._callbacks.append(connection.domainEventRegisterAny(None, event, call, None))

        on(libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda event, _detail: f"lifecycle {event}")
        on(libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, lambda: "reboot")
        on(libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, lambda state, _reason: AGENT_EVENTS.get(state, "agent"))
        on(libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR, lambda _path, _alias, _action: "input/output error")


AGENT_CONNECTED = "agent connected"
AGENT_DISCONNECTED = "agent disconnected"
AGENT_EVENTS = {1: AGENT_CONNECTED, 2: AGENT_DISCONNECTED}  # virConnectDomainEventAgentLifecycleState

_PERMANENT = {
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_XML_DETAIL,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_INVALID_ARG,
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_OPERATION_DENIED,
    libvirt.VIR_ERR_AUTH_FAILED,
    libvirt.VIR_ERR_DOM_EXIST,
}


def translated(what: str, error: libvirt.libvirtError) -> WorldError:
    """Our error for a libvirtError of a connection that lives. What we do not know is worth another look later.

    Codes are those of virterror.h; 38 (system error) carries an errno in `int1`.
    """
    code, text = error.get_error_code(), f"{what}: {error}"
    if code == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() in (_ENOSPC, _EDQUOT):
        return NoSpace(text, hint="make room on the file system; nothing was lost")
    if code in (libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_RESOURCE_BUSY):
        return Busy(text)
    if "Failed to get" in str(error) and "lock" in str(error):
        return Busy(text, hint="another process has the disk open; a second VM on it is refused")
    if code in _PERMANENT:
        return Permanent(text)
    return Transient(text)


@functools.cache
def _run_events() -> None:
    """Starts libvirt's event loop, once for the process, before its first connection: that is its rule."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # It would print each error on stderr.
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_events_for_ever, name="libvirt-events", daemon=True).start()


def _events_for_ever() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def open_all(connections: Sequence[LibvirtConnection]) -> None:
    """Opens them together; waits for a libvirtd that is away as long as one of them would."""
    for each in connections:
        each.begin()
    all(each.is_ready_within(FIRST_S) for each in connections)


def close_all(connections: Sequence[LibvirtConnection]) -> None:
    """Ends them together."""
    for each in connections:
        each.end()
    all(each.has_ended() for each in connections)

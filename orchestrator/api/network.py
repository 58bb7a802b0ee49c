"""The door to the network: TLS and nothing else, in front of the same connections as at the unix socket.

A handshake costs a descriptor and a processor's time before anybody has said who he is. So there are few places, few
of them for one address, and an end to each handshake; a place is kept for as long as its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from orchestrator.api.connections import TOLD_EVERY_S, Connection
from orchestrator.api.gate import Gate, Visitor, party_of
from orchestrator.api.listening import BACKLOG
from orchestrator.api.places import Places
from orchestrator.errors import Busy, ConfigError
from orchestrator.log import Seldom

HANDSHAKE_WITHIN_S: Final = 5.0
GOODBYE_WITHIN_S: Final = 5.0  # for a client that does not say that it has understood the end
VISITORS_MAX: Final = 192  # of 512 connections: who comes by the host's own socket finds room
VISITORS_EACH: Final = 32  # of one address
_FREEBIND: Final = getattr(socket, "IP_FREEBIND", 15)  # ip(7); of an IPv6 socket as well

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """A TCP socket that listens, what it proves itself with (asked for each connection), and who lets people in."""

    socket: socket.socket
    context: Callable[[], ssl.SSLContext]
    gate: Gate


def listen(address: str, port: int) -> socket.socket:
    """A TCP socket that listens; the address may come to the host later. Raises ConfigError when it cannot."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    with contextlib.ExitStack() as undo:
        try:
            listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            undo.callback(listener.close)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_IP, _FREEBIND, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, port))
            listener.listen(BACKLOG)
        except OSError as error:
            hint = "give it another address or port, or leave it out"
            raise ConfigError(f"api_listen: cannot listen there: {error.strerror}", hint=hint) from error
        undo.pop_all()
        return listener


class Doorway:
    """What all connections from the network share. Event loop only."""

    def __init__(self, network: Network, make: Callable[[], Connection]) -> None:
        self.network = network
        self.make = make
        self.places = Places("connections", VISITORS_MAX, each=VISITORS_EACH)
        self.refusals = Seldom(log, TOLD_EVERY_S)
        self.failures = Seldom(log, TOLD_EVERY_S)
        self.vestibules: set[asyncio.Task[None]] = set()

    def end(self) -> None:
        """Ends the handshakes that are under way."""
        for task in self.vestibules:
            task.cancel()


class Vestibule(asyncio.Protocol):
    """A connection of which nothing is known yet: it gets a place, then TLS, and then it is one as any other."""

    def __init__(self, doorway: Doorway) -> None:
        self._doorway = doorway

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Before the first byte is read."""
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        if not peer:  # He is gone already.
            transport.abort()
            return
        address = str(peer[0])
        held = contextlib.ExitStack()
        connection = self._doorway.make()
        try:
            connection.doors.check_room(transport)
            held.enter_context(self._doorway.places.place(party_of(address)))
        except Busy as busy:
            self._doorway.refusals.warning("a connection of %s is refused: %s", address, busy)
            transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._secure(transport, connection, address, held))
        self._doorway.vestibules.add(task)
        task.add_done_callback(self._doorway.vestibules.discard)

    def data_received(self, data: bytes) -> None:
        """Never: the handshake takes over before anything is read."""
        raise AssertionError(f"{len(data)} bytes came before the handshake")

    async def _secure(
        self, transport: asyncio.Transport, connection: Connection, address: str, held: contextlib.ExitStack
    ) -> None:
        early = _Early()
        with contextlib.ExitStack() as undo:
            undo.push(held)
            undo.callback(transport.abort)
            try:
                secured = await asyncio.get_running_loop().start_tls(
                    transport,
                    early,
                    self._doorway.network.context(),
                    server_side=True,
                    ssl_handshake_timeout=HANDSHAKE_WITHIN_S,
                    ssl_shutdown_timeout=GOODBYE_WITHIN_S,
                )
            except OSError as error:  # ssl.SSLError and TimeoutError are such.
                told = getattr(error, "reason", None) or type(error).__name__
                self._doorway.failures.warning("no TLS with %s: %s", address, told)
                return
            if secured is None or secured.is_closing() or early.is_over:
                return
            undo.pop_all()
            connection.visitor = Visitor(
                gate=self._doorway.network.gate,
                address=address,
                certificate=_common_name(secured.get_extra_info("peercert")),
                hang_up=secured.abort,
            )
            connection.place = held
            secured.set_protocol(connection)
            connection.connection_made(secured)
            if early.data:
                connection.data_received(bytes(early.data))


class _Early(asyncio.Protocol):
    """What comes with the end of a handshake, before anybody is there to take it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_over = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.is_over = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the shape
        self.is_over = True


def _common_name(certificate: dict[str, Any] | None) -> str:
    """The one common name of a certificate that was verified; "" where there is none, or where there are several."""
    subject = (certificate or {}).get("subject", ())
    names = [value for part in subject for key, value in part if key == "commonName"]
    return str(names[0]) if len(names) == 1 else ""


async def opened(network: Network, make: Callable[[], Connection]) -> tuple[Doorway, asyncio.Server]:
    """Takes connections from now on."""
    doorway = Doorway(network, make)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Vestibule(doorway), sock=network.socket, backlog=BACKLOG)
    return doorway, server

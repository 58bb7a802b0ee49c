"""The door to the network of a daemon in this process, on loopback, and those who come by it."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

from orchestrator.api.gate import Gate
from orchestrator.api.listening import Listener, bind
from orchestrator.api.network import Network, listen
from orchestrator.api.peers import Admission
from orchestrator.api.server import serve
from orchestrator.drivers.tools.server_tls import ServerTls
from orchestrator.model.right import Right
from tests.world import certificates
from tests.world.api_daemon import Daemon

HERE = "127.0.0.1"
NAME = "localhost"
WITHIN_S = 60.0
LIFE_S = 3600.0


@dataclasses.dataclass(frozen=True, slots=True)
class Door:
    """Where it is, and the certificate that it proves itself with."""

    daemon: Daemon
    port: int
    certificate: Path
    tls: ServerTls

    @property
    def url(self) -> str:
        """For clients."""
        return f"https://{NAME}:{self.port}"

    def context(self) -> ssl.SSLContext:
        """Of a client that trusts this certificate alone."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def secret(self, right: Right, name: str = "") -> str:
        """That of a new token."""
        return self.daemon.tokens.create(name or f"a-{right}", right, life_s=LIFE_S, by="uid 0")[1]

    @contextlib.contextmanager
    def connected(self, context: ssl.SSLContext | None = None, source: str = HERE) -> Iterator[ssl.SSLSocket]:
        """A connection whose handshake is done."""
        with (
            socket.create_connection((HERE, self.port), WITHIN_S, (source, 0)) as raw,
            (context or self.context()).wrap_socket(raw, server_hostname=NAME) as secured,
        ):
            yield secured

    def exchange(
        self, request: bytes, *, context: ssl.SSLContext | None = None, source: str = HERE
    ) -> tuple[int, bytes]:
        """The status of the answer to a request, and the whole answer."""
        with self.connected(context, source) as secured:
            with contextlib.suppress(OSError):
                secured.sendall(request)
            answer = rest_of(secured)
        return (int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0), answer

    def ask(
        self,
        secret: str | None,
        method: str = "GET",
        path: str = "/v1/services",
        *,
        context: ssl.SSLContext | None = None,
        source: str = HERE,
    ) -> int:
        """The status of a request without a body, with this token."""
        return self.exchange(request(secret, method, path), context=context, source=source)[0]


def request(secret: str | None, method: str = "GET", path: str = "/v1/services") -> bytes:
    """One without a body."""
    said = f"authorization: Bearer {secret}\r\n" if secret is not None else ""
    return f"{method} {path} HTTP/1.0\r\nhost: x\r\n{said}content-length: 0\r\n\r\n".encode("latin-1")


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the daemon hangs up, however it does."""
    answer = b""
    with contextlib.suppress(OSError):
        while piece := connection.recv(65_536):
            answer += piece
    return answer


@contextlib.contextmanager
def door_of(daemon: Daemon, directory: Path, client_ca: Path | None = None) -> Iterator[Door]:
    """A door to a daemon that is there, beside a socket of its own."""
    directory.mkdir(exist_ok=True)
    certificate = directory / "api.pem"
    given(certificate, "".join(certificates.certificate(NAME)))
    tls = ServerTls(certificate, None, client_ca)
    listener = listen(HERE, free_port())
    network = Network(listener, tls.context, Gate(daemon.tokens, daemon.world))
    port = int(listener.getsockname()[1])
    with serve(daemon.app, Listener(bind(directory / "beside.sock", None), Admission()), network=network):
        yield Door(daemon, port, certificate, tls)


def given(file: Path, text: str) -> None:
    """A file that its owner alone can read."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(text)


def free_port() -> int:
    """One that nobody listens at just now."""
    with socket.create_server((HERE, 0)) as found:
        return int(found.getsockname()[1])

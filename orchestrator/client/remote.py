"""A daemon on another host: TLS, with a server that proves who it is, or nothing. Imported where one is meant.

There is no way to go on without proof: no plain HTTP, no certificate that is taken unseen, no redirection.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

from orchestrator.client import clock, transport
from orchestrator.errors import Denied, InvalidInput, Unreachable

PORT: Final = 8443
CONNECT_WITHIN_S: Final = 10.0  # a host that is off says nothing
_TOKEN: Final = re.compile(r"[!-~]{1,512}")
_HOST: Final = re.compile(r"[A-Za-z0-9:][A-Za-z0-9._:-]{0,252}")
_WORD: Final = re.compile(r"[!-~]{1,300}")
_OWN_CA: Final = "the daemon's own, or who signed it: vmrole context add NAME --server URL --ca FILE"


class Remote:
    """One such daemon, and what its user proves himself with: a token, a certificate (PEM files), or both."""

    def __init__(self, url: str, *, ca: str = "", certificate: str = "", key: str = "", token: str = "") -> None:
        self.host, self.port = parsed(url)
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"https://{host}:{self.port}"
        self._ca = ca
        self._certificate = certificate
        self._key = key
        if token and _TOKEN.fullmatch(token) is None:
            raise InvalidInput("this is no token", hint="one line, as vmrole token create has printed it")
        self.headers = {"authorization": f"Bearer {token}"} if token else {}
        self._made: ssl.SSLContext | None = None

    def check_files(self) -> None:
        """Raises InvalidInput when one of them cannot be used."""
        self._context()

    def connect(self, within_s: float, until: float | None = None) -> ssl.SSLSocket:
        """As transport.connect."""
        end = clock.monotonic_s() + within_s
        context = self._context()
        while True:
            try:
                return self._connected(context, until)
            except ConnectionRefusedError as error:
                now = clock.monotonic_s()
                if now >= end:
                    told = f"no daemon answers at {self.url}: {error.strerror}"
                    raise Unreachable(told, hint="does it run there, with api_listen?") from error
                if until is not None and now >= until:
                    raise transport.too_long() from error
                clock.pause(transport.RETRY_EVERY_S)

    def _connected(self, context: ssl.SSLContext, until: float | None) -> ssl.SSLSocket:
        left_s = CONNECT_WITHIN_S if until is None else min(CONNECT_WITHIN_S, until - clock.monotonic_s())
        try:
            with contextlib.ExitStack() as undo:
                raw = undo.enter_context(socket.create_connection((self.host, self.port), max(0.001, left_s)))
                secured = context.wrap_socket(raw, server_hostname=self.host)
                undo.pop_all()
                return secured
        except ssl.SSLCertVerificationError as error:
            raise Denied(f"{self.url} does not prove who it is: {error.verify_message}", hint=_OWN_CA) from error
        except ssl.SSLError as error:
            told = f"no TLS with {self.url}: {error.reason or error}"
            raise Unreachable(told, hint="is it vmrole that listens there, by api_listen?") from error
        except ConnectionRefusedError:
            raise
        except OSError as error:
            hint = "is it its name, does it run, and is there a way to it?"
            raise Unreachable(f"no daemon answers at {self.url}: {error.strerror or error}", hint=hint) from error

    def _context(self) -> ssl.SSLContext:
        if self._made is None:
            self._made = self._new()
        return self._made

    def _new(self) -> ssl.SSLContext:
        """Of the host's own authorities, or of `ca` alone. The name of the host is compared in any case."""
        try:
            context = ssl.create_default_context(cafile=self._ca or None)
        except (ssl.SSLError, OSError, ValueError) as error:
            told = f"{self._ca}: {_why(error, 'there is no certificate in it')}"
            raise InvalidInput(told, hint=f"a file of PEM: {_OWN_CA}") from error
        if self._ca:
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a certificate may stand for itself
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._certificate:
            try:
                context.load_cert_chain(self._certificate, self._key or None, password="")
            except (ssl.SSLError, OSError, ValueError) as error:
                told = f"{self._certificate}: {_why(error, 'no certificate with its key')}"
                hint = "files of PEM: --cert FILE --key FILE; the key without a passphrase"
                raise InvalidInput(told, hint=hint) from error
        return context


def parsed(url: str) -> tuple[str, int]:
    """Host and port. Raises InvalidInput for what is no https://HOST[:PORT]."""
    hint = f"write https://HOST, or https://HOST:PORT where it is not {PORT}"
    if _WORD.fullmatch(url) is None:  # urlsplit leaves line ends out without a word
        raise InvalidInput(f"{_without_password(url)!r} is no address of a daemon", hint=hint)
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise InvalidInput(f"{_without_password(url)!r} is no address of a daemon", hint=hint) from error
    if parts.scheme == "http":
        raise InvalidInput("plain HTTP is spoken by nobody here: a token would be read on its way", hint=hint)
    more = parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme != "https" or more or port == 0 or _HOST.fullmatch(host) is None:
        raise InvalidInput(f"{_without_password(url)!r} is no address of a daemon", hint=hint)
    return host, port or PORT


def _why(error: Exception, otherwise: str) -> str:
    """Why a file cannot be used: what the system says, or what stands for the words of OpenSSL."""
    return otherwise if isinstance(error, ssl.SSLError | ValueError) else getattr(error, "strerror", "") or otherwise


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url[:200])

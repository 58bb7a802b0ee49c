"""An image from the web: fetched by the command, with its user's rights, into his cache; then added as any file.

Only http and https are spoken. A server may send us on to another, but not to a place that only we can reach: an
address of a redirect is looked up by us, has to be a public one, and is the one that we connect to. What was cut off
goes on where it stopped, also in the next run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, urljoin, urlsplit

from orchestrator.cli import render
from orchestrator.client import clock
from orchestrator.errors import InvalidInput, NotFound, RequestError, Transient, VmroleError

CONNECT_WITHIN_S = 30.0
READ_WITHIN_S = 60.0
HEAD_WITHIN_S = 120.0  # whom to trust, and what the answer begins with: however slowly it drips
STALLED_S = 120.0  # without a byte of the file, whatever else comes
WITHIN_S = 24 * 3600.0
TRIES_MOST = 6  # without a byte more than before
PAUSE_S = 1.0
_REDIRECTS_MOST = 5
_SAID_MAX = 200  # characters of a server's own words
_CHUNK_BYTES = 1 << 20
_RESERVE_BYTES, _RESERVE_PART = 1 << 30, 20
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19})")
_LENGTH = re.compile(r"[0-9]{1,19}")
_USER = re.compile(r"^[^/?#]*//[^/?#]*@")
_REST = re.compile(r"bytes \*/([0-9]{1,19})")
_REDIRECTS = (301, 302, 303, 307, 308)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Broken(Exception):
    """The connection ended before the file did."""


def is_url(text: str) -> bool:
    """Whether it is one of any scheme, rather than the name of a file."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


@contextlib.contextmanager
def fetched(url: str, sha256: str | None, advance: Callable[[int, int | None], None]) -> Iterator[Path]:
    """The file, which goes when the context ends well, and stays in the cache for the next run when it does not.

    `advance` gets the bytes that are here and how many there will be. Raises InvalidInput (a URL that is not
    fetched), NotFound, Transient, or RequestError.
    """
    start = _checked(url, sha256)
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmrole" / "downloads"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / hashlib.sha256(url.encode()).hexdigest()[:32]
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Transient(f"{url} is being fetched already", hint="wait for that command to end") from error
        _Fetch(start, sha256, file, path.with_suffix(".json"), advance).run()
        try:
            yield path
        except VmroleError as error:
            if getattr(error, "reason", "") in ("digest", "damaged", "truncated"):
                _forget(path)
            raise
        _forget(path)


def _forget(path: Path) -> None:
    for one in (path, path.with_suffix(".json")):
        one.unlink(missing_ok=True)


def _checked(url: str, sha256: str | None) -> SplitResult:
    if _USER.search(url):  # First of all: what is wrong with a URL is told with the URL.
        raise InvalidInput("a URL with a password would be seen by all", hint="fetch it by other means, add the file")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"{url[:200]!r} is no URL: {error}", hint="https://HOST/PATH") from error
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise InvalidInput(f"{url[:200]!r} is not fetched", hint="https://HOST/PATH, or a file on this host")
    if not url.isascii() or any(ord(char) < 33 for char in url):
        raise InvalidInput(f"{url[:200]!r} is no URL", hint="percent-encode what is not ASCII")
    if parts.scheme == "http" and not sha256:
        hint = "give --sha256 DIGEST, or use https"
        raise InvalidInput(f"{url[:200]}: nobody vouches for what comes over http", hint=hint)
    return parts


@dataclasses.dataclass(slots=True)
class _Fetch:
    """One file on its way; `file` is open for appending, and what it holds already is not asked for again."""

    start: SplitResult
    sha256: str | None
    file: BinaryIO
    notes: Path  # by which the server knows that the rest belongs to what we have
    advance: Callable[[int, int | None], None]

    def run(self) -> None:
        end = clock.monotonic_s() + WITHIN_S
        tries, most = 0, self._here()
        if most and not (self._validator() or self.sha256):
            self.file.truncate(0)
        while True:
            try:
                self._once(end)
            except (_Broken, OSError, http.client.HTTPException) as error:
                tries = 0 if self._here() > most else tries + 1
                most = max(most, self._here())
                if tries >= TRIES_MOST or clock.monotonic_s() > end:
                    why = _harmless(str(error)) or type(error).__name__
                    raise self._given_up(why) from error
                clock.pause(PAUSE_S)
            else:
                return

    def _given_up(self, why: str) -> Transient:
        if not self._here():
            told = f"{self.start.geturl()} cannot be fetched: {why}"
            return Transient(
                told, hint="look at the address, and whether this host reaches it; curl -I URL tells more"
            )
        told = f"{self.start.geturl()} was cut off after {self._here()} bytes: {why}"
        return Transient(told, hint="run the command again: it goes on where it stopped")

    def _here(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def _validator(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self.notes.read_text())
            if isinstance(found, str):
                return found
        return ""

    def _once(self, end: float) -> None:
        """One answer, as far as it comes."""
        url, here = self.start, self._here()
        for _ in range(_REDIRECTS_MOST + 1):
            with _connected(url, self.start, self._here) as (connection, patience):
                connection.request("GET", _target(url), headers=self._headers(url, here))
                with contextlib.closing(connection.getresponse()) as answer:
                    patience.answered()
                    if answer.status not in _REDIRECTS:
                        self._read(answer, here, end)
                        patience.check()  # What was hung up on looks like an end where no length was told.
                        return
                    url = self._redirected(url, answer.getheader("location", ""))
        raise RequestError(f"{self.start.geturl()} sends us on and on", hint="give the URL of the file itself")

    def _headers(self, url: SplitResult, here: int) -> Mapping[str, str]:
        port = "" if url.port in (None, _PORTS[url.scheme]) else f":{url.port}"
        host = url.hostname or ""
        headers = {
            "Host": (f"[{host}]" if ":" in host else host) + port,
            "User-Agent": "vmrole",
            "Accept-Encoding": "identity",
        }
        if here:
            headers["Range"] = f"bytes={here}-"
            if validator := self._validator():
                headers["If-Range"] = validator
        return headers

    def _redirected(self, url: SplitResult, location: str) -> SplitResult:
        try:
            there = urljoin(url.geturl(), location)
        except ValueError as error:
            hint = "give the URL of the file itself"
            raise InvalidInput(
                f"a redirect leads to {location[:200]!r}, which is no URL: {error}", hint=hint
            ) from error
        return _checked(there, self.sha256)

    def _read(self, answer: http.client.HTTPResponse, here: int, end: float) -> None:
        total = self._total(answer, here)
        if total is not None and total == self._here() and answer.status == 416:
            return
        self._require(0 if total is None else total - self._here())
        while True:
            try:
                chunk = answer.read1(_CHUNK_BYTES)  # what is there: `read` would wait for all of it, and keep it
            except http.client.IncompleteRead as error:
                raise _Broken("the server hung up") from error
            if not chunk:
                break
            if total is not None and self._here() + len(chunk) > total:
                self.file.truncate(0)
                raise _Broken(f"more came than the {total} bytes that were told")
            self.file.write(chunk)
            self.file.flush()
            self.advance(self._here(), total)
            self._require(0)
            if clock.monotonic_s() > end:
                raise _Broken(f"it took more than {WITHIN_S / 3600:.0f} hours")
        if total is not None and self._here() != total:
            raise _Broken(f"of {total} bytes {self._here()} came")

    def _total(self, answer: http.client.HTTPResponse, here: int) -> int | None:
        """How many bytes the file will have; forgets what we have when it does not belong to it."""
        length = answer.getheader("content-length", "")
        encoding = answer.getheader("content-encoding", "identity")
        if encoding.strip().casefold() not in ("", "identity"):
            raise RequestError(
                f"the server packs the file ({encoding[:40]!r}) unasked", hint="fetch it by other means"
            )
        match answer.status:
            case 200:
                self.file.truncate(0)
                validator = answer.getheader("etag", "")
                strong = validator if validator and not validator.startswith("W/") else ""
                self.notes.write_text(json.dumps(strong or answer.getheader("last-modified", "")))
                return int(length) if _LENGTH.fullmatch(length) else None
            case 206 if found := _RANGE.fullmatch(answer.getheader("content-range", "")):
                if int(found[1]) != here:
                    self.file.truncate(0)
                    raise _Broken("the server sent another part than was asked for")
                return int(found[2])
            case 416 if (rest := _REST.fullmatch(answer.getheader("content-range", ""))) and int(rest[1]) == here:
                return here
            case 416 | 206:
                self.file.truncate(0)
                raise _Broken("what was here does not belong to the file any more")
            case 404 | 410:
                told = f"{self.start.geturl()}: {answer.status} {_harmless(answer.reason)}"
                raise NotFound(told, hint="look at the address")
            case status if status >= 500 or status == 429:
                raise _Broken(f"the server says {status} {answer.reason}")
            case status:
                told = f"{self.start.geturl()}: the server says {status} {_harmless(answer.reason)}"
                raise RequestError(told, hint="fetch it by other means, and add the file")

    def _require(self, count: int) -> None:
        found = os.fstatvfs(self.file.fileno())
        reserve = min(_RESERVE_BYTES, found.f_blocks * found.f_frsize // _RESERVE_PART)
        free = found.f_bavail * found.f_frsize - reserve
        if max(count, 1) > free:
            told = f"no room for the download in {self.notes.parent}: {max(0, free) >> 20} MiB may be taken"
            raise RequestError(told, hint="make room, or set XDG_CACHE_HOME to a place that has some")


def _harmless(text: str) -> str:
    """What a server said, for a terminal."""
    return render.plain(text.strip()[:_SAID_MAX])


def _target(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


class _Patience:
    """Hangs up on who has not begun to answer in time, or sends us nothing of the file for so long afterwards.

    Each of his bytes may come in time, and the answer, or a byte of the file, never.
    """

    def __init__(self, connection: socket.socket, here: Callable[[], int]) -> None:
        self._connection = connection.dup()  # for `wrap_socket` takes the other away
        self._here = here
        self._over = ""
        self._answered, self._ended = threading.Event(), threading.Event()
        self._watch = threading.Thread(target=self._look_on, daemon=True)
        self._watch.start()

    def _look_on(self) -> None:
        if not self._answered.wait(HEAD_WITHIN_S):
            self._hang_up(f"it did not begin to answer within {HEAD_WITHIN_S:.0f} s")
        before = self._here()
        while not self._ended.wait(STALLED_S):
            if self._here() == before:
                self._hang_up(f"nothing of the file came for {STALLED_S:.0f} s")
            before = self._here()

    def _hang_up(self, why: str) -> None:
        self._over = self._over or why
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def answered(self) -> None:
        """The beginning is there. Raises _Broken where it was cut off, which looks like an answer."""
        self._answered.set()
        self.check()

    def check(self) -> None:
        """Raises _Broken where he was hung up on."""
        if self._over:
            raise _Broken(self._over)

    def close(self) -> None:
        """Whatever has come."""
        self._answered.set()
        self._ended.set()
        self._watch.join()
        self._connection.close()


@contextlib.contextmanager
def _connected(
    url: SplitResult, start: SplitResult, here: Callable[[], int]
) -> Iterator[tuple[http.client.HTTPConnection, _Patience]]:
    """A connection to an address of the host that may be used; the name is looked up once, here."""
    host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    is_start = (url.hostname, port) == (start.hostname, start.port or _PORTS[start.scheme])
    address = _address(host, port, is_start=is_start)
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(socket.create_connection((str(address), port), CONNECT_WITHIN_S))
        plain.settimeout(READ_WITHIN_S)
        patience = stack.enter_context(contextlib.closing(_Patience(plain, here)))
        connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection(host, port)))
        connection.sock = _trusted(plain, host) if url.scheme == "https" else plain
        yield connection, patience


def _trusted(plain: socket.socket, host: str) -> ssl.SSLSocket:
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        hint = "an authority of your own: name its certificate in SSL_CERT_FILE"
        raise RequestError(f"{host} is not who it says it is: {error.verify_message}", hint=hint) from error


def _address(host: str, port: int, *, is_start: bool) -> Address:
    """Raises InvalidInput when any of its addresses is one that a server must not send us to."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Transient(f"{host[:253]}: {error}", hint="look at the name, and at this host's DNS") from error
    addresses = [ipaddress.ip_address(one[4][0].partition("%")[0]) for one in found if isinstance(one[4][0], str)]
    for address in addresses:
        if not _may_be_used(address, is_start=is_start):
            what = "is not fetched from" if is_start else "is no public address, and a redirect leads there"
            raise InvalidInput(f"{host} ({address}) {what}", hint="give the URL of the file itself, if you mean that")
    if not addresses:
        raise Transient(f"{host} has no address", hint="look at the name, and at this host's DNS")
    return addresses[0]


def _may_be_used(address: Address, *, is_start: bool) -> bool:
    """Whoever names an address himself may mean his own network; but nobody means one that is of a link alone."""
    inner = _inner(address)
    if inner.is_link_local or inner.is_multicast or inner.is_unspecified:
        return False
    return is_start or inner.is_global


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)

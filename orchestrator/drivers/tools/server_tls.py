"""What the daemon proves itself with to the network: files of the host's owner, read anew when they change."""

from __future__ import annotations

import logging
import os
import ssl
import stat
from pathlib import Path
from typing import Final

from vmrole_unattend.secret import Secret

from orchestrator.drivers.tools import certificates
from orchestrator.errors import ConfigError

_OWN: Final = "api_certificate"
BYTES_MAX: Final = 1024 * 1024
# Forward secrecy and authenticated encryption alone; TLS 1.3 has nothing else.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_LATER: Final = ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE

log = logging.getLogger(__name__)


class ServerTls:
    """A certificate, its key, and who signs the certificates of clients. Raises ConfigError when they cannot serve.

    `key` None: it stands in the file of the certificate. `client_ca` None: no certificates of clients.
    """

    def __init__(self, certificate: Path, key: Path | None, client_ca: Path | None) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._seen = self._stamps()
        self._context = self._made()

    def context(self) -> ssl.SSLContext:
        """For the next connection; what cannot serve since it was changed is told, and the one before goes on."""
        seen = self._stamps()
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = self._made()
                log.info("the certificate for the network was read again")
            except ConfigError as error:
                log.error("%s (%s); the one before goes on", error, error.hint)
        return self._context

    def _stamps(self) -> list[tuple[int, int, int]]:
        stamps = []
        for file in (self._certificate, self._key, self._client_ca):
            try:
                found = file.stat() if file is not None else None
            except OSError:
                found = None
            stamps.append((found.st_ino, found.st_mtime_ns, found.st_size) if found else (0, 0, 0))
        return stamps

    def _made(self) -> ssl.SSLContext:
        bundle = examined(self._certificate, self._key)
        if bundle.trouble is not None:
            log.warning("%s: %s: %s; clients will refuse it", _OWN, self._certificate, bundle.fault)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        context.options |= _LATER
        context.num_tickets = 0  # Nobody resumes what was verified once.
        certificates.load(context, bundle.pem)
        if self._client_ca is not None:
            try:
                context.load_verify_locations(cadata=_read("api_client_ca", self._client_ca, is_secret=False))
            except (ssl.SSLError, ValueError) as error:
                hint = "PEM: the certificates of those who sign for clients"
                raise ConfigError(f"api_client_ca: {self._client_ca} holds no certificate", hint=hint) from error
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


def examined(certificate: Path, key: Path | None) -> certificates.Bundle:
    """Certificate and key of the files. Raises ConfigError where nobody could be served with them."""
    text = _read(_OWN, certificate, is_secret=key is None)
    secret = None if key is None else Secret(_read("api_key", key, is_secret=True))
    bundle = certificates.examine(Secret(text), secret)
    if not bundle.loads:
        hint = f"PEM: {certificates.REMEDY[bundle.trouble]}" if bundle.trouble else ""
        raise ConfigError(f"{_OWN}: {certificate}: {bundle.trouble}", hint=hint)
    return bundle


def _read(what: str, file: Path, *, is_secret: bool) -> str:
    """A file of root's that nobody else can change, and of a secret nobody else can read."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(handle, "rb") as opened:
            _must_be_owners(what, file, os.fstat(handle), is_secret=is_secret)
            content = opened.read(BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"{what}: {file}: {error.strerror}", hint="name a file of PEM that root can read"
        ) from error
    if len(content) > BYTES_MAX:
        raise ConfigError(f"{what}: {file} is longer than {BYTES_MAX // 1024} KiB", hint="name a file of PEM")
    text = content.decode("ascii", errors="replace")  # A comment may be in any letters.
    return text.replace("\ufffd", "?")


def _must_be_owners(what: str, file: Path, found: os.stat_result, *, is_secret: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{what}: {file} is no regular file", hint="name a file of PEM")
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"{what}: {file} belongs to uid {found.st_uid}", hint=f"chown root {file}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"{what}: {file} can be written by others", hint=f"chmod go-w {file}")
    if is_secret and found.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ConfigError(f"{what}: others can read the private key in {file}", hint=f"chmod go-r {file}")

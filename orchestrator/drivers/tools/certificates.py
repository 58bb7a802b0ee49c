"""A certificate with its chain and key, as PEM: looked at before anybody shall serve with it. Nothing is kept."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import os
import re
import ssl
from typing import Any, Final

from vmrole_unattend.secret import Reveal, Secret

from orchestrator.model import Certificate

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----\s(?:(?!-----).)*-----END \1-----", re.DOTALL)
_CERTIFICATE: Final = "CERTIFICATE"
_KEYS: Final = frozenset({"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"})
_LOCKED: Final = "ENCRYPTED"
_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_*
_TURNS: Final = 8  # of a handshake with ourselves; TLS 1.3 has three


class Trouble(enum.StrEnum):
    """What keeps clients from being served with it, or from believing it."""

    NO_CERTIFICATE = "there is no certificate in it"
    NO_KEY = "there is no private key for it"
    LOCKED = "its private key is locked by a passphrase"
    UNREADABLE = "it cannot be read"
    MISFIT = "the private key does not fit the certificate"
    EXPIRED = "it has expired"
    NOT_YET = "it is not valid yet"
    UNFIT = "clients would not take it"


REMEDY: Final = {
    Trouble.NO_CERTIFICATE: "PEM: the certificate first, and its chain behind it",
    Trouble.NO_KEY: "put its key behind it, or name it: key: {secret: NAME}",
    Trouble.LOCKED: "openssl pkey -in KEY -out KEY.open; nobody is there to type it",
    Trouble.UNREADABLE: "PEM: the certificate first, and its chain behind it",
    Trouble.MISFIT: "the certificate of this key must stand first, its chain behind it",
    Trouble.EXPIRED: "renew it",
    Trouble.NOT_YET: "is the host's clock right?",
    Trouble.UNFIT: "is it a server's, with a key of 2048 bits or more?",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """What a balancer loads; `digest` is of what everybody may see, the certificate and its chain."""

    pem: Secret
    digest: str
    trouble: Trouble | None = None

    @property
    def loads(self) -> bool:
        """Whether a balancer can serve with it; whether clients believe it is another matter."""
        return self.trouble in (None, Trouble.EXPIRED, Trouble.NOT_YET, Trouble.UNFIT)

    @property
    def fault(self) -> str:
        """What is wrong with it, and what helps; "" when nothing is."""
        return "" if self.trouble is None else f"{self.trouble}; {REMEDY[self.trouble]}"


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """For whom a certificate is, by subjectAltName, DNS names and addresses; and until when it is good."""

    names: tuple[str, ...]
    until_s: float


def facts(bundle: Bundle) -> Facts:
    """What a client sees in one that has no trouble."""
    server, client = _sides()
    load(server, bundle.pem)
    first = next(match[0] for match in _BLOCK.finditer(bundle.pem.reveal()) if match[1] == _CERTIFICATE)
    client.load_verify_locations(cadata=first)
    seen: dict[str, Any] = _shake(server, client) or {}
    names = tuple(str(value) for kind, value in seen.get("subjectAltName", ()) if kind in ("DNS", "IP Address"))
    return Facts(names, float(ssl.cert_time_to_seconds(seen["notAfter"])))


def fetch(wanted: Certificate, reveal: Reveal) -> Bundle:
    """The certificate and its key from their secrets, examined. Raises what `reveal` does."""
    key = None if wanted.key is None else reveal(wanted.key)
    return examine(reveal(wanted.certificate), key)


def examine(certificate: Secret, key: Secret | None) -> Bundle:
    """Certificate, chain and key in one, and what is wrong with them. Nothing else of the texts gets through."""
    blocks = [(match[1], match[0]) for match in _BLOCK.finditer(certificate.reveal())]
    chain = [text for kind, text in blocks if kind == _CERTIFICATE]
    if key is not None:
        blocks = [(match[1], match[0]) for match in _BLOCK.finditer(key.reveal())]
    keys = [text for kind, text in blocks if kind in _KEYS]
    public = "\n".join(chain) + "\n"
    bundle = Bundle(
        pem=Secret(public + "".join(f"{text}\n" for text in keys[:1])),
        digest=hashlib.sha256(public.encode()).hexdigest()[:16],
    )
    if not chain:
        return dataclasses.replace(bundle, trouble=Trouble.NO_CERTIFICATE)
    if any(_LOCKED in kind or _LOCKED in text for kind, text in blocks if "KEY" in kind):
        return dataclasses.replace(bundle, trouble=Trouble.LOCKED)
    if not keys:
        return dataclasses.replace(bundle, trouble=Trouble.NO_KEY)
    return dataclasses.replace(bundle, trouble=_trouble(bundle.pem, chain[0]))


def _trouble(pem: Secret, first: str) -> Trouble | None:
    """What a client that trusts this very certificate meets: the host's own answer to whether it is good."""
    server, client = _sides()
    try:
        load(server, pem)
        client.load_verify_locations(cadata=first)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return Trouble.MISFIT
        return Trouble.UNFIT if error.reason and error.reason.endswith("_TOO_SMALL") else Trouble.UNREADABLE
    except ValueError:
        return Trouble.UNREADABLE
    try:
        _shake(server, client)
    except ssl.SSLCertVerificationError as error:
        return {_EXPIRED: Trouble.EXPIRED, _NOT_YET: Trouble.NOT_YET}.get(error.verify_code, Trouble.UNFIT)
    except ssl.SSLError:
        return Trouble.UNFIT
    return None


def _sides() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server, and a client who believes the very certificates that he is given."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), client


def load(server: ssl.SSLContext, pem: Secret) -> None:
    """Certificate and key into a context, from memory, though the module reads files alone. Raises ssl.SSLError."""
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, pem.reveal().encode())
        server.load_cert_chain(f"/proc/self/fd/{file}", password="")  # Asks nobody at a terminal.
    finally:
        os.close(file)


def _shake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any] | None:
    """A handshake of both, without a socket; what the client then knows of the server. Raises ssl.SSLError when they
    do not agree.
    """
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = server.wrap_bio(there, back, server_side=True)
    right = client.wrap_bio(back, there)
    for _ in range(_TURNS):
        open_ends = 0
        for end in (right, left):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                open_ends += 1
        if not open_ends:
            return right.getpeercert()
    raise ssl.SSLError("the handshake does not end")

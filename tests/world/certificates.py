"""Certificates of servers, as their owners keep them among the host's secrets."""

from __future__ import annotations

import dataclasses
import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_DAY = datetime.timedelta(days=1)
# Before a clock that is wrong by some days, or after it.
_VALID = (-10 * _DAY, 3650 * _DAY)
EXPIRED = (-3650 * _DAY, -365 * _DAY)
NOT_YET = (365 * _DAY, 3650 * _DAY)


def certificate(name: str, valid: tuple[datetime.timedelta, datetime.timedelta] = _VALID) -> tuple[str, str]:
    """A new certificate of that DNS name, and its private key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + valid[0])
        .not_valid_after(now + valid[1])
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM).decode(), secret.decode()


def keep(directory: Path, name: str, text: str) -> None:
    """As one of the host's secrets, in one piece."""
    directory.mkdir(exist_ok=True, mode=0o700)
    fresh = directory / f".{name}.new"
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.rename(directory / name)


def shown(pem: str) -> bytes:
    """What a client sees of it."""
    return ssl.PEM_cert_to_DER_cert(pem)


@dataclasses.dataclass(frozen=True, slots=True)
class Authority:
    """Who signs certificates of clients."""

    certificate: str
    key: ec.EllipticCurvePrivateKey
    name: x509.Name


def authority(name: str) -> Authority:
    """A new one."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = _begun(called, called, key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(_pem(made.sign(key, hashes.SHA256())), key, called)


def signed(name: str, by: Authority) -> tuple[str, str]:
    """A client's certificate of that common name, and its private key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = _begun(called, by.name, key).add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return _pem(made.sign(by.key, hashes.SHA256())), secret.decode()


def _begun(called: x509.Name, by: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + _VALID[0])
        .not_valid_after(now + _VALID[1])
    )


def _pem(made: x509.Certificate) -> str:
    return made.public_bytes(serialization.Encoding.PEM).decode()

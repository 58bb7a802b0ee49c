"""What the daemon proves itself with to the network: whose files they are, and what happens when they change."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

import pytest

from orchestrator.drivers.tools.server_tls import ServerTls
from orchestrator.errors import ConfigError
from tests.world.certificates import EXPIRED, certificate
from tests.world.network_daemon import given


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A certificate and its key."""
    file = tmp_path / "api.pem"
    given(file, "".join(certificate("localhost")))
    return file


def test_it_is_modern(pem: Path) -> None:
    """TLS 1.2 at least, nothing without forward secrecy, no renegotiation, no compression, no resumption."""
    context = ServerTls(pem, None, None).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    names = [one["name"] for one in context.get_ciphers()]
    assert all(name.startswith(("TLS_", "ECDHE-")) and ("GCM" in name or "CHACHA20" in name) for name in names), names
    for option in (ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION, ssl.OP_NO_TICKET):
        assert context.options & option
    assert context.num_tickets == 0
    assert context.verify_mode is ssl.CERT_NONE
    assert ServerTls(pem, None, pem).context().verify_mode is ssl.CERT_OPTIONAL


@pytest.mark.parametrize(
    ("mode", "told"),
    [(0o644, "can read the private key"), (0o640, "can read the private key"), (0o620, "can be written")],
)
def test_a_key_is_roots_alone(pem: Path, mode: int, told: str) -> None:
    """A file that others can read or change is refused with the command that helps."""
    pem.chmod(mode)
    with pytest.raises(ConfigError, match=told) as caught:
        ServerTls(pem, None, None)
    assert "chmod" in caught.value.hint


def test_a_certificate_beside_its_key_may_be_read_by_all(tmp_path: Path) -> None:
    """It is shown to everybody who comes; the files may be links, as those that renew certificates make them."""
    public, secret = certificate("localhost")
    given(tmp_path / "live.pem", public)
    given(tmp_path / "live.key", secret)
    (tmp_path / "live.pem").chmod(0o644)
    for name in ("pem", "key"):
        (tmp_path / f"api.{name}").symlink_to(tmp_path / f"live.{name}")
    ServerTls(tmp_path / "api.pem", tmp_path / "api.key", None)
    (tmp_path / "live.pem").chmod(0o666)
    with pytest.raises(ConfigError, match="can be written"):
        ServerTls(tmp_path / "api.pem", tmp_path / "api.key", None)


def test_what_cannot_serve_is_a_fault_of_the_configuration(pem: Path, tmp_path: Path) -> None:
    """No file, a directory, a pipe, no PEM, no key, another's key, an authority that is none: key, file, remedy."""
    given(tmp_path / "other.key", certificate("localhost")[1])
    given(tmp_path / "public.pem", certificate("localhost")[0])
    given(tmp_path / "junk.pem", "\xff\xfe-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    os.mkfifo(tmp_path / "pipe", 0o600)
    absent, junk = tmp_path / "absent", tmp_path / "junk.pem"
    for files, key in (
        ((absent, None, None), "api_certificate"),
        ((tmp_path, None, None), "api_certificate"),
        ((tmp_path / "pipe", None, None), "api_certificate"),
        ((junk, None, None), "api_certificate"),
        ((tmp_path / "public.pem", None, None), "api_certificate"),
        ((pem, tmp_path / "other.key", None), "api_certificate"),
        ((pem, absent, None), "api_key"),
        ((pem, None, absent), "api_client_ca"),
        ((pem, None, junk), "api_client_ca"),
    ):
        with pytest.raises(ConfigError, match=f"^{key}: ") as caught:
            ServerTls(*files)
        assert caught.value.hint
        assert "PRIVATE" not in str(caught.value)


def test_an_expired_one_does_not_keep_the_daemon_from_starting(pem: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Healing comes before asking; it is told."""
    given(pem, "".join(certificate("localhost", EXPIRED)))
    ServerTls(pem, None, None)
    assert "it has expired; renew it" in caplog.text


def test_a_renewed_one_is_taken_and_a_broken_one_is_not(pem: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a restart; what is half written serves nobody, and the one before goes on."""
    caplog.set_level(logging.INFO)
    tls = ServerTls(pem, None, None)
    before = tls.context()
    assert tls.context() is before
    given(pem, certificate("localhost")[0])
    assert tls.context() is before
    assert "there is no private key for it" in caplog.text
    given(pem, "".join(certificate("localhost")))
    after = tls.context()
    assert after is not before
    pem.unlink()
    assert tls.context() is after

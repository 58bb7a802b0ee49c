"""TLS at an endpoint: real HAProxies with certificates from a directory of secrets, real clients."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest
from vmrole_unattend.secret import SecretRef, SecretSource

from orchestrator.drivers.balancer import haproxy as driver
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.secrets import HostSecrets
from orchestrator.errors import EndpointRefused
from orchestrator.model import Certificate, Frontend, InstanceName, Mode, PoolName
from tests.contract.suites.balancer import ADDRESSES, ADMIN, HTTP, ONE, PORT, VIP, ZERO, member, patiently
from tests.world.balancing import ask, kill_all, origins
from tests.world.certificates import EXPIRED, certificate, keep, shown
from tests.world.origin import Origin
from tests.world.raw_server import RawServer, fine
from tests.world.waiting import until

__all__ = ["origins"]  # a fixture
WITHIN_S: Final = 60.0
PLAIN: Final = PORT + 2


def secret(name: str) -> SecretRef:
    """One of the host's."""
    return SecretRef(source=SecretSource.SECRET, name=name)


SHOP: Final = Certificate(certificate=secret("shop.crt"), key=secret("shop.key"))
API: Final = Certificate(certificate=secret("api.pem"))
HTTPS: Final = replace(HTTP, probe=None, service="shop", certificates=(SHOP, API))
REDIRECT: Final = Frontend(
    pool=PoolName(f"{HTTPS.pool}.redirect"), vip=VIP, port=PLAIN, mode=Mode.HTTP, probe=None, redirect_to=PORT
)


@dataclass
class House:
    """A host's secrets, and an HAProxy that has its certificates from there."""

    secrets: Path
    place: Path
    begin: Callable[[], HaproxyBalancer]

    def renew(self, name: str = "shop") -> str:
        """A certificate of that name and its key, as its owner puts them there; returns the certificate."""
        pem, key = certificate(f"{name}.example")
        if name == "shop":
            keep(self.secrets, "shop.crt", pem)
            keep(self.secrets, "shop.key", key)
        else:
            keep(self.secrets, f"{name}.pem", pem + key)
        return pem


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Two certificates are there. Each HAProxy that begins is the next daemon's."""
    monkeypatch.setattr(driver, "RENEW_EVERY_S", 0.2)
    secrets, place = tmp_path / "secrets", tmp_path / "haproxy"
    with contextlib.ExitStack() as stack:

        def begin() -> HaproxyBalancer:
            return stack.enter_context(
                HaproxyBalancer(place, "haproxy", lambda *_: None, SystemClock(), secrets=HostSecrets(secrets).of)
            )

        last = HaproxyBalancer(place, "haproxy", lambda *_: None, SystemClock())
        stack.callback(lambda: last.shape([]))
        yield House(secrets, place, begin)


def connect(name: str | None = "shop.example", *, alpn: list[str] | None = None) -> ssl.SSLSocket:
    """A client that asks for a name and believes everybody."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    raw = socket.create_connection((VIP, PORT), timeout=30)
    return context.wrap_socket(raw, server_hostname=name)


def seen(name: str | None = "shop.example") -> bytes:
    """The certificate that the endpoint shows; b"" while it is not served."""
    with contextlib.suppress(OSError), connect(name) as client:
        return client.getpeercert(binary_form=True) or b""
    return b""


def asked(client: ssl.SSLSocket) -> bytes:
    """The answer to a request on a connection that stays open."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.read()


def test_each_name_has_its_certificate(house: House, origins: dict[InstanceName, Origin]) -> None:
    """Whoever asks for no name of ours, or for none at all, gets the first. What is asked reaches a member."""
    shop, api = house.renew(), house.renew("api")
    haproxy = house.begin()
    haproxy.shape([HTTPS])
    haproxy.join(member(ZERO))
    assert seen("shop.example") == seen("other.example") == seen(None) == shown(shop)
    assert seen("api.example") == shown(api)
    with connect() as client:
        assert asked(client) == b"zero"


def test_a_renewed_certificate_is_shown_and_no_connection_is_lost(
    house: House, origins: dict[InstanceName, Origin]
) -> None:
    """Nobody calls for it. A client that is there goes on; one that comes all the time always gets an answer."""
    house.renew()
    house.renew("api")
    haproxy = house.begin()
    haproxy.shape([HTTPS])
    haproxy.join(member(ZERO))
    haproxy.join(member(ONE))
    lost: list[Exception] = []
    answers: list[bytes] = []
    ending = threading.Event()

    def come_always() -> None:
        while not ending.is_set():
            try:
                with connect() as client:
                    answers.append(asked(client))
            except OSError as error:
                lost.append(error)

    coming = threading.Thread(target=come_always)
    coming.start()
    try:
        for _ in range(3):
            with connect() as old:
                assert asked(old) in (b"zero", b"one")
                newer = house.renew()
                until(lambda: seen() == shown(newer), WITHIN_S)  # noqa: B023
                assert asked(old) in (b"zero", b"one")
    finally:
        ending.set()
        coming.join()
    assert answers
    assert lost == []


def test_a_half_renewed_certificate_changes_nothing(house: House, origins: dict[InstanceName, Origin]) -> None:
    """The key does not fit yet, or the secret is away: what was shown is shown, over a restart of HAProxy, too."""
    first = house.renew()
    house.renew("api")
    haproxy = house.begin()
    haproxy.shape([HTTPS])
    haproxy.join(member(ZERO))
    pem, key = certificate("shop.example")
    keep(house.secrets, "shop.crt", pem)
    until(lambda: any("does not fit" in fault for fault in haproxy.faults()), WITHIN_S)
    assert seen() == shown(first)
    (house.secrets / "shop.crt").unlink()
    until(lambda: any("no such secret" in fault for fault in haproxy.faults()), WITHIN_S)
    kill_all(haproxy)
    until(lambda: seen() == shown(first), WITHIN_S)
    keep(house.secrets, "shop.key", key)
    keep(house.secrets, "shop.crt", pem)
    until(lambda: seen() == shown(pem), WITHIN_S)
    assert haproxy.faults() == []


def test_the_next_daemon_shows_what_was_renewed_meanwhile(house: House) -> None:
    """And one that finds all as it was reloads nothing."""
    house.renew()
    house.renew("api")
    house.begin().shape([HTTPS])
    pid = house.begin().process.worker()
    house.begin()._renew_certificates()
    assert house.begin().process.worker() == pid
    second = house.renew()
    next_one = house.begin()
    until(lambda: seen() == shown(second), WITHIN_S)
    assert next_one.process.worker() != pid


def test_an_endpoint_without_certificate_holds_up_no_other(house: House, origins: dict[InstanceName, Origin]) -> None:
    """It is refused by name; once it has one it is served."""
    haproxy = house.begin()
    plain = replace(ADMIN, port=PLAIN)
    with pytest.raises(EndpointRefused, match="no such secret") as refused:
        haproxy.shape([HTTPS, plain])
    assert refused.value.pools == {HTTPS.pool}
    haproxy.join(member(ZERO, plain.pool))
    assert ask(port=PLAIN) == (200, "zero")
    shop = house.renew()
    house.renew("api")
    haproxy.shape([HTTPS, plain])
    assert seen() == shown(shop)


def test_an_expired_certificate_is_told_and_served(house: House) -> None:
    """Clients decide; an endpoint that does not listen helps none of them."""
    house.renew("api")
    pem, key = certificate("shop.example", EXPIRED)
    keep(house.secrets, "shop.crt", pem)
    keep(house.secrets, "shop.key", key)
    haproxy = house.begin()
    haproxy.shape([HTTPS])
    assert seen() == shown(pem)
    assert any("it has expired; renew it" in fault for fault in haproxy.faults())


def test_a_key_is_where_nobody_else_sees_it(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """In files of the daemon's user alone, which go with the endpoint; in no configuration, log, or list."""
    caplog.set_level(logging.DEBUG)
    house.renew()
    house.renew("api")
    haproxy = house.begin()
    haproxy.shape([HTTPS])
    keep(house.secrets, "shop.crt", "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    until(lambda: haproxy.faults() != [], WITHIN_S)
    key = (house.secrets / "shop.key").read_text().splitlines()[1]
    holding = [path for path in house.place.rglob("*") if path.is_file() and key in path.read_text()]
    assert holding
    for path in holding:
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0
    assert key not in haproxy.process.configured() + caplog.text + "".join(haproxy.faults())
    house.renew()
    until(lambda: haproxy.faults() == [], WITHIN_S)
    until(lambda: len(list((house.place / "tls").iterdir())) == 2, WITHIN_S)  # the old one's file is gone
    patiently(lambda: haproxy.shape([ADMIN]), WITHIN_S)
    assert not (house.place / "tls").exists()


def test_http_2_is_spoken_where_the_client_can(house: House, origins: dict[InstanceName, Origin]) -> None:
    """Over TLS; a tcp endpoint's members understand what they understand."""
    house.renew()
    house.renew("api")
    haproxy = house.begin()
    haproxy.shape([HTTPS])
    with connect(alpn=["h2", "http/1.1"]) as client:
        assert client.selected_alpn_protocol() == "h2"
    with connect(alpn=["http/1.1"]) as client:
        assert client.selected_alpn_protocol() == "http/1.1"
    patiently(lambda: haproxy.shape([replace(HTTPS, mode=Mode.TCP)]), WITHIN_S)
    haproxy.join(member(ZERO))
    with connect(alpn=["h2", "http/1.1"]) as client:
        assert client.selected_alpn_protocol() is None
        assert asked(client) == b"zero"


def test_old_tls_is_refused(house: House) -> None:
    """Nothing below 1.2."""
    house.renew()
    house.renew("api")
    house.begin().shape([HTTPS])
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection((VIP, PORT), timeout=30) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw)


def test_a_member_hears_that_the_client_spoke_tls(house: House) -> None:
    """By our word alone."""
    house.renew()
    house.renew("api")
    haproxy = house.begin()
    haproxy.shape([HTTPS])
    with RawServer(ADDRESSES[ZERO], 8077, fine) as server:
        haproxy.join(member(ZERO))
        with connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Proto: http\r\n\r\n")
            client.recv(4096)
        heads = b"".join(server.heard).lower()
    assert heads.count(b"x-forwarded-proto:") == 1
    assert b"x-forwarded-proto: https\r\n" in heads


def test_who_comes_by_http_is_sent_on(house: House) -> None:
    """To the same name, path and query; a name is needed for that."""
    house.renew()
    house.renew("api")
    haproxy = house.begin()

    def sent(head: str) -> tuple[int, str | None]:
        with socket.create_connection((VIP, PLAIN), timeout=30) as client:
            client.sendall(head.encode() + b"\r\n\r\n")
            answer = http.client.HTTPResponse(client)
            answer.begin()
            return answer.status, answer.getheader("Location")

    haproxy.shape([HTTPS, REDIRECT])
    where = f"https://shop.example:{PORT}/a?b=c"
    assert sent(f"POST /a?b=c HTTP/1.1\r\nHost: shop.example:{PLAIN}\r\nContent-Length: 0") == (308, where)
    assert sent("GET /a?b=c HTTP/1.1\r\nHost: shop.example") == (308, where)
    assert sent("GET / HTTP/1.0") == (400, None)
    patiently(lambda: haproxy.shape([HTTPS, replace(REDIRECT, redirect_to=443)]), WITHIN_S)
    assert sent("GET / HTTP/1.1\r\nHost: [2001:db8::1]") == (308, "https://[2001:db8::1]/")

"""The door to the network: who is let in by what, what he may do, and what he cannot do to the others."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.api import gate, network, rights
from orchestrator.api.app import description
from orchestrator.control.tokens import PREFIX
from orchestrator.model.right import Right
from tests.world.api_daemon import Daemon
from tests.world.certificates import Authority, authority, signed
from tests.world.network_daemon import HERE, LIFE_S, NAME, WITHIN_S, Door, door_of, given, request, rest_of
from tests.world.waiting import comes_true, until

LATE_S = 0.5  # stands for a deadline
OTHER = "127.0.0.2"  # another address


@pytest.fixture
def door(daemon: Daemon, tmp_path: Path) -> Iterator[Door]:
    """Its door."""
    with door_of(daemon, tmp_path / "door") as opened:
        yield opened


def test_a_token_opens_what_its_right_holds(door: Door) -> None:
    """Every route with every right, over the wire: 403 exactly where the table says so."""
    lines = [(method.upper(), path) for path, of in description(door.daemon.app)["paths"].items() for method in of]
    for right in Right:
        secret = door.secret(right)
        for method, path in lines:
            if path.endswith("/watch"):
                continue  # It would not end; test_a_watch_ends_with_its_token has one.
            named = re.sub(r"\{\w+\}", "nobody-0", path)
            at_the_host = rights.is_local(method, named) or rights.is_of_the_owner(method, named)
            refused = at_the_host or not right.holds(rights.needed(method, named))
            status = door.ask(secret, method, named)
            assert (status == 403) is refused, (right, method, path, status)
            assert status not in (0, 401, 429, 500), (right, method, path, status)


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        PREFIX,
        PREFIX + "A" * 43,
        PREFIX + "A" * 42,
        "\xff" * 50,
        "vmrole_" + "\x01" * 43,
        "A" * 60_000,
    ],
    ids=["none", "empty", "prefix", "forged", "short", "no-ascii", "control", "long"],
)
def test_what_is_no_token_opens_nothing(door: Door, said: str | None) -> None:
    """401 for a route that there is and for one that there is not, and the connection is over."""
    door.secret(Right.ADMIN)
    for path in ("/healthz", "/v1/services", "/v1/no/such/route"):
        status, answer = door.exchange(request(said, path=path).replace(b"HTTP/1.0", b"HTTP/1.1"))
        assert status in (401, 400)  # 400: no HTTP at all
        assert b"shop" not in answer


@pytest.mark.parametrize("scheme", ["Basic", "Bearer\t", "Token", "Bearer  x", "bearerx"])
def test_other_schemes_open_nothing(door: Door, scheme: str) -> None:
    """Nor does a token in a place where nobody looks for one: in a log it would be read."""
    secret = door.secret(Right.VIEWER)
    assert door.ask(secret) == 200
    asked = request(secret).replace(b"Bearer", scheme.encode())
    assert door.exchange(asked)[0] in (400, 401)
    assert door.ask(None, path=f"/v1/services?token={secret}") == 401
    twice = request(secret).replace(b"host: x\r\n", f"authorization: Bearer {secret}\r\n".encode())
    assert door.exchange(twice)[0] in (400, 401)


def test_no_token_is_made_from_the_network(door: Door) -> None:
    """Not with the right of an admin, who may see and remove them: what was stolen makes nothing that lasts."""
    secret = door.secret(Right.ADMIN)
    body = b'{"name": "other", "right": "admin", "life_s": 3600}'
    asked = request(secret, "POST", "/v1/tokens").replace(b"length: 0", f"length: {len(body)}".encode()) + body
    asked = asked.replace(b"host: x", b"host: x\r\ncontent-type: application/json")
    assert door.exchange(asked)[0] == 403
    assert door.exchange(asked.replace(b"/tokens", b"/tokens%0A"))[0] == 404  # which routes take for the same
    assert [one.name for one in door.daemon.tokens.all()] == ["a-admin"]
    assert door.ask(secret, path="/v1/tokens") == 200
    assert door.ask(door.secret(Right.OPERATOR), path="/v1/tokens") == 403
    assert door.ask(secret, "DELETE", "/v1/tokens/a-operator") == 200


def test_no_records_are_restored_from_the_network(door: Door) -> None:
    """Not even by an admin, who could not come again to ask how it ended: no token comes back with them."""
    secret = door.secret(Right.ADMIN)
    assert door.ask(secret, "POST", "/v1/restore") == 403
    assert door.ask(secret, "POST", "/v1/restore%0A") == 404
    assert door.ask(secret, path="/v1/restore") == 200


def test_what_was_taken_away_or_has_expired_opens_nothing(door: Door) -> None:
    """From that moment on."""
    secret, brief = door.secret(Right.ADMIN), door.daemon.tokens.create("brief", Right.ADMIN, life_s=60, by="")[1]
    assert (door.ask(secret), door.ask(brief)) == (200, 200)
    door.daemon.world.pass_time(61)
    assert (door.ask(secret), door.ask(brief)) == (200, 401)
    door.daemon.tokens.remove("a-admin")
    assert door.ask(secret) == 401


def test_who_takes_his_own_token_away_hears_it(door: Door) -> None:
    """He gets that answer, and is refused from then on, also on the same connection; a watch of his ends."""
    secret = door.secret(Right.ADMIN)
    with door.connected() as watch, door.connected() as connection:
        watch.sendall(request(secret, path="/v1/instances/watch"))
        seen = b""
        while b"event: current" not in seen:
            seen += watch.recv(65_536)
        removal = request(secret, "DELETE", "/v1/tokens/a-admin").replace(b"HTTP/1.0", b"HTTP/1.1")
        connection.sendall(removal + request(secret))
        answer = rest_of(connection)
        first, _, second = answer.partition(b"HTTP/1.1 401 ")
        assert first.startswith(b"HTTP/1.1 200 ")
        assert b'"name":"a-admin"' in first
        assert second
        door.daemon.control.scale("shop", {"web": 2})
        assert b"removing" not in rest_of(watch)
    assert door.ask(secret) == 401


@pytest.mark.parametrize("ends", ["removed", "expired"])
def test_a_watch_ends_with_its_token(door: Door, ends: str) -> None:
    """It is told nothing that happens after that, though it was open before."""
    secret = door.secret(Right.VIEWER)
    with door.connected() as watch:
        watch.sendall(request(secret, path="/v1/instances/watch"))
        seen = b""
        while b"event: current" not in seen:
            seen += watch.recv(65_536)
        if ends == "removed":
            door.daemon.tokens.remove("a-viewer")
        else:
            door.daemon.world.pass_time(LIFE_S + 1)
        door.daemon.control.scale("shop", {"web": 2})
        assert b"removing" not in rest_of(watch)
    watchers = door.daemon.app.state.watchers
    until(lambda: watchers.places.taken == 0, WITHIN_S)


def test_an_upload_ends_with_its_token(door: Door) -> None:
    """What was sent until then is no image."""
    secret = door.secret(Right.ADMIN)
    with door.connected() as upload:
        head = request(secret, "POST", "/v1/images?name=late").replace(b"length: 0", b"length: 1000000")
        upload.sendall(head + bytes(1000))
        uploads = door.daemon.app.state.uploads
        until(lambda: uploads.places.taken == 1, WITHIN_S)
        door.daemon.tokens.remove("a-admin")
        with contextlib.suppress(OSError):
            upload.sendall(bytes(1000))
        assert b" 201 " not in rest_of(upload)
    until(lambda: uploads.places.taken == 0, WITHIN_S)
    assert [image.names for image in door.daemon.images.all()] == [("micro",)]


def test_who_fails_again_and_again_has_to_wait(door: Door) -> None:
    """Whatever he brings then is not looked at; other addresses are, and so is he when time has passed."""
    secret = door.secret(Right.VIEWER)
    assert [door.ask("x") for _ in range(gate.FAILURES_FREE)] == [401] * gate.FAILURES_FREE
    assert (door.ask("x"), door.ask(secret)) == (429, 429)
    assert door.ask(secret, source=OTHER) == 200
    door.daemon.world.pass_time(2 * gate.FAILURE_EVERY_S)
    assert door.ask(secret) == 200


def test_addresses_that_failed_are_not_remembered_without_end(daemon: Daemon) -> None:
    """However many there are; of IPv6, all of one network are one."""
    failures = gate.Failures(daemon.world)
    for number in range(10_000):
        failures.add(f"address {number}")
    assert len(failures._level) <= 4096
    assert gate.party_of("2001:db8:1:2:3::4") == gate.party_of("2001:db8:1:2::9") != gate.party_of("2001:db8:1:3::9")
    assert gate.party_of("::ffff:192.0.2.1") == gate.party_of("192.0.2.1")
    assert gate.party_of("fe80::1%eth0") == gate.party_of("fe80::2")


def test_each_write_says_who_and_whence(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """Also one that was refused; the secret is in no line, and in no record."""
    caplog.set_level(logging.DEBUG)
    secret = door.secret(Right.OPERATOR, "ci")
    assert door.ask(secret, "POST", "/v1/services/shop/rollout/next") == 409
    assert door.ask(secret, "DELETE", "/v1/services/shop") == 403
    told = [one.getMessage() for one in caplog.records if one.name == "orchestrator.api.guard"]
    assert told == [
        f"POST '/v1/services/shop/rollout/next' (rollout next shop) by token ci ({HERE}): 409",
        f"DELETE '/v1/services/shop' by token ci ({HERE}): refused",
    ]
    stored = [document.body for document in door.daemon.store.all("token")]
    assert [body["name"] for body in stored] == ["ci"]
    for text in (caplog.text, repr(stored), repr(door.daemon.tokens.all())):
        assert secret not in text
        assert secret.removeprefix(PREFIX) not in text


# What is no TLS, or too much of it ------------------------------------------------------------------------------


def test_plain_http_is_not_answered(door: Door) -> None:
    """Not with data, and not with a redirect that a token would have been sent for."""
    secret = door.secret(Right.ADMIN)
    with socket.create_connection((HERE, door.port), WITHIN_S) as raw:
        raw.sendall(request(secret))
        assert b"HTTP" not in rest_of(raw)


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\xff\xff" + bytes(9), b"\x80\x2e\x01\x00\x02", b"\x00" * 4096])
def test_what_is_no_handshake_is_hung_up_on(door: Door, junk: bytes) -> None:
    """And the next one is served."""
    with socket.create_connection((HERE, door.port), WITHIN_S) as raw:
        raw.sendall(junk)
        raw.shutdown(socket.SHUT_WR)
        assert b"HTTP" not in rest_of(raw)
    assert door.ask(door.secret(Right.VIEWER)) == 200


def test_old_versions_of_tls_are_refused(door: Door) -> None:
    """And weak ciphers; a name that is not its own (SNI) changes nothing."""
    old = door.context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    weak = door.context()
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES256-SHA:AES128-GCM-SHA256")  # no forward secrecy
    for context in (old, weak):
        with pytest.raises(OSError), door.connected(context):  # noqa: PT011 - a reset, or an alert
            pass
    any_name = door.context()
    any_name.check_hostname = False
    for name in ("evil.example", "a" * 63 + ".example"):
        with (
            socket.create_connection((HERE, door.port), WITHIN_S) as raw,
            any_name.wrap_socket(raw, server_hostname=name) as secured,
        ):
            assert secured.version() == "TLSv1.3"
            assert secured.selected_alpn_protocol() is None


def test_no_second_handshake_in_a_connection(door: Door) -> None:
    """Each costs the server more than the client: a client of TLS 1.2 that asks for one is hung up on."""
    openssl = shutil.which("openssl")
    assert openssl, "apt install openssl"
    words = [openssl, "s_client", "-tls1_2", "-connect", f"{HERE}:{door.port}", "-CAfile", str(door.certificate)]
    done = subprocess.run(words, input=b"R\n", capture_output=True, timeout=WITHIN_S, check=False)
    assert b"RENEGOTIATING" in done.stdout + done.stderr
    assert b"no renegotiation" in done.stdout + done.stderr


def test_a_handshake_has_an_end(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing, and a byte now and then: hung up on after the time for all of it."""
    monkeypatch.setattr(network, "HANDSHAKE_WITHIN_S", LATE_S)
    with socket.create_connection((HERE, door.port), WITHIN_S) as raw:
        assert rest_of(raw) == b""
    with socket.create_connection((HERE, door.port), WITHIN_S) as raw:
        raw.sendall(b"\x16\x03\x01\x01\x00")
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < WITHIN_S:
                raw.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < WITHIN_S


def test_a_flood_of_handshakes_is_bounded(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address gets so many places before it has said anything; others and the socket are served meanwhile."""
    monkeypatch.setattr(network, "VISITORS_EACH", 4)
    monkeypatch.setattr(network, "HANDSHAKE_WITHIN_S", WITHIN_S)
    with door_of(daemon, tmp_path / "door") as door, contextlib.ExitStack() as held:
        secret = door.secret(Right.VIEWER)
        flood = [held.enter_context(socket.create_connection((HERE, door.port), WITHIN_S)) for _ in range(20)]
        for raw in flood:
            raw.settimeout(LATE_S)

        def refused() -> int:
            return sum(is_over(raw) for raw in flood)

        assert comes_true(lambda: refused() == 16, WITHIN_S), refused()
        with pytest.raises(OSError):  # noqa: PT011 - a reset, or the end in the middle of a handshake
            door.ask(secret)
        assert door.ask(secret, source=OTHER) == 200
        assert daemon.client().health()["status"] == "ok"
        for raw in flood:
            raw.close()
        assert comes_true(lambda: answered(door, secret), WITHIN_S)


def is_over(raw: socket.socket) -> bool:
    """Whether the daemon has hung up."""
    try:
        return raw.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def answered(door: Door, secret: str) -> bool:
    """Whether a request is, now."""
    try:
        return door.ask(secret) == 200
    except OSError:
        return False


def test_huge_headers_are_refused(door: Door) -> None:
    """Before anybody looks who sends them."""
    status, answer = door.exchange(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 300_000)
    assert status in (400, 431), answer[:200]


def test_a_request_that_does_not_come_has_an_end(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time begins when the handshake is done."""
    from orchestrator.api import connections

    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", LATE_S)
    assert door.exchange(b"")[0] == 504


def test_many_come_at_once(door: Door) -> None:
    """Each gets his own answer, also what he sent with the last message of his handshake."""
    secrets = {right: door.secret(right) for right in Right}
    statuses: list[int] = []
    asking = [
        threading.Thread(target=lambda secret=secret: statuses.append(door.ask(secret, path="/v1/tokens")))
        for secret in [*secrets.values()] * 5
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert sorted(statuses) == [200] * 5 + [403] * 10


# Certificates of clients ----------------------------------------------------------------------------------------


def test_a_certificate_is_who_a_token_says(daemon: Daemon, tmp_path: Path) -> None:
    """Of the authority alone; one that nobody gave a right opens nothing, nor one whose right was taken away."""
    ours, others = authority("ours"), authority("others")
    given(tmp_path / "ca.pem", ours.certificate)
    with door_of(daemon, tmp_path / "door", tmp_path / "ca.pem") as door:

        def of(name: str, by: Authority = ours) -> ssl.SSLContext:
            context = door.context()
            given(tmp_path / "client.pem", "".join(signed(name, by)))
            context.load_cert_chain(tmp_path / "client.pem")
            return context

        daemon.tokens.create("alice", Right.OPERATOR, life_s=LIFE_S, by="uid 0", certificate=True)
        daemon.tokens.create("bob", Right.ADMIN, life_s=LIFE_S, by="uid 0", certificate=True)
        secret = door.secret(Right.ADMIN, "carol")
        assert door.ask(None, context=of("alice")) == 200
        assert door.ask(None, "DELETE", "/v1/services/shop", context=of("alice")) == 403
        assert door.ask(None, context=of("mallory")) == 401
        assert door.ask(None, context=of("carol")) == 401  # whose right is a secret's
        assert door.ask("x", context=of("alice")) == 401
        assert door.ask(secret, path="/v1/tokens", context=of("alice")) == 200
        assert door.ask(secret) == 200
        assert refused_or_unknown(door, of("bob", others))
        daemon.tokens.remove("alice")
        assert door.ask(None, context=of("alice")) == 401


def refused_or_unknown(door: Door, context: ssl.SSLContext) -> bool:
    """Whether a certificate gets nobody in: with TLS 1.3 the refusal comes after the client's own end."""
    try:
        return door.ask(None, context=context) in (0, 401)
    except OSError:
        return True


def test_without_an_authority_no_certificate_counts(door: Door, tmp_path: Path) -> None:
    """Nobody has said whose to believe."""
    door.daemon.tokens.create("alice", Right.ADMIN, life_s=LIFE_S, by="uid 0", certificate=True)
    given(tmp_path / "client.pem", "".join(signed("alice", authority("ours"))))
    context = door.context()
    context.load_cert_chain(tmp_path / "client.pem")
    assert door.ask(None, context=context) == 401
    assert NAME in door.url

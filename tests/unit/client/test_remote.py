"""A daemon on another host, on loopback: who is believed, which one is meant, and that nothing is sent to others."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.client import contexts, places, remote
from orchestrator.client.client import Client
from orchestrator.client.contexts import Context, Contexts
from orchestrator.errors import Denied, InvalidInput, NotFound, Unreachable, VmroleError
from orchestrator.model.right import Right
from tests.world.api_daemon import SHOP, Daemon
from tests.world.certificates import authority, certificate, signed
from tests.world.network_daemon import HERE, LIFE_S, NAME, Door, door_of, free_port, given
from tests.world.raw_server import RawServer, fine

VARIABLES = ("VMROLE_SERVER", "VMROLE_CONTEXT", "VMROLE_SOCKET", "VMROLE_TOKEN", "VMROLE_CA", "XDG_CONFIG_HOME")
TOKEN = "vmrole_" + "x" * 43


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of whom nothing is known."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """Of a daemon with a service."""
    with Daemon(tmp_path) as daemon:
        daemon.give_image()
        daemon.control.apply(SHOP)
        with door_of(daemon, tmp_path / "door") as opened:
            yield opened


def test_all_that_is_asked_here_is_asked_there(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request, a document, a watch, a long answer, an upload that is refused: as over the socket."""
    monkeypatch.setenv("VMROLE_TOKEN", door.secret(Right.ADMIN))
    monkeypatch.setenv("VMROLE_CA", str(door.certificate))
    client = Client(server=door.url)
    assert (client.path, client.host) == (door.url, NAME)
    assert client.health()["status"] == "ok"
    assert client.service_file("shop") == door.daemon.client().service_file("shop")
    assert client.apply(SHOP)["changes"] == []
    kinds = [kind for kind, _, _ in zip_with(client, 4)]
    assert kinds == ["instance", "instance", "instance", "current"]
    copy = io.BytesIO()
    client.backup(copy)
    assert len(copy.getvalue()) > 4096
    with pytest.raises(NotFound):
        client.instance("nobody-0")
    with pytest.raises(Denied, match="on the host itself"):
        client.create_token({"name": "x", "right": "viewer", "life_s": 3600.0})


def zip_with(client: Client, count: int) -> Iterator[tuple[str, object, str]]:
    """The first messages of a watch."""
    watch = client.watch_instances("shop")
    for _ in range(count):
        yield next(watch)


def test_without_a_token_one_is_told_what_to_do(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is who has only the right of a viewer."""
    monkeypatch.setenv("VMROLE_CA", str(door.certificate))
    with pytest.raises(Denied) as caught:
        Client(server=door.url).health()
    assert "vmrole token create" in caught.value.hint
    monkeypatch.setenv("VMROLE_TOKEN", door.secret(Right.VIEWER))
    with pytest.raises(Denied, match="only look") as caught:
        Client(server=door.url).remove("shop")
    assert "right of an admin" in caught.value.hint


def test_who_does_not_prove_who_he_is_gets_no_token(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another certificate than the one that is believed, one of another name, and one that nobody signed."""
    caplog.set_level(logging.DEBUG, "orchestrator.api")
    monkeypatch.setenv("VMROLE_TOKEN", door.secret(Right.ADMIN))
    given(tmp_path / "other.pem", certificate(NAME)[0])
    for server, ca in (
        (door.url, str(tmp_path / "other.pem")),
        (door.url, ""),
        (f"https://{HERE}:{door.port}", str(door.certificate)),
    ):
        monkeypatch.setenv("VMROLE_CA", ca)
        with pytest.raises(Denied, match="does not prove who it is") as caught:
            Client(server=server).apply(SHOP)
        assert "--ca FILE" in caught.value.hint
    assert "by token" not in caplog.text


def test_nothing_is_said_to_who_speaks_no_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no way on without it."""
    monkeypatch.setenv("VMROLE_TOKEN", TOKEN)
    port = free_port()
    with RawServer(HERE, port, fine) as server:
        with pytest.raises(Unreachable, match="no TLS with"):
            Client(server=f"https://{HERE}:{port}").health()
        assert TOKEN.encode() not in b"".join(server.heard)
    with pytest.raises(Unreachable, match="no daemon answers at"):
        Client(server=f"https://{HERE}:{port}", connect_within_s=0.0).health()
    with pytest.raises(Unreachable, match="no daemon answers at"):
        Client(server="https://nobody.invalid").health()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://host:8443", "plain HTTP"),
        ("HTTP://host", "plain HTTP"),
        ("host:8443", "no address"),
        ("https://", "no address"),
        ("https://host:0", "no address"),
        ("https://host:99999", "no address"),
        ("https://host:x", "no address"),
        ("https://host/path", "no address"),
        ("https://host?x", "no address"),
        ("https://user:geheim@host", "no address"),
        ("https://-oProxyCommand=x", "no address"),
        ("https://-J", "no address"),
        ("https://h%25m", "no address"),
        ("https://ho st", "no address"),
        ("https://host\n", "no address"),
        ("https://[::1", "no address"),
        ("unix:///run/x", "no address"),
        ("", "no address"),
    ],
)
def test_an_address_is_https_a_host_and_a_port(url: str, told: str) -> None:
    """And nothing else; a password in it is not shown."""
    with pytest.raises(InvalidInput, match=told) as caught:
        remote.parsed(url)
    assert "https://HOST" in caught.value.hint
    assert "geheim" not in str(caught.value)


def test_where_no_port_is_said_it_is_ours() -> None:
    """Of IPv6, too."""
    assert remote.parsed("https://host.example") == ("host.example", 8443)
    assert remote.parsed("https://[2001:db8::1]:443/") == ("2001:db8::1", 443)
    assert remote.Remote("https://[2001:db8::1]").url == "https://[2001:db8::1]:8443"


def test_a_client_may_come_with_a_certificate(tmp_path: Path, home: Path) -> None:
    """By a context; files that are none are told."""
    ours = authority("ours")
    given(tmp_path / "ca.pem", ours.certificate)
    given(tmp_path / "alice.pem", "".join(signed("alice", ours)))
    with Daemon(tmp_path) as daemon, door_of(daemon, tmp_path / "door", tmp_path / "ca.pem") as door:
        daemon.tokens.create("alice", Right.VIEWER, life_s=LIFE_S, by="uid 0", certificate=True)
        alice = Context(server=door.url, ca=str(door.certificate), certificate=str(tmp_path / "alice.pem"))
        kept(home, Contexts(by_name={"lab": alice}))
        assert Client(context="lab").health()["status"] == "ok"
    for fields, told in (
        ({"ca": str(tmp_path / "absent")}, "No such file"),
        ({"ca": str(tmp_path)}, "no certificate in it|Is a directory"),
        ({"certificate": str(tmp_path / "ca.pem")}, "no certificate with its key"),
        ({"certificate": str(tmp_path / "alice.pem"), "key": str(tmp_path / "absent")}, "No such file"),
    ):
        with pytest.raises(InvalidInput, match=told):
            remote.Remote("https://host", **fields).check_files()


# Which one is meant ---------------------------------------------------------------------------------------------


def kept(home: Path, known: Contexts) -> Path:
    """The contexts of the user."""
    file = home / ".config" / "vmrole" / "contexts.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    given(file, contexts.text(known))
    return file


def test_the_nearest_word_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, then the variables, then the context that was chosen, and last this host's own socket."""
    a, b, c = (Context(server=f"https://{name}", token=TOKEN) for name in "abc")
    assert Client().path == "/run/vmrole/vmrole.sock"
    file = kept(home, Contexts(by_name={"a": a, "b": b}))
    assert Client().path == "/run/vmrole/vmrole.sock"
    kept(home, Contexts(current="a", by_name={"a": a, "b": b, "c": c}))
    assert (Client().path, Client().host) == ("https://a:8443", "a")
    monkeypatch.setenv("VMROLE_SOCKET", "/run/mine.sock")
    assert (Client().path, Client().host) == ("/run/mine.sock", "")
    monkeypatch.setenv("VMROLE_CONTEXT", "b")
    assert Client().path == "https://b:8443"
    monkeypatch.setenv("VMROLE_SERVER", "https://d:1")
    assert Client().path == "https://d:1"
    assert Client(context="c").path == "https://c:8443"
    assert Client("/run/this.sock").path == "/run/this.sock"
    for said in (Client("/x", server="https://a"), Client(server="https://a", context="c")):
        with pytest.raises(InvalidInput, match="which of them is meant"):
            _ = said.path
    with pytest.raises(NotFound, match="no context 'z'"):
        _ = Client(context="z").path
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    assert places.contexts_file() == f"{home}/elsewhere/vmrole/contexts.toml" != str(file)
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME")
    assert places.contexts_file() == ""


def test_a_context_brings_its_own_token_and_an_address_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for one daemon is sent to no other."""
    kept(home, Contexts(current="a", by_name={"a": Context(server="https://a", token=TOKEN)}))
    headers = {}
    for name, client in (("context", Client()), ("server", Client(server="https://b")), ("socket", Client("/x"))):
        meant = client._meant()[1]
        headers[name] = meant.headers if meant else {}
    assert headers == {"context": {"authorization": f"Bearer {TOKEN}"}, "server": {}, "socket": {}}
    monkeypatch.setenv("VMROLE_TOKEN", "other\nhost: x")
    with pytest.raises(InvalidInput, match="no token"):
        _ = Client().path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o644])
def test_what_others_can_read_is_not_used(home: Path, mode: int) -> None:
    """Tokens are in it, and whom to believe."""
    file = kept(home, Contexts(current="a", by_name={"a": Context(server="https://a", token=TOKEN)}))
    file.chmod(mode)
    with pytest.raises(Denied, match="others can use") as caught:
        _ = Client().path
    assert "chmod 600" in caught.value.hint
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f'[contexts.a]\nserver = "https://a"\ntoken = "{TOKEN}',
        f'[contexts.a]\nserver = "https://a"\nx = "{TOKEN}"',
        f'[contexts.a]\ntoken = "{TOKEN}"',
        f'contexts = "{TOKEN}"',
        "[contexts]\na = 1",
        "current = 5",
        '[contexts.a]\nserver = "http://a"',
        '[contexts."a b"]\nserver = "https://a"',
        '[contexts.a]\nserver = "https://a"\ntoken = "a\\nb"',
        '[contexts.a]\nserver = "https://a"\nkey = "/k"',
        "[" * 5000,
        "\udcff",
        "\0",
    ],
)
def test_a_file_that_is_none_is_told_without_what_is_in_it(home: Path, text: str) -> None:
    """Its name, and the remedy."""
    file = kept(home, Contexts())
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(VmroleError) as caught:
        contexts.load(str(file))
    assert str(file) in str(caught.value)
    assert TOKEN not in f"{caught.value} {caught.value.__cause__} {caught.value.hint}"


def test_what_is_written_is_read() -> None:
    """Whatever is in it."""
    odd = Context(
        server="https://a", ca='/a "b"\\c/é\U0001f600', certificate="/c d", key="/'k'", token='~!@#$%^&*()"\\'
    )
    known = Contexts(current="a.b", by_name={"a.b": odd, "c-d": Context(server="https://[::1]:1")})
    assert contexts._read("f", contexts.text(known).encode()) == known
    assert TOKEN not in repr(Contexts(by_name={"a": Context(server="https://a", token=TOKEN)}))

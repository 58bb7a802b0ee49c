"""Blobs by the runtime channel: what guests put and get, by hand and by their clients, and what hostile ones do."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vmrole_unattend import nocloud

from orchestrator.drivers.guest import runtime_blobs, runtime_peers, runtime_requests
from orchestrator.drivers.guest.runtime_blobs import FULL, NOT_THERE, PART_BYTES, STALE
from orchestrator.drivers.guest.runtime_requests import LINE_MAX_BYTES, NO_PARAMS, TOO_OFTEN
from orchestrator.model import InstanceName
from orchestrator.model.blob import BlobCaps
from tests.world.runtime_guests import Server, Speaker, memory_kib, server
from tests.world.waiting import until

WEB, SIBLING = InstanceName("web-0.shop"), InstanceName("web-1.shop")
GROWN_KIB = 32 * 1024
MIB = 1024 * 1024
ENDS_S = 60.0
DATA = bytes(range(256)) * 200  # of five parts


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Server]:
    """A server."""
    with server(tmp_path) as made:
        yield made


def put(guest: Speaker, name: str, data: bytes, **more: object) -> dict[str, Any]:
    """Puts the bytes part by part, and returns the last answer."""
    said = {"put": more.pop("put", base64.b16encode(os.urandom(8)).decode()), "name": name, "size": len(data)}
    said["sha256"] = more.pop("sha256", hashlib.sha256(data).hexdigest())
    answer: dict[str, Any] = {}
    for offset in range(0, len(data) or 1, PART_BYTES):
        part = base64.b64encode(data[offset : offset + PART_BYTES]).decode()
        answer = guest.ask("blob.put", offset=offset, data=part, **(said | more))
        if "error" in answer:
            return answer
    return answer


def got(guest: Speaker, name: str, **more: object) -> bytes:
    """Gets a blob part by part."""
    data = b""
    while True:
        result = guest.ask("blob.get", name=name, offset=len(data), **more)["result"]
        data += base64.b64decode(result["data"])
        if len(data) == result["size"]:
            return data


def code(answer: dict[str, Any]) -> int:
    """That of an error."""
    found: int = answer["error"]["code"]
    return found


# What is asked ------------------------------------------------------------------------------------------------


def test_a_guest_gets_what_it_has_put(there: Server) -> None:
    """Its own, and its role's, which its sibling gets as well; over the daemon's end."""
    web, sibling = there.speaker(WEB), there.speaker(SIBLING)
    own = put(web, "state", DATA)["result"]
    ours = put(web, "state", b"ours", of="role")["result"]
    assert (own["name"], own["size"], own["sha256"]) == ("state", len(DATA), hashlib.sha256(DATA).hexdigest())
    there.stop()
    there.start()
    web, sibling = there.speaker(WEB), there.speaker(SIBLING)
    assert got(web, "state") == DATA
    assert got(sibling, "state", of="role") == b"ours"
    assert code(sibling.ask("blob.get", name="state")) == NOT_THERE
    assert web.ask("blob.ls")["result"] == {"blobs": [own], "more": False}
    assert sibling.ask("blob.ls", of="role")["result"]["blobs"] == [ours]
    assert sibling.ask("blob.rm", name="state", of="role")["result"] == ours
    assert code(web.ask("blob.get", name="state", of="role")) == NOT_THERE


def test_the_largest_part_fits_on_a_line(there: Server) -> None:
    """With the longest name, id, put and version, both ways."""
    guest = there.speaker(WEB)
    name, data = "n" * 100, os.urandom(PART_BYTES)
    said = {"name": name, "put": "p" * 64, "size": 2**24, "sha256": "f" * 64, "if_version": "none", "of": "instance"}
    part = base64.b64encode(data).decode()
    answer = guest.ask("blob.put", "i" * 64, offset=0, data=part, **said)
    assert answer["result"] == {"put": "p" * 64, "taken": PART_BYTES}
    assert len(part) + 64 + 64 + 100 + 64 + 400 < LINE_MAX_BYTES
    assert code(guest.ask("blob.put", offset=0, data=part + "AAAA", **said)) == NO_PARAMS


def test_many_are_listed_a_page_at_a_time(there: Server) -> None:
    """By name, each once."""
    guest = there.speaker(WEB)
    for number in range(runtime_blobs.LISTED_MOST + 7):
        until(lambda number=number: "result" in put(guest, f"b{number:03}", b"x"), ENDS_S, what="a place")
    names: list[str] = []
    more = True
    while more:
        page = guest.ask("blob.ls", after=names[-1] if names else "")["result"]
        names += [one["name"] for one in page["blobs"]]
        more = page["more"]
    assert names == [f"b{number:03}" for number in range(runtime_blobs.LISTED_MOST + 7)]


def test_no_more_is_listed_than_may_be(there: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time all heads of a store are read: a thousand take 15 ms of a processor."""
    monkeypatch.setattr(runtime_peers, "ASKS", (2.0, 3600.0))
    guest = there.speaker(WEB)
    codes = [guest.ask("blob.ls", number).get("error", {}).get("code") for number in range(3)]
    assert codes == [None, None, TOO_OFTEN]


def test_of_two_who_have_read_the_same_one_has_swapped(there: Server) -> None:
    """The other is told which version there is by now."""
    web, sibling = there.speaker(WEB), there.speaker(SIBLING)
    first = put(web, "leader", b"web-0", of="role", if_version="none")["result"]["version"]
    assert code(put(sibling, "leader", b"web-1", of="role", if_version="none")) == STALE
    second = put(sibling, "leader", b"web-1", of="role", if_version=first)["result"]["version"]
    lost = put(web, "leader", b"web-0", of="role", if_version=first)
    assert (code(lost), second in lost["error"]["message"]) == (STALE, True)
    assert code(web.ask("blob.rm", name="leader", of="role", if_version=first)) == STALE
    assert code(web.ask("blob.get", name="leader", of="role", version=first)) == STALE
    assert got(web, "leader", of="role") == b"web-1"


REFUSED: list[tuple[str, dict[str, object]]] = [
    ("blob.get", {"name": "../x"}),
    ("blob.get", {"name": "a/b"}),
    ("blob.get", {"name": "x" * 101}),
    ("blob.get", {"name": "a\u0007"}),
    ("blob.get", {"name": "a\ud800"}),
    ("blob.get", {"name": 7}),
    ("blob.get", {}),
    ("blob.get", {"name": "a", "offset": -1}),
    ("blob.get", {"name": "a", "offset": 1e9}),
    ("blob.get", {"name": "a", "offset": True}),
    ("blob.get", {"name": "a", "version": "x"}),
    ("blob.get", {"name": "a", "of": "host"}),
    ("blob.get", {"name": "a", "instance": SIBLING}),
    ("blob.ls", {"after": 7}),
    ("blob.ls", {"of": []}),
    ("blob.rm", {"name": ".."}),
    ("blob.rm", {"name": "a", "if_version": 7}),
    ("blob.put", {"name": "a", "put": "p", "size": 1, "sha256": "x", "data": "AA=="}),
    ("blob.put", {"name": "a", "put": "p", "size": 1, "sha256": "0" * 64, "data": "?"}),
    ("blob.put", {"name": "a", "put": "p", "size": 1, "sha256": "0" * 64, "data": "AA=="}),
    ("blob.put", {"name": "a", "put": "p", "size": 1, "sha256": "0" * 64, "data": "AAAA"}),
    ("blob.put", {"name": "a", "put": "p", "size": 17 * MIB, "sha256": "0" * 64, "data": ""}),
    ("blob.put", {"name": "a", "put": "p", "size": -1, "sha256": "0" * 64, "data": ""}),
    ("blob.put", {"name": "a", "put": "/", "size": 1, "sha256": "0" * 64, "data": ""}),
]


@pytest.mark.parametrize(("method", "params"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_meant_is_refused(there: Server, method: str, params: dict[str, object]) -> None:
    """With words that a terminal can show, and nothing of it is there."""
    guest = there.speaker(WEB)
    answer = guest.ask(method, **params)
    assert code(answer) == NO_PARAMS, answer
    assert answer["error"]["message"].isprintable()
    assert guest.ask("blob.ls")["result"]["blobs"] == []


# By the clients -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def port(there: Server, place: Path) -> Iterator[None]:
    """A device that leads to the server, found as a guest finds its own; the guest is this process."""
    there.known[os.getpid()] = WEB
    outer, inner = os.openpty()
    tty.setraw(inner)
    listed = place / "ports" / "vport"
    listed.mkdir(parents=True)
    (listed / "name").write_text("com.vmrole.guest.0\n")
    (place / "vport").symlink_to(os.ttyname(inner))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(there.path))

        def out() -> None:
            with contextlib.suppress(OSError):
                while data := connection.recv(65536):
                    while data:
                        data = data[os.write(outer, data) :]

        def back() -> None:
            with contextlib.suppress(OSError):
                while data := os.read(outer, 65536):
                    connection.sendall(data)

        threads = [threading.Thread(target=each, daemon=True) for each in (out, back)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            os.close(inner)
            threads[0].join()
            os.close(outer)
            threads[1].join()


@pytest.fixture(params=["vmrole-guest", "vmrole-guest.sh"])
def client(request: pytest.FixtureRequest, there: Server, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Runs a client with words, and bytes on its standard input."""
    text = nocloud.guest_script(request.param)
    text = text.replace("/sys/class/virtio-ports", str(tmp_path / "ports"))
    text = text.replace("port=/dev/", f"port={tmp_path}/").replace(
        'os.path.join("/dev"', f'os.path.join("{tmp_path}"'
    )
    program = tmp_path / "client"
    program.write_text(text)
    program.chmod(0o755)
    argv = [sys.executable, str(program)] if request.param == "vmrole-guest" else [str(program)]

    def run(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*argv, "blob", *words], input=given, capture_output=True, check=False)

    with port(there, tmp_path):
        yield run


def test_a_client_puts_and_gets(client: Callable[..., Any], there: Server, tmp_path: Path) -> None:
    """Files and standard streams, whatever is in them, its own and its role's."""
    (tmp_path / "in").write_bytes(DATA)
    done = client("put", "state", str(tmp_path / "in"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert b'"name": "state"' in done.stdout
    assert client("get", "state").stdout == DATA
    assert client("put", "--role", "empty", given=b"").returncode == 0
    assert client("get", "--role", "empty", str(tmp_path / "out")).returncode == 0
    assert (tmp_path / "out").read_bytes() == b""
    assert client("get", "state", str(tmp_path / "out")).returncode == 0
    assert (tmp_path / "out").read_bytes() == DATA
    assert b'"name": "state"' in client("ls").stdout
    assert client("rm", "state").returncode == 0
    assert client("get", "state", str(tmp_path / "gone")).returncode == 1
    assert not (tmp_path / "gone").exists()
    assert [(one.owner.name, one.blobs) for one in there.files.inventory()] == [("web.shop", 1), ("web-0.shop", 0)]


def test_a_client_compares_and_swaps(client: Callable[..., Any]) -> None:
    """It ends with 5 when another was first, and with 1 or 2 for what is no name."""
    assert client("put", "--role", "--if-version", "none", "leader", given=b"one").returncode == 0
    assert client("put", "--role", "--if-version", "none", "leader", given=b"two").returncode == 5
    said = client("ls", "--role").stdout.decode()
    version = said.partition('"version": "')[2].partition('"')[0]
    assert client("put", "--if-version", version, "--role", "leader", given=b"two").returncode == 0
    assert client("rm", "--role", "--if-version", version, "leader").returncode == 5
    assert client("get", "--role", "leader").stdout == b"two"
    assert client("put", "../x", given=b"x").returncode == 1
    assert client("put").returncode == 2


# Hostile ------------------------------------------------------------------------------------------------------


def half_puts(guest: Speaker) -> None:
    """Begun by thousands, and never ended."""
    number = 0
    part = base64.b64encode(os.urandom(PART_BYTES)).decode()
    while True:
        number += 1
        said = {"name": f"n{number}", "put": f"p{number}", "size": 16 * MIB, "sha256": "0" * 64}
        guest.request("blob.put", number, offset=0, data=part, **said)


def endless(guest: Speaker) -> None:
    """Beyond its end, and again."""
    part = base64.b64encode(os.urandom(PART_BYTES)).decode()
    at = 0
    while True:
        said = {"name": "n", "put": "p", "size": 16 * MIB, "sha256": "0" * 64}
        guest.request("blob.put", at, offset=at, data=part, **said)
        at = (at + PART_BYTES) % (17 * MIB)


def wrong_digests(guest: Speaker) -> None:
    """Whole, and not what they say."""
    number = 0
    while True:
        number += 1
        said = {"name": "n", "put": f"p{number}", "size": 3, "sha256": "0" * 64}
        guest.request("blob.put", number, offset=0, data="AAAA", **said)


def fills_the_role(guest: Speaker) -> None:
    """As many as it may, for all of its role, and more."""
    number = 0
    while True:
        number += 1
        digest = hashlib.sha256(b"\0\0\0").hexdigest()
        said = {"name": f"n{number}", "put": f"p{number}", "size": 3, "sha256": digest, "of": "role"}
        guest.request("blob.put", number, offset=0, data="AAAA", **said)


@pytest.mark.parametrize("mode", [half_puts, endless, wrong_digests, fills_the_role], ids=lambda mode: mode.__name__)
def test_a_hostile_guest_harms_nobody(there: Server, mode: Callable[[Speaker], None]) -> None:
    """Others are answered, and have their blobs; neither memory nor disk grows beyond what it may have."""
    well, ill = there.speaker(WEB), there.speaker(SIBLING)
    assert put(well, "state", DATA)["result"]
    before_kib, before_threads = memory_kib(), there.threads()

    def attack() -> None:
        with contextlib.suppress(OSError, ValueError):
            mode(ill)

    attacking = threading.Thread(target=attack, daemon=True)
    attacking.start()
    until_s, asked = time.monotonic() + 2.0, 0
    while time.monotonic() < until_s or asked < 20:
        assert got(well, "state") == DATA
        asked += 1
    assert memory_kib() - before_kib < GROWN_KIB
    assert there.threads() - before_threads < 20
    files = [path for path in there.layout.blobs.rglob("*") if path.is_file() and "web-1" in str(path)]
    assert len(files) <= 1
    assert sum(path.stat().st_size for path in files) <= 17 * MIB
    ill.close()
    attacking.join(30.0)
    again = there.speaker(SIBLING)
    until(lambda: "result" in put(again, "after", b"x"), ENDS_S, what="its turn")
    there.channel.forget(SIBLING)
    until(lambda: not list(there.layout.blobs.rglob(".put-*")), ENDS_S, what="the end of what was begun")


def test_no_more_is_begun_than_its_allowance(there: Server) -> None:
    """Of puts and removals, one as the other."""
    guest = there.speaker(WEB)
    codes = [put(guest, "n", b"x").get("error", {}).get("code") for _ in range(40)]
    codes += [guest.ask("blob.rm", name="m").get("error", {}).get("code") for _ in range(10)]
    assert codes[: int(runtime_blobs.CHANGES[0])] == [None] * int(runtime_blobs.CHANGES[0])
    assert TOO_OFTEN in codes


def test_a_full_store_says_so(there: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes another blob when one is gone."""
    monkeypatch.setattr(there.files, "_caps", BlobCaps(store_mib=1))
    guest = there.speaker(WEB)
    assert put(guest, "a", bytes(MIB))["result"]
    assert code(put(guest, "b", b"x")) == FULL
    assert guest.ask("blob.rm", name="a")["result"]
    assert put(guest, "b", b"x")["result"]


def test_a_put_begins_again_when_the_daemon_has(there: Server) -> None:
    """What the former had of it is gone, and it says so."""
    guest = there.speaker(WEB)
    data = base64.b64encode(DATA[:PART_BYTES]).decode()
    said = {"name": "n", "put": "p", "size": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}
    assert guest.ask("blob.put", offset=0, data=data, **said)["result"]["taken"] == PART_BYTES
    there.channel.forget(WEB)
    until(lambda: not list(there.layout.blobs.rglob(".put-*")), ENDS_S, what="the end of what was begun")
    answer = there.speaker(WEB).ask("blob.put", offset=PART_BYTES, data=data, **said)
    assert code(answer) == NOT_THERE
    assert runtime_requests.LINE_MAX_BYTES > 4 * PART_BYTES / 3

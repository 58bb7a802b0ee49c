"""The runtime channel's server against guests that mean it well, and against those that do not."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vmrole_unattend import nocloud

from orchestrator.drivers.guest import runtime_channel, runtime_requests
from orchestrator.drivers.guest.runtime_requests import LINE_MAX_BYTES, Lines, Refused
from orchestrator.model import InstanceName
from tests.world.runtime_guests import Server, Speaker, memory_kib, server
from tests.world.waiting import until

WEB, HOSTILE = InstanceName("web-0.shop"), InstanceName("web-1.shop")
GROWN_KIB = 32 * 1024


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Server]:
    """A server."""
    with server(tmp_path) as made:
        yield made


# What is asked ------------------------------------------------------------------------------------------------


def test_a_guest_learns_who_it_is_by_its_connection(there: Server) -> None:
    """Each its own, whatever it says of itself."""
    first, second = there.speaker(WEB), there.speaker(HOSTILE)
    assert first.ask("whoami", "a") == {"jsonrpc": "2.0", "id": "a", "result": {"instance": WEB}}
    assert second.ask("whoami", 7, instance=WEB)["result"] == {"instance": HOSTILE}


def test_a_line_for_the_ledger_is_made_harmless_and_bounded(there: Server) -> None:
    """On one line, short, and no more than so many."""
    guest = there.speaker(WEB)
    assert guest.ask("log", line="a\x1b[31m\nb\u202ec" + "x" * 2000)["result"]["logged"].startswith("a[31m bc")
    (name, line), *_ = there.desk.lines
    assert (name, len(line)) == (WEB, runtime_requests.LOG_MAX_CHARS)
    answers = [guest.ask("log", line="again") for _ in range(40)]
    assert next(answer["error"]["code"] for answer in answers if "error" in answer) == runtime_requests.TOO_OFTEN
    assert len(there.desk.lines) <= runtime_channel.LOG_LINES[0] + 2


def test_what_the_host_cannot_do_now_is_said_so(there: Server) -> None:
    """Without its own words, which are not for guests."""
    answer = there.speaker(WEB).ask("log", line="refuse")
    assert answer["error"]["code"] == runtime_requests.NOT_NOW
    assert "no such instance" not in answer["error"]["message"]


def test_a_notification_gets_no_answer(there: Server) -> None:
    """JSON-RPC's: the next line is the next request's."""
    guest = there.speaker(WEB)
    guest.send(b'{"jsonrpc":"2.0","method":"log","params":{"line":"quiet"}}\n')
    assert guest.ask("whoami", 5)["id"] == 5
    assert there.desk.lines == [(WEB, "quiet")]


def test_words_are_not_taken_without_an_end(there: Server) -> None:
    """So many at once, then one a second."""
    guest = there.speaker(WEB)
    codes = []
    for number in range(30):
        guest.request("ready", number)
        until(lambda: bool(there.channel.word(WEB)), 10.0)
        word = there.channel.word(WEB)
        assert word is not None
        answered = threading.Event()

        def keep_taking(done: threading.Event = answered) -> None:
            while not done.wait(0.005):
                if (heard := there.channel.word(WEB)) is not None:
                    there.channel.taken(WEB, heard)

        taking = threading.Thread(target=keep_taking)
        taking.start()
        codes.append(guest.heard().get("error", {}).get("code"))
        answered.set()
        taking.join()
    assert runtime_requests.TOO_OFTEN in codes
    assert codes[0] is None


def test_who_waits_too_long_is_told_that_it_is_not_done(there: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its word counts."""
    monkeypatch.setattr(runtime_channel, "DONE_S", 0.1)
    result = there.speaker(WEB).ask("busy", for_s=30, reason="x")["result"]
    assert result == {"says": "busy", "reason": "x", "done": False, "lapses_in_s": 30.0}
    assert there.channel.word(WEB) is not None


def test_the_next_daemon_hears_the_same_guests(there: Server) -> None:
    """A QEMU comes again."""
    assert there.speaker(WEB).ask("whoami")["result"]
    there.stop()
    there.start()
    assert there.speaker(WEB).ask("whoami")["result"]


# Who asks -----------------------------------------------------------------------------------------------------


def test_a_process_that_is_no_vm_of_ours_is_not_heard(there: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is hung up on in the end; a VM that becomes known meanwhile is heard from then on."""
    monkeypatch.setattr(runtime_channel, "UNHEARD_S", 1.0)
    stranger = there.speaker(None)
    stranger.request("log", line="I am web-0")
    late = there.speaker(None)
    late.request("whoami")
    there.known[late.pid] = WEB
    assert late.heard()["result"] == {"instance": WEB}
    stranger.process.wait(30.0)
    assert there.desk.lines == []


def test_a_second_connection_takes_the_place_of_the_first(there: Server) -> None:
    """One for each VM, so many as a broken-out guest may make."""
    first = there.speaker(WEB)
    assert first.ask("whoami")["result"]
    second = there.speaker(WEB)
    assert second.ask("whoami")["result"]
    first.process.wait(30.0)


# Who asks for a guest ------------------------------------------------------------------------------------------


def client() -> dict[str, Any]:
    """The program that guests with Python have, as it is there."""
    made: dict[str, Any] = {"__name__": "vmrole-guest"}
    exec(compile(nocloud.guest_script("vmrole-guest"), "vmrole-guest", "exec"), made)
    return made


def test_the_client_takes_its_own_answer_and_no_other(there: Server) -> None:
    """What one before it has left unread is passed over, and what it has left half sent ends."""
    there.known[os.getpid()] = WEB
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(there.path))
        connection.sendall(b'{"jsonrpc":"2.0","id":"former","method":"whoami"}\n{"half')
        connection.setblocking(False)
        request = {"jsonrpc": "2.0", "id": "mine", "method": "whoami", "params": {}}
        answer = client()["once"](connection.fileno(), request, time.monotonic() + 60.0)
        assert answer == {"jsonrpc": "2.0", "id": "mine", "result": {"instance": WEB}}
        there.stop()
        assert client()["once"](connection.fileno(), request, time.monotonic() + 60.0) is None


# What is no request -------------------------------------------------------------------------------------------

DEEP = b"[" * 15_000
RUBBISH = [
    (b"\xff\xfe\x00rubbish", runtime_requests.NO_JSON),
    (b"{", runtime_requests.NO_JSON),
    (DEEP, runtime_requests.NO_JSON),
    (b'{"a":' * 2000, runtime_requests.NO_JSON),
    (b"1" * 15_000, runtime_requests.NO_JSON),
    (b"[]", runtime_requests.NO_REQUEST),
    (b'"text"', runtime_requests.NO_REQUEST),
    (b"{}", runtime_requests.NO_REQUEST),
    (b'{"jsonrpc":"1.0","id":1,"method":"whoami"}', runtime_requests.NO_REQUEST),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', runtime_requests.NO_REQUEST),
    (b'{"jsonrpc":"2.0","id":{},"method":"whoami"}', runtime_requests.NO_REQUEST),
    (b'{"jsonrpc":"2.0","id":"' + b"x" * 65 + b'","method":"whoami"}', runtime_requests.NO_REQUEST),
    (b'{"jsonrpc":"2.0","id":1,"method":"whoami","params":[1]}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"format"}', runtime_requests.NO_METHOD),
    (b'{"jsonrpc":"2.0","id":1,"method":"busy","params":{}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"busy","params":{"for_s":-1}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"busy","params":{"for_s":NaN}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"busy","params":{"for_s":1e9}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"busy","params":{"for_s":true}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"ready","params":{"reason":[]}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"ready","params":{"of":"web-1"}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"log","params":{"line":"\\u0007"}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"peers","params":{"after":"1"}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"peers","params":{"after":true}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"peers","params":{"after":1e300}}', runtime_requests.NO_PARAMS),
    (
        b'{"jsonrpc":"2.0","id":1,"method":"peers","params":{"after":' + b"9" * 4000 + b"}}",
        runtime_requests.NO_PARAMS,
    ),
    (b'{"jsonrpc":"2.0","id":1,"method":"peers","params":{"past":7}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"peers","params":{"of":"shop"}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"stopping","params":{"boot":[]}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"let_go","params":{"of":"web-1"}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"to":"peers"}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"to":[["peers"]]}}', runtime_requests.NO_PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"to":["everything"]}}', runtime_requests.NO_PARAMS),
]


@pytest.mark.parametrize(("line", "code"), RUBBISH, ids=range(len(RUBBISH)))
def test_whatever_is_no_request_is_refused_and_the_next_is_heard(there: Server, line: bytes, code: int) -> None:
    """By JSON-RPC's codes."""
    guest = there.speaker(WEB)
    guest.send(line + b"\n")
    assert guest.heard()["error"]["code"] == code
    assert guest.ask("whoami")["result"]


def test_lines_are_cut_wherever_they_are_torn() -> None:
    """One byte at a time or all at once; of what is too long nothing is kept."""
    stream = b"one\n\n \ntwo" + b"x" * 100 + b"\nthree\nfour"
    for size in (1, 3, 50, 1000):
        lines, found = Lines(20), []
        for at in range(0, len(stream), size):
            found += lines.take(stream[at : at + size])
            assert lines.held_bytes <= 20
        assert found == [b"one", None, b"three"]


def test_a_gigabyte_without_a_newline_is_held_nowhere() -> None:
    """Of a line without an end no more than the longest that is taken; and the next one is heard."""
    lines, piece = Lines(), b"x" * 65_536
    tracemalloc.start()
    try:
        for _ in range(1024**3 // len(piece)):
            assert list(lines.take(piece)) == []
            assert lines.held_bytes <= LINE_MAX_BYTES
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < GROWN_KIB * 1024, "whatever else goes on in this process meanwhile"
    assert list(lines.take(b"the end of it\n{}\n")) == [None, b"{}"]


def test_a_lone_surrogate_in_an_id_is_answered() -> None:
    """JSON can hold what UTF-8 cannot."""
    request = runtime_requests.read(b'{"jsonrpc":"2.0","id":"\\ud800","method":"whoami"}')
    assert json.loads(runtime_requests.answer(request, {}))["id"] == "\ud800"
    with pytest.raises(Refused):
        runtime_requests.read(None)


# Hostile ------------------------------------------------------------------------------------------------------


def endless_line(guest: Speaker) -> None:
    """A line without an end."""
    while True:
        guest.send(b"x" * 65536)


def never_reads(guest: Speaker) -> None:
    """Asks and asks, and takes no answer."""
    while True:
        guest.request("whoami", "y" * 60)


def subscribes(guest: Speaker) -> None:
    """To everything there is, ten thousand times, and without an id."""
    while True:
        guest.send(b'{"jsonrpc":"2.0","method":"subscribe","params":{"to":"everything"}}\n' * 10_000)


def rubbish(guest: Speaker) -> None:
    """What is no text."""
    while True:
        guest.send(os.urandom(65536))


def nests(guest: Speaker) -> None:
    """Deeply."""
    while True:
        guest.send(DEEP + b"\n")


def empty_lines(guest: Speaker) -> None:
    """Nothing, often."""
    while True:
        guest.send(b"\n" * 65536)


def floods_the_pool(guest: Speaker) -> None:
    """Busy and ready in turn."""
    number = 0
    while True:
        number += 1
        guest.request("busy", number, for_s=1 + number % 7)
        guest.request("ready", number)


def subscribes_to_peers(guest: Speaker) -> None:
    """Ten thousand times, and reads no answer."""
    while True:
        guest.send(b'{"jsonrpc":"2.0","method":"subscribe","params":{"to":["peers"],"after":1}}\n' * 10_000)


def parts_for_ever(guest: Speaker) -> None:
    """In ever other boots, and lets go each time."""
    number = 0
    while True:
        number += 1
        guest.request("stopping", number, boot=str(number))
        guest.request("let_go", number)


def asks_for_peers(guest: Speaker) -> None:
    """All of them, again and again."""
    while True:
        guest.request("peers", 1)


@pytest.mark.parametrize(
    "mode",
    [
        endless_line,
        never_reads,
        subscribes,
        subscribes_to_peers,
        asks_for_peers,
        parts_for_ever,
        rubbish,
        nests,
        empty_lines,
        floods_the_pool,
    ],
    ids=lambda mode: mode.__name__,
)
def test_a_hostile_guest_harms_nobody(there: Server, mode: object) -> None:
    """Its flood waits in its own kernel: others are answered, and nothing grows."""
    well, ill = there.speaker(WEB), there.speaker(HOSTILE)
    assert well.ask("whoami")["result"]
    before_kib, before_threads = memory_kib(), there.threads()

    def attack() -> None:
        with contextlib.suppress(OSError, ValueError):
            mode(ill)  # type: ignore[operator]

    attacking = threading.Thread(target=attack, daemon=True)
    began_s = time.monotonic()
    attacking.start()
    until_s = began_s + 2.0
    asked = 0
    while time.monotonic() < until_s or asked < 20:
        assert well.ask("whoami", asked)["result"] == {"instance": WEB}
        asked += 1
    assert memory_kib() - before_kib < GROWN_KIB
    assert there.threads() - before_threads < 20
    assert len(there.woken) <= 15 + time.monotonic() - began_s
    ill.close()
    attacking.join(30.0)
    assert there.speaker(HOSTILE).ask("whoami")["result"] == {"instance": HOSTILE}

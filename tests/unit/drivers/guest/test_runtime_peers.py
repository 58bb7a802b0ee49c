"""What a guest is told of its peers by its channel, unasked once it has subscribed."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from vmrole_unattend import nocloud

from orchestrator.control import guest_peers
from orchestrator.drivers.guest import runtime_channel, runtime_peers, runtime_requests
from orchestrator.drivers.guest.runtime_peers import Outlet, RuntimePeers
from orchestrator.drivers.guest.runtime_requests import Request
from orchestrator.model import Incarnation, Instance, InstanceName, Phase
from tests.world.recorded import instance
from tests.world.runtime_guests import Server, Speaker, server
from tests.world.waiting import until

WEB, OTHER, THIRD = (InstanceName(f"web-{index}.shop") for index in range(3))
QUIET_S = 2.5 * runtime_peers.WAIT_S


def one(name: InstanceName, phase: Phase = Phase.SERVING) -> Instance:
    """An instance of the deployment."""
    index = int(name[4])
    here = instance(phase, (1, 1), (1, 1))
    return replace(here, name=name, index=index, nic=replace(here.nic, address=f"10.90.0.{10 + index}"))


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Server]:
    """A server of two guests."""
    with server(tmp_path) as made:
        made.desk.keep(one(WEB), one(OTHER))
        yield made


def says_nothing(guest: Speaker, for_s: float) -> bool:
    """Whether nothing comes to the guest for so long."""
    assert guest.process.stdout is not None
    return not select.select([guest.process.stdout], [], [], for_s)[0]


def states(params: dict[str, Any]) -> dict[str, str]:
    """How its peers stand."""
    return {peer["name"]: peer["state"] for peer in params["peers"]}


def test_a_guest_asks_for_its_peers_and_then_for_what_has_changed(there: Server) -> None:
    """Once, and after the number of its last answer."""
    guest = there.speaker(WEB)
    first = guest.ask("peers")["result"]
    assert (first["whole"], states(first)) == (True, {OTHER: "serving"})
    assert guest.ask("peers", after=first["number"])["result"]["peers"] == []
    there.desk.keep(one(OTHER, Phase.DRAINING), one(THIRD))
    changed = guest.ask("peers", after=first["number"])["result"]
    assert (changed["whole"], states(changed)) == (False, {OTHER: "draining", THIRD: "serving"})


def test_who_has_subscribed_is_told_of_changes_unasked(there: Server) -> None:
    """By messages without an id, each with what is new; what it asks meanwhile is answered as ever."""
    guest = there.speaker(WEB)
    result = guest.ask("subscribe", to=["peers"])["result"]
    assert (result["to"], states(result)) == (["peers"], {OTHER: "serving"})
    there.desk.keep(one(OTHER, Phase.RESTARTING))
    told = guest.heard()
    assert (told["method"], "id" in told, states(told["params"])) == ("peers", False, {OTHER: "restarting"})
    there.desk.keep(one(OTHER, Phase.SERVING))
    assert states(guest.heard()["params"]) == {OTHER: "serving"}
    assert guest.ask("whoami", 5)["id"] == 5


def test_one_subscription_however_often_it_is_asked_for(there: Server) -> None:
    """Each change is told once."""
    guest = there.speaker(WEB)
    for number in range(12):
        guest.ask("subscribe", number, to=["peers"])
    there.desk.keep(one(OTHER, Phase.RESTARTING))
    assert states(guest.heard()["params"]) == {OTHER: "restarting"}
    assert says_nothing(guest, QUIET_S)
    assert guest.ask("subscribe", to=[])["result"] == {"to": []}
    there.desk.keep(one(OTHER, Phase.SERVING))
    assert says_nothing(guest, QUIET_S)


def test_a_line_half_sent_ends_with_its_connection(there: Server) -> None:
    """Also of one that wants to hear no more: what goes on to a closed descriptor hangs up on whoever has it next."""

    async def left() -> list[str]:
        loop, (ours, its) = asyncio.get_running_loop(), socket.socketpair()
        ours.setblocking(False)
        peers, outlet = RuntimePeers(loop, there.desk.peers), Outlet(loop, ours)
        with its, ours, peers.until_over(WEB, outlet):
            await peers.do(WEB, outlet, Request("subscribe", {"to": ["stopping"]}))
            sends = peers._subscribers[WEB].sends = loop.create_task(outlet.send(b"x" * 2**22), name="half sent")
            await asyncio.sleep(0)
            assert await peers.do(WEB, outlet, Request("subscribe", {"to": []})) == {"to": []}
            assert not sends.done()
        await asyncio.sleep(0)
        await peers.close()
        return [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert asyncio.run(left()) == []


def test_no_more_is_asked_than_may_be(there: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at once, then some each second."""
    monkeypatch.setattr(runtime_peers, "ASKS", (2.0, 3600.0))
    guest = there.speaker(WEB)
    codes = [guest.ask("peers", number).get("error", {}).get("code") for number in range(3)]
    assert codes == [None, None, runtime_requests.TOO_OFTEN]


def test_a_guest_that_never_reads_is_told_in_the_end_and_keeps_nobody_waiting(there: Server) -> None:
    """One line of it waits, whatever happens meanwhile; who reads is told, and so is it when it reads again."""
    well, ill = there.speaker(OTHER), there.speaker(WEB)
    well.ask("subscribe", to=["peers"])
    ill.ask("subscribe", to=["peers"])
    os.kill(ill.pid, signal.SIGSTOP)
    others = [InstanceName(f"web-{index}.shop") for index in range(2, 8)]
    for phase in (Phase.RESTARTING, Phase.SERVING) * 20:
        there.desk.keep(*(one(name, phase) for name in others))
    until_told(well, others)
    assert len(there.channel._peers._subscribers) == 2
    os.kill(ill.pid, signal.SIGCONT)
    until_told(ill, others)


def until_told(guest: Speaker, others: list[InstanceName]) -> None:
    """Reads until it knows that all of these serve."""
    seen: dict[str, str] = {}
    while not all(seen.get(name) == "serving" for name in others):
        seen.update(states(guest.heard()["params"]))


def test_a_subscription_ends_with_its_connection(there: Server) -> None:
    """A guest that begins anew asks anew."""
    first = there.speaker(WEB)
    first.ask("subscribe", to=["peers"])
    first.close()
    until(lambda: not there.channel._peers._subscribers, 30.0, what="its end")
    second = there.speaker(WEB)
    assert second.ask("whoami")["result"]
    there.desk.keep(one(OTHER, Phase.RESTARTING))
    assert says_nothing(second, QUIET_S)


def test_nothing_is_told_of_peers_to_whom_no_record_knows(there: Server) -> None:
    """Its VM outlives its record for a moment."""
    answer = there.speaker(InstanceName("web-9.shop")).ask("peers")
    assert answer["error"]["code"] == runtime_requests.NOT_NOW


# Who asks for a guest -----------------------------------------------------------------------------------------


def client() -> dict[str, Any]:
    """The program that guests with Python have."""
    program: dict[str, Any] = {"__name__": "vmrole-guest"}
    exec(compile(nocloud.guest_script("vmrole-guest"), "vmrole-guest", "exec"), program)
    return program


def test_the_client_puts_the_parts_of_an_answer_together(there: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, and then what has changed, in as many answers as it takes."""
    monkeypatch.setattr(guest_peers, "PAGE", 2)
    others = [InstanceName(f"web-{index}.shop") for index in range(1, 8)]
    there.desk.keep(*map(one, others))
    program = client()
    guest = there.speaker(WEB)
    program["ask"] = lambda _, request, __: guest.ask(request["method"], request["id"], **request["params"])
    host = program["Host"]("port")
    whole = program["peers"](host, -1)
    assert (whole["whole"], [*states(whole)]) == (True, others)
    for name in others:  # in a commit each
        there.desk.keep(one(name, Phase.DRAINING))
        guest.ask("peers", after=whole["number"])
        time.sleep(runtime_peers.ASKS[1])
    changed = program["peers"](host, whole["number"])
    assert (changed["whole"], states(changed)) == (False, dict.fromkeys(others, "draining"))
    assert program["peers"](host, changed["number"])["peers"] == []


# Its end ------------------------------------------------------------------------------------------------------


def restarting(name: InstanceName) -> Instance:
    """One that leaves rotation for a restart that somebody has asked for."""
    here = one(name, Phase.DRAINING)
    return replace(here, phase_since_s=time.time(), goal=replace(here.goal, wanted=Incarnation(1, 2)))


def test_a_guest_that_asks_for_its_end_is_known_and_told(there: Server) -> None:
    """It is asked for once, however often; what is coming is told, and letting go is noted then and not before."""
    guest = there.speaker(WEB)
    assert guest.ask("stopping", boot="b")["result"] == {"stopping": None}
    asked = there.channel.parting(WEB)
    assert asked is not None
    assert (asked.boot_id, asked.let_go_at_s, there.woken) == ("b", 0.0, [WEB])
    assert guest.ask("let_go", boot="b")["result"] == {"let_go": False}
    assert guest.ask("stopping", boot="b")["result"] == {"stopping": None}
    assert (there.channel.parting(WEB), there.woken) == (asked, [WEB])
    there.desk.keep(restarting(WEB))
    stopping = guest.ask("stopping", boot="b")["result"]["stopping"]
    assert (stopping["why"], 0 < stopping["within_s"] <= 30.0) == ("restart", True)
    assert guest.ask("let_go", boot="b")["result"] == {"let_go": True}
    gone = there.channel.parting(WEB)
    assert gone is not None
    assert gone.let_go_at_s >= asked.asked_at_s
    assert there.woken == [WEB, WEB]


def test_who_has_subscribed_to_its_end_is_told_once(there: Server) -> None:
    """Unasked; and again when another comes."""
    guest = there.speaker(WEB)
    assert guest.ask("subscribe", to=["stopping"], boot="b")["result"] == {"to": ["stopping"]}
    assert there.channel.parting(WEB) is not None
    there.desk.keep(restarting(WEB))
    told = guest.heard()
    assert (told["method"], told["params"]["why"]) == ("stopping", "restart")
    assert says_nothing(guest, QUIET_S)
    there.desk.keep(one(WEB, Phase.STARTING))
    assert says_nothing(guest, QUIET_S)
    there.desk.keep(restarting(WEB))
    assert guest.heard()["method"] == "stopping"


def test_who_asks_in_ever_other_boots_is_held_to_its_words(there: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a turn: there are so many at once, then one a second."""
    monkeypatch.setattr(runtime_channel, "WORDS", (2.0, 3600.0))
    guest = there.speaker(WEB)
    codes = [guest.ask("stopping", boot=f"boot {number}").get("error", {}).get("code") for number in range(4)]
    assert codes == [None, None, runtime_requests.TOO_OFTEN, runtime_requests.TOO_OFTEN]
    assert len(there.woken) == 2


def test_the_client_waits_for_its_end_and_lets_go_when_its_command_has_run(there: Server, tmp_path: Path) -> None:
    """Not before."""
    program = client()
    guest, ran = there.speaker(WEB), tmp_path / "ran"
    asked: list[str] = []

    def ask(_: object, request: dict[str, Any], __: object) -> dict[str, Any]:
        asked.append(request["method"])
        if len(asked) == 2:
            there.desk.keep(restarting(WEB))
        assert ran.exists() is (request["method"] == "let_go")
        return guest.ask(request["method"], request["id"], **request["params"])

    program["ask"] = ask
    host = program["Host"]("port")
    assert program["stopping"](host, True, ["touch", str(ran)]) == {"let_go": True}
    assert asked == ["stopping", "stopping", "let_go"]


@pytest.mark.parametrize(
    "words", [["--wait", "--", "sh", "-c", "true"], ["--wait", "sh", "-c", "true"], ["--", "sh"]]
)
def test_a_command_of_its_end_may_stand_behind_two_dashes(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the documentation; they are no part of it."""
    program, asked = client(), []
    program["stopping"] = lambda _host, wait, command: asked.append((wait, command))
    monkeypatch.setattr("sys.argv", ["vmrole-guest", "stopping", *words])
    program["done"](None, program["arguments"](), {})
    assert asked == [(True, words[words.index("sh") :])]

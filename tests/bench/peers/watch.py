"""One reset as it is measured: the tool runs its commands, and meanwhile each machine is looked at."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.bench.peers import agents, asker
from tests.bench.peers.agents import AgentError, Machine
from tests.bench.peers.asker import now_s
from tests.bench.peers.samples import Asked, Sample, first_answer_s, lost
from tests.bench.peers.stage import Peer
from tests.lab.harness.places import Place
from tests.world.waiting import comes_true, until

WITHIN_S: Final = 1800.0
_LOOK_S: Final = 0.05
_ASKED_BEFORE_S: Final = 2.0  # It has asked a few times when the reset begins.


class Load:
    """An address that is asked all the time, from one side of the lab."""

    def __init__(self, place: Place, url: str, out: Path) -> None:
        self._out = out
        self._process = place.popen([sys.executable, "-m", asker.__name__, url, str(out)])

    def asked(self) -> list[Asked]:
        """Ends it; all that was asked."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(timeout=60.0) == 0
        return [Asked(*each) for each in json.loads(self._out.read_text())]


def serving(place: Place, url: str, within_s: float = WITHIN_S) -> None:
    """Returns when the page is answered."""
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "5", url]
    until(lambda: place.run(argv, check=False).stdout == "200", within_s, what=url)


def reset(peer: Peer, image: str, numbers: Sequence[int], asked_from: Place | None, place: Path) -> list[Sample]:
    """Resets machines that run, all at once, and returns a sample of each; `asked_from` is from where the first one's
    page is asked meanwhile. AssertionError when a machine is not clean afterwards.
    """
    machines = [peer.machine(number) for number in numbers]
    for machine in machines:
        machine.go_on()
        until(lambda machine=machine: agents.answers(machine), WITHIN_S, what=machine.name)  # type: ignore[misc]
        agents.mark(machine)
    before = [machine.pid() for machine in machines]
    url = peer.url(numbers[0])
    load = Load(asked_from, url, place / "asked.json") if asked_from else None
    time.sleep(_ASKED_BEFORE_S)
    epoch_s, began_s = time.time(), now_s()
    with ThreadPoolExecutor(len(machines) + 1) as pool:
        command = pool.submit(_timed, peer, numbers)
        looks = [pool.submit(_came, *each) for each in zip(machines, before, strict=True)]
        came = [look.result() for look in looks]
        returned_s = command.result()
    serves_s, failed, sent = None, None, None
    if load and asked_from:
        serving(asked_from, url)
        time.sleep(2 * asker.BEAT_S)
        asked = load.asked()
        answered_s = first_answer_s(asked, came[0][0])
        assert answered_s is not None, "the page was answered and nobody has seen it"
        serves_s = answered_s - began_s
        failed, sent = lost(asked, began_s, answered_s)
    return [
        Sample(
            tool=peer.tool,
            image=image,
            together=len(numbers),
            qemu_s=max(0.0, qemu_s - began_s),
            answer_s=answer_s - began_s,
            returned_s=returned_s - began_s,
            shutdown_s=peer.shutdown_s(number, epoch_s),
            serves_s=serves_s,
            lost=failed,
            sent=sent,
        )
        for number, (qemu_s, answer_s) in zip(numbers, came, strict=True)
    ]


def _timed(peer: Peer, numbers: Sequence[int]) -> float:
    peer.reset(numbers)
    return now_s()


def _came(machine: Machine, before: int | None) -> tuple[float, float]:
    """When the process of another QEMU had started, and when the agent in it had answered first."""
    seen: list[float] = []

    def there() -> bool:
        pid = machine.pid()
        if pid in (None, before):
            return False
        if not seen:
            seen.append(agents.started_s(pid))
        return agents.answers(machine)

    assert comes_true(there, WITHIN_S, _LOOK_S), f"{machine.name} does not answer"
    answer_s = now_s()
    clean: list[bool] = []

    def told() -> bool:
        try:
            clean.append(agents.is_clean(machine))
        except AgentError:
            return False  # It is starting again already, to complete its setup.
        return True

    assert comes_true(told, WITHIN_S, 0.5), f"{machine.name} says no more"
    assert clean[-1], f"{machine.name} still has what was written before"
    return seen[0], answer_s

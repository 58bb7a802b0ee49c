"""Checks of members, on real servers: what passes, what does not, how many it takes, and what a hostile one costs."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace

import pytest

from orchestrator.drivers.balancer.pace import Pace, pace_of
from orchestrator.drivers.balancer.prober import Health, Prober, Target
from orchestrator.drivers.clock import SystemClock
from orchestrator.model import PROBES_KEPT, HttpProbe, Probe, TcpProbe
from tests.world.endpoints import CORNER
from tests.world.waiting import until

QUICK = Pace(interval_s=0.05, timeout_s=0.5, rise=2, fall=3)
HERE = f"{CORNER}.40"
WITHIN_S = 30.0


class Member:
    """Answers each connection as it is told at that time; counts them."""

    def __init__(self, answer: bytes | None = b"") -> None:
        self.answer = answer
        self.count = 0
        self._listener = socket.create_server((HERE, 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Its port closes."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                talk, _ = self._listener.accept()
            except OSError:
                return
            self.count += 1
            with talk, contextlib.suppress(OSError):
                talk.settimeout(1.0)
                talk.recv(100)
                if self.answer is None:
                    time.sleep(1.0)
                else:
                    talk.sendall(self.answer)


@pytest.fixture
def heard() -> list[Hashable]:
    """Whose health has changed."""
    return []


@pytest.fixture
def prober(heard: list[Hashable]) -> Iterator[Prober]:
    """One that runs."""
    with Prober(heard.append, SystemClock()) as prober:
        yield prober


Make = Callable[[bytes | None], Member]


@pytest.fixture
def member() -> Iterator[Make]:
    """Makes members; they end with the test."""
    with contextlib.ExitStack() as stack:

        def made(answer: bytes | None) -> Member:
            one = Member(answer)
            stack.callback(one.stop)
            return one

        yield made


def target(member: Member, *, http: bool = False) -> Target:
    """How it is asked."""
    return Target(address=HERE, port=member.port, probe=HttpProbe(path="/h") if http else TcpProbe(), pace=QUICK)


def test_who_changes_together_is_told_when_all_is_known() -> None:
    """Else a pool would be laid anew for each of a hundred who fall sick at once."""
    thought: list[set[bool]] = []
    nowhere = Target(address="255.255.255.255", port=1, probe=TcpProbe(), pace=replace(QUICK, fall=1, interval_s=9))
    with Prober(lambda _: thought.append({one.up for one in asked.healths().values()}), SystemClock()) as asked:
        asked.watch(dict.fromkeys(range(9), nowhere))
        until(lambda: len(thought) == 9, WITHIN_S)
    assert thought[0] == {False}


@pytest.mark.parametrize(
    ("answer", "well"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 302 Found\r\n", True),
        (b"HTTP/1.1 204\r\n", True),
        (b"HTTP/1.1 503 no\r\n", False),
        (b"HTTP/1.1 2000 no\r\n", False),
        (b"HTTP/1.1 20", False),
        (b"", False),
        (b"x" * 100_000, False),
        (None, False),
    ],
)
def test_what_an_answer_by_http_is_worth(prober: Prober, member: Make, answer: bytes | None, well: bool) -> None:
    """2xx and 3xx are well; all else, silence and rubbish are not, and are told as checked."""
    asked = member(answer)
    prober.watch({"m": target(asked, http=True)})
    until(lambda: prober.health("m").checked, WITHIN_S)
    assert prober.health("m").up is well
    assert (prober.health("m").why == "") is well


def test_the_status_that_is_expected_is_the_probe_s(prober: Prober, member: Make) -> None:
    """One that is usually well is not, and one that is usually not is."""
    asked, probe = member(b"HTTP/1.1 200 OK\r\n"), HttpProbe(path="/h", status="300-302,401")
    prober.watch({"m": Target(address=HERE, port=asked.port, probe=probe, pace=QUICK)})
    until(lambda: not prober.health("m").up, WITHIN_S)
    assert "200" in prober.health("m").why
    asked.answer = b"HTTP/1.1 401 who\r\n"
    until(lambda: prober.health("m").up, WITHIN_S)


def test_the_first_check_waits_as_long_as_it_shall(prober: Prober, member: Make) -> None:
    """Of a new member; one whose probe alone is another is asked at once."""
    asked = member(b"")
    slow = Target(address=HERE, port=asked.port, probe=TcpProbe(), pace=replace(QUICK, initial_delay_s=3600.0))
    prober.watch({"late": slow, "soon": target(asked)})
    until(lambda: prober.health("soon").checked and asked.count > 2, WITHIN_S)
    assert not prober.health("late").checked
    assert prober.health("late").up
    prober.watch({"late": replace(slow, probe=TcpProbe(port=asked.port))})
    until(lambda: prober.health("late").checked, WITHIN_S)


@pytest.mark.parametrize("probe", [None, TcpProbe(), HttpProbe()])
def test_what_is_not_said_is_as_usual(probe: Probe | None) -> None:
    """And what is said counts."""
    assert pace_of(probe) == Pace()
    said = TcpProbe(interval_s=5.0, timeout_s=3.0, rise=4, fall=6, initial_delay_s=7.0)
    assert pace_of(said) == Pace(interval_s=5.0, timeout_s=3.0, rise=4, fall=6, initial_delay_s=7.0, rest_s=5.0)


def test_how_many_it_takes(prober: Prober, member: Make, heard: list[Hashable]) -> None:
    """So many failures in a row make it sick, so many passes well again, and each turn is told once."""
    asked = member(b"HTTP/1.1 200 OK\r\n")
    prober.watch({"m": target(asked, http=True)})
    until(lambda: prober.health("m").checked, WITHIN_S)
    asked.answer, before = b"HTTP/1.1 500 no\r\n", asked.count
    until(lambda: not prober.health("m").up, WITHIN_S)
    assert asked.count - before >= QUICK.fall
    asked.answer, before = b"HTTP/1.1 200 OK\r\n", asked.count
    until(lambda: prober.health("m").up, WITHIN_S)
    assert asked.count - before >= QUICK.rise
    until(lambda: heard == ["m", "m"], WITHIN_S)


def test_a_sick_member_is_never_both_up_and_checked(prober: Prober, member: Make) -> None:
    """Until its checks have failed it is up by belief alone."""
    asked = member(b"")
    asked.stop()
    prober.watch({"m": target(asked)})
    seen = set()
    while (health := prober.health("m")).up:
        seen.add(health.checked)
        time.sleep(0.001)
    assert seen <= {False}
    assert health.checked


def test_who_is_well_is_spared_and_doubted_at_once(prober: Prober, member: Make) -> None:
    """One that is well is left alone so long; after one bad answer it is asked as often as ever."""
    asked = member(b"HTTP/1.1 200 OK\r\n")
    prober.watch({"m": target(asked, http=True)}, spared_s=600.0)
    until(lambda: prober.health("m").checked, WITHIN_S)
    time.sleep(QUICK.interval_s * 10)
    assert asked.count == 1
    other = member(b"HTTP/1.1 500 no\r\n")
    prober.watch({"m": target(other, http=True)}, spared_s=600.0)
    until(lambda: not prober.health("m").up, WITHIN_S)
    assert asked.count == 1


def test_who_is_spared_is_asked_together_with_others(member: Make) -> None:
    """To wake up costs more than to ask: there are fewer wakings-up than checks."""

    class Counting(selectors.DefaultSelector):
        count = 0

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            self.count += 1
            return super().select(timeout)

    asked = member(b"")
    prober = Prober(lambda _: None, SystemClock())
    prober._selector = selector = Counting()
    with prober:
        prober.watch({number: target(asked) for number in range(200)}, spared_s=0.5)
        until(lambda: asked.count >= 400, WITHIN_S)
        woken, checks = selector.count, asked.count
        until(lambda: asked.count >= checks + 600, WITHIN_S)
        assert selector.count - woken < (asked.count - checks) / 4


def test_another_pace_makes_nobody_think_anew(prober: Prober, member: Make) -> None:
    """How often one is asked goes by how many there are: what is thought of it stays, and it is not asked anew."""
    asked = member(b"")
    asked.stop()
    prober.watch({"m": target(asked)})
    until(lambda: not prober.health("m").up, WITHIN_S)
    prober.watch({"m": target(asked)}, spared_s=600.0)
    assert prober.healths() == {"m": prober.health("m")}
    assert not prober.health("m").up


def test_a_prober_that_was_held_up_blames_nobody(member: Make) -> None:
    """Its thread does not run for longer than a check may take: an answer has its time from when it was asked for."""
    well, gone = member(b"HTTP/1.1 200 OK\r\n"), member(b"")
    gone.stop()
    pace = Pace(interval_s=0.05, timeout_s=0.5, fall=1)
    turned: list[Hashable] = []

    def hear(key: Hashable) -> None:
        turned.append(key)
        time.sleep(pace.timeout_s * 1.4)  # The member hangs up after a second.

    with Prober(hear, SystemClock()) as prober:
        targets = {"well": target(well, http=True), "gone": target(gone)}
        prober.watch({key: replace(one, pace=pace) for key, one in targets.items()})
        until(lambda: prober.health("well").checked, WITHIN_S)
    assert turned == ["gone"]


def test_who_is_not_watched_is_asked_no_more(prober: Prober, member: Make) -> None:
    """And one that is watched as before is not thought of anew."""
    gone, stays = member(b""), member(b"")
    stays.stop()
    prober.watch({"gone": target(gone), "stays": target(stays)})
    until(lambda: gone.count > 0 and not prober.health("stays").up, WITHIN_S)
    prober.watch({"stays": target(stays)})
    assert not prober.health("stays").up
    time.sleep(1.0)  # What was on its way has arrived.
    before = gone.count
    time.sleep(0.5)
    assert gone.count == before
    assert prober.health("gone") == Health(up=True, checked=True)


def test_one_that_is_silent_holds_up_nobody(prober: Prober, member: Make) -> None:
    """Hundreds that never answer, and one that does: it is well all the time."""
    silent, good = member(None), member(b"HTTP/1.1 200 OK\r\n")
    targets: dict[Hashable, Target] = {number: target(silent, http=True) for number in range(300)}
    prober.watch({**targets, "good": target(good, http=True)})
    until(lambda: prober.health("good").checked and good.count > 3, WITHIN_S)
    until(lambda: not any(prober.health(number).up for number in range(300)), 60.0)
    assert prober.health("good").up


def test_the_last_results_are_kept_and_no_more(prober: Prober, member: Make) -> None:
    """Ten of each, the oldest first, with the time and what was met; another member begins with none."""
    asked, began = member(b"HTTP/1.1 200 OK\r\n"), time.time()
    prober.watch({"m": target(asked, http=True)})
    until(lambda: len(prober.results()["m"]) == PROBES_KEPT, WITHIN_S)
    asked.answer = b"HTTP/1.1 500 no\r\n"
    until(lambda: prober.results()["m"][-1].why != "", WITHIN_S)
    results = prober.results()["m"]
    assert (len(results), results[-1].why) == (PROBES_KEPT, "the answer is 500")
    times = [one.at_s for one in results]
    assert times == sorted(times)
    assert began <= times[0] <= times[-1] <= time.time()
    prober.watch({"m": replace(target(asked, http=True), port=asked.port + 1)})
    until(lambda: bool(prober.results()["m"]), WITHIN_S)
    assert "refused" in prober.results()["m"][0].why

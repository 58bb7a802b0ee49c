"""A lease with trouble at each call that has an effect: never two clients of one VM, none served that one had."""

from __future__ import annotations

import functools

import pytest

from orchestrator.errors import Unreachable
from orchestrator.model import Lease
from tests.trouble.wishes import gone
from tests.world.fabric import Fabric, Trouble, die, hang_up, web_role
from tests.world.lending import Clients

ROLE = web_role(instances=1)


def asked(clients: Clients) -> Lease:
    """As a client does who gets no answer: he asks again, and the other one is nobody's."""
    try:
        return clients.ask()
    except Unreachable:
        return clients.ask()


def two_leases(fabric: Fabric) -> tuple[int, int]:
    """Two clients of one instance, one after the other: over by a word, then by its time. Returns how many calls had
    an effect before the first asked, and until both were over.
    """
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    marks = [fabric.trouble.calls]
    clients = Clients(fabric)
    first = asked(clients)
    second = fabric.control.lend("shop", for_s=60.0)
    for lease in (first, second):
        clients.until_given(lease, second)
        before = fabric.instance()
        machine = fabric.world.machines[before.name]
        assert machine.system_marker == "", "he has what somebody else has left"
        machine.system_marker = lease.id
        if lease is first:
            clients.end(lease)
    clients.until(lambda: not fabric.control.leases(), second)
    clients.until(fabric.quiet)
    after = fabric.instance()
    assert after.generation == 3
    assert fabric.world.machines[after.name].system_marker == ""
    assert after.name in fabric.world.seats_taken
    marks.append(fabric.trouble.calls)
    fabric.remove()
    gone(fabric)
    return marks[0], marks[1]


@functools.cache
def calls() -> range:
    """The calls with an effect of one untroubled life, from the first word of the first client to the last end."""
    first, last = two_leases(Fabric())
    return range(first + 1, last + 1)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_daemon_dies_at_every_call(after: bool) -> None:
    """kill -9: both clients have their VM, each a new one."""
    assert len(calls()) > 40
    for at in calls():
        two_leases(Fabric(Trouble(at, after, die)))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_peer_hangs_up(after: bool) -> None:
    """At every fifth call one is gone, or never answers."""
    for at in calls()[after::5]:
        two_leases(Fabric(Trouble(at, after, hang_up)))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_client_gives_it_back_at_any_call(after: bool) -> None:
    """Whenever a client gives it back: it is made anew, or has never been his."""
    for at in calls()[after::5]:
        fabric = Fabric(Trouble(at, after))
        fabric.deploy(ROLE)
        fabric.until(fabric.quiet)
        clients = Clients(fabric)
        mine = clients.ask()
        fabric.trouble.strike = functools.partial(clients.end, mine)
        clients.until(lambda fabric=fabric: not fabric.control.leases() and fabric.quiet())
        had = mine.id in clients.theirs
        assert fabric.instance().generation >= 1 + had
        assert fabric.instance().name in fabric.world.seats_taken
        fabric.remove()
        gone(fabric)


def test_the_operator_protects_it_at_any_call() -> None:
    """He takes back what was asked of it, and not that: nobody is given what a client has left."""
    for at in calls()[::5]:
        fabric = Fabric(Trouble(at, after=bool(at % 2)))
        fabric.deploy(ROLE)
        fabric.until(fabric.quiet)
        clients = Clients(fabric)
        mine = fabric.control.lend("shop", for_s=60.0)

        def strike(fabric: Fabric = fabric) -> None:
            fabric.control.protect("shop", on=True)
            fabric.control.protect("shop", on=False)

        fabric.trouble.strike = strike
        clients.until(lambda fabric=fabric: not fabric.control.leases(), mine)
        clients.until(fabric.quiet)
        fabric.remove()
        gone(fabric)

"""Leases: one client has an instance out of rotation, nobody gets it as he left it or touches it meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.control import records
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.model import Instance, Lease, Leasing, Phase, Power, Progress, Verb
from orchestrator.model.lease import WAITING_MAX
from tests.unit.control.fleet import OTHER, WEB, deployed, serving, told
from tests.world.fabric import Fabric, web_role
from tests.world.lending import Clients


def test_it_leaves_rotation_first_and_is_made_anew_before_it_serves_again() -> None:
    """What the client has written is gone."""
    fabric = deployed()
    clients = Clients(fabric)
    assert WEB in fabric.world.seats_taken
    mine = clients.until_given(clients.ask())
    assert (mine.instance, fabric.instance().phase) == (WEB, Phase.LEASED)
    assert WEB not in fabric.world.seats_taken
    fabric.world.machines[WEB].system_marker = "a client's"
    clients.end(mine)
    clients.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.world.machines[WEB].system_marker) == (2, "")
    assert WEB in fabric.world.seats_taken
    assert f"{mine.id} ends: its end was asked for" in told(fabric)
    assert "leased -> stopping: its lease has ended" in told(fabric)
    assert fabric.control.leases() == []


def test_a_queue_is_served_in_order() -> None:
    """Two clients of one instance: the second waits, is told his place, and gets it as it is made anew."""
    fabric = deployed()
    clients = Clients(fabric)
    first, second, third = clients.ask(), clients.ask(), clients.ask()
    clients.until_given(first, second, third)
    assert [fabric.control.lease_place(one) for one in fabric.control.leases("shop")] == [
        (0, ""),
        (1, "1 leased"),
        (2, "1 leased"),
    ]
    clients.end(first)
    clients.until_given(second, third)
    assert fabric.instance().generation == 2
    clients.end(third)
    clients.end(second)
    clients.until(fabric.quiet)
    assert clients.order == [first.id, second.id]


def test_it_ends_when_its_time_is_over() -> None:
    """Which begins when it is given, whoever attends."""
    fabric = deployed()
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask(for_s=60.0))
    assert mine.until_s - mine.given_at_s == 60
    clients.until(lambda: not fabric.control.leases(), mine)
    assert 60 <= fabric.world.now_s() - mine.given_at_s < 65
    clients.until(fabric.quiet)
    assert fabric.instance().generation == 2


@pytest.mark.parametrize("waits", [False, True])
def test_a_client_of_whom_nothing_is_heard_is_gone(waits: bool) -> None:
    """While he waits as well: nothing is kept for somebody who is not there."""
    fabric = deployed()
    clients = Clients(fabric)
    kept = clients.until_given(clients.ask())
    lost = clients.ask() if waits else kept
    clients.until(lambda: lost not in fabric.control.leases(), *([kept] if waits else []))
    clients.until(lambda: lost.id not in [one.id for one in fabric.control.leases()], *([kept] if waits else []))
    assert any("nothing is heard of its client" in line for line in told(fabric, "shop") + told(fabric))
    if waits:
        assert fabric.instance().phase is Phase.LEASED


def test_who_leaves_it_to_its_time_has_it_so_long_unheard() -> None:
    """Only once he has it."""
    fabric = deployed()
    clients = Clients(fabric)
    asked = clients.ask(for_s=300.0)
    with pytest.raises(Conflict, match="not given yet"):
        fabric.control.attend(asked.id, on=False)
    mine = clients.until_given(asked)
    fabric.control.attend(mine.id, on=False)
    clients.until(lambda: not fabric.control.leases())
    assert fabric.world.now_s() - mine.given_at_s >= 300


def test_a_daemon_that_starts_gives_every_client_his_time_anew() -> None:
    """He could not be heard of meanwhile."""
    fabric = deployed()
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask())
    fabric.world.pass_time(600.0)
    fabric.restart()
    fabric.round()
    assert clients.attend(mine) == [mine]
    clients.until(lambda: not fabric.control.leases())


@pytest.mark.parametrize(
    ("for_s", "message"),
    [(7200.5, "roles.web.lease.longest of shop is 2 h"), (0.0, "is none"), (-1.0, "is none")],
)
def test_a_time_that_the_role_does_not_allow(for_s: float, message: str) -> None:
    """Names the key, and what to do."""
    fabric = deployed()
    with pytest.raises(InvalidInput, match=message) as caught:
        fabric.control.lend("shop", for_s=for_s)
    assert caught.value.hint.startswith("ask for 2 h at most")
    fabric.control.lend("shop", for_s=7200.0)


def test_what_cannot_be_leased_is_refused_with_a_word() -> None:
    """No such service or role, several roles, none of its instances, a service that goes."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1), web_role(name="db", instances=0, endpoints=()))
    fabric.until(fabric.quiet)
    with pytest.raises(NotFound):
        fabric.control.lend("other", for_s=60.0)
    with pytest.raises(InvalidInput, match="several roles") as caught:
        fabric.control.lend("shop", for_s=60.0)
    assert "--role: web, db" in caught.value.hint
    with pytest.raises(NotFound, match="no role"):
        fabric.control.lend("shop", role="app", for_s=60.0)
    with pytest.raises(Conflict, match="no instances of db"):
        fabric.control.lend("shop", role="db", for_s=60.0)
    fabric.remove()
    with pytest.raises(Conflict, match="being deleted"):
        fabric.control.lend("shop", role="web", for_s=60.0)


def test_the_queue_has_an_end() -> None:
    """Of each service; who has an instance does not wait."""
    fabric = deployed()
    clients = Clients(fabric)
    clients.until_given(clients.ask())
    for _ in range(WAITING_MAX):
        clients.ask()
    with pytest.raises(Conflict, match=f"{WAITING_MAX} wait"):
        clients.ask()


@pytest.mark.parametrize("verb", Verb)
def test_no_verb_takes_it_from_its_client(verb: Verb) -> None:
    """One that names it alone is refused and says what to do; one of its role passes by, and is over."""
    fabric = serving(2)
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask())
    with pytest.raises(Conflict, match=f"{mine.instance} is leased") as caught:
        fabric.control.act(verb, mine.instance)
    assert f"vmrole lease end {mine.id}" in caught.value.hint
    operation = fabric.control.act(verb, "shop")
    clients.until(lambda: fabric.control.operation(operation.id).progress is Progress.DONE, mine)
    assert "1 leased and " in fabric.control.operation(operation.id).message
    assert (fabric.instance(mine.instance).phase, fabric.instance(mine.instance).generation) == (Phase.LEASED, 1)


@pytest.mark.parametrize(
    "away",
    [
        lambda fabric: fabric.control.remove("shop"),
        lambda fabric: fabric.control.scale("shop", {"web": 0}),
        lambda fabric: fabric.deploy(web_role(name="app")),
    ],
    ids=["delete", "scale", "apply"],
)
def test_nobody_removes_it_under_its_client(away: Callable[[Fabric], object]) -> None:
    """Until the lease ends."""
    fabric = deployed()
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask())
    with pytest.raises(Conflict, match="is leased"):
        away(fabric)
    clients.end(mine)
    away(fabric)


def test_who_waits_for_a_service_that_is_deleted_waits_no_more() -> None:
    """He is told that it has ended."""
    fabric = deployed()
    clients = Clients(fabric)
    fabric.control.protect("shop", on=True)
    waits = clients.ask()
    fabric.round()
    fabric.control.protect("shop", on=False)
    fabric.remove()
    fabric.until(lambda: not fabric.control.leases())
    with pytest.raises(NotFound, match="may have ended"):
        clients_attend(fabric, waits)


def clients_attend(fabric: Fabric, lease: Lease) -> Lease:
    """As a client does."""
    return fabric.control.attend(lease.id)


def test_nothing_is_healed_under_a_client() -> None:
    """He may have it off or broken: that is his to say; it is made anew after him."""
    fabric = deployed()
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask())
    fabric.world.machines[WEB].power = Power.OFF
    for _ in range(200):
        fabric.round()
        clients.attend(mine)
    assert (fabric.instance().phase, fabric.instance().strikes) == (Phase.LEASED, 0)
    assert "shut off" in fabric.instance().waiting or "off" in fabric.instance().waiting
    clients.end(mine)
    clients.until(fabric.quiet)
    assert fabric.instance().generation == 2


def test_a_rollout_goes_by_and_it_takes_the_new_template_at_its_end() -> None:
    """It is not held up, has begun nobody's VM anew under him, and he is told of nothing."""
    fabric = serving(2)
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask())
    bigger = web_role(size=dataclasses.replace(web_role().size, memory_mib=256))
    fabric.deploy(bigger)
    clients.until(lambda: all(one.progress is Progress.DONE for one in fabric.control.operations()), mine)
    (rollout,) = fabric.control.operations()
    assert "1 leased and made anew when their leases end" in rollout.message
    assert fabric.instance(mine.instance).role.size.memory_mib == 128
    clients.end(mine)
    clients.until(fabric.quiet)
    assert {one.role.size.memory_mib for one in fabric.instances()} == {256}


def test_who_asks_while_it_is_being_rolled_out_gets_one_that_is_as_the_file_says() -> None:
    """The only instance is on its way: he waits, is told so, is not refused, and holds up nothing; the rollout goes
    to its end.
    """
    fabric = deployed()
    clients = Clients(fabric)
    fabric.deploy(web_role(instances=1, size=dataclasses.replace(web_role().size, memory_mib=256)))
    clients.until(lambda: not fabric.instance().serving)
    mine = clients.ask()
    assert fabric.control.lease_place(mine) == (1, "1 on the way")
    given = clients.until_given(mine)
    assert (given.instance, fabric.instance().role.size.memory_mib) == (WEB, 256)
    clients.until(lambda: all(one.progress is Progress.DONE for one in fabric.control.operations()), mine)
    clients.end(given)
    clients.until(fabric.quiet)
    assert fabric.instance().generation == 3


def test_the_end_of_a_lease_is_no_rollout() -> None:
    """While a rollout is paused, what was leased is made anew as it was."""
    fabric = serving(2)
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask())
    fabric.control.stand_still("shop")
    fabric.deploy(web_role(size=dataclasses.replace(web_role().size, memory_mib=256)))
    clients.end(mine)
    clients.until(lambda: fabric.instance(mine.instance).serving)
    assert (fabric.instance(mine.instance).generation, fabric.instance(mine.instance).role.size.memory_mib) == (
        2,
        128,
    )


def test_what_is_leased_holds_up_no_healing_of_the_others() -> None:
    """It is out by its client's doing, as what is protected is."""
    fabric = serving(2)
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask())
    other = OTHER if mine.instance == WEB else WEB
    fabric.world.machines[other].power = Power.OFF
    clients.until(lambda: not fabric.instance(other).serving, mine)
    clients.until(lambda: fabric.instance(other).serving, mine)


@pytest.mark.parametrize("late", [False, True], ids=["while it is leased", "after the end"])
def test_what_was_leased_is_made_anew_though_somebody_protects_it(late: bool) -> None:
    """He looks into what the client left; nobody gets it as it is, also when he lets it go."""
    fabric = deployed()
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask())
    if late:
        clients.end(mine)
    fabric.control.protect(WEB, on=True)
    clients.end(mine)
    for _ in range(30):
        fabric.round()
        clients.look()
    assert fabric.instance().phase is Phase.LEASED
    fabric.control.protect(WEB, on=False)
    clients.until(fabric.quiet)
    assert fabric.instance().generation == 2


def test_a_stop_after_the_end_leaves_nothing_of_the_client() -> None:
    """It is off without a disk of his, and made anew at its start."""
    fabric = deployed()
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask())
    fabric.world.machines[WEB].system_marker = "a client's"
    clients.end(mine)
    fabric.act(Verb.STOP, WEB)
    clients.until(lambda: fabric.instance().phase is Phase.STOPPED)
    assert WEB not in fabric.world.machines
    fabric.act(Verb.START, WEB)
    clients.until(fabric.quiet)
    assert fabric.world.machines[WEB].system_marker == ""


def test_who_gives_it_back_while_it_drains_lets_it_serve_on() -> None:
    """Nobody has had it: it is not made anew."""
    fabric = deployed(drain_s=20.0)
    clients = Clients(fabric)
    fabric.world.connections[WEB] = 1
    asked = clients.ask()
    clients.until(lambda: fabric.instance().phase is Phase.DRAINING, asked)
    clients.end(asked)
    clients.until(fabric.quiet)
    assert fabric.instance().generation == 1


def test_a_lease_whose_record_is_lost_ends_with_a_reimage() -> None:
    """As after damage to the store."""
    fabric = deployed()
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask())
    fabric.store.commit([records.drop(mine)])
    fabric.daemon.attend(("lease", "shop"))
    clients.until(fabric.quiet)
    assert fabric.instance().generation == 2
    assert "its lease is not recorded any more" in told(fabric)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "lease-x"},
        {"for_s": 0.0},
        {"for_s": float(8 * 86_400)},
        {"role": "../etc"},
        {"service": "a/b"},
        {"instance": "db-0.shop"},
        {"given_at_s": 5.0, "until_s": 4.0},
    ],
    ids=str,
)
def test_a_lease_that_cannot_be_is_set_aside(changes: dict[str, Any]) -> None:
    """It gives nobody anything."""
    fabric = deployed()
    asked = fabric.control.lend("shop", for_s=60.0)
    write = records.put(asked)
    fabric.store.commit([dataclasses.replace(write, body={**(write.body or {}), **changes})])
    assert [aside.kind for aside in fabric.present.set_aside()] == ["lease"]
    fabric.round()
    assert not any(one.leased for one in fabric.present.all(Instance))


def test_a_shorter_time_in_the_file_is_for_those_who_come() -> None:
    """Who has one keeps it."""
    fabric = deployed()
    clients = Clients(fabric)
    mine = clients.until_given(clients.ask(for_s=7200.0))
    fabric.deploy(web_role(instances=1, lease=Leasing(longest_s=60.0)))
    with pytest.raises(InvalidInput, match="longest of shop is 1 min"):
        clients.ask(for_s=61.0)
    assert clients.attend(mine)[0].until_s == mine.until_s

"""What follows from what a guest says of itself, by its boot, its time and its role."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from orchestrator.model import Instance, Phase, PoolName, Says, Seat, Standing, Word
from orchestrator.model.cause import Kind
from orchestrator.rules import pool, words
from orchestrator.rules.pool import Wanted
from tests.unit.control.fleet import deployed
from tests.world.instances import checkpoint

NOW_S = 1000.0
UP = Seat(address="10.90.0.2", standing=Standing.UP, connections=1, pools=(PoolName("shop.web.http"),))
BOOT = "the present boot"


@pytest.fixture(scope="module")
def one() -> Instance:
    """A serving instance with an endpoint, in a boot that has a name."""
    return replace(deployed().instance(), boot_id=BOOT)


def said(
    instance: Instance, says: Says, *, for_s: float = 0.0, boot_id: str = BOOT, at_s: float = NOW_S - 1
) -> Instance:
    """The instance whose guest has said that."""
    word = Word(says=says, boot_id=boot_id, at_s=at_s, until_s=at_s + for_s if for_s else 0.0)
    return replace(instance, word=word)


def asked(instance: Instance) -> Instance:
    """The instance of a role that wants its guest's word."""
    role = replace(instance.goal.role, ready=replace(instance.goal.role.ready, guest=True))
    return replace(instance, goal=replace(instance.goal, role=role), role=role)


def kind(instance: Instance) -> Kind | None:
    """Why it is kept out."""
    cause = words.keeps_out(instance, NOW_S)
    return cause.kind if cause else None


def test_who_says_nothing_is_left_where_it_is(one: Instance) -> None:
    """Also where its role asks for its word: its VM may be older than the channel."""
    assert kind(one) is None
    assert kind(asked(one)) is None


@pytest.mark.parametrize(
    ("for_s", "boot_id", "out"),
    [(30.0, BOOT, True), (0.5, BOOT, False), (1.0, BOOT, False), (30.0, "another boot", False), (30.0, "", True)],
)
def test_busy_counts_in_its_boot_and_until_it_lapses(one: Instance, for_s: float, boot_id: str, out: bool) -> None:
    """A serving member keeps its open connections; one on its way into the pool has none."""
    busy = said(one, Says.BUSY, for_s=for_s, boot_id=boot_id)
    assert (kind(busy) is Kind.GUEST_BUSY) is out
    assert pool.wanted(busy, True, UP, NOW_S) is (Wanted.OUT if out else Wanted.IN)
    assert pool.wanted(busy, True, None, NOW_S) is (Wanted.AWAY if out else Wanted.IN)
    ready = replace(busy, phase=Phase.READY)
    assert pool.wanted(ready, True, UP, NOW_S) is (Wanted.AWAY if out else Wanted.IN)
    assert pool.wanted(busy, False, UP, NOW_S) is not Wanted.IN


def test_ready_is_waited_for_where_the_role_asks(one: Instance) -> None:
    """While its services start alone; a word of another boot, a lapsed one and a busy one are none."""
    starting = replace(one, phase=Phase.STARTING, phase_since_s=NOW_S - 10)
    assert kind(starting) is None
    waits = asked(starting)
    assert kind(waits) is Kind.GUEST_WORD_AWAITED
    assert kind(said(waits, Says.READY)) is None
    assert kind(said(waits, Says.READY, boot_id="another boot")) is Kind.GUEST_WORD_AWAITED
    assert kind(said(waits, Says.READY, for_s=0.5)) is Kind.GUEST_WORD_AWAITED
    assert kind(said(waits, Says.BUSY, for_s=0.5)) is Kind.GUEST_WORD_AWAITED
    assert kind(said(waits, Says.BUSY, for_s=30.0)) is Kind.GUEST_BUSY


def test_a_boot_without_a_name_forgets_what_was_said_before(one: Instance) -> None:
    """Of a guest without an agent: what it said before it began to start is of its last boot."""
    starting = replace(asked(one), phase=Phase.STARTING, phase_since_s=NOW_S - 10, boot_id="")
    assert kind(said(starting, Says.READY, at_s=NOW_S - 11)) is Kind.GUEST_WORD_AWAITED
    assert kind(said(starting, Says.READY, at_s=NOW_S - 9)) is None


def test_a_ready_that_lapses_takes_a_serving_one_out(one: Instance) -> None:
    """Where the role asks for it; a busy that lapses puts it back."""
    lapsed = said(one, Says.READY, for_s=0.5)
    assert kind(lapsed) is None
    assert kind(asked(lapsed)) is Kind.GUEST_WORD_LAPSED
    assert kind(asked(said(one, Says.BUSY, for_s=0.5))) is None


def test_it_is_looked_at_again_as_its_word_lapses(one: Instance) -> None:
    """And at least each minute."""
    assert words.again_s(said(one, Says.BUSY, for_s=6.0), NOW_S) == 5.0
    assert words.again_s(said(one, Says.BUSY, for_s=1000.0), NOW_S) == words.LATEST_S
    assert words.lapses_in_s(said(one, Says.READY, for_s=6.0), NOW_S) == 5.0
    assert words.lapses_in_s(said(one, Says.READY), NOW_S) == math.inf
    assert words.lapses_in_s(one, NOW_S) == math.inf


def test_a_guest_is_answered_when_nobody_new_comes_to_it(one: Instance) -> None:
    """Not as long as its turn has not come as far as that."""
    busy = said(one, Says.BUSY, for_s=30.0)
    assert words.acted_upon(busy) is None
    cause = words.keeps_out(busy, NOW_S)
    assert words.acted_upon(replace(busy, waits_for=cause)) == busy.word
    assert words.acted_upon(replace(busy, phase=Phase.DRAINING)) == busy.word
    assert words.acted_upon(said(one, Says.READY)) is not None
    assert words.acted_upon(one) is None


def test_who_goes_on_from_a_checkpoint_had_said_so_before_it_was_taken(one: Instance) -> None:
    """In the checkpoint's own boot alone, and not against a word of its own."""
    kept = checkpoint(boot=1, boot_id=BOOT)
    starting = replace(asked(one), phase=Phase.STARTING, phase_since_s=NOW_S - 10)
    restored = replace(starting, checkpoint=kept, layered=starting.generation)
    assert kind(restored) is None
    assert kind(replace(restored, boot_id="a boot of its disk")) is Kind.GUEST_WORD_AWAITED
    assert kind(replace(restored, layered=0)) is Kind.GUEST_WORD_AWAITED
    assert kind(said(restored, Says.BUSY, for_s=30.0)) is Kind.GUEST_BUSY

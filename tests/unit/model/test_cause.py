"""Causes: a sentence for each kind, whose turn it is, and what a record of another version makes of them."""

from __future__ import annotations

import dataclasses
import random
import re
from typing import Any

import pytest

from orchestrator.control.records import to_json
from orchestrator.errors import (
    Busy,
    CommandFailed,
    Conflict,
    EndpointRefused,
    Foreign,
    ImageCorrupt,
    NoSpace,
    Permanent,
    Transient,
    Unreachable,
    VmroleError,
    Whose,
)
from orchestrator.model.cause import SENTENCES, Cause, Kind, of_error, recorded
from tests.world.places import REPOSITORY

STARTING = Cause(Kind.STARTING, detail="no answer")
PRODUCT = REPOSITORY / "orchestrator"


def test_each_kind_has_its_sentence_and_somebody_who_says_it() -> None:
    """No kind without words of its own, and none that nothing in the product comes to."""
    assert set(SENTENCES) == set(Kind)
    texts = [path.read_text() for path in (PRODUCT / "model" / "cause.py", *PRODUCT.rglob("*.py"))]
    sources = texts[0] + "".join(text for text in texts if "model.cause import" in text)
    without_table = re.sub(r"Kind\.\w+: Sentence\(", "", sources)
    used = set(re.findall(r"\bKind\.([A-Z_]+)\b", without_table))
    assert used == {kind.name for kind in Kind}


@pytest.mark.parametrize(
    ("cause", "sentence", "whose"),
    [
        (STARTING, "the guest is starting: no answer", Whose.GUEST),
        (
            Cause(Kind.OVERDUE, subject="starting", reason=STARTING),
            "overdue while starting: the guest is starting: no answer",
            Whose.GUEST,
        ),
        (
            Cause(Kind.STARTING, reason=Cause(Kind.NO_AGENT, detail="no answer", hint="has it one?")),
            "the guest is starting: no answer (has it one?)",
            Whose.IMAGE,
        ),
        (
            Cause(Kind.SERVICES_FAILED, names=("a", "b"), also=Cause(Kind.SERVICES_PENDING, names=("c",))),
            "failed to start: a, b; still starting: c",
            Whose.GUEST,
        ),
        (
            Cause(Kind.VM_ENDING, detail=", which is paused").besides(Cause(Kind.PROTECTED)),
            "ending the VM, which is paused; it is protected: nothing is done to it until: vmrole unprotect",
            Whose.HOST,
        ),
        (
            Cause(Kind.ILL_TOGETHER, subject="web.shop", detail="2 of 3", names=("web-1.shop",)),
            "2 of 3 instances of web.shop are ill together (web-1.shop, too): none is restarted or reimaged, "
            "each comes back when it is well",
            None,
        ),
        (Cause(Kind.PROBE_FAILS, detail="{names} %s"), "the ready probe says: {names} %s", Whose.GUEST),
    ],
)
def test_a_cause_is_told_in_a_sentence(cause: Cause, sentence: str, whose: Whose | None) -> None:
    """Its words, what is behind it, the hint in brackets, and what is to be said besides; the guest's braces stay."""
    assert (str(cause), cause.whose) == (sentence, whose)


def test_what_is_behind_a_lateness_is_the_matter() -> None:
    """Scripts want to know what is wrong, not that it took too long."""
    frozen = Cause(Kind.FROZEN, detail="a backup")
    assert Cause(Kind.OVERDUE, subject="setup", reason=Cause(Kind.SETUP_RUNS, reason=frozen)).root == frozen
    assert Cause(Kind.FAILED, subject="setup", reason=STARTING).root == STARTING


@pytest.mark.parametrize(
    ("error", "kind", "whose"),
    [
        (Unreachable("libvirt does not answer", hint="is it running?"), Kind.UNREACHABLE, Whose.HOST),
        (NoSpace("full"), Kind.NO_SPACE, Whose.HOST),
        (Busy("HAProxy is busy", whose=Whose.BALANCER), Kind.BUSY, Whose.BALANCER),
        (EndpointRefused("port 53 is taken", pools=frozenset()), Kind.ENDPOINT_REFUSED, Whose.BALANCER),
        (Transient("later"), Kind.PASSING, Whose.HOST),
        (Foreign("not ours"), Kind.FOREIGN, Whose.HOST),
        (ImageCorrupt("it was written to"), Kind.IMAGE_CORRUPT, Whose.IMAGE),
        (CommandFailed(("ip", "link"), 1, "no"), Kind.COMMAND_FAILED, Whose.HOST),
        (Permanent("the answers are refused", whose=Whose.ANSWERS), Kind.REFUSED, Whose.ANSWERS),
        (Conflict("in use"), Kind.PASSING, Whose.SERVICE),
    ],
)
def test_an_error_of_the_world_is_a_cause(error: VmroleError, kind: Kind, whose: Whose) -> None:
    """Its class says the kind, it says whose turn it is, and its words are those that people read."""
    cause = of_error(error)
    assert (cause.kind, cause.whose) == (kind, whose)
    assert str(cause) == (f"{error} ({error.hint})" if error.hint else str(error))


def _any(chance: random.Random, depth: int = 0) -> Cause:
    def maybe(value: Any, otherwise: Any) -> Any:
        return value if chance.random() < 0.5 else otherwise

    more = depth < 3
    return Cause(
        chance.choice(list(Kind)),
        blames=maybe(chance.choice(list(Whose)), None),
        subject=maybe("web.shop", ""),
        detail=maybe("it says {no}", ""),
        hint=maybe("look", ""),
        names=maybe(("a", "b"), ()),
        reason=maybe(_any(chance, depth + 1), None) if more else None,
        also=maybe(_any(chance, depth + 1), None) if more else None,
    )


def test_what_is_recorded_is_read_back() -> None:
    """Any cause, however deep, with and without the fields that say nothing."""
    chance = random.Random(1)
    for _ in range(200):
        cause = _any(chance)
        body = to_json(cause)
        assert recorded(body) == cause
        assert recorded({key: value for key, value in body.items() if value}) == cause
        assert str(cause) == str(recorded(body))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (None, ""),
        ("", ""),
        ("its disk is full", "its disk is full"),
        (
            {"kind": "moon-eclipsed", "detail": "for 7 min", "names": ["a"], "hint": "wait"},
            "moon eclipsed: for 7 min: a",
        ),
        (
            {"kind": "starting", "detail": 7, "names": "a", "blames": ["moon"], "reason": {"x": 1}},
            "the guest is starting",
        ),
        ({"kind": 5}, '{"kind": 5}'),
        ([1, 2], "[1, 2]"),
        (7, "7"),
    ],
)
def test_no_record_is_too_odd_for_a_cause(body: object, sentence: str) -> None:
    """Sentences of an earlier version, kinds and shapes of a newer one: each reads as a cause."""
    cause = recorded(body)
    assert (cause is None) is (sentence == "")
    assert str(cause or "").startswith(sentence)


def test_a_newer_kind_keeps_whose_turn_it_is() -> None:
    """Whom it blames, and what is behind it, are known without its words."""
    body = {"kind": "moon-eclipsed", "blames": "balancer", "reason": to_json(STARTING), "phase_of_it": 3}
    cause = recorded(body)
    assert cause is not None
    assert (cause.kind, cause.whose, cause.reason) == (Kind.RECORDED, Whose.BALANCER, STARTING)
    assert dataclasses.replace(cause, blames=None).whose is Whose.GUEST

"""Records of long work, tokens and standstills that cannot be what they say: set aside, told, in nobody's way."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import servicefile
from orchestrator.control import records, verify
from orchestrator.control.asides import SetAside
from orchestrator.control.standstill import standstill_of
from orchestrator.control.tokens import LIFE_MAX_S, LIFE_MIN_S, Tokens
from orchestrator.drivers.fake import FakeStore, World
from orchestrator.errors import InvalidInput
from orchestrator.model import Image, Instance, Operation, Progress, Revision, Rollout, Service, Slot, Verb
from orchestrator.model.right import Right
from orchestrator.model.standstill import Standstill
from orchestrator.model.token import Token
from orchestrator.ports import Document, Write
from tests.world.fabric import Fabric, web_role
from tests.world.odd_records import HOSTILE, NAMES, again, spec_of
from tests.world.service_files import find

NO_TIMES: Final = (float("nan"), float("inf"), -1.0, 1e300)
NO_COUNTS: Final = (-1, "x", None, 1.5)
Place = tuple[str | int, ...]


@pytest.fixture
def fabric() -> Fabric:
    """A service that serves, has been restarted, and is being rolled out; automation stands still, a token opens."""
    made = Fabric()
    made.deploy()
    made.until(made.quiet)
    made.act(Verb.REBUILD, "web.shop")
    made.until(made.quiet)
    made.act(Verb.STOP, "web-1.shop")
    made.until(made.quiet)
    made.act(Verb.START, "web-1.shop")
    made.until(made.quiet)
    made.deploy(web_role(user_data="#!/bin/sh\n"))
    made.until(lambda: bool(one_of(made, records.ROLLOUT).body["walk"]["walked"]))
    Tokens(made.present, made.world).create("ci", Right.OPERATOR, life_s=LIFE_MIN_S, by="uid 0")
    made.control.stand_still("shop", by=0)
    return made


def one_of(fabric: Fabric, kind: str, part: str = "") -> Document:
    """A document of the kind whose body has that part, if one is named, and something in it."""
    return next(one for one in fabric.store.all(kind) if not part or one.body.get(part))


def with_(document: Document, place: Place, value: object) -> Document:
    """The document with that in its place."""
    body: Any = json.loads(json.dumps(dict(document.body)))
    within = body
    for step in place[:-1]:
        within = within[step]
    within[place[-1]] = value
    return dataclasses.replace(document, body=body)


WORK: Final[tuple[tuple[Place, tuple[object, ...]], ...]] = (
    (("id",), (*HOSTILE, "reimage-0")),
    (("subject",), HOSTILE[:5] + HOSTILE[6:]),
    (("service",), (*HOSTILE, "mall", 7)),
    (("targets", 0, 0), (*HOSTILE, "web-0.mall", "web.shop", "web-\u0660.shop", f"web-{'9' * 5000}.shop", "-0.shop")),
    (("targets", 0, 1, "generation"), NO_COUNTS),
    (("targets", 0, 1, "boot"), NO_COUNTS),
    (("together",), (0, *NO_COUNTS)),
    (("created_at_s",), (*NO_TIMES, "x")),
    (("progress",), ("gone", "", None)),
    (("walk", "walked", 0, "name"), (*HOSTILE, "web-9.shop")),
    (("walk", "walked", 0, "begun_at_s"), NO_TIMES),
    (("walk", "canaries"), [[value] for value in HOSTILE]),
    (("walk", "released"), NO_COUNTS),
)
OF_OPERATION: Final = (
    *WORK,
    (("verb",), ("", "destroy", "../restart", None)),
    (("storage",), ([1], [1, 1, 1], [-1, 1], [None, 1])),
)
OF_ROLLOUT: Final = (
    *(part for part in WORK if part[0] != ("subject",)),
    (("service_uid",), [value for value in HOSTILE if value]),
    (("from_revision",), NO_COUNTS),
    (("to_revision",), NO_COUNTS),
    (("restores",), NO_COUNTS),
)
OF_TOKEN: Final = (
    (("name",), (*HOSTILE[:5], *HOSTILE[6:], "another")),
    (("right",), ("root", "", None, 7)),
    (("digest",), [value for value in HOSTILE if value]),
    (("made_at_s",), NO_TIMES),
    (("expires_at_s",), NO_TIMES),
    (("made_by",), ("\x1b]0;owned\x07", "a\nb", "\u202egpj", "\x00", "x" * 5000)),
)
OF_STANDSTILL: Final = ((("service",), (*HOSTILE, "mall")), (("since_s",), NO_TIMES))
KINDS: Final = (
    (records.OPERATION, "storage", Operation, OF_OPERATION),
    (records.ROLLOUT, "", Rollout, OF_ROLLOUT),
    (records.TOKEN, "", Token, OF_TOKEN),
    (records.STANDSTILL, "", Standstill, OF_STANDSTILL),
)


@pytest.mark.parametrize(("kind", "part", "of", "places"), KINDS, ids=[kind for kind, *_ in KINDS])
def test_what_cannot_be_is_set_aside(
    fabric: Fabric, kind: str, part: str, of: type, places: tuple[tuple[Place, tuple[object, ...]], ...]
) -> None:
    """Names, ids, kinds, counts and times, each alone; the record as it was is read."""
    document = one_of(fabric, kind, part)
    assert isinstance(records.decode(document, {}), of)
    for place, values in places:
        for value in values:
            read = records.decode(with_(document, place, value), {})
            assert isinstance(read, SetAside), (place, value, read)


def test_a_stop_counts_for_each_of_its_targets(fabric: Fabric) -> None:
    """Else who asks for the count of the last finds none."""
    document = one_of(fabric, records.OPERATION, "halts")
    assert isinstance(records.decode(document, {}), Operation)
    for value in ([], [1, 1], [-1], ["x"]):
        assert isinstance(records.decode(with_(document, ("halts",), value), {}), SetAside) == (value != [])


@pytest.mark.parametrize("kind", [records.OPERATION, records.ROLLOUT, records.TOKEN])
def test_it_is_told_and_in_nobodys_way(fabric: Fabric, kind: str) -> None:
    """A service is healed, verbs are done and tokens open, whatever one record of them says."""
    document = one_of(fabric, kind)
    place: Place = ("name",) if kind == records.TOKEN else ("service",)
    fabric.control.go_on("shop")
    fabric.store.commit([Write(kind, document.key, with_(document, place, "../x").body, document.revision)])
    fabric.restart()
    assert [(one.kind, one.key) for one in fabric.present.set_aside()] == [(kind, document.key)]
    services, instances = fabric.present.all(Service), fabric.present.all(Instance)
    told = verify.findings(fabric.host, services, instances, fabric.present.set_aside())
    assert [one.subject for one in told if one.code == "RECORD-UNREADABLE"] == [document.key]
    fabric.until(fabric.quiet)
    asked = fabric.control.act(Verb.RESTART, "shop")
    fabric.until(fabric.quiet)
    assert fabric.present.load(Operation, asked.id).progress is Progress.DONE
    tokens = Tokens(fabric.present, fabric.world)
    token, secret = tokens.create("other", Right.VIEWER, life_s=LIFE_MIN_S, by="uid 0")
    assert tokens.by_secret(secret.encode()) == token


def test_a_pause_that_cannot_be_read_pauses(fabric: Fabric) -> None:
    """The most is taken of what nobody can know any more."""
    document = one_of(fabric, records.STANDSTILL)
    fabric.store.commit(
        [Write(document.kind, document.key, with_(document, ("since_s",), -1).body, document.revision)]
    )
    fabric.restart()
    assert [one.key for one in fabric.present.set_aside()] == [document.key]
    assert standstill_of(fabric.present, "shop") is not None


# Times of the other records ----------------------------------------------------------------------------------

TIMES: Final = (
    (records.IMAGE, "added_at_s", Image),
    (records.IMAGE, "trusted_at_s", Image),
    (records.SERVICE, "created_at_s", Service),
    (records.REVISION, "applied_at_s", Revision),
)


@pytest.mark.parametrize(("kind", "field", "of"), TIMES, ids=lambda one: one if isinstance(one, str) else "")
def test_a_time_is_one_that_a_calendar_knows(fabric: Fabric, kind: str, field: str, of: type) -> None:
    """Neither does one that is no number end a deadline, nor can one of the year 10000 be written out."""
    templates = {
        one.key: role for one in fabric.store.all(records.TEMPLATE) if not isinstance(role := read(one), SetAside)
    }
    document = one_of(fabric, kind)
    assert isinstance(records.decode(document, templates), of)
    for value in NO_TIMES:
        assert isinstance(records.decode(with_(document, (field,), value), templates), SetAside)


def read(template: Document) -> Any:
    """A template."""
    return records.decode_template(template)


@pytest.mark.parametrize("place", [("phase_since_s",), ("served_at_s",), ("unwell_since_s",), ("restarts",)], ids=str)
def test_the_times_of_an_instance_are_times(fabric: Fabric, place: Place) -> None:
    """One that is no number would have no deadline come."""
    templates = {one.key: read(one) for one in fabric.store.all(records.TEMPLATE)}
    wish = next(one for one in fabric.store.all(records.WISH) if one.key == "web-0.shop")
    state = next(one for one in fabric.store.all(records.STATE) if one.key == "web-0.shop")
    assert isinstance(records.decode_instance(wish, state, templates), Instance)
    for value in NO_TIMES:
        hostile = with_(state, place, [value] if place == ("restarts",) else value)
        assert isinstance(records.decode_instance(wish, hostile, templates), SetAside)


# What may be asked for is never set aside --------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(NAMES, NAMES, st.sampled_from(list(Verb)), st.sampled_from(list(Slot)), st.data())
def test_whatever_is_asked_for_is_sound(name: str, role: str, verb: Verb, slot: Slot, data: st.DataObject) -> None:
    """Verbs by every name that a user may say, rollouts and pauses of either slot, as they lie on a disk."""
    if spec_of(name, role, "in", "", "") is None:
        return
    fabric = Fabric()
    said = {"image": "micro", "instances": 2, "size": {"memory": "128 MiB"}, "localStorage": {"a": {"size": "1 MiB"}}}
    for text in ("a", "b"):
        spec = servicefile.parse(
            json.dumps({"service": name, "roles": {role: {**said, "labels": {"v": text}}}}), find
        )
        fabric.control.apply_spec(spec, slot=slot)
        fabric.until(fabric.quiet)
        said["size"] = {"memory": "160 MiB"}
    last = name if slot is Slot.PRODUCTION else f"{name}@staging"
    one = fabric.instances()[0]
    subject = data.draw(st.sampled_from([one.name, one.hostname, f"{role}.{last}", last, f"{name}@{slot}"]))
    fabric.act(verb, subject)
    fabric.control.stand_still(name)
    for kind in (records.OPERATION, records.ROLLOUT, records.STANDSTILL, records.REVISION):
        templates = {one.key: read(one) for one in fabric.store.all(records.TEMPLATE)}
        kept = fabric.store.all(kind)
        assert kept
        for document in kept:
            assert not isinstance(found := again(document, templates), SetAside), found


NAMES_OF_TOKENS = st.text("aZ09._@-", max_size=63) | st.text(max_size=5)


@given(NAMES_OF_TOKENS, st.sampled_from(list(Right)), st.floats(LIFE_MIN_S, LIFE_MAX_S), st.booleans())
def test_whatever_token_is_made_is_sound(name: str, right: Right, life_s: float, certificate: bool) -> None:
    """By whoever may make one."""
    store = FakeStore()
    fabric = Fabric(store=store)
    tokens = Tokens(fabric.present, World())
    for by in ("uid 0", "uid 4294967295", f"token {'x' * 63}", f"certificate {'x' * 63}", ""):
        try:
            token, _ = tokens.create(name, right, life_s=life_s, by=by, certificate=certificate)
        except InvalidInput:
            continue
        (document,) = store.all(records.TOKEN)
        assert records.decode(dataclasses.replace(document, body=json.loads(json.dumps(document.body))), {}) == token
        tokens.remove(name)

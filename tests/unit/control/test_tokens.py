"""Tokens: what is kept of one, how one is known again, and that one that is gone does not come back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.control import tokens as control
from orchestrator.control.present import Present
from orchestrator.control.tokens import LIFE_MAX_S, PREFIX, SECRET_CHARS, Tokens
from orchestrator.drivers.fake import FakeStore, World
from orchestrator.drivers.store import backup
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.model.right import Right

DAY_S = 86_400.0


def held(store: FakeStore, world: World) -> Tokens:
    """As a daemon has them that has just been started."""
    return Tokens(Present(store), world)


def test_a_token_outlives_the_daemon_and_its_secret_is_kept_nowhere() -> None:
    """It is 256 bits behind a word that searches know; what is stored is its digest."""
    store, world = FakeStore(), World()
    token, secret = held(store, world).create("ci", Right.OPERATOR, life_s=DAY_S, by="uid 0")
    assert secret.startswith(PREFIX)
    assert len(secret) == SECRET_CHARS >= len(PREFIX) + 256 / 6
    again = held(store, world)
    assert again.by_secret(secret.encode()) == token
    assert (token.right, token.made_by, token.expires_at_s) == (Right.OPERATOR, "uid 0", world.now_s() + DAY_S)
    bodies = json.dumps([dict(document.body) for document in store.all("token")])
    for place in (bodies, repr(token), repr(vars(again))):
        assert secret.removeprefix(PREFIX) not in place
    assert token.digest in bodies
    assert token.digest not in repr(token)


def test_no_two_secrets_are_the_same() -> None:
    """And each opens its own."""
    tokens = held(FakeStore(), World())
    secrets = {f"t{n}": tokens.create(f"t{n}", Right.VIEWER, life_s=DAY_S, by="")[1] for n in range(20)}
    assert len(set(secrets.values())) == 20
    known = {name: tokens.by_secret(secret.encode()) for name, secret in secrets.items()}
    assert all(token is not None and token.name == name for name, token in known.items())


@pytest.mark.parametrize("change", ["", "x", "\n", "\0"])
def test_nothing_but_the_secret_is_the_secret(change: str) -> None:
    """One sign more, less or other is another; nor is the digest one, or the name."""
    tokens = held(FakeStore(), World())
    token, secret = tokens.create("ci", Right.ADMIN, life_s=DAY_S, by="")
    for said in (secret[:-1] + change, change + secret[1:], secret.upper(), token.digest, "ci", ""):
        assert tokens.by_secret(said.encode()) is None
    assert tokens.by_certificate("ci") is None


def test_one_that_is_gone_or_over_is_known_no_more() -> None:
    """By who held it as well."""
    world = World()
    tokens = held(FakeStore(), world)
    token, secret = tokens.create("ci", Right.ADMIN, life_s=DAY_S, by="")
    other, brief = tokens.create("brief", Right.ADMIN, life_s=60, by="")
    assert tokens.stands(token)
    world.pass_time(60)
    assert (tokens.by_secret(brief.encode()), tokens.stands(other)) == (None, False)
    assert tokens.remove("ci") == token
    assert (tokens.by_secret(secret.encode()), tokens.stands(token)) == (None, False)
    with pytest.raises(NotFound):
        tokens.remove("ci")
    again, _ = tokens.create("ci", Right.VIEWER, life_s=DAY_S, by="")
    assert tokens.stands(again)
    assert not tokens.stands(token)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "a\n", "é", "x" * 64, "a'b", ".."])
def test_a_name_is_one_word(name: str) -> None:
    """It stands in log lines and paths."""
    with pytest.raises(InvalidInput):
        held(FakeStore(), World()).create(name, Right.VIEWER, life_s=DAY_S, by="")


@pytest.mark.parametrize("life_s", [0, -1, 59, LIFE_MAX_S + 1, float("inf"), float("nan")])
def test_a_life_is_a_minute_at_least_and_has_an_end(life_s: float) -> None:
    """None is for ever."""
    with pytest.raises(InvalidInput):
        held(FakeStore(), World()).create("ci", Right.VIEWER, life_s=life_s, by="")


def test_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is looked at for each request; a name is given once."""
    monkeypatch.setattr(control, "TOKENS_MAX", 2)
    tokens = held(FakeStore(), World())
    tokens.create("a", Right.VIEWER, life_s=DAY_S, by="")
    with pytest.raises(Conflict, match="there is a token 'a'"):
        tokens.create("a", Right.VIEWER, life_s=DAY_S, by="", certificate=True)
    tokens.create("b", Right.VIEWER, life_s=DAY_S, by="")
    with pytest.raises(Conflict, match="there are 2"):
        tokens.create("c", Right.VIEWER, life_s=DAY_S, by="")


def test_a_restored_backup_brings_no_token_back(tmp_path: Path) -> None:
    """One that was taken away since it was made would open the daemon again."""
    records, copy = tmp_path / "vmrole.db", tmp_path / "backup"
    with SqliteStore(records) as store:
        tokens = Tokens(Present(store), World())
        _, secret = tokens.create("ci", Right.ADMIN, life_s=DAY_S, by="")
        with store.backup() as made:
            copy.write_bytes(made.read())
        tokens.remove("ci")
    assert "token" not in backup.restore(copy, records).records
    with SqliteStore(records) as store:
        assert Tokens(Present(store), World()).by_secret(secret.encode()) is None
        assert list(store.all("token")) == []
        with store.backup() as made:  # whose counter is right
            assert made.read()

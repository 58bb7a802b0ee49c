"""The table of rights: whole, and what each right holds tried on every route of the app."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from orchestrator.api import rights, serve
from orchestrator.api.app import description
from orchestrator.api.listening import Listener, bind
from orchestrator.api.peers import Admission, Caller, Peer, local
from orchestrator.model.right import Right
from tests.world.api_daemon import Daemon, exchange

RIGHTS = (None, *Right)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Always(Admission):
    """Gives everybody the same right."""

    right: Right | None

    def caller(self, peer: Peer) -> Caller:
        """Whoever it is."""
        return local(peer, self.right)


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of everything that the app answers."""
    yield "GET", "/openapi.json"
    for path, methods in description(app)["paths"].items():
        yield from ((method.upper(), path) for method in methods)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon without anything."""
    with Daemon(tmp_path_factory.mktemp("rights")) as running:
        yield running


def test_every_route_stands_in_the_table(daemon: Daemon) -> None:
    """A new one is an admin's until it is put there, and so it is not forgotten; none is named that is gone."""
    lines = {re.sub(r"\{\w+\}", "*", f"{method} {path}") for method, path in routes(daemon.app)}
    assert lines == set(rights.NEEDS), "put it on api.rights.NEEDS: what does who asks for it see, and change?"


def test_what_each_right_is_for() -> None:
    """Looking changes nothing and shows no console; what brings files, images or records is an admin's alone."""
    viewers = {line for line, right in rights.NEEDS.items() if right is Right.VIEWER}
    assert all(line.startswith("GET ") for line in viewers)
    assert rights.needed("GET", "/v1/instances/web-0/console") is Right.OPERATOR
    operators = {line for line, right in rights.NEEDS.items() if right is Right.OPERATOR}
    assert operators == {
        "GET /v1/evidence/*/*",
        "DELETE /v1/evidence/*/*",
        "GET /v1/instances/*/console",
        "POST /v1/operations",
        "PUT /v1/automation",
        "PUT /v1/protection",
        "POST /v1/leases",
        "PUT /v1/leases/*",
        "DELETE /v1/leases/*",
        "PUT /v1/services/*/instances",
        "PUT /v1/services/*/rollout",
        "POST /v1/services/*/rollout/next",
        "POST /v1/services/*/rollout/undo",
        "POST /v1/services/*/swap",
    }


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("GET", "/v1/services/shop", Right.VIEWER),
        ("HEAD", "/v1/services/shop", Right.VIEWER),
        ("GET", "/v1/services/", Right.ADMIN),
        ("GET", "/v1/services/shop/", Right.ADMIN),
        ("GET", "//v1/services/shop", Right.ADMIN),
        ("GET", "/v1/services/../backup", Right.ADMIN),
        ("GET", "/V1/services", Right.ADMIN),
        ("get", "/v1/services", Right.ADMIN),
        ("OPTIONS", "/v1/services", Right.ADMIN),
        ("TRACE", "/v1/services", Right.ADMIN),
        ("POST", "/v1/services/check", Right.ADMIN),
        ("PUT", "/v1/services/shop/instances", Right.OPERATOR),
        ("PUT", "/v1/services//instances", Right.ADMIN),
        ("GET", "/no/such/route", Right.ADMIN),
        ("GET", "", Right.ADMIN),
        ("GET", "*", Right.ADMIN),
    ],
)
def test_what_is_not_in_the_table_is_an_admins(method: str, path: str, right: Right) -> None:
    """Another spelling of a route is another route."""
    assert rights.needed(method, path) is right


def test_of_two_lines_the_stricter_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `*` opens nothing that is named beside it."""
    monkeypatch.setattr(rights, "NEEDS", {"GET /v1/a/*": Right.VIEWER, "GET /v1/a/b": Right.OPERATOR})
    assert rights.needed("GET", "/v1/a/b") is Right.OPERATOR
    assert rights.needed("GET", "/v1/a/c") is Right.VIEWER


SPELT = (
    *(f"{{}}%{code:02X}" for code in (*range(0x21), 0x7F, 0x85)),
    *(
        "%0A{}",
        "{}%0D%0A",
        "{}%0A%0A",
        "{}%E2%80%A8",
        "{}/",
        "{}//",
        "/{}",
        "/.{}",
        "/v1/..{}",
        "{}/.",
        "{};x",
        "{}%23",
    ),
    *("{}%3F", "{}%2F", "{}.json", "{}%5C", "http://x{}", "*{}"),
)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/tokens"), ("POST", "/v1/restore"), ("GET", "/v1/services")]
)
def test_no_other_spelling_gets_to_a_route(daemon: Daemon, method: str, path: str) -> None:
    """By which the table's line would be got round: of a path with a line break at its end routers take no notice."""
    body = b'{"name": "other", "right": "admin", "life_s": 3600}'
    for spelt in SPELT:
        head = f"{method} {spelt.format(path)} HTTP/1.0\r\ncontent-type: application/json\r\n"
        answer = exchange(daemon.socket, f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        assert answer.split()[1] in (b"404", b"405"), (spelt, answer)
    assert daemon.tokens.all() == ()


@pytest.mark.parametrize("has", RIGHTS, ids=str)
def test_nobody_gets_past_what_his_right_holds(daemon: Daemon, tmp_path: Path, has: Right | None) -> None:
    """Every route with every right, none included: 403 exactly where the table says so, and nothing is done then."""
    door = tmp_path / "door.sock"
    with serve(daemon.app, Listener(bind(door, None), Always(right=has))):
        for method, path in routes(daemon.app):
            if path.endswith("/watch"):
                path = path.replace("watch", "watch?labels=%2C" if "instances" in path else "watch?after=-1")
            named = re.sub(r"\{\w+\}", "nobody-0", path)
            needs = rights.needed(method, named.partition("?")[0])
            head = f"{method} {named} HTTP/1.0\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
            status = int(exchange(door, head.encode()).split()[1])
            refused = has is None or not has.holds(needs)
            assert (status == 403) is refused, (method, path, status)


def test_rights_hold_those_below_them() -> None:
    """And never one above."""
    held = {(one, other): one.holds(other) for one in Right for other in Right}
    assert [pair for pair, holds in held.items() if not holds] == [
        (Right.VIEWER, Right.OPERATOR),
        (Right.VIEWER, Right.ADMIN),
        (Right.OPERATOR, Right.ADMIN),
    ]

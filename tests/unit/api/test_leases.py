"""Leases by the API: asked for, waited for, held, and given back; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.client.client import Client
from orchestrator.errors import Conflict, InvalidInput, NotFound
from tests.world.api_daemon import SHOP, Daemon, exchange
from tests.world.living import serving
from tests.world.waiting import until

WITHIN_S = 120.0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a service whose one instance serves."""
    with serving(tmp_path_factory.mktemp("leases")) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """Its client; what he has leased is given back, and serves again."""
    found = daemon.client()
    yield found
    for lease in found.leases():
        found.end_lease(lease["id"])
    until(lambda: found.instance("web-0")["phase"] == "serving", WITHIN_S, what="the instance")


def test_from_the_first_word_to_the_last(client: Client) -> None:
    """What he is told, in each state, and what the instance is meanwhile."""
    generation = client.instance("web-0")["generation"]
    asked = client.lend("shop", "", 600.0)
    assert (asked["service"], asked["role"], asked["for_s"], asked["attended"]) == ("shop", "web", 600.0, True)
    until(lambda: client.attend(asked["id"])["given"], WITHIN_S, what="the lease")
    given = client.attend(asked["id"])
    instance = client.instance("web-0")
    assert (given["instance"], given["hostname"], given["address"]) == ("web-0.shop", "web-0", instance["address"])
    assert (given["place"], given["waiting"], instance["phase"]) == (0, "", "leased")
    assert 0 < given["left_s"] <= 600
    second = client.lend("shop", "web", 600.0)
    assert [(one["id"], one["place"], one["waiting"]) for one in client.leases("shop")] == [
        (given["id"], 0, ""),
        (second["id"], 1, "1 leased"),
    ]
    assert client.attend(given["id"], on=False)["attended"] is False
    assert client.end_lease(given["id"])["instance"] == "web-0.shop"
    with pytest.raises(NotFound, match="may have ended"):
        client.end_lease(given["id"])
    until(lambda: client.attend(second["id"])["given"], WITHIN_S, what="the second lease")
    assert client.instance("web-0")["generation"] == generation + 1


def test_what_is_refused(client: Client) -> None:
    """With a word on what to do."""
    with pytest.raises(InvalidInput, match=r"roles.web.lease.longest of shop is 2 h") as caught:
        client.lend("shop", "", 7201.0)
    assert "lease: {longest: …}" in caught.value.hint
    with pytest.raises(NotFound):
        client.lend("other", "", 60.0)
    with pytest.raises(NotFound):
        client.attend("lease-000000000000")
    asked = client.lend("shop", "", 60.0)
    if not asked["given"]:
        with pytest.raises(Conflict, match="not given yet"):
            client.attend(asked["id"], on=False)


@pytest.mark.parametrize(
    "wish",
    [
        {"service": "shop"},
        {"service": "shop", "for_s": "60"},
        {"service": "shop", "for_s": -1},
        {"service": "shop", "for_s": 1e9},
        {"service": "shop", "for_s": 60, "instance": "web-0.shop"},
    ],
    ids=str,
)
def test_a_body_that_says_something_else(daemon: Daemon, wish: dict[str, Any]) -> None:
    """Is refused whole."""
    body = json.dumps(wish).encode()
    head = b"POST /v1/leases HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    answer = exchange(daemon.socket, head + b"content-length: %d\r\n\r\n%s" % (len(body), body))
    assert answer.startswith(b"HTTP/1.1 422"), answer
    assert daemon.client().leases() == []


def test_a_file_may_allow_less(client: Client) -> None:
    """Where the key stands, and what it may be."""
    text = SHOP.replace("instances: 3", "instances: 1\n    lease: {longest: 8 d}")
    with pytest.raises(InvalidInput) as caught:
        client.apply(text)
    (problem,) = caught.value.problems
    assert (problem.key, problem.line) == ("roles.web.lease.longest", 7)
    client.apply(text.replace("8 d", "10 min"))
    with pytest.raises(InvalidInput, match="is 10 min"):
        client.lend("shop", "", 601.0)

"""What a request says that nobody would heed is refused: a wish with a slip in it does not become a larger one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.model import Operation, Service
from tests.world.api_daemon import SHOP, Daemon, exchange


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with a service."""
    with Daemon(tmp_path) as running:
        running.give_image()
        running.control.apply(SHOP)
        yield running


def ask(daemon: Daemon, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> tuple[int, str]:
    """Status and body of an answer."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    answer = exchange(daemon.socket, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2].decode()


REBUILD = {"verb": "rebuild", "subject": "shop"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/operations", {**REBUILD, "label": "tier=front"}),
        ("POST", "/v1/operations", {**REBUILD, "Labels": "tier=front"}),
        ("POST", "/v1/operations", {**REBUILD, "selector": "tier=front"}),
        ("PUT", "/v1/protection", {"subject": "shop", "protect": False}),
        ("PUT", "/v1/services/shop/instances", {"roles": {"web": 3}, "role": {"web": 1}}),
        ("PUT", "/v1/services/shop/rollout", {"paused": True, "until": 3}),
        ("POST", "/v1/services/shop/rollout/undo", {"revision": 1}),
    ],
)
def test_a_key_that_a_body_has_not_is_refused(daemon: Daemon, method: str, path: str, body: object) -> None:
    """Nothing is done, and the key is named."""
    before = daemon.present.all(Service), daemon.present.all(Operation)
    status, told = ask(daemon, method, path, json.dumps(body).encode())
    assert status == 422, told
    assert any(f"body.{key}" in told for key in body)  # type: ignore[attr-defined]
    assert (daemon.present.all(Service), daemon.present.all(Operation)) == before


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("POST", "/v1/services?dryRun=true", "did you mean dry_run?"),
        ("POST", "/v1/services?dry-run=true", "did you mean dry_run?"),
        ("POST", "/v1/services?dry_run=true&dry_run=false", "say it once"),
        ("DELETE", "/v1/services/shop?dry_run=true", ""),
        ("GET", "/v1/instances?label=tier%3Dfront", "did you mean labels?"),
        ("GET", "/v1/instances/watch?label=tier%3Dfront", "did you mean labels?"),
        ("GET", "/v1/services/shop?x=%ff", ""),
        ("POST", "/v1/images/micro/verify?repair=1", ""),
    ],
)
def test_a_parameter_that_a_route_has_not_is_refused(daemon: Daemon, method: str, path: str, hint: str) -> None:
    """A dry run that is misspelt is none: it would do what was to be looked at."""
    before = daemon.present.all(Service)
    body = SHOP.replace("instances: 3", "instances: 9").encode() if method == "POST" else b""
    status, told = ask(daemon, method, path, body, "application/yaml")
    assert status == 422, told
    assert "query." in told
    assert hint in told
    assert daemon.present.all(Service) == before


def test_what_a_route_has_is_heeded(daemon: Daemon) -> None:
    """And a dry run is one."""
    wider = SHOP.replace("instances: 3", "instances: 9").encode()
    before = daemon.present.all(Service)
    assert ask(daemon, "POST", "/v1/services?dry_run=true", wider, "application/yaml")[0] == 200
    assert daemon.present.all(Service) == before
    assert ask(daemon, "GET", "/v1/instances?labels=a%3Db")[0] == 200
    assert ask(daemon, "GET", "/healthz")[0] == 200

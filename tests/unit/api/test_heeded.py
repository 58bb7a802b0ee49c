"""What a request says that nobody would heed is refused: a wish with a slip in it does not become a larger one."""

from __future__ import annotations

import json

import pytest

from orchestrator.model import Operation, Service
from tests.world.api_daemon import SHOP, Daemon, exchange


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
        ("PUT", "/v1/automation", {"subject": "shop", "paused": True}),
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
    ("method", "path", "body", "key"),
    [
        ("POST", "/v1/operations", '{"verb": "restart", "subject": "shop", "verb": "rebuild"}', "verb"),
        ("POST", "/v1/operations", '{"verb": "rebuild", "subject": "web-0.shop", "subject": "shop"}', "subject"),
        ("POST", "/v1/operations", '{"verb": "rebuild", "subject": "shop", "s\\u0075bject": "shop"}', "subject"),
        ("PUT", "/v1/services/shop/instances", '{"roles": {"web": 3}, "roles": {"web": 0}}', "roles"),
        ("PUT", "/v1/services/shop/instances", '{"roles": {"web": 3, "web": 0}}', "roles.web"),
        ("PUT", "/v1/services/shop/rollout", '{"paused": true, "paused": false}', "paused"),
        ("PUT", "/v1/automation", '{"service": "shop", "service": "", "paused": true}', "service"),
        ("PUT", "/v1/protection", '{"subject": "shop", "protected": true, "protected": false}', "protected"),
        ("POST", "/v1/services/check", '{"documents": [{"a": {"b": 1, "b": 2}}]}', "documents.0.a.b"),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "application/x+json"])
def test_a_key_of_a_body_that_is_there_twice_is_refused(
    daemon: Daemon, method: str, path: str, body: str, key: str, kind: str
) -> None:
    """Readers of JSON take the last, in silence: a wish that was corrected by hand must not be the other one."""
    before = daemon.present.all(Service), daemon.present.all(Operation)
    status, told = ask(daemon, method, path, body.encode(), kind)
    assert (status, "it is there twice" in told, f'"body.{key}"' in told) == (422, True, True), told
    assert (daemon.present.all(Service), daemon.present.all(Operation)) == before


def test_a_condition_that_is_there_twice_is_refused(daemon: Daemon) -> None:
    """Of two revisions the caller has read one at most."""
    revision = daemon.control.service("shop").revision
    body = b'{"roles": {"web": 2}}'
    head = f'PUT /v1/services/shop/instances HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-Match: "{revision}"\r\n'
    for more, status in (('If-Match: "1"\r\n', b"422"), ("", b"200")):
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        answer = exchange(daemon.socket, f"{head}{more}{kind}".encode() + body)
        assert answer.split()[1] == status, answer


def test_no_depth_of_a_body_is_too_much(daemon: Daemon) -> None:
    """A body that no reader takes is refused as that; one that says everything once is heeded."""
    for body in (b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b'{"documents": [' + b"[" * 900 + b"]" * 900 + b"]}"):
        assert ask(daemon, "POST", "/v1/services/check", body)[0] in (400, 422)
    assert ask(daemon, "PUT", "/v1/services/shop/instances", b'{"roles": {"web": 2}}')[0] == 200


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

"""What the client asks is what docs/openapi.json describes: its ways, and what may stand behind the question mark."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from orchestrator.client.client import Client
from orchestrator.errors import VmroleError
from orchestrator.model import Os
from orchestrator.model.intake import Intake
from tests.world.places import REPOSITORY
from tests.world.waiting import until

WORD = "web-0"
WITHIN_S = 30.0
NUMBER = 7
WAYS: dict[str, dict[str, Any]] = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())["paths"]
VERBS = [name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")]
GIVEN: dict[str, object] = {  # by the type of a parameter
    "str": WORD,
    "wire.Verb": "restart",
    "int": NUMBER,
    "float": float(NUMBER),
    "bool": True,
    "int | None": NUMBER,
    "Sequence[str]": [WORD],
    "bytes": b"x",
    "transport.Json": {},
    "Mapping[str, int]": {WORD: NUMBER},
    "wire.Deadlines": {"setup_s": 1.0, "ready_s": 1.0},
    "wire.TokenWish": {"name": WORD, "right": "viewer", "life_s": 60.0},
    "BinaryIO": io.BytesIO(bytes(1 << 16)),
    "Sequence[tuple[BinaryIO, int]]": [(io.BytesIO(b"x"), 1)],
    "Intake": Intake(name=WORD, os=Os.LINUX, convert=True, parts=(1,), sha256="0" * 64),
    "Callable[[int], None]": lambda _: None,
}


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[list[str]]:
    """The first line of each request to a daemon that hangs up."""
    lines: list[str] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    talk, _ = listener.accept()
                    with talk:
                        lines.append(talk.makefile("rb").readline().decode())

        threading.Thread(target=serve, daemon=True).start()
        yield lines
        listener.shutdown(socket.SHUT_RDWR)


def asked(verb: Callable[..., object]) -> None:
    """Calls the verb with everything that it takes, but for what says how long it waits."""
    hints = {name: str(one.annotation) for name, one in inspect.signature(verb).parameters.items()}
    arguments = {name: GIVEN[hint] for name, hint in hints.items() if hint in GIVEN}
    with contextlib.suppress(VmroleError):
        answer = verb(**arguments)
        if isinstance(answer, Iterator):
            next(answer)


@pytest.mark.parametrize("verb", sorted({*VERBS} - {"call"}))
def test_each_request_is_described(verb: str, heard: list[str], tmp_path: Path) -> None:
    """A way, a method, and no word of a query that the API does not know: it would overlook that."""
    asked(getattr(Client(str(tmp_path / "socket")), verb))
    until(lambda: bool(heard), WITHIN_S, what="the request to be heard")
    method, target, _ = heard[0].split(" ")
    path, _, query = target.partition("?")
    (operation,) = (
        operations[method.lower()]
        for way, operations in WAYS.items()
        if re.fullmatch(re.sub(r"\{\w+\}", f"({WORD}|{NUMBER})", way), path) and method.lower() in operations
    )
    known = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    assert {word for word, _ in parse_qsl(query, keep_blank_values=True)} <= known

"""What a request says that nobody would heed. It is refused: a wish with a slip in it must not become a larger one.

`{"label": "tier=front"}` for `labels` would rebuild all of a service, and `?dryRun=true` for `dry_run` would do what
was to be looked at alone. Of what is said twice one is not heeded: JSON's own readers take the last in silence.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import ConfigDict

from orchestrator.errors import InvalidInput, Problem

_CONDITIONS = ("if-match", "if-none-match")
_TOLD_MAX = 20
WHOLE_BODY = ConfigDict(extra="forbid")  # of every body: no key that it does not have


async def query_is_heeded(request: Request) -> None:
    """Raises InvalidInput for a key of the query that the route has not, or that is there twice."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = sorted(set(_query_names(route.dependant)))
    keys = [key for key, _ in request.query_params.multi_items()]
    problems = [_unknown(key, known) for key in dict.fromkeys(keys) if key not in known]
    problems += [
        Problem("it is there twice", key=f"query.{key}", hint="say it once")
        for key in dict.fromkeys(keys)
        if key in known and keys.count(key) > 1
    ]
    if problems:
        raise InvalidInput("the request cannot be understood", problems=tuple(problems))


async def body_is_heeded(request: Request) -> None:
    """Raises InvalidInput for a key of a JSON body that is there twice, and for a condition that is."""
    twice = [f"header.{name}" for name in _CONDITIONS if len(request.headers.getlist(name)) > 1]
    route = request.scope.get("route")
    if isinstance(route, APIRoute) and route.body_field is not None and _is_json(request):
        twice += [f"body.{key}" for key in _twice(await request.body())]
    if twice:
        problems = tuple(Problem("it is there twice", key=key[:120], hint="say it once") for key in twice[:_TOLD_MAX])
        raise InvalidInput("the request cannot be understood", problems=problems)


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    return kind in ("", "application/json") or kind.endswith("+json")


class _Pairs(tuple[tuple[str, object], ...]):
    """A JSON object as it was written."""

    __slots__ = ()


def _twice(body: bytes) -> Iterator[str]:
    """The full names of keys that are there more than once. Of what is no JSON there are none: its reader says so."""
    try:
        left: list[tuple[str, object]] = [("", json.loads(body, object_pairs_hook=_Pairs))]
    except (ValueError, RecursionError):
        return
    while left:
        at, node = left.pop()
        if isinstance(node, _Pairs):
            times = Counter(key for key, _ in node)
            yield from (f"{at}{key}" for key, count in times.items() if count > 1)
            left += [(f"{at}{key}.", value) for key, value in node if isinstance(value, _Pairs | list)]
        elif isinstance(node, list):
            left += [
                (f"{at}{number}.", value) for number, value in enumerate(node) if isinstance(value, _Pairs | list)
            ]


def _unknown(key: str, known: list[str]) -> Problem:
    near = difflib.get_close_matches(key.replace("-", "_").casefold(), known, 1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}" if known else "leave it out"
    return Problem("there is no such parameter", key=f"query.{key[:40]}", hint=hint)


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for part in dependant.dependencies:
        yield from _query_names(part)

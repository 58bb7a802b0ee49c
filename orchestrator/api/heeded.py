"""What a request says that nobody would heed. It is refused: a wish with a slip in it must not become a larger one.

`{"label": "tier=front"}` for `labels` would rebuild all of a service, and `?dryRun=true` for `dry_run` would do what
was to be looked at alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import ConfigDict

from orchestrator.errors import InvalidInput, Problem

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


def _unknown(key: str, known: list[str]) -> Problem:
    near = difflib.get_close_matches(key.replace("-", "_").casefold(), known, 1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}" if known else "leave it out"
    return Problem("there is no such parameter", key=f"query.{key[:40]}", hint=hint)


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for part in dependant.dependencies:
        yield from _query_names(part)

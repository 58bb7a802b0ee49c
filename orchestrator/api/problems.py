"""Errors as answers: the one place where a class of the error tree becomes a status and a body."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from orchestrator.errors import (
    Conflict,
    Denied,
    ImageRejected,
    InvalidInput,
    NotFound,
    Problem,
    Unreachable,
    VmroleError,
    WaitedTooLong,
    WorldError,
)

_WORDS = {
    400: "InvalidInput",
    403: "Denied",
    404: "NotFound",
    405: "InvalidInput",
    409: "Conflict",
    413: "InvalidInput",
    422: "InvalidInput",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProblemBody:
    """The body of every answer that is not a success, and a refusal within one.

    `error` is the class's name in the error tree.
    """

    error: str
    message: str
    hint: str = ""
    reason: str = ""  # of ImageRejected: a stable word such as "backing-file"
    problems: tuple[Problem, ...] = ()


def status_of(error: VmroleError) -> int:
    """The status of an error; the table is in `errors`."""
    match error:
        case InvalidInput() | ImageRejected():
            return 422
        case NotFound():
            return 404
        case Conflict():
            return 409
        case Denied():
            return 403
        case WaitedTooLong():
            return 504
        case WorldError():
            return 503
        case _:
            return 500


def body_of(error: VmroleError) -> ProblemBody:
    """The error as data."""
    return ProblemBody(
        error=type(error).__name__,
        message=str(error),
        hint=error.hint,
        reason=error.reason if isinstance(error, ImageRejected) else "",
        problems=error.problems if isinstance(error, InvalidInput) else (),
    )


def answer(error: VmroleError, status: int | None = None) -> JSONResponse:
    """The error as a response."""
    return respond(status or status_of(error), body_of(error))


def respond(status: int, body: ProblemBody) -> JSONResponse:
    """A body as a response."""
    return JSONResponse(dataclasses.asdict(body), status)


def unasked(error: VmroleError, status: int | None = None) -> bytes:
    """The error as a whole HTTP/1.1 response, for a connection on which nothing was asked, or not in time."""
    response = answer(error, status)
    head = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}", "connection: close"]
    head += [f"{key.decode('latin-1')}: {value.decode('latin-1')}" for key, value in response.raw_headers]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + bytes(response.body)


def install(app: FastAPI) -> None:
    """Makes the app answer every error, its own and the framework's, with a `ProblemBody`."""

    async def ours(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, VmroleError)
        return answer(error)

    async def malformed(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        problems = tuple(_problem(fault) for fault in error.errors())
        return answer(InvalidInput("the request cannot be understood", problems=problems))

    async def framework(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        word = _WORDS.get(error.status_code, "RequestError")
        return respond(error.status_code, ProblemBody(error=word, message=error.detail))

    async def bug(_request: Request, error: Exception) -> JSONResponse:
        message = f"a fault of the daemon: {type(error).__name__}"
        return respond(500, ProblemBody(error="VmroleError", message=message, hint="its log has the details"))

    async def gone(_request: Request, _error: Exception) -> JSONResponse:
        return answer(Unreachable("the client hung up"))  # Nobody reads it; without it, it would look like a bug.

    app.add_exception_handler(VmroleError, ours)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(Exception, bug)


def _problem(fault: Mapping[str, Any]) -> Problem:
    return Problem(str(fault["msg"]), key=".".join(str(part) for part in fault["loc"]))

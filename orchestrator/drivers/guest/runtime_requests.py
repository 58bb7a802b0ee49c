"""What a guest may send by its runtime channel: lines cut out of a stream, and requests read from them. Pure.

JSON-RPC 2.0 (jsonrpc.org/specification), one message on a line, no batches. The guest is hostile: a line has a
greatest length, of a longer one nothing is kept, and whatever is in a line, reading it ends in a request or in a
refusal that can be answered.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.model import Says, Word

LINE_MAX_BYTES: Final = 16 * 1024
ID_MAX_CHARS: Final = 64
REASON_MAX_CHARS: Final = 200
LOG_MAX_CHARS: Final = 500
BOOT_ID_MAX_CHARS: Final = 64
LAPSE_MAX_S: Final = 24 * 3600.0

NO_JSON, NO_REQUEST, NO_METHOD, NO_PARAMS = -32700, -32600, -32601, -32602  # the specification's, section 5.1
NOT_NOW, TOO_OFTEN = -32000, -32001  # ours

Id = str | int | None


class Refused(Exception):
    """A request that is not answered with a result: the error's code, its words, and whose request it was."""

    def __init__(self, code: int, words: str, request_id: Id = None) -> None:
        super().__init__(words)
        self.code = code
        self.request_id = request_id


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One request; one without an id (`answered` is False) wants no answer."""

    method: str
    params: Mapping[str, Any]
    request_id: Id = None
    answered: bool = True


class Lines:
    """Cuts a stream of bytes into lines. Never holds more than the longest one that is taken."""

    def __init__(self, most_bytes: int = LINE_MAX_BYTES) -> None:
        self._most_bytes = most_bytes
        self._begun = bytearray()
        self._passing_over = False

    def take(self, data: bytes) -> Iterator[bytes | None]:
        """The lines that end in these bytes, empty ones apart; None for each that was too long."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            too_long, line = self._passing_over, bytes(self._begun)
            self._begun.clear()
            self._passing_over = False
            if too_long:
                yield None
            elif line.strip():
                yield line
        self._add(rest)

    @property
    def held_bytes(self) -> int:
        """How much of an unfinished line is held."""
        return len(self._begun)

    def _add(self, part: bytes) -> None:
        if self._passing_over or len(self._begun) + len(part) > self._most_bytes:
            self._passing_over = True
            self._begun.clear()
        else:
            self._begun += part


def read(line: bytes | None) -> Request:
    """The request in a line; None stands for one that was too long. Raises Refused for what is none."""
    if line is None:
        raise Refused(NO_REQUEST, f"a line has at most {LINE_MAX_BYTES} bytes")
    try:
        message = json.loads(line.decode())
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors.
        raise Refused(NO_JSON, "the line is no JSON in UTF-8") from None
    if not isinstance(message, dict):
        raise Refused(NO_REQUEST, "a request is one JSON object; there are no batches")
    request_id = message.get("id")
    known = isinstance(request_id, int) and not isinstance(request_id, bool) and abs(request_id) < 2**63
    if not (request_id is None or known or (isinstance(request_id, str) and len(request_id) <= ID_MAX_CHARS)):
        raise Refused(NO_REQUEST, f"an id is an integer, or a text of at most {ID_MAX_CHARS} characters")
    method, params = message.get("method"), message.get("params", {})
    if message.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise Refused(NO_REQUEST, 'a request has "jsonrpc": "2.0" and a method', request_id)
    if not isinstance(params, dict):
        raise Refused(NO_PARAMS, "params have names", request_id)
    return Request(method, params, request_id, answered="id" in message)


def word(request: Request, now_s: float) -> Word:
    """What `ready` and `busy` say. Raises Refused; busy without an end is refused: nobody else could end it."""
    says = Says(request.method)
    only(request, ("reason", "for_s", "boot"))
    for_s = request.params.get("for_s")
    if for_s is None and says is Says.BUSY:
        raise Refused(NO_PARAMS, "for how long? for_s, in seconds, after which it lapses", request.request_id)
    return Word(
        says=says,
        reason=text(request, "reason", REASON_MAX_CHARS),
        boot_id=text(request, "boot", BOOT_ID_MAX_CHARS),
        at_s=now_s,
        until_s=0.0 if for_s is None else now_s + _seconds(request, for_s),
    )


def log_line(request: Request) -> str:
    """The line of `log`, harmless. Raises Refused for none."""
    only(request, ("line",))
    line = text(request, "line", LOG_MAX_CHARS)
    if not line:
        raise Refused(NO_PARAMS, "line: a text that is not empty", request.request_id)
    return line


def only(request: Request, keys: tuple[str, ...]) -> None:
    """Raises Refused for a parameter that the method has not."""
    for key in request.params:
        if key not in keys:
            told = f"{request.method} takes {', '.join(keys)}, no {harmless(key)}"
            raise Refused(NO_PARAMS, told, request.request_id)


def text(request: Request, key: str, chars: int) -> str:
    """A parameter that is a text, harmless and so long at most; "" without one. Raises Refused."""
    value = request.params.get(key, "")
    if not isinstance(value, str):
        raise Refused(NO_PARAMS, f"{key}: a text", request.request_id)
    return harmless(value, chars) if value.strip() else ""


def _seconds(request: Request, value: object) -> float:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < number <= LAPSE_MAX_S:  # not of a NaN either
        told = f"for_s: seconds, more than 0 and at most {LAPSE_MAX_S:.0f}"
        raise Refused(NO_PARAMS, told, request.request_id)
    return float(number)


def answer(request: Request, result: object) -> bytes:
    """The line that answers it."""
    return _line({"jsonrpc": "2.0", "id": request.request_id, "result": result})


def refusal(error: Refused) -> bytes:
    """The line that refuses it."""
    return _line({"jsonrpc": "2.0", "id": error.request_id, "error": {"code": error.code, "message": str(error)}})


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"  # ASCII: a lone surrogate in an id, which JSON can hold, is no error.

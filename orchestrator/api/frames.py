"""Messages of a watch as they go over the wire: WHATWG HTML, section 9.2, "Server-sent events"."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pydantic import TypeAdapter

MessageKind = Literal["instance", "gone", "operation", "event", "gap", "current", "again", "end"]
"""What a message says of its value. "gap": an event that tells of those left out; "current": how many there were when
the watch began, all of which have been told; "again": what was told before is void; "end": none follows.
"""

_JSON: dict[type[Any], TypeAdapter[Any]] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One message, encoded once however many watch. `number` is that of its event, or 0; `last`: none follows."""

    data: bytes
    number: int = 0
    last: bool = False


def frame(kind: MessageKind, value: object, *, number: int = 0) -> Frame:
    """A message of this kind with a value to be shown as JSON, which holds no line ends."""
    if type(value) not in _JSON:
        _JSON[type(value)] = TypeAdapter(type(value))
    head = f"id: {number}\n" if number else ""
    data = f"{head}event: {kind}\ndata: ".encode() + _JSON[type(value)].dump_json(value) + b"\n\n"
    return Frame(data, number, last=kind == "end")

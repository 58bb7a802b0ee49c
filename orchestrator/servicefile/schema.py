"""The JSON Schema of a service file, for editors: what the reader itself asks for while it reads samples.

There is no second table: a key that the reader learns is in the schema. What a schema cannot say well (that a time is
too long, that two keys exclude each other) it leaves to `apply`; it refuses nothing that the reader takes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.model import AnswerFormat, DiskFormat, Image, Ladder, Os
from orchestrator.servicefile.answers import NONE
from orchestrator.servicefile.draft import read_draft
from orchestrator.servicefile.fields import Answer, Shape, shape_of
from orchestrator.servicefile.keys import KEYS, SECRET_KEYS, Key
from orchestrator.servicefile.reader import LABEL, Reader, under
from orchestrator.servicefile.resolution import Known, read_service
from orchestrator.servicefile.tree import Map, read_tree

ADDRESS = "https://json-schema.org/draft/2020-12/schema"
_MEMBER = "member"  # what everything that has a name of its own is called in the samples
_HEAD = f"service: {_MEMBER}\nroles:\n  {_MEMBER}:\n    image: image\n"
_TLS = "{certificate: {secret: a}, more: [{certificate: {secret: a}}]}"
_PARTS = f"""\
    endpoints: {{{_MEMBER}: {{port: 1, probe: {{path: /}}, tls: {_TLS}}}}}
    localStorage: {{{_MEMBER}: {{size: 1 MiB}}}}
    drives: {{{_MEMBER}: {{drive: a}}}}
    shares: {{{_MEMBER}: {{source: /a}}}}
    ready: {{probe: {{path: /}}}}
"""
_UNATTEND = f"""\
    answers:
      unattend:
        accounts: {{{_MEMBER}: {{password: {{secret: a}}}}}}
        specialize: [{{run: a}}]
"""
_SAMPLES = (
    (Os.LINUX, AnswerFormat.NOCLOUD, _HEAD + _PARTS),
    (Os.LINUX, AnswerFormat.NOCLOUD, _HEAD + "    answers: {userData: {secret: a}}\n"),
    (Os.LINUX, AnswerFormat.NOCLOUD, _HEAD + f"    endpoints: {{{_MEMBER}: {{port: 1, probe: {{command: [a]}}}}}}\n"),
    (Os.LINUX, AnswerFormat.NOCLOUD, _HEAD + f"    endpoints: {{{_MEMBER}: {{type: instance}}}}\n"),
    (Os.LINUX, AnswerFormat.NOCLOUD, _HEAD + f"    endpoints: {{{_MEMBER}: {{type: internal}}}}\n"),
    (Os.WINDOWS, AnswerFormat.CONFIG_DRIVE, _HEAD),
    (Os.WINDOWS, AnswerFormat.UNATTEND, _HEAD + _UNATTEND),
    (Os.WINDOWS, AnswerFormat.UNATTEND, _HEAD + _UNATTEND + "        xml: {secret: a}\n"),
)
_TEXTS_BY_NAME: Shape = {"type": "object", "additionalProperties": {"type": "string"}}
_BESIDE: dict[str, Shape] = {  # what is read without a reader of single values
    f"roles.{_MEMBER}.answers": {"const": NONE},
    f"roles.{_MEMBER}.healing": {"enum": [*map(str, Ladder)]},
    "labels": _TEXTS_BY_NAME,
    f"roles.{_MEMBER}.labels": _TEXTS_BY_NAME,
    f"roles.{_MEMBER}.answers.unattend.scripts": _TEXTS_BY_NAME,
}


@dataclasses.dataclass(slots=True)
class _Place:
    """What was asked for at one place of the file: values, keys, named members, items of a list."""

    shapes: list[Shape] = dataclasses.field(default_factory=list)
    keys: dict[str, _Place] = dataclasses.field(default_factory=dict)
    required: set[str] = dataclasses.field(default_factory=set)
    names: Shape | None = None

    def below(self, at: str) -> _Place:
        place = self
        for step in at.split(".") if at else ():
            place = place.keys.setdefault(_MEMBER if step.isdecimal() else step, _Place())
        return place

    def note(self, shape: Shape) -> None:
        if shape not in self.shapes:
            self.shapes.append(shape)

    def schema(self) -> Shape:
        found = list(self.shapes)
        if self.keys:
            found.append(self._mapping())
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _mapping(self) -> Shape:
        if set(self.keys) == {_MEMBER}:
            member = self.keys[_MEMBER].schema()
            if self.names is None:
                return {"type": "array", "items": member}
            return {"type": "object", "additionalProperties": member, **self.names}
        properties = {key: place.schema() for key, place in self.keys.items()}
        required = {"required": sorted(self.required)} if self.required else {}
        return {"type": "object", "properties": properties, "additionalProperties": False, **required}


class _Listening(Reader):
    """Reads as ever, and notes what it is asked for."""

    def __init__(self, tree: Map, root: _Place) -> None:
        super().__init__(tree)
        self._root = root

    def keys(self, node: object, at: str, allowed: tuple[str, ...], required: tuple[str, ...] = ()) -> Map:
        place = self._root.below(at)
        for key in allowed:
            place.below(key)
        place.required |= set(required)
        return super().keys(node, at, allowed, required)

    def take(
        self,
        node: Map,
        at: str,
        key: str,
        read: Callable[[object], Answer[Any]],
        default: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        self._root.below(at).below(key).note(shape_of(read))
        return super().take(node, at, key, read, default)

    def members(self, node: Map, at: str, key: str, read: Callable[[str, object, str], Any]) -> list[Any]:
        self._root.below(at).below(key).names = {"propertyNames": {"pattern": LABEL}}
        return super().members(node, at, key, read)


def schema() -> Shape:
    """The JSON Schema (2020-12) of one document of a service file."""
    root = _Place()
    for os, answers, sample in _SAMPLES:
        image = Image(
            sha256="0" * 64,
            format=DiskFormat.QCOW2,
            os=os,
            answers=answers,
            size_bytes=1,
            virtual_size_bytes=1,
            names=("image",),
            added_at_s=0.0,
        )
        reader = _Listening(read_tree(sample)[0], root)
        read_service(reader, read_draft(reader), Known(find_image=functools.partial(_the_image, image)))
    for at, shape in _BESIDE.items():
        root.below(at).note(shape)
    root.below(f"roles.{_MEMBER}.answers.unattend.accounts").names = {}
    about = "A service of vmrole: vmrole apply -f FILE takes it."
    return {"$schema": ADDRESS, "title": "vmrole service file", "description": about, **_described(root.schema())}


def _the_image(image: Image, _reference: str) -> Image:
    return image


def keys_of(shape: Shape, at: str = "") -> Iterator[tuple[str, Shape]]:
    """Every key that a shape has, in the words of `keys.KEYS`, with what it takes; the places of a secret are one."""
    for each in shape.get("anyOf", [shape]):
        for key, below in each.get("properties", {}).items():
            if set(each["properties"]) != set(SECRET_KEYS):
                yield under(at, key), below
                yield from keys_of(below, under(at, key))
        for below, step in ((each.get("additionalProperties"), "NAME"), (each.get("items"), "[]")):
            if isinstance(below, dict):
                if "properties" not in below and step == "NAME":
                    yield under(at, step), below
                yield from keys_of(below, under(at, step))


def described(key: Key) -> str:
    """What a key is, and what holds unless it is given."""
    return f"{key.about}; unless given: {key.default}" if key.default else key.about


def _described(shape: Shape) -> Shape:
    """The same, with what an editor shows of each key."""
    shape = json.loads(json.dumps(shape))  # Readers share their shapes, and no two keys their words.
    for at, below in keys_of(shape):
        below["description"] = described(KEYS[at])
    return shape

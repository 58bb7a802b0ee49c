"""The shapes of the API's description as types of a client: orchestrator/client/wire.pyi comes from here alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

HEAD = '''\
"""What goes over the wire, for type checkers: docs/openapi.json as types.

Nothing imports it at run time: building these classes would cost the command line its quick start.
"""

# Nobody changes this file by hand: python -m tests.unit.api.test_openapi

from typing import Literal, NotRequired, TypedDict
'''
_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
Schema = Mapping[str, Any]


def stub(description: Schema) -> str:
    """The file's text for a description of the API."""
    schemas: Mapping[str, Schema] = description["components"]["schemas"]
    names = _names(schemas)
    answered = _answered(description)
    parts = [HEAD]
    for key, schema in sorted(schemas.items(), key=lambda one: names[one[0]]):
        if "enum" in schema:
            parts.append(f"{names[key]} = Literal[{', '.join(map(_quoted, schema['enum']))}]\n")
            continue
        always = schema["properties"].keys() if key in answered else set(schema.get("required", ()))
        lines = [f"class {names[key]}(TypedDict):"]
        for name, value in schema["properties"].items():
            kind = _kind(value, names)
            lines.append(f"    {name}: {kind if name in always else f'NotRequired[{kind}]'}")
        parts.append("\n".join([*lines, ""]))
    return "\n".join(parts)


def _names(schemas: Mapping[str, Schema]) -> dict[str, str]:
    """A short name for each; those of one name have their module's before it."""
    last = {key: key.rpartition("__")[2] for key in schemas}
    shared = {name for name, count in Counter(last.values()).items() if count > 1}
    return {key: key.split("__")[-2].capitalize() + name if name in shared else name for key, name in last.items()}


def _answered(description: Schema) -> set[str]:
    """Those that are in an answer: there all keys are, whether or not a request could leave them out."""
    answers = [way["responses"] for path in description["paths"].values() for way in path.values()]
    left, reached = set(_references(answers)), set[str]()
    while left:
        key = left.pop()
        reached.add(key)
        left |= set(_references(description["components"]["schemas"][key])) - reached
    return reached


def _references(value: object) -> Iterator[str]:
    match value:
        case {"$ref": str(reference)}:
            yield reference.rpartition("/")[2]
        case Mapping():
            for one in value.values():
                yield from _references(one)
        case list():
            for one in value:
                yield from _references(one)


def _kind(value: Schema, names: Mapping[str, str]) -> str:
    match value:
        case {"$ref": reference}:
            return names[reference.rpartition("/")[2]]
        case {"anyOf": kinds}:
            return " | ".join(_kind(one, names) for one in kinds)
        case {"const": constant}:
            return f"Literal[{_quoted(constant)}]"
        case {"enum": words}:
            return f"Literal[{', '.join(map(_quoted, words))}]"
        case {"type": "array", "prefixItems": kinds}:
            return f"tuple[{', '.join(_kind(one, names) for one in kinds)}]"
        case {"type": "array", "items": kind}:
            return f"list[{_kind(kind, names)}]"
        case {"type": "object", "additionalProperties": kind}:
            return f"dict[str, {_kind(kind, names)}]"
        case {"type": str(plain)}:
            return _PLAIN[plain]
    raise AssertionError(f"no type for {value}")


def _quoted(word: object) -> str:
    return f'"{word}"' if isinstance(word, str) else repr(word)

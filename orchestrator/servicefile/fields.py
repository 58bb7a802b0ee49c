"""How single values of the service file are read: each takes a YAML node and returns its value or a Problem. Pure.

Each also says what it takes, in the words of JSON Schema: see `shaped`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias, TypeVar

from orchestrator.errors import Problem
from orchestrator.model import Ports, ip

T = TypeVar("T")
E = TypeVar("E", bound=enum.StrEnum)
F = TypeVar("F", bound=Callable[..., object])
Answer: TypeAlias = T | Problem
Shape: TypeAlias = dict[str, Any]  # a JSON Schema

_SIZES_MIB = {"MiB": 1, "GiB": 1024, "TiB": 1024 * 1024}
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 24 * 3600.0}
_QUANTITY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([A-Za-z]+)")


def shaped(**shape: object) -> Callable[[F], F]:
    """What the reader that follows takes; less strict where a schema cannot say it."""

    def mark(read: F) -> F:
        read.__dict__["shape"] = shape
        return read

    return mark


def shape_of(read: Callable[..., object]) -> Shape:
    """What a reader takes."""
    shape: Shape | None = getattr(read, "shape", None)
    assert shape is not None, f"{read} reads a value of the service file and has no shape: put @shaped(…) before it"
    return shape


@shaped(type="string")
def text(node: object) -> Answer[str]:
    """A string; a number or a truth value is not silently taken for one."""
    if isinstance(node, str):
        return str(node)
    return Problem(f"{_shown(node)} is not a string", hint="put it into quotes")


@shaped(type="boolean")
def boolean(node: object) -> Answer[bool]:
    """true or false, in YAML 1.2's spelling."""
    return (
        node
        if isinstance(node, bool)
        else Problem(f"{_shown(node)} is not true or false", hint="write true or false")
    )


def integer(least: int, most: int) -> Callable[[object], Answer[int]]:
    """A whole number between `least` and `most`."""

    @shaped(type="integer", minimum=least, maximum=most)
    def read(node: object) -> Answer[int]:
        if isinstance(node, bool) or not isinstance(node, int):
            return Problem(f"{_shown(node)} is not a whole number", hint=f"use {least} to {most}")
        if not least <= node <= most:
            return Problem(f"{node} is out of range", hint=f"use {least} to {most}")
        return int(node)

    return read


PORT_LAST: Final = 65535
port = integer(1, PORT_LAST)


def port_range(most: int) -> Callable[[object], Answer[Ports]]:
    """Ports that follow each other, `most` at the most; one is a range, too."""

    @shaped(anyOf=[{"type": "string", "pattern": "^[0-9]{1,5} ?- ?[0-9]{1,5}$"}, shape_of(port)])
    def read(node: object) -> Answer[Ports]:
        if isinstance(single := port(node), int):
            return Ports(single, single)
        found = re.fullmatch("([0-9]{1,5}) ?- ?([0-9]{1,5})", node) if isinstance(node, str) else None
        if found is None:
            hint = "the first and the last, such as 8000-8010"
            return Problem(f"{_shown(node)} is no range of ports", hint=hint)
        ports = Ports(int(found[1]), int(found[2]))
        if not 1 <= ports.first <= ports.last <= PORT_LAST:
            return Problem(f"{found[0]} is no range of ports", hint=f"within 1-{PORT_LAST}, the first port first")
        if ports.number > most:
            return Problem(f"{ports} are {ports.number} ports", hint=f"{most} at the most")
        return ports

    return read


def size_mib(least: int, most: int) -> Callable[[object], Answer[int]]:
    """A size with its unit, in MiB. MB and GB are refused: half of the world means something else by them."""

    @shaped(type="string", pattern=_of_units(_SIZES_MIB))
    def read(node: object) -> Answer[int]:
        found = _QUANTITY.fullmatch(node) if isinstance(node, str) else None
        if found is None or found[2] not in _SIZES_MIB:
            return Problem(f"{_shown(node)} is not a size", hint="a number with MiB, GiB or TiB, such as 128 MiB")
        amount = float(found[1]) * _SIZES_MIB[found[2]]
        if amount != int(amount) or not least <= amount <= most:
            return Problem(f"{found[0]} is out of range", hint=f"use {least} MiB to {most} MiB, in whole MiB")
        return int(amount)

    return read


def rate_mib_per_s(least: int, most: int) -> Callable[[object], Answer[int]]:
    """So much in each second, in MiB."""
    size = size_mib(least, most)

    @shaped(type="string", pattern=_of_units(_SIZES_MIB).replace("^", r"^\s*").replace("$", r"\s*/\s*s\s*$"))
    def read(node: object) -> Answer[int]:
        amount, slash, each = node.rpartition("/") if isinstance(node, str) else ("", "", "")
        if not slash or each.strip() != "s":
            return Problem(f"{_shown(node)} is not a rate", hint="a size for each second, such as 100 MiB/s")
        return size(amount.strip())

    return read


def percent(least: int, most: int) -> Callable[[object], Answer[int]]:
    """A whole number of hundredths."""

    @shaped(type="string", pattern="^[0-9]{1,4} ?%$")
    def read(node: object) -> Answer[int]:
        found = re.fullmatch(r"([0-9]{1,4}) ?%", node) if isinstance(node, str) else None
        if found is None or not least <= int(found[1]) <= most:
            return Problem(f"{_shown(node)} is not such a part", hint=f"use {least} % to {most} %")
        return int(found[1])

    return read


def duration_s(least: float, most: float) -> Callable[[object], Answer[float]]:
    """A length of time with its unit, in seconds."""

    @shaped(type="string", pattern=_of_units(_SECONDS))
    def read(node: object) -> Answer[float]:
        found = _QUANTITY.fullmatch(node) if isinstance(node, str) else None
        if found is None or found[2] not in _SECONDS:
            return Problem(
                f"{_shown(node)} is not a length of time", hint="a number with ms, s, min, h or d, such as 10 min"
            )
        amount = round(float(found[1]) * _SECONDS[found[2]], 6)  # 1001 ms are 1.001 s, not 1.0010000000000001 s.
        if not least <= amount <= most:
            return Problem(f"{found[0]} is out of range", hint=f"use {_length(least)} to {_length(most)}")
        return amount

    return read


def _length(seconds: float) -> str:
    """A length of time by the largest unit of which it is a whole number."""
    for unit in ("d", "h", "min"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:g} {unit}"
    return f"{seconds:g} s"


def choice(of: type[E]) -> Callable[[object], Answer[E]]:
    """One of the words of an enumeration."""

    # `windows: 2022` is a number in YAML.
    @shaped(enum=[*map(str, of), *(int(one) for one in of if one.isdecimal())])
    def read(node: object) -> Answer[E]:
        try:
            return of(str(node))
        except ValueError:
            return Problem(f"{_shown(node)} is not known", hint=f"use one of: {', '.join(of)}")

    return read


@shaped(type="array", items={"type": "string", "minLength": 1})
def words(node: object) -> Answer[tuple[str, ...]]:
    """A list of strings, none of them empty."""
    if not isinstance(node, list) or not all(isinstance(one, str) and one for one in node):
        return Problem(f"{_shown(node)} is not a list of strings", hint="write [first, second]")
    return tuple(str(one) for one in node)


@shaped(type="array", items={"type": "string", "minLength": 1}, minItems=1)
def argv(node: object) -> Answer[tuple[str, ...]]:
    """A program and its arguments."""
    said = words(node)
    if isinstance(said, Problem) or not said:
        return Problem(f"{_shown(node)} is no command", hint="write [program, argument]")
    return said


def networks(most: int) -> Callable[[object], Answer[tuple[str, ...]]]:
    """Networks as CIDR; an address is a network of its own."""

    @shaped(type="array", items={"type": "string", "minLength": 1}, minItems=1, maxItems=most)
    def read(node: object) -> Answer[tuple[str, ...]]:
        hint = "a list, such as [203.0.113.0/24, 198.51.100.7]"
        if not isinstance(node, list) or not node:
            return Problem(f"{_shown(node)} is not a list of networks", hint=hint)
        if len(node) > most:
            return Problem(f"{len(node)} networks are too many", hint=f"use at most {most}; networks that hold them")
        named = []
        for one in node:
            try:
                network = ip.network(one if isinstance(one, str) else "", strict=False)
            except ValueError:
                return Problem(f"{_shown(one)} is no network", hint=hint)
            if isinstance(one, str) and "/" in one and str(network) != one:
                return Problem(f"{one} is not the network's own address", hint=f"write {network}")
            named.append(str(network))
        return tuple(named)

    return read


def _of_units(units: Iterable[str]) -> str:
    return rf"^[0-9]{{1,9}}(\.[0-9]{{1,3}})? ?({'|'.join(units)})$"


@shaped(type="string", pattern="^/[!-~]{0,200}$")
def url_path(node: object) -> Answer[str]:
    """The path of a URL."""
    said = text(node)
    if isinstance(said, Problem):
        return said
    if not re.fullmatch(r"/[!-~]{0,200}", said):
        return Problem(f"{said[:60]!r} is not a path", hint="begin with '/', no spaces, at most 200 characters")
    return said


STATUSES: Final = re.compile(r"[1-5][0-9][0-9](?:-[1-5][0-9][0-9])?(?:,[1-5][0-9][0-9](?:-[1-5][0-9][0-9])?){0,9}")


@shaped(
    anyOf=[
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": f"^{STATUSES.pattern}$"},
    ]
)
def statuses(node: object) -> Answer[str]:
    """Statuses of HTTP and ranges of them; a single number may stand without quotes."""
    said = str(node) if isinstance(node, str | int) and not isinstance(node, bool) else ""
    ranges = [part.partition("-") for part in said.split(",")]
    if not STATUSES.fullmatch(said) or any(last and last < first for first, _, last in ranges):
        return Problem(f"{_shown(node)} is no status of HTTP", hint="such as 200, 200-399 or 200-299,401")
    return said


def _shown(node: object) -> str:
    return "nothing" if node is None else repr(node)[:60]

"""Devices of the host's PCI bus that guests have to themselves: how they are named, and which one an instance has.

A device is named by where it is, `0000:01:00.0`; by what it is, `10de:2204` (vendor and device); or by its class,
`class:0300`: as `lspci -Dnn` shows them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from orchestrator.errors import InvalidInput

PCI_MOST: Final = 8  # that a role may name: each has a port of the guest's own
PATTERN: Final = (
    "^(([0-9A-Fa-f]{4}:)?[0-9A-Fa-f]{2}:[01][0-9A-Fa-f][.][0-7]|[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}|class:[0-9A-Fa-f]{4})$"
)
NAMED: Final = "0000:01:00.0, 10de:2204 (vendor and device) or class:0300, as lspci -Dnn shows them"
_ADDRESS: Final = re.compile("[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f][.][0-7]")
_KIND: Final = re.compile("[0-9a-f]{4}:[0-9a-f]{4}")
_SHORT: Final = len("01:00.0")
_CLASS: Final = "class:"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A device that is an instance's, and what of its role's file it answers: see `keys`."""

    wanted: str
    address: str
    kind: str  # vendor and device: what was there when it was given


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PciDevice:
    """A device of the host that its owner gives to guests."""

    address: str
    kind: str  # vendor:device
    code: str  # its class, four hexadecimal digits
    mates: tuple[str, ...] = ()  # addresses of the others of its IOMMU group: who has it has them as well
    fault: str = ""  # why no guest can have it now, in a sentence; "": one can
    hint: str = ""  # what helps


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PciLook:
    """What the host's owner gives, as `vmrole.toml` says it, and which devices that are."""

    given: tuple[str, ...] = ()
    devices: tuple[PciDevice, ...] = ()


def named(said: str) -> str:
    """The name of a device or of several as it is kept: `01:00.0` is `0000:01:00.0`. Raises InvalidInput."""
    if re.fullmatch(PATTERN, said) is None:
        raise InvalidInput(f"{said[:60]!r} names no PCI device", hint=f"such as {NAMED}")
    name = said.lower()
    return f"0000:{name}" if len(name) == _SHORT and "." in name else name


def is_named(name: str) -> bool:
    """Whether it is a name as it is kept."""
    return bool(_ADDRESS.fullmatch(name) or _KIND.fullmatch(name) or re.fullmatch("class:[0-9a-f]{4}", name))


def is_address(name: str) -> bool:
    """Whether that names one device, by where it is."""
    return _ADDRESS.fullmatch(name) is not None


def is_kind(name: str) -> bool:
    """Whether that is a vendor and a device."""
    return _KIND.fullmatch(name) is not None


def matches(name: str, address: str, kind: str, code: str) -> bool:
    """Whether that device is one of those that the name means."""
    return name in (address, kind, f"{_CLASS}{code}")


def keys(names: Sequence[str]) -> tuple[str, ...]:
    """Each of them by a word that no other has: of two that are equal, the second is `10de:2204#2`."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(found)


def name_of(key: str) -> str:
    """What such a word stands for."""
    return key.partition("#")[0]


def of_keys(passed: Sequence[Passed], wanted: Collection[str]) -> tuple[Passed, ...]:
    """Those that answer one of them, each device once."""
    found: Mapping[str, Passed] = {one.address: one for one in reversed(passed) if one.wanted in wanted}
    return tuple(one for one in passed if found.get(one.address) is one)

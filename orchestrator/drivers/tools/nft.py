"""nftables through `nft -j`: JSON in and JSON out, because text can be escaped from by a name or a comment.

Nothing here knows what the rules are for; `firewall` says that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from orchestrator.drivers.tools.command import run
from orchestrator.errors import CommandFailed

Json = dict[str, Any]
Value = Json | str | int
Key = tuple[str, ...]  # an element of a set, in the order of the set's type; of a map with what it gives behind
_GENERATION_S: Final = 1.0
_GET_GENERATION: Final = struct.pack("=IHHIIBBH", 20, 10 << 8 | 16, 1, 1, 0, 0, 0, 0)  # nlmsghdr, nfgenmsg
_GENERATION_AT: Final = 24  # behind both headers and that of the attribute NFTA_GEN_ID
_ABSENT: Final = "No such file or directory"
_FILLED_MAX: Final = 1 << 16  # more than there are guests on a host


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """A set whose elements carry an owner as their comment. `type` as nft names it; several make a concatenation."""

    name: str
    type: tuple[str, ...]
    interval: bool = False  # elements may be prefixes, or ranges such as 8000-8010
    gives: str = ""  # of a map: the type of what each element gives
    filled: bool = False  # by rules (`remember`) and not by us
    timeout_s: int = 0  # how long an element of a filled set stays after its last use


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain with its rules; without a hook it is reached by a jump only."""

    name: str
    rules: tuple[tuple[Json, ...], ...]
    hook: str = ""
    priority: int = 0
    type: str = "filter"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table as it should be, without its elements."""

    family: str
    name: str
    sets: tuple[Set, ...]
    chains: tuple[Chain, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One table as the kernel has it: `fixed` is everything but elements, handles and counts, for comparing."""

    fixed: str
    elements: Mapping[str, Mapping[Key, str]]  # set -> element -> owner
    drops: Mapping[str, int]  # the comment of each counting rule -> packets


def look(table: Table) -> Found | None:
    """The table now, or None when there is none."""
    try:
        listed = json.loads(run(["nft", "-j", "list", "table", table.family, table.name]))["nftables"]
    except CommandFailed as error:
        if _ABSENT in error.stderr:
            return None
        raise
    elements: dict[str, dict[Key, str]] = {}
    drops: dict[str, int] = {}
    fixed: list[Json] = []
    for item in listed:
        ((kind, body),) = item.items()
        if kind == "metainfo":
            continue
        if kind in ("set", "map"):
            elements[body["name"]] = dict(_element(one) for one in body.pop("elem", ()))
        if kind == "rule":
            for part in body["expr"]:
                if isinstance(part.get("counter"), dict):
                    drops[body.get("comment", "")] = part["counter"]["packets"]
                    part["counter"] = None
        body.pop("handle", None)
        fixed.append({kind: body})
    return Found(fixed=json.dumps(fixed, sort_keys=True), elements=elements, drops=drops)


def elements(table: Table, name: str) -> dict[Key, int]:
    """The elements of one filled set, and for how many seconds each stays; none when there is no such set."""
    try:
        listed = json.loads(run(["nft", "-j", "list", "set", table.family, table.name, name]))["nftables"]
    except CommandFailed as error:
        if _ABSENT in error.stderr:
            return {}
        raise
    found = [one for item in listed for one in item.get("set", {}).get("elem", ())]
    return {_element(one)[0]: one["elem"].get("expires", 0) if "elem" in one else 0 for one in found}


def generation() -> int:
    """The number of the rule set, which rises by one with every transaction of whomever; 0 when it cannot be had.

    A few microseconds, whereas listing a rule set costs more the larger it is (NFT_MSG_GETGEN, nf_tables.h). What
    packets put into filled sets does not count.
    """
    with contextlib.suppress(OSError, struct.error), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as asking:
        asking.settimeout(_GENERATION_S)
        asking.send(_GET_GENERATION)
        number: int = struct.unpack_from(">I", asking.recv(4096), _GENERATION_AT)[0]
        return number
    return 0


def remake(table: Table, found: Found | None) -> list[Json]:
    """Commands that make the table's sets, chains and rules as they should be; elements stay. One transaction."""
    place = {"family": table.family, "table": table.name}
    commands: list[Json] = [{"add": {"table": {"family": table.family, "name": table.name}}}]
    for one in table.sets:
        if found is None or one.name not in found.elements:
            kind = list(one.type) if len(one.type) > 1 else one.type[0]
            more: Json = {"flags": ["interval"]} if one.interval else {}
            more |= {"size": _FILLED_MAX} if one.filled else {}  # That rules may write into it, nft adds by itself.
            more |= {"flags": ["timeout"], "timeout": one.timeout_s} if one.timeout_s else {}
            more |= {"map": one.gives} if one.gives else {}
            commands.append(
                {"add": {"map" if one.gives else "set": {**place, "name": one.name, "type": kind, **more}}}
            )
    for chain in table.chains:
        body: Json = {**place, "name": chain.name}
        if chain.hook:
            body |= {"type": chain.type, "hook": chain.hook, "prio": chain.priority, "policy": "accept"}
        commands.append({"add": {"chain": body}})
        commands.append({"flush": {"chain": {**place, "name": chain.name}}})
    for chain in table.chains:
        for expressions in chain.rules:
            rule: Json = {**place, "chain": chain.name, "expr": [one for one in expressions if "comment" not in one]}
            comments = [one["comment"] for one in expressions if "comment" in one]
            if comments:
                rule["comment"] = comments[0]
            commands.append({"add": {"rule": rule}})
    return commands


def change(table: Table, name: str, now: Mapping[Key, str], wanted: Iterable[Key], owner: str) -> list[Json]:
    """Commands that make the elements of `owner` in the set exactly `wanted`.

    Those of others stay, unless `owner` wants them: the record gives each to one service, so the other is gone.
    """
    place = {"family": table.family, "table": table.name, "name": name}
    kind = next(one for one in table.sets if one.name == name)
    want = set(wanted)
    stale = sorted(key for key, holder in now.items() if (holder == owner) != (key in want))
    fresh = sorted(key for key in want if now.get(key) != owner)
    commands: list[Json] = []
    if stale:
        commands.append({"delete": {"element": {**place, "elem": [_shaped(kind, key) for key in stale]}}})
    if fresh:
        elem = [_shaped(kind, key, owner) for key in fresh]
        commands.append({"add": {"element": {**place, "elem": elem}}})
    return commands


def changed(now: Mapping[Key, str], wanted: Iterable[Key], owner: str) -> dict[Key, str]:
    """The elements of a set, after `change`."""
    want = set(wanted)
    return {key: holder for key, holder in now.items() if holder != owner and key not in want} | dict.fromkeys(
        want, owner
    )


def apply(commands: Sequence[Json]) -> None:
    """All or nothing, in one transaction of the kernel; nothing to do is nothing done."""
    if commands:
        run(["nft", "-j", "-f", "-"], stdin=json.dumps({"nftables": list(commands)}))


def _shaped(kind: Set, key: Key, owner: str = "") -> Value | list[Value]:
    """An element as nft takes it; `owner` as its comment.

    Of a concatenation with ranges nft 1.0.6 finds a single port again only where it is a range of one.
    """
    parts = [_part(one) for one in (key[:-1] if kind.gives else key)]
    if kind.interval and len(parts) > 1 and isinstance(parts[-1], int):
        parts[-1] = {"range": [parts[-1], parts[-1]]}
    value: Value = {"concat": parts} if len(parts) > 1 else parts[0]
    said: Value = {"elem": {"val": value, "comment": owner}} if owner else value
    return [said, _part(key[-1])] if kind.gives else said


def _element(one: object) -> tuple[Key, str]:
    if isinstance(one, list):  # of a map
        key, owner = _element(one[0])
        return (*key, _text(one[1])), owner
    owner = ""
    if isinstance(one, dict) and "elem" in one:
        owner, one = one["elem"].get("comment", ""), one["elem"]["val"]
    parts = one["concat"] if isinstance(one, dict) and "concat" in one else [one]
    return tuple(_text(part) for part in parts), owner


def _text(part: object) -> str:
    if isinstance(part, dict) and "prefix" in part:
        return f"{part['prefix']['addr']}/{part['prefix']['len']}"
    if isinstance(part, dict) and "range" in part:
        return "-".join(map(str, part["range"]))
    return str(part)


def _part(text: str) -> Value:
    if "/" in text:
        return prefix(text)
    if ends := re.fullmatch("([0-9]+)-([0-9]+)", text):
        return {"range": [int(ends[1]), int(ends[2])]}
    return int(text) if text.isdecimal() else text


# Expressions of libnftables-json(5), as far as we use them. ---------------------------------------------------


def meta(key: str) -> Json:
    """What the kernel knows about the packet, e.g. `iifname`."""
    return {"meta": {"key": key}}


def field(protocol: str, name: str) -> Json:
    """A header field, e.g. `ip`, `saddr`."""
    return {"payload": {"protocol": protocol, "field": name}}


def raw(base: str, first_bit: int, bits: int) -> Json:
    """Bits at a place from the beginning of the link's ("ll"), network's ("nh") or transport's ("th") header."""
    return {"payload": {"base": base, "offset": first_bit, "len": bits}}


def put(into: Json, value: Json | int) -> Json:
    """Writes into what the kernel knows about the packet, e.g. `meta("mark")`."""
    return {"mangle": {"key": into, "value": value}}


def given(key: Json, name: str) -> Json:
    """What the map `name` gives for the key; a rule goes no further where it has none."""
    return {"map": {"key": key, "data": f"@{name}"}}


def masked(value: Json, mask: int) -> Json:
    """Some of its bits."""
    return {"&": [value, mask]}


def both(*parts: Json) -> Json:
    """A concatenation."""
    return {"concat": list(parts)}


def match(left: Json, right: object, op: str = "==") -> Json:
    """`left` is in the set `@name`, or equals the value; `op` "!=" for not; "in" for connection states."""
    return {"match": {"op": op, "left": left, "right": right}}


def any_of(*values: object) -> Json:
    """An anonymous set."""
    return {"set": list(values)}


ACCEPT: Final[Json] = {"accept": None}
RETURN: Final[Json] = {"return": None}
MASQUERADE: Final[Json] = {"masquerade": None}


def prefix(network: str) -> Json:
    """A network, e.g. `10.0.0.0/8`."""
    address, _, length = network.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}


def jump(chain: str) -> Json:
    """Goes to another chain and comes back."""
    return {"jump": {"target": chain}}


def refuse(how: str) -> Json:
    """Drops, and tells the sender at once: by "tcp reset", or by "icmpx" that an administrator forbids it."""
    return {"reject": {"type": how, **({"expr": "admin-prohibited"} if how == "icmpx" else {})}}


def counted(why: str, *verdict: Json) -> tuple[Json, ...]:
    """The verdict, counted; `why` is the rule's comment, under which `Found.drops` has the count."""
    return ({"counter": None}, *verdict, {"comment": why})


def over(count: int, key: Json, name: str) -> Json:
    """Whether more than `count` connections with that key are open; counted in the filled set `name`."""
    return {"set": {"op": "add", "elem": key, "set": f"@{name}", "stmt": [{"ct count": {"val": count, "inv": True}}]}}


def oftener(times: int, key: Json, name: str, *, per: str = "second") -> Json:
    """Whether packets with that key come more often than so, after as many at once; kept in the filled set `name`."""
    limit = {"limit": {"rate": times, "burst": times, "per": per, "inv": True}}
    return {"set": {"op": "update", "elem": key, "set": f"@{name}", "stmt": [limit]}}


def remember(key: Json, name: str) -> Json:
    """Puts the key into the filled set `name`, or its time there anew."""
    return {"set": {"op": "update", "elem": key, "set": f"@{name}"}}


def drop(why: str) -> tuple[Json, ...]:
    """Drops and counts."""
    return counted(why, {"drop": None})

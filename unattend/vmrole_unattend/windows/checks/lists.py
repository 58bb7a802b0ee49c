"""What may stand several times, and what may not: wcm:action, keys, Orders."""

from __future__ import annotations

import re

from vmrole_unattend.windows.checks.file import File
from vmrole_unattend.windows.checks.place import Home, Place, Report, own_text
from vmrole_unattend.windows.checks.placeholder import has_branches

_KEYED = frozenset({"pathandcredentials", "ipaddress", "domainname", "firewallgroup"})
_ORDERED = frozenset(
    {
        "runsynchronouscommand",
        "runasynchronouscommand",
        "synchronouscommand",
        "asynchronouscommand",
        "createpartition",
        "modifypartition",
    }
)


def check(file: File, report: Report) -> None:
    """Everything in every component."""
    for home in file.homes:
        _component(home, report)


def _component(home: Home, report: Report) -> None:
    """Everything in one component."""
    if not has_branches(own_text(home.element)):
        _siblings(home.places, report)
    for place in home.every:
        if _is_misplaced(place):
            continue  # That the reference does not know what it stands in is told, once for all that it holds.
        if place.children and not has_branches(place.text):
            _siblings(place.children, report)


def _is_misplaced(place: Place) -> bool:
    known = place.home.known
    if known is None or known.settings is None:
        return False
    top = place
    while top.parent is not None:
        top = top.parent
    return top.known is None


def _is_item(place: Place) -> bool:
    return place.mark("action") is not None or is_list_item(place)


def is_list_item(place: Place) -> bool:
    """Whether the reference knows it as an item of a list."""
    return place.known is not None and place.known.listed


def _may_repeat(place: Place) -> bool:
    """Whether it is named like an item of a list: Microsoft's own samples have such without wcm:action."""
    name, above = place.name.casefold(), place.parent.name.casefold() if place.parent is not None else ""
    return name.endswith(("item", "entry")) or above.endswith("list") or above == f"{name}s"


def _is_keyed(place: Place) -> bool:
    """Whether the reference has a page for its wcm:keyValue, which it writes as a child."""
    known = place.home.known.settings if place.home.known is not None else None
    return place.name.casefold() in _KEYED and known is not None and f"{place.key}/key" in known


def _siblings(places: list[Place], report: Report) -> None:
    alike: dict[str, list[Place]] = {}
    for place in places:
        alike.setdefault(place.name.casefold(), []).append(place)
    for name, same in alike.items():
        _actions(same, report)
        a_list = any(_is_item(one) for one in same) or _may_repeat(same[0])
        if len(same) > 1 and not a_list and same[0].known is not None:
            message = f"{same[1].name} is there twice, first on line {same[0].line}"
            report.error(same[1], "repeated", message, "keep one: it is not a list")
        if name in _ORDERED:
            _orders(same, report)
        if _is_keyed(same[0]):
            _keys(same, report)
        if name == "disk":
            _same_number(same, "diskid", "DiskID", report)


def _actions(same: list[Place], report: Report) -> None:
    """Windows' own manager of such files always writes wcm:action; Setup has been seen to do without."""
    marks = [place.mark("action") for place in same]
    lacking = [place for place, mark in zip(same, marks, strict=True) if mark is None]
    if lacking and (is_list_item(same[0]) or len(lacking) < len(same)):
        others = ", ".join(str(place.line) for place in lacking[1:])
        message = f"{lacking[0].name} is an item of a list and lacks wcm:action"
        message += f", and so on line {others}" if others else ""
        report.doubt(lacking[0], "list-action", message, 'write wcm:action="add"')
    for place, mark in zip(same, marks, strict=True):
        if mark is not None and mark.strip().casefold() not in ("add", "modify", "remove"):
            report.doubt(place, "list-action", f"wcm:action is {mark!r}", 'write wcm:action="add"')


def _keys(items: list[Place], report: Report) -> None:
    seen: dict[str, Place] = {}
    for item in items:
        key = item.mark("keyValue")
        if key is None:
            report.doubt(item, "list-key", f"{item.name} lacks wcm:keyValue", 'write wcm:keyValue="1", "2" …')
        elif key.casefold() in seen:
            message = f"wcm:keyValue {key!r} is there twice, first on line {seen[key.casefold()].line}"
            report.doubt(item, "list-key", message, "give each item a key of its own")
        else:
            seen[key.casefold()] = item


def _orders(items: list[Place], report: Report) -> None:
    for item in items:
        order = item.child("order")
        if order is None or not order.text:
            report.doubt(item, "order", f"{item.name} has no Order", "number the items from 1")
        elif not re.fullmatch(r"[0-9]+", order.text):
            if not report.awaits(order, order.text):
                report.error(order, "order", f"the Order {order.text[:20]!r} is no number", "number the items from 1")
        elif int(order.text[:9]) == 0:
            report.error(order, "order", "the Order is 0", "number the items from 1")
    _same_number(items, "order", "Order", report)


def _same_number(items: list[Place], child: str, name: str, report: Report) -> None:
    seen: dict[str, Place] = {}
    for item in items:
        number = item.child(child)
        if number is None or not number.text.isdecimal():
            continue
        value = number.text.lstrip("0") or "0"
        if value in seen:
            first = seen[value].line
            report.error(
                number, "order", f"the {name} {value} is there twice, first on line {first}", "number them all"
            )
        else:
            seen[value] = number

"""Time zones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from unattend.windows.checks.file import File
from unattend.windows.checks.place import Place, Report, short
from unattend.windows.time_zones import NAMES

_ZONES = frozenset(name.casefold() for name in NAMES)


def check(file: File, report: Report) -> None:
    """Everything about where a machine stands."""
    for home in file.named("Shell-Setup"):
        _time_zone(home.find("timezone"), report)


def _time_zone(found: Iterable[Place], report: Report) -> None:
    for place in found:
        zone = place.text.casefold().removesuffix("_dstoff")
        if zone and zone not in _ZONES and not place.children and not report.awaits(place, place.text):
            close = difflib.get_close_matches(place.text, NAMES, 1, 0.75)
            mend = f"perhaps {close[0]}" if close else "such as W. Europe Standard Time; tzutil /l lists them"
            report.doubt(place, "time-zone", f"Windows has no time zone {short(place.text)}", mend)

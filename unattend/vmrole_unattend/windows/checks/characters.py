"""Characters that nobody sees or that are not what they look like, and blanks that belong to a value."""

from __future__ import annotations

import re

from vmrole_unattend.windows.checks.file import File
from vmrole_unattend.windows.checks.place import BLANKS, Place, Report

_FREE = frozenset(
    {"description", "displayname", "registeredowner", "registeredorganization", "fullname", "organization", "label"}
)
"""Texts for people, whose scripts may need what is invisible."""

INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")
_BLANK = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_ESCAPED = re.compile(r"&(amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9A-Fa-f]{1,6});")
_NAMES = re.compile(
    r"computername|timezone|autologon/(username|domain)|useraccounts/localaccounts/localaccount/name"
    r"|identification/(joindomain|joinworkgroup|machineobjectou)|(.*/)?password/value"
)
"""Texts that Windows takes with the blanks around them."""


def check(file: File, report: Report) -> None:
    """Every text of every component."""
    for home in file.homes:
        for place in home.every:
            if place.children or not place.text:
                continue
            _invisible(place, report)
            _blanks(place, report)
            if is_command(place):
                _escaped(place, report)


def is_command(place: Place) -> bool:
    """Whether the text is the line of a command."""
    return place.name.casefold() in ("path", "commandline") and "command" in place.key


def _invisible(place: Place, report: Report) -> None:
    if place.name.casefold() in _FREE:
        return
    mend = "write the line anew by hand: web pages and word processors put such in"
    invisible = INVISIBLE.search(place.text)
    if invisible is not None:
        message = f"an invisible character, U+{ord(invisible[0]):04X}, stands in {place.name}"
        report.warning(place, "invisible", message, mend)
    elif is_command(place) and (blank := _BLANK.search(place.text)) is not None:
        message = f"what looks like a blank in {place.name} is none to a command (U+{ord(blank[0]):04X})"
        report.warning(place, "invisible", message, mend)


def _blanks(place: Place, report: Report) -> None:
    if _NAMES.fullmatch(place.key) and place.raw.strip(BLANKS) != place.raw:
        message = f"blanks stand around what {place.name} says, and Windows takes them for a part of it"
        report.warning(place, "blanks", message, f"write <{place.name}> and its text on one line, without blanks")


def _escaped(place: Place, report: Report) -> None:
    """What was escaped for XML twice; a command that writes XML has brackets of its own."""
    twice = _ESCAPED.search(place.text)
    if twice is None or re.search("[<>]", place.text.replace("->", "")) is not None:
        return
    once = {"amp": "&amp;", "lt": "&lt;", "gt": "&gt;", "quot": "&quot;", "apos": "&apos;"}.get(twice[1], "once")
    message = f"{twice[0]} stands in the command as it is: it was escaped for XML twice"
    report.warning(place, "escaped", message, f"write {once} in the file")

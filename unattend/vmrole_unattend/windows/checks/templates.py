"""What is to be filled in, wherever it stands; what a check has passed over for that reason is noted by itself."""

from __future__ import annotations

from vmrole_unattend.windows.checks.file import File
from vmrole_unattend.windows.checks.place import Place, Report, own_text, quoted, short
from vmrole_unattend.windows.checks.placeholder import template

_FREE = frozenset({"path", "commandline", "description"})  # braces and dollars are at home there


def check(file: File, report: Report) -> None:
    """Whatever only a template has, in the text of components and of settings."""
    for home in file.homes:
        word = template(own_text(home.element))
        if word:
            report.to_come(home, short(word))
        for place in home.every:
            word = template(place.text) if place.text and not _is_free(place) else ""
            if word:
                report.to_come(place, short(word))


def _is_free(place: Place) -> bool:
    """Whether any character may be meant there, or the text must not be quoted; secrets have a check of their own."""
    return place.name.casefold() in _FREE or quoted(place) == "***"

"""Whether Windows will take an answer file, and what it will do with it that was not meant.

The subjects are in `checks`. An error is what Windows refuses or what surely breaks; what only the reference says, or
what may go wrong, is a warning. In what we made ourselves the reference's word is enough for an error.
"""

from __future__ import annotations

from collections.abc import Callable

from unattend.windows.answers import Architecture, Windows
from unattend.windows.checks import commands, disks, frame, identity, joining, lists, network, region, table, welcome
from unattend.windows.checks.file import Deployment, File
from unattend.windows.checks.place import Home, Place, Report, homes, own_text, short
from unattend.windows.checks.placeholder import template
from unattend.windows.document import Finding, Severity, read

__all__ = ["Deployment", "Finding", "Severity", "check"]

CHECKS: tuple[Callable[[File, Report], None], ...] = (
    frame.check,
    table.check,
    lists.check,
    identity.check,
    welcome.check,
    region.check,
    commands.check,
    joining.check,
    network.check,
    disks.check,
)
"""Everything that is looked for, a subject each."""


def check(
    source: bytes,
    *,
    windows: Windows | None = None,
    architecture: Architecture | None = None,
    ours: bool = False,
    deployment: Deployment = Deployment.GENERALIZED,
) -> list[Finding]:
    """Everything that is wrong with the file, in the order of its lines; raises nothing.

    `windows` and `architecture` are the image's, where known. `ours`: the file is made by us, so that doubts are
    errors.
    """
    document, unreadable = read(source)
    if document is None:
        return unreadable
    report = Report(ours=ours)
    report.findings += unreadable
    if frame.root_is_ours(document.root, report):
        file = File(
            root=document.root,
            homes=homes(document.root),
            use=deployment,
            windows=windows,
            architecture=architecture,
        )
        _placeholders(file.homes, report)
        for subject in CHECKS:
            subject(file, report)
    return sorted(report.findings, key=lambda one: one.line)


def _placeholders(found: list[Home], report: Report) -> None:
    """One finding for a template that nobody has filled in."""
    said: dict[str, int] = {}
    for home in found:
        if home.architecture.startswith(("%", "$", "{", "@")):
            said.setdefault(short(home.architecture), home.line)
        word = template(own_text(home.element))
        if word:
            said.setdefault(short(word), home.line)
        for place in home.every:
            word = _to_fill_in(place) if place.text else ""
            if word:
                said.setdefault(word, place.line)
    if said:
        first = min(said, key=lambda word: said[word])
        others = f" and {len(said) - 1} more" if len(said) > 1 else ""
        report.findings.append(
            Finding(
                severity=Severity.WARNING,
                line=said[first],
                path="",
                code="template",
                message=f"the file is a template: {first}{others} is to be filled in",
                mend="fill it in before Windows reads it; such values are not checked",
            )
        )


_FREE = frozenset({"path", "commandline", "value", "description"})  # braces and dollars are at home there


def _to_fill_in(place: Place) -> str:
    """What in a text only a template has; "" for what can be meant."""
    if place.name.casefold() in _FREE:
        return ""
    if place.key in ("productkey", "userdata/productkey/key") and not place.children:
        return "a product key" if identity.is_stand_in(place) and set(place.text) != set("0-") else ""
    word = template(place.text)
    return short(word) if word else ""

"""What Windows asks at its first start."""

from __future__ import annotations

from collections.abc import Iterable

from unattend.windows.checks.file import TRUE, File
from unattend.windows.checks.place import Place, Report

_SINCE_8 = frozenset({"hideonlineaccountscreens", "hidelocalaccountscreen", "hideoemregistrationscreen"})


def check(file: File, report: Report) -> None:
    """Everything about the first start."""
    for home in file.named("Shell-Setup"):
        _oobe(home.find("oobe"), file, report)


def _oobe(found: Iterable[Place], file: File, report: Report) -> None:
    for oobe in found:
        skipped = [
            one for one in oobe.children
            if one.name.casefold() in ("skipmachineoobe", "skipuseroobe") and one.text.casefold() in TRUE
        ]  # fmt: skip
        if skipped:
            names = " and ".join(one.name for one in skipped)
            message = f"{names}: meant for tests before shipment, and gone from the reference"
            report.warning(skipped[0], "skip-oobe", message, "hide the pages instead: HideEULAPage and the others")
        for one in oobe.children:
            if file.windows is not None and not file.windows.at_least(6, 2) and one.name.casefold() in _SINCE_8:
                message = f"Windows {file.windows} does not know {one.name} and refuses the file"
                report.error(one, "release", message, "remove it")

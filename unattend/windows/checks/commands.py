"""Commands, and what ends a pass."""

from __future__ import annotations

from collections.abc import Iterable

from unattend.windows.checks.file import TRUE, File
from unattend.windows.checks.place import Home, Place, Report


def check(file: File, report: Report) -> None:
    """Everything about commands."""
    for home in file.named("Shell-Setup"):
        _first_logon(home.find("firstlogoncommands"), file, report)
    for home in file.named("Deployment"):
        _reseal(home, report)


def _first_logon(found: Iterable[Place], file: File, report: Report) -> None:
    if file.windows is not None and not file.windows.at_least(10, 0):
        return
    for commands in found:
        if len(commands.children) > 1:
            message = (
                f"{len(commands.children)} first-logon commands: Windows 10 and later may start them all at once"
            )
            report.warning(commands, "first-logon", message, "run one script that runs them in order")


def _reseal(home: Home, report: Report) -> None:
    for reseal in home.find("reseal"):
        again = reseal.said("mode").casefold() == "oobe" and reseal.said("forceshutdownnow").casefold() in TRUE
        if again and home.phase == "oobesystem":
            message = "Reseal to OOBE with ForceShutdownNow in oobeSystem: the machine shuts down at every start"
            report.error(reseal, "reseal-loop", message, "write Audit, or ForceShutdownNow false")

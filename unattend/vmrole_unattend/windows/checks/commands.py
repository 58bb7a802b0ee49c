"""Commands, and what ends a pass."""

from __future__ import annotations

import re

from vmrole_unattend.windows.checks.file import TRUE, File
from vmrole_unattend.windows.checks.place import Home, Place, Report

ORDER_MAX = 500
_LINES = {
    "runsynchronouscommand": "Path",
    "runasynchronouscommand": "Path",
    "synchronouscommand": "CommandLine",
    "asynchronouscommand": "CommandLine",
}
"""Commands, and what holds the command line of each."""

_RESTARTS = re.compile(
    r"(?<![/\w-])shutdown(\.exe)?[\"']?\s(.*\s)?[/-](r|s|g|sg|p|h|i|o)\b|\b(restart|stop)-computer\b"
    r"|\bwpeutil(\.exe)?\s+(reboot|shutdown)\b|\bexitwindows|\bwmic\b.*\b(reboot|shutdown)\b|\bWin32Shutdown\b",
    re.IGNORECASE,
)


_ECHOED = re.compile(r"(?<![\w-])(?:echo|write-(?:host|output))\s[^&|;>]*", re.IGNORECASE)
"""What a command only says."""

_BUILT_IN = re.compile(
    r"@?(assoc|call|cd|chdir|cls|copy|del|dir|echo|erase|exit|for|ftype|if|md|mkdir|mklink|move|pause|popd|pushd|rd|rem"
    r"|ren|rename|rmdir|set|start|type|ver|vol)(\s|$)",
    re.IGNORECASE,
)
"""What cmd.exe does itself: no program has that name."""


def check(file: File, report: Report) -> None:
    """Everything about commands."""
    for home in file.homes:
        for place in home.every:
            if place.name.casefold() in _LINES and place.mark("action") != "remove":
                _command(place, report)
    for home in file.named("Shell-Setup"):
        for commands in home.find("firstlogoncommands"):
            _first_logon(commands, file, report)
    for home in file.named("Deployment"):
        for reseal in home.find("reseal"):
            _reseal(reseal, report)
    _audit(file, report)


def _command(place: Place, report: Report) -> None:
    name = _LINES[place.name.casefold()]
    line = place.child(name.casefold())
    if line is None or (name == "CommandLine" and not line.text.strip()):  # An empty Path is told with every setting.
        report.doubt(place, "command", f"{place.name} has no {name}, so it runs nothing", f"add <{name}>")
    order = place.child("order")
    if order is not None and order.text.isdecimal() and int(order.text[:9]) > ORDER_MAX:
        message = f"the Order {order.text[:20]} is more than {ORDER_MAX}"
        report.doubt(order, "order", message, f"number the items from 1 to {ORDER_MAX}")
    if line is not None and (word := _BUILT_IN.match(line.text)) is not None:
        message = f"{word[1]} is no program but a word of cmd.exe, so nothing runs"
        report.warning(line, "command", message, f"write cmd /c {word[1]} …")
    if line is not None and line.name.casefold() == "path" and _RESTARTS.search(_ECHOED.sub("", line.text)):
        message = "the command restarts the machine or shuts it down, while Setup is at work"
        mend = "write <WillReboot>Always</WillReboot> beside it instead, or OnRequest and let it exit with 1"
        report.warning(line, "restart", message, mend)


def _first_logon(commands: Place, file: File, report: Report) -> None:
    if file.windows is not None and not file.windows.at_least(10, 0):
        return
    if len(commands.children) > 1:
        message = f"{len(commands.children)} first-logon commands: Windows 10 and later may start them all at once"
        report.warning(commands, "first-logon", message, "run one script that runs them in order")


def _reseal(reseal: Place, report: Report) -> None:
    again = reseal.said("mode").casefold() == "oobe" and reseal.said("forceshutdownnow").casefold() in TRUE
    if again and reseal.home.phase == "oobesystem":
        message = "Reseal to OOBE with ForceShutdownNow in oobeSystem: the machine shuts down at every start"
        report.error(reseal, "reseal-loop", message, "write Audit, or ForceShutdownNow false")


def _audit(file: File, report: Report) -> None:
    """Settings of a mode that nothing in the file leads into."""
    modes = [place for home in file.named("Deployment") for place in home.find("reseal/mode")]
    if any(mode.text.casefold() == "audit" or report.awaits(mode, mode.text) for mode in modes):
        return
    unreached = next((home for home in file.homes if _is_audit(home) and home.places), None)
    deployed = any(home.phase in ("specialize", "oobesystem") for home in file.homes)
    if unreached is not None and deployed:  # A file of these passes alone is for an image in that mode.
        message = f"nothing leads into audit mode, so {unreached.pass_name} is reached only in an image sealed to it"
        mend = "add <Reseal><Mode>Audit</Mode></Reseal> to Microsoft-Windows-Deployment in oobeSystem"
        report.warning(unreached, "audit", message, mend)


def _is_audit(home: Home) -> bool:
    return home.phase in ("auditsystem", "audituser")

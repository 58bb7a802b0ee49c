"""Commands, and what ends a pass."""

from __future__ import annotations

import re

from vmrole_unattend.windows.checks.file import TRUE, File
from vmrole_unattend.windows.checks.place import Home, Place, Report

ORDER_MAX = 500
_FIRST = re.compile(r'"[^"]*"?|\S*')
_SHELLS = frozenset(
    {"cmd", "%comspec%", "powershell", "powershell_ise", "pwsh", "bash", "wsl", "sh", "wscript", "cscript"}
)
_QUOTED = re.compile(r'"[^"]*"?|\{\{.*?\}\}|\{%.*?%\}|\$\{[^}]*\}')
_OPERATOR = re.compile(r"&&|\|\||(?<!\S)[|&](?!\S)|(?<![-=\w])[12]?>>?(?!=)")
_OPENED = re.compile(r"\.(ps1|psm1|vbs|vbe|js|wsf|msi|msp|msu|reg|inf|txt|xml)$", re.IGNORECASE)
_STARTS = {
    "ps1": "powershell -ExecutionPolicy Bypass -File …",
    "msi": "msiexec /i … /qn",
    "msp": "msiexec /p … /qn",
    "msu": "wusa … /quiet /norestart",
    "reg": "reg import …",
    "vbs": "cscript //nologo …",
    "js": "cscript //nologo …",
    "wsf": "cscript //nologo …",
    "inf": "pnputil /add-driver … /install",
}
_CMDLET = re.compile(
    r"(add|clear|copy|disable|dismount|enable|expand|export|format|get|grant|import|initialize|install|invoke|join|mount"
    r"|move|new|out|register|remove|rename|reset|resize|restart|resume|set|start|stop|suspend|test|unblock|uninstall"
    r"|unregister|update|wait|write)-[a-z]\w*|\[[\w.]+\]::\w+.*",
    re.IGNORECASE,
)
_TYPED = re.compile("[\u2018\u2019\u201a\u201c\u201d\u201e\u2013\u2014\u2212\u2026]")
"""What word processors make of quotes, hyphens and three dots."""

_OF_BATCH = re.compile(r"%~[\w$:]*\d|\bfor\s+(/\w\s+(\S+\s+)?)?%%\w\s+in\b", re.IGNORECASE)
_SHARE = re.compile(r'"?\\\\(?![?.]\\)[^\\\s]+\\')
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
    if line is not None and line.text:
        _program(place, line, report)
        _written(line, report)
    if line is not None and line.name.casefold() == "path" and _RESTARTS.search(_ECHOED.sub("", line.text)):
        message = "the command restarts the machine or shuts it down, while Setup is at work"
        mend = "write <WillReboot>Always</WillReboot> beside it instead, or OnRequest and let it exit with 1"
        report.warning(line, "restart", message, mend)


def _program(place: Place, line: Place, report: Report) -> None:
    """What a line begins with: Setup starts a program, and no shell reads what follows."""
    first = _FIRST.match(line.text)[0].strip('"')  # type: ignore[index] # it matches every text
    name = re.split(r"[\\/]", first)[-1].casefold().removesuffix(".exe")
    ending = _OPENED.search(name)
    if _BUILT_IN.match(line.text) is not None or name in _SHELLS:
        return
    if _CMDLET.fullmatch(first):
        message = f"{first[:40]} is no program but PowerShell's, so nothing runs"
        report.warning(line, "command", message, "write powershell -Command …")
    elif ending is not None and (line.name.casefold() == "path" or ending[1] == "ps1"):
        message = f"a file of the kind .{ending[1]} is no program, so nothing runs"
        report.warning(
            line, "command", message, f"write {_STARTS.get(ending[1], 'the program that opens it before it')}"
        )
    elif (sign := _OPERATOR.search(_QUOTED.sub("", line.text))) is not None:
        message = f"no shell reads {sign[0]!r} here: the program gets it, and all behind it, as its arguments"
        report.warning(line, "command", message, 'write cmd /c "…" around it')
    elif line.name.casefold() == "path" and _SHARE.match(line.text) and place.child("credentials") is None:
        message = "the program is on a share, and no Credentials say as whom it is fetched"
        report.warning(line, "command", message, "add <Credentials> with Domain, Username and Password")


def _written(line: Place, report: Report) -> None:
    """Slips of writing within a line."""
    typed = _TYPED.search(line.text)
    if typed is not None:
        message = f"a word processor's {typed[0]!r} stands in {line.name}: to most programs it is a letter"
        report.warning(line, "typographic", message, "write \" and ' and - as a keyboard has them")
    elif line.text.count('"') % 2:
        report.note(line, "quote", f"{line.name} opens a quote that it does not close", 'write a " more, or one less')
    of_batch = _OF_BATCH.search(line.text)
    if of_batch is not None:
        message = (
            f"{of_batch[0].split()[-2] if ' ' in of_batch[0] else of_batch[0]} means something in a file .cmd alone"
        )
        report.warning(line, "command", message, "write one % where a batch file has two, and the folder by its name")


def _first_logon(commands: Place, file: File, report: Report) -> None:
    _as_whom(commands, file, report)
    if file.windows is not None and not file.windows.at_least(10, 0):
        return
    if len(commands.children) > 1:
        message = f"{len(commands.children)} first-logon commands: Windows 10 and later may start them all at once"
        report.warning(commands, "first-logon", message, "run one script that runs them in order")


def _as_whom(commands: Place, file: File, report: Report) -> None:
    """First-logon commands are an administrator's: for another account Windows asks whether it may, and waits."""
    shell = list(file.named("Shell-Setup"))
    logon = next((one.text.casefold() for home in shell for one in home.find("autologon/username")), "")
    accounts = (one for home in shell for one in home.find("useraccounts/localaccounts/localaccount"))
    account = next((one for one in accounts if logon and one.said("name").casefold() == logon), None)
    if account is not None and "administrators" not in account.said("group").casefold():
        message = (
            f"{account.said('name')[:20]} logs on first and is no administrator: Windows asks before it runs commands"
        )
        report.warning(
            commands, "first-logon", message, "let an administrator log on, or use RunSynchronous at specialize"
        )


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

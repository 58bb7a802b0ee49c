"""The automatic logon: whether it happens, whose it is, and whether its password is the account's."""

from __future__ import annotations

import re

from vmrole_unattend.windows.checks.file import Deployment, File
from vmrole_unattend.windows.checks.passwords import revealed
from vmrole_unattend.windows.checks.place import Place, Report, short

_ADMINISTRATOR = "administrator"
_LOGGED = "useraccounts/localaccounts/localaccount"


def check(file: File, report: Report) -> None:
    """Everything about AutoLogon."""
    for home in file.named("Shell-Setup"):
        for logon in home.find("autologon"):
            enabled = logon.said("enabled")
            if enabled.casefold() in ("false", "0") or report.awaits(logon, enabled):
                continue
            _happens(logon, report)
            name = logon.child("username")
            if name is None or not name.text:
                report.doubt(logon, "autologon", "AutoLogon names no account", "add <Username>")
            elif (mark := re.search(r"[\\@/]", name.text)) is not None and not report.awaits(name, name.text):
                message = f"Username holds {mark[0]!r}: Windows looks for an account that is called so"
                report.doubt(name, "autologon", message, "write the account's name alone, and its domain in <Domain>")
            elif logon.said("domain") in ("", "."):
                _account(file, logon, name, report)


def _happens(logon: Place, report: Report) -> None:
    if logon.child("enabled") is None:
        message = "AutoLogon has no Enabled, which is false by default: nobody is logged on"
        report.doubt(logon, "autologon", message, "add <Enabled>true</Enabled>")
    count = logon.child("logoncount")
    if count is None:
        message = "AutoLogon has no LogonCount, which the reference demands; without it the logons may never end"
        mend = "if they shall end, add <LogonCount>: Windows logs on once more often than it says, so 1 gives two"
        report.doubt(logon, "autologon", message, mend)
    elif count.text.isdecimal() and not count.text.strip("0"):
        report.doubt(count, "autologon", "LogonCount is 0: nobody is logged on", "write 1, which gives two logons")


def _account(file: File, logon: Place, name: Place, report: Report) -> None:
    if report.awaits(name, name.text):
        return
    accounts = [place for home in file.named("Shell-Setup") for place in home.find(_LOGGED)]
    account = next((one for one in accounts if one.said("name").casefold() == name.text.casefold()), None)
    given = logon.child("password")
    if name.text.casefold() == _ADMINISTRATOR:
        places = [place for home in file.named("Shell-Setup") for place in home.every]
        own = next((one for one in places if one.key == "useraccounts/administratorpassword"), None)
    else:
        own = account.child("password") if account is not None else None
    if given is None or given.child("value") is None:
        if account is None or own is not None:
            message = "AutoLogon has no Password, so nobody is logged on"
            report.doubt(logon, "autologon", message, "add <Password> with the account's")
    elif own is not None:
        ours, theirs = revealed(given), revealed(own)
        if ours is not None and theirs is not None and ours != theirs:
            message = f"the password is not the one that {short(name.text)} gets on line {own.line}, so logon fails"
            report.doubt(given, "autologon", message, "write the same password in both places")
    if account is None and name.text.casefold() != _ADMINISTRATOR and _nobody_makes(file, name.text):
        if file.use is Deployment.INSTALL:
            message = f"no account is called {short(name.text)} in what this file installs"
            report.doubt(name, "autologon", message, "add it to UserAccounts/LocalAccounts")
        elif accounts:
            message = f"no account is called {short(name.text)} in this file: the image must have it"
            report.note(name, "autologon", message, "add it to UserAccounts/LocalAccounts, if the image has none")


def _nobody_makes(file: File, name: str) -> bool:
    """Whether no account or command of the file speaks of that account."""
    said = (one.text for home in file.homes for one in home.every if "command" in one.key or "accounts/" in one.key)
    return not any(name.casefold() in text.casefold() for text in said)

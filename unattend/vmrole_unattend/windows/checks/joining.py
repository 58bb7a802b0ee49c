"""Domains and workgroups."""

from __future__ import annotations

import re

from vmrole_unattend.windows.checks.file import TRUE, File
from vmrole_unattend.windows.checks.place import Place, Report, short

_CREDENTIALS = ("Domain", "Username", "Password")
_UNIT = re.compile(r"\s*(OU|CN)\s*=.+,\s*DC\s*=.+", re.IGNORECASE | re.DOTALL)
_NETBIOS_CHARS_MAX = 15
_NOT_IN_WORKGROUP = re.compile(r'["/\\\[\]:;|=,+*?<>]')


def check(file: File, report: Report) -> None:
    """Everything about joining."""
    for home in file.named("UnattendedJoin"):
        for join in home.find("identification"):
            _which(join, report)
            _how(join, report)
            _credentials(join, report)
            _names(join, report)


def _given(join: Place, name: str) -> Place | None:
    found = join.child(name)
    return found if found is not None and (found.text or found.children) else None


def _which(join: Place, report: Report) -> None:
    given = [one for name in ("joindomain", "joinworkgroup") if (one := _given(join, name)) is not None]
    both = [one for one in given if not report.awaits(one, one.text)]
    if len(both) > 1:
        message = "JoinDomain and JoinWorkgroup: the domain is joined, and the workgroup ignored"
        report.doubt(both[1], "join", message, "remove <JoinWorkgroup>")


def _how(join: Place, report: Report) -> None:
    """What a join needs, and what is said of one that is none."""
    domain, blob = _given(join, "joindomain"), join.child("provisioning")
    unsecure = join.said("unsecurejoin").casefold() in TRUE
    credentials = _given(join, "credentials")
    bare = domain is not None and credentials is None and blob is None and not unsecure
    if domain is not None and bare and not report.awaits(domain, join.said("unsecurejoin")):
        message = "a domain is joined with Credentials, with Provisioning, or with UnsecureJoin; none is there"
        report.doubt(domain, "join", message, "add <Credentials> with Domain, Username and Password")
    if domain is None and blob is None:
        for name in ("credentials", "machineobjectou", "unsecurejoin", "machinepassword"):
            lost = _given(join, name)
            if lost is not None and (lost.text.casefold() not in ("false", "0")):
                report.doubt(lost, "join", f"{lost.name} without JoinDomain joins nothing", "add <JoinDomain>")
                break
    password = _given(join, "machinepassword")
    if domain is not None and password is not None and not unsecure:
        message = "MachinePassword means something with UnsecureJoin true alone"
        report.doubt(password, "join", message, "remove it, or write UnsecureJoin true")
    if blob is not None and not any(one.text for one in blob.children):
        report.doubt(blob, "join", "Provisioning holds no AccountData", "add what djoin /provision printed")


def _credentials(join: Place, report: Report) -> None:
    credentials = _given(join, "credentials")
    if credentials is None:
        return
    said = [name for name in _CREDENTIALS if credentials.said(name.casefold())]
    if said and join.said("unsecurejoin").casefold() in TRUE:
        # A doubt: the reference forbids it, and a sample of the same reference does it.
        message = "UnsecureJoin is true, and there are Credentials: Windows joins with the one or the other"
        report.doubt(credentials, "join", message, "remove Credentials, or UnsecureJoin")
    elif said and join.child("provisioning") is not None:
        message = "Provisioning and Credentials: Windows joins with the first, and ignores the second"
        report.doubt(credentials, "join", message, "remove one of both")
    else:
        whole = "@" in credentials.said("username") or "\\" in credentials.said("username")
        missing = [name for name in _CREDENTIALS if name not in said and not (name == "Domain" and whole)]
        if missing:
            message = f"Credentials lack {' and '.join(missing)}, so the domain is not joined"
            report.doubt(credentials, "join", message, f"add <{missing[0]}>")


def _names(join: Place, report: Report) -> None:
    domain = _given(join, "joindomain")
    if domain is not None and re.search(r"[\\/:@\s,]", domain.text) and not report.awaits(domain, domain.text):
        message = f"{short(domain.text)} is no name of a domain"
        report.doubt(domain, "join", message, "its DNS name, such as example.com; who joins it is for Credentials")
    workgroup, unit = _given(join, "joinworkgroup"), _given(join, "machineobjectou")
    group = workgroup.text if workgroup is not None and not report.awaits(workgroup, workgroup.text) else ""
    if workgroup is not None and (len(group) > _NETBIOS_CHARS_MAX or _NOT_IN_WORKGROUP.search(group)):
        message = f"{short(group)} cannot be a workgroup's name"
        report.doubt(workgroup, "join", message, f"at most {_NETBIOS_CHARS_MAX} letters, digits and hyphens")
    if unit is not None and not _UNIT.fullmatch(unit.text) and not report.awaits(unit, unit.text):
        message = f"MachineObjectOU is no distinguished name: {short(unit.text)}"
        report.doubt(unit, "join", message, "such as OU=Servers,DC=example,DC=com")

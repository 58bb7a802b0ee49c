"""Domains and workgroups."""

from __future__ import annotations

from collections.abc import Iterable

from unattend.windows.checks.file import TRUE, File
from unattend.windows.checks.place import Place, Report


def check(file: File, report: Report) -> None:
    """Everything about joining."""
    for home in file.named("UnattendedJoin"):
        _join(home.find("identification"), report)


def _join(found: Iterable[Place], report: Report) -> None:
    for join in found:
        domain, workgroup = join.child("joindomain"), join.child("joinworkgroup")
        given = [one for one in (domain, workgroup) if one is not None and one.text]
        both = [one for one in given if not report.awaits(one, one.text)]
        if workgroup is not None and len(both) > 1:
            message = "JoinDomain and JoinWorkgroup: a machine is in one of both"
            report.error(workgroup, "join", message, "keep one")
        credentials = join.child("credentials")
        unsecure = join.said("unsecurejoin").casefold() in TRUE
        if unsecure and credentials is not None and any(one.text for one in credentials.children):
            # A doubt: the reference forbids it, and a sample of the same reference does it.
            message = "UnsecureJoin is true, and there are Credentials: Windows joins with the one or the other"
            report.doubt(credentials, "join", message, "remove Credentials, or UnsecureJoin")

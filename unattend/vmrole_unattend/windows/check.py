"""Whether Windows will take an answer file, and what it will do with it that was not meant.

The subjects are in `checks`. An error is what Windows refuses or what surely breaks; what only the reference says, or
what may go wrong, is a warning. In what we made ourselves the reference's word is enough for an error.
"""

from __future__ import annotations

from collections.abc import Callable

from vmrole_unattend.windows.answers import Architecture, Edition, Windows
from vmrole_unattend.windows.checks import (
    characters,
    commands,
    disks,
    frame,
    identity,
    install,
    joining,
    layout,
    lists,
    logon,
    network,
    passwords,
    region,
    table,
    templates,
    welcome,
)
from vmrole_unattend.windows.checks.file import Deployment, File
from vmrole_unattend.windows.checks.place import Report, homes
from vmrole_unattend.windows.document import Diagnostic, Severity, read

__all__ = ["Deployment", "Diagnostic", "Severity", "check"]

CHECKS: tuple[Callable[[File, Report], None], ...] = (
    frame.check,
    table.check,
    characters.check,
    lists.check,
    identity.check,
    passwords.check,
    logon.check,
    welcome.check,
    region.check,
    commands.check,
    joining.check,
    network.check,
    disks.check,
    layout.check,
    install.check,
    templates.check,
)
"""Everything that is looked for, a subject each."""


def check(
    source: bytes,
    *,
    windows: Windows | None = None,
    edition: Edition | None = None,
    architecture: Architecture | None = None,
    ours: bool = False,
    deployment: Deployment = Deployment.GENERALIZED,
) -> list[Diagnostic]:
    """Everything that is wrong with the file, in the order of its lines; raises nothing.

    `windows`, `edition` and `architecture` are the image's, where known. `ours`: the file is made by us, so that
    doubts are errors.
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
            edition=edition or (windows.edition if windows is not None else None),
            architecture=architecture,
        )
        for subject in CHECKS:
            subject(file, report)
        report.end()
    return sorted(report.findings, key=lambda one: one.line)

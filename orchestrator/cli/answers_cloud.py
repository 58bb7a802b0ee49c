"""`vmrole answers check` for user-data of cloud-init: what is wrong with it, part by part. Needs no daemon."""

from __future__ import annotations

import dataclasses

from orchestrator.cli import render
from unattend import cloud_check
from unattend.cloud_check import Finding, Severity

WHERE = "user-data"


def is_user_data(source: bytes) -> bool:
    """Whether a file is cloud-init's, going by how it begins."""
    return cloud_check.is_user_data(_text(source))


def check(file: str, source: bytes, *, strict: bool, form: str) -> int:
    """Says what is wrong, as for a Windows answer file. A note fails nothing, a warning when strict."""
    found = cloud_check.check(_text(source), where=WHERE)
    errors, warnings = (
        sum(1 for one in found if one.severity is which) for which in (Severity.ERROR, Severity.WARNING)
    )
    failed = bool(errors or (strict and warnings))
    if form == "text":
        render.show(render.plain(_line(file, one)) for one in found)
        render.say(_summary(errors, warnings, len(found) - errors - warnings))
    else:
        rows = [{**dataclasses.asdict(one), "severity": one.severity.value} for one in found]
        render.show([render.dump({"file": file, "failed": failed, "findings": rows}, form)])
    return 1 if failed else 0


def _text(source: bytes) -> str:
    """The text; a byte that is no UTF-8 becomes a character that the check refuses, and says where."""
    return source.decode("utf-8", errors="surrogateescape")


def _line(file: str, one: Finding) -> str:
    part = one.part.removeprefix(WHERE).removeprefix(": ")
    place = ": ".join(word for word in (part, one.path) if word)
    mend = f" ({one.mend})" if one.mend else ""
    return f"{file}:{one.line}: {one.severity}: {place}{': ' if place else ''}{one.message}{mend} [{one.code}]"


def _summary(errors: int, warnings: int, notes: int) -> str:
    counts = [(errors, "error"), (warnings, "warning"), (notes, "note")]
    told = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count)
    return told or "nothing is wrong"

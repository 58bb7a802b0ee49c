"""`vmrole answers check` for user-data: what is wrong with it, part by part. Needs no daemon."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from vmrole_unattend import AnswersInvalid, cloud_check, configdrive
from vmrole_unattend.cloud_check import Diagnostic, Severity

from orchestrator.cli import render
from orchestrator.errors import InvalidInput

CLOUD_INIT = "cloud-init"
CLOUDBASE_INIT = "cloudbase-init"
WHERE = "user-data"
_FOR_WINDOWS = re.compile(r"#ps1(_sysnative|_x86)?\s|rem cmd\s|<(powershell|script)>", re.IGNORECASE)


_EMPTY = Diagnostic(
    severity=Severity.WARNING,
    part=WHERE,
    line=1,
    path="",
    code="empty",
    message="the file is empty: nothing is set up by it",
    mend="begin it with #cloud-config, or with #! and a program",
)


def check(file: str, source: bytes, *, reader: str, schema: str | None, strict: bool, form: str) -> int:
    """Says what is wrong, as for a Windows answer file. A note fails nothing, a warning when strict.

    `reader` is who reads it in the guest; when empty, its first line tells. `schema` is a file of cloud-init's.
    """
    text = source.decode("utf-8", errors="surrogateescape")  # The check refuses such a character, and says where.
    reader = reader or (CLOUDBASE_INIT if _FOR_WINDOWS.match(text) else CLOUD_INIT)
    if not text.strip():
        found = [_EMPTY]
    elif reader == CLOUDBASE_INIT:
        found = _for_windows(text)
    else:
        found = cloud_check.check(text, where=WHERE, schema_file=_readable(schema))
    errors, warnings = (
        sum(1 for one in found if one.severity is which) for which in (Severity.ERROR, Severity.WARNING)
    )
    failed = bool(errors or (strict and warnings))
    if form == "text":
        render.show(render.plain(_line(file, one)) for one in found)
        render.say(render.tally(errors, warnings, len(found) - errors - warnings))
    else:
        rows = [{**dataclasses.asdict(one), "severity": one.severity.value} for one in found]
        render.show([render.dump({"file": file, "failed": failed, "findings": rows}, form)])
    return 1 if failed else 0


def _for_windows(text: str) -> list[Diagnostic]:
    """What keeps user-data from a disc for cloudbase-init; the first reason, as `apply` gives it."""
    try:
        configdrive.check_user_data(text)
    except AnswersInvalid as refused:
        return [cloud_check.refused(refused)]
    return []


def _readable(schema: str | None) -> Path | None:
    if schema is None:
        return None
    hint = "name cloud-init's schema-cloud-config-v1.json"
    try:
        with Path(schema).open("rb"):
            return Path(schema)
    except FileNotFoundError as error:
        raise InvalidInput(f"there is no file {schema}", hint=hint) from error
    except OSError as error:
        raise InvalidInput(f"{schema} cannot be read: {error.strerror}", hint=hint) from error


def _line(file: str, one: Diagnostic) -> str:
    part = one.part.removeprefix(WHERE).removeprefix(": ")
    place = ": ".join(word for word in (part, one.path) if word)
    mend = f" ({one.mend})" if one.mend else ""
    at = f"{file}:{one.line}" if one.line else file  # what is of the whole file has no line
    return f"{at}: {one.severity}: {place}{': ' if place else ''}{one.message}{mend} [{one.code}]"

"""What cloud-init would say of user-data, said before there is a guest: YAML, cloud-init's own schema, first lines.

Only what `multipart` refuses is an error, and nothing else keeps user-data from a guest: a cloud-init that is newer
than the one on this host may know better. Nothing of a value stands in a finding, for it may be a secret.
"""

from __future__ import annotations

import ast
import dataclasses
import email
import email.message
import enum
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vmrole_unattend import _cloud_schema, _cloud_values, _cloud_yaml, multipart
from vmrole_unattend.errors import AnswersInvalid

FINDINGS_MAX = 200  # a person reads no more, and hostile text has no end
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|<%.*?%>|\$\{\w+\}|%\{\s?(if|for)\b")
_INVISIBLE = re.compile("[\u00ad\u200b\u202a-\u202e\u2060\u2066-\u2069]|(?<=\n)[ \t]*\u00a0|(?<!^)\ufeff")
_ENV_WITH_MORE = re.compile(r"#!\s*\S*/env\s+(?!-)[^\s=]+\s+\S")
_HANDLED = frozenset({content_type for _, content_type in multipart.CLOUD_INIT.words} | multipart.CLOUD_INIT.untyped)
_HANDLED |= {f"text/x-shellscript-per-{often}" for often in ("boot", "instance", "once")}
_URL_FORMS = ("http://", "https://", "ftp://", "file://", "/")


class Severity(enum.StrEnum):
    """How much a finding matters."""

    ERROR = "error"  # no disc is made of it
    WARNING = "warning"  # cloud-init will pass over it, or take it otherwise than it is meant
    NOTE = "note"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One thing to look at.

    `line` counts from 1 within its `part` ("user-data", "user-data: part 2"), and is 0 when it is about none. `path`
    leads to the entry of a cloud-config, like "users.0.name"; `code` is a stable word; `mend` says what to do.
    """

    severity: Severity
    part: str
    line: int
    path: str
    code: str
    message: str
    mend: str = ""


def refused(error: AnswersInvalid) -> Diagnostic:
    """The finding for user-data of which no disc is made."""
    return Diagnostic(
        severity=Severity.ERROR,
        part=error.where.partition(": line ")[0],
        line=_line_of(error.where),
        path="",
        code="refused",
        message=error.message,
        mend=error.hint,
    )


def check(user_data: str, *, where: str = "user-data", schema_file: Path | None = None) -> list[Diagnostic]:
    """All findings, part by part and line by line.

    `where` is what the text is called. `schema_file` is a cloud-init schema for cloud-config; the host's cloud-init
    has one. Without it, or without jsonschema, one note says that the schema was not asked; where it found something,
    one says whose it is, for the guest's own cloud-init decides.
    """
    try:
        parts = multipart.user_parts(user_data, where=where)
    except AnswersInvalid as error:
        return [refused(error)]
    schema_file = schema_file or _cloud_schema.find()
    found = list[Diagnostic]()
    opened = [_opened(part, where) for part in parts]
    handled = any(content_type == "text/part-handler" for content_type, _ in opened)  # it may be for any type
    for number, (content_type, text) in enumerate(opened, start=1):
        name = where if len(parts) == 1 else f"{where}: part {number}"
        if not handled and content_type not in _HANDLED:
            message = f"{_cloud_schema.shown(content_type)} means nothing to cloud-init, which passes over the part"
            found.append(_warning(name, 0, "no-handler", message, "like text/cloud-config or text/x-shellscript"))
        found += itertools.islice(_part(content_type, text, name, schema_file), FINDINGS_MAX + 1 - len(found))
    return _with_one_note_each(found, where)


def _part(content_type: str, text: str, where: str, schema_file: Path | None) -> Iterator[Diagnostic]:
    """What is to be said of one part."""
    yield from _invisible(text, where)
    match content_type:
        case "text/cloud-config":
            findings = itertools.islice(_cloud_config(text, where, schema_file), FINDINGS_MAX + 1)
            yield from sorted(findings, key=lambda finding: finding.line)
        case "text/cloud-config-archive":
            yield from _archive(text, where, schema_file)
        case "text/cloud-config-jsonp":
            yield from _json_patch(text, where)
        case "text/x-include-url" | "text/x-include-once-url":
            yield from _include(text, where)
        case "text/x-shellscript" | "text/cloud-boothook":
            yield from _script(text, where)
        case "text/part-handler":
            yield from _handler(text, where)
        case _:
            pass


_NO_EFFECT: Final = {
    "power_state": ("has no effect: whether setup ends in a restart is the role's to say", "use setup.restart"),
    "autoinstall": (
        "has no effect: it is for Ubuntu's installer, and an image is installed already",
        "write what it says below user-data at the top",
    ),
}


def _cloud_config(text: str, where: str, schema_file: Path | None) -> Iterator[Diagnostic]:
    try:
        document = _cloud_yaml.read(text)
    except _cloud_yaml.Broken as error:
        yield _warning(where, error.line, "yaml", error.problem, _broken(text, error))
        return
    for line, path in document.twice:
        yield _warning(where, line, "twice", "is given again, and what stood there before is lost", path=path)
    config = document.value
    if config is None:
        return
    if not isinstance(config, dict):
        yield _warning(
            where, 1, "not-a-mapping", "is no mapping of keys", "cloud-init would pass over the whole part"
        )
        return
    for key, (message, mend) in _NO_EFFECT.items():
        if key in config:
            line, code = document.line((key,)), key.replace("_", "-")
            yield Diagnostic(
                severity=Severity.NOTE, part=where, line=line, path=key, code=code, message=message, mend=mend
            )
    for fault in _cloud_values.faults(config):
        found = _warning(where, document.line(fault.path), fault.code, fault.message, fault.mend, path=fault.path)
        yield dataclasses.replace(found, severity=Severity.NOTE) if fault.note else found
    if schema_file is None:
        yield _unchecked(where, "there is no cloud-init on this host", "install the package cloud-init")
        return
    by_schema = False
    try:
        for offence in _cloud_schema.offences(config, schema_file):
            by_schema |= offence.code != "too-early"  # Which is so by any schema.
            line = document.line(offence.path)
            found = _warning(where, line, offence.code, offence.message, offence.mend, path=offence.path)
            meant = offence.code == "unread-key" and str(offence.path[0]).startswith("x-")  # for anchors
            yield dataclasses.replace(found, severity=Severity.NOTE) if meant else found
    except ImportError:
        yield _unchecked(where, "jsonschema is not installed", "install python3-jsonschema")
    except (OSError, ValueError) as error:
        yield _unchecked(where, f"{schema_file} cannot be read: {type(error).__name__}", "install cloud-init anew")
    if by_schema:
        yield _by_schema(where, schema_file)


def _broken(text: str, error: _cloud_yaml.Broken) -> str:
    """What is to be done about a text that is no YAML."""
    if isinstance(error, _cloud_yaml.TooMuch):
        return "nothing of it was looked at: make it smaller, or put the data into a file of its own"
    if _TEMPLATE.search(text):
        return "this is a template: fill it in first"
    return "cloud-init would pass over the whole part"


def _archive(text: str, where: str, schema_file: Path | None) -> Iterator[Diagnostic]:
    """A list of parts: texts, or mappings with `type` and `content`."""
    try:
        document = _cloud_yaml.read(text)
    except _cloud_yaml.Broken as error:
        yield _warning(where, error.line, "yaml", error.problem, _broken(text, error))
        return
    entries = document.value
    if not isinstance(entries, list):
        yield _warning(where, 1, "not-a-list", "an archive is a list of parts")
        return
    for number, entry in enumerate(entries):
        content = entry.get("content") if isinstance(entry, dict) else entry
        if not isinstance(content, str):
            yield _warning(where, document.line((number,)), "no-content", "has no content", path=(number,))
            continue
        given = entry.get("type") if isinstance(entry, dict) else None
        name = f"{where}: entry {number + 1}"
        if isinstance(given, str) and "/" not in given:
            message = f"{_cloud_schema.shown(given)} is no content type: cloud-init would end over the whole archive"
            yield _warning(where, document.line((number,)), "no-type", message, "text/cloud-config", path=(number,))
            continue
        yield from _part(given if isinstance(given, str) else _type_in_archive(content), content, name, schema_file)


def _type_in_archive(content: str) -> str:
    """What an entry without a type is taken for: a cloud-config where the first line does not say otherwise."""
    try:
        return multipart.type_by_first_line(content, "")
    except AnswersInvalid:
        return "text/cloud-config"


def _json_patch(text: str, where: str) -> Iterator[Diagnostic]:
    """JSON patches below their first line, as cloud-init's handler takes them."""
    body = text.partition("\n")[2] if text.startswith("#cloud-config-jsonp") else text
    try:
        patch = json.loads(body)
    except (ValueError, RecursionError) as error:
        line = error.lineno + 1 if isinstance(error, json.JSONDecodeError) else 1
        yield _warning(where, line, "json", "is not JSON", "cloud-init would pass over the whole part")
        return
    if not isinstance(patch, list):
        yield _warning(where, 1, "not-a-list", "a patch is a list of operations")
    elif not all(_is_operation(operation) for operation in patch):
        message = "one of its operations is none: cloud-init would pass over the whole part"
        yield _warning(where, 1, "json", message, 'like {"op": "add", "path": "/runcmd/-", "value": "true"}')


def _is_operation(operation: object) -> bool:
    """As RFC 6902 has them."""
    if not isinstance(operation, dict) or operation.get("op") not in _OPERATIONS:
        return False
    return isinstance(path := operation.get("path"), str) and (not path or path.startswith("/"))


_OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")


def _include(text: str, where: str) -> Iterator[Diagnostic]:
    for number, line in enumerate(text.split("\n"), start=1):
        entry = line.strip()
        for word in ("#include-once", "#include"):
            entry = entry.removeprefix(word).strip()
        if entry and not entry.startswith("#") and not _is_url(entry.lower()):
            yield _warning(where, number, "no-url", "is no address", "write one URL in each line")


def _is_url(entry: str) -> bool:
    """Whether it begins as one, and names something."""
    return any(entry.startswith(form) and len(entry) > len(form) for form in _URL_FORMS)


def _invisible(text: str, where: str) -> Iterator[Diagnostic]:
    """What makes a line other than it looks: no editor shows it."""
    if (found := _INVISIBLE.search(text)) is not None:
        message = f"holds a character that nobody sees, U+{ord(found[0]):04X}"
        yield _warning(where, text.count("\n", 0, found.start()) + 1, "invisible", message, "type the line anew")


def _handler(text: str, where: str) -> Iterator[Diagnostic]:
    """A module of Python with two functions (cloud-init's documentation, custom part handlers)."""
    try:
        defined = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        yield _warning(where, line, "handler", "is not Python", "cloud-init would pass over the whole part")
        return
    if not {"list_types", "handle_part"} <= defined:
        yield _warning(where, 1, "handler", "defines no handler", "it has the functions list_types and handle_part")


def _script(text: str, where: str) -> Iterator[Diagnostic]:
    lines = text.replace("\r\n", "\n").split("\n")  # as cloud-init does, where the first line ends so (dos2unix)
    at = 1 if lines[0].startswith("#cloud-boothook") and len(lines) > 1 else 0
    first = lines[at]
    if not first.startswith("#!"):
        if text.lstrip().startswith("#!"):
            message = "stands before #!, and the kernel runs no such file"
            yield _warning(where, 1, "interpreter", message, "let the file begin with #!")
        elif at and first.strip():
            message = "has no #!, and the kernel runs no such file"
            yield _warning(where, at + 1, "interpreter", message, "let #!/bin/sh follow the first line")
        return
    if not first[2:].strip().startswith("/"):
        yield _warning(where, at + 1, "interpreter", "names no interpreter by its whole path", "like #!/bin/sh")
    elif _ENV_WITH_MORE.match(first):
        message = "hands env all that follows as one name, and no program is called so"
        yield _warning(where, at + 1, "interpreter", message, "set the options below, or write env -S")


def _opened(part: multipart.Part, where: str) -> tuple[str, str]:
    """Content type and text of a part; the type is what cloud-init would take it for."""
    message = email.message.Message()
    for name, value in part.headers:
        message[name] = value
    content_type = message.get_content_type()
    if message.get_content_maintype() != "text":
        return content_type, ""
    text = multipart.text_of(part)
    if content_type in multipart.CLOUD_INIT.untyped:
        content_type = multipart.type_by_first_line(text, where)
    return content_type, text


def _with_one_note_each(found: list[Diagnostic], where: str) -> list[Diagnostic]:
    """Which schema has spoken, and that there is none, is said once, at the end."""
    said = [finding for finding in found if finding.code not in (_SCHEMA, _UNCHECKED)]
    schema = [dataclasses.replace(finding, part=where) for finding in found if finding.code == _SCHEMA]
    unchecked = [finding for finding in found if finding.code == _UNCHECKED]
    if len(found) > FINDINGS_MAX:
        more = _warning(where, 0, "more", "there is more to be said of it", "mend these, and look again")
        said[FINDINGS_MAX:] = [dataclasses.replace(more, severity=Severity.NOTE)]
    return said + schema[:1] + unchecked[:1]


_SCHEMA, _UNCHECKED = "schema", "unchecked"


def _by_schema(where: str, schema_file: Path) -> Diagnostic:
    message = f"the schema is that of {_cloud_schema.release(schema_file)}; the one in the guest decides"
    mend = "another is named by --schema"
    return Diagnostic(severity=Severity.NOTE, part=where, line=0, path="", code=_SCHEMA, message=message, mend=mend)


def _unchecked(where: str, reason: str, mend: str) -> Diagnostic:
    message = f"cloud-init's schema was not asked: {reason}"
    return Diagnostic(
        severity=Severity.NOTE, part=where, line=0, path="", code=_UNCHECKED, message=message, mend=mend
    )


def _warning(
    where: str, line: int, code: str, message: str, mend: str = "", *, path: _cloud_yaml.Path = ()
) -> Diagnostic:
    joined = ".".join(_cloud_schema.shown(name) for name in path)
    return Diagnostic(
        severity=Severity.WARNING, part=where, line=line, path=joined, code=code, message=message, mend=mend
    )


def _line_of(where: str) -> int:
    """The line that the place of an AnswersInvalid names, or 0."""
    digits = where.partition(": line ")[2].partition(",")[0]
    return int(digits) if digits.isdigit() else 0

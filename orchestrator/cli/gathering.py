"""The service files that a user names, as documents: a file, stdin, a directory; what is wrong with any of them."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import render
from orchestrator.cli.reading import FILE_MAX_BYTES, read_text
from orchestrator.cli.refusals import exit_status, report_problems
from orchestrator.errors import InvalidInput, NotFound, Problem, Unreachable, VmroleError

if TYPE_CHECKING:
    from orchestrator.servicefile.tree import Map

    Read = tuple[Map, tuple[Problem, ...]]  # a document's tree, and its faults

ENDINGS = (".yaml", ".yml", ".json")
STDIN = "-"
DOCUMENTS_MAX = 500  # as many as the daemon checks at a time
TOGETHER_MAX_BYTES = FILE_MAX_BYTES - 1024  # of all documents as JSON, within what the API accepts


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One document. `number` is 0 when it is alone in its file; `line` (1-based) is its first in the file."""

    file: str
    number: int
    line: int
    text: str
    service: str  # "" when none can be read; then it has faults
    tree: Read | None = None  # None where it is not read, or cannot be: to read a large one takes a second

    @property
    def name(self) -> str:
        """What its file is called."""
        return "stdin" if self.file == STDIN else self.file

    @property
    def document(self) -> str:
        """Which of its file it is; "" when it is alone there."""
        return f"document {self.number}" if self.number else ""

    def place(self, line: int | None = None) -> str:
        """Where it stands: a line of its text (1-based), or its beginning."""
        return f"{self.name}:{self.line + (line or 1) - 1}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a document, or a file that gives none (`of` is its name), cannot be taken."""

    of: Given | str
    error: VmroleError


def given(files: Sequence[str]) -> tuple[list[Given], list[Fault]]:
    """The documents of all files, in order, and what is wrong with them as far as no daemon is needed to see it."""
    if files.count(STDIN) > 1:
        raise click.UsageError("stdin can be read once")
    found: list[Given] = []
    faults: list[Fault] = []
    for name in files:
        try:
            members = _members(name)
        except VmroleError as error:
            faults.append(Fault(of=name, error=error))
            continue
        for file in members:
            try:
                if file != name and not _is_of_content(file):  # Nobody named it: a pipe would be waited for for ever.
                    raise InvalidInput(f"{file} is not a file", hint="keep service files alone in the directory")
                found += _documents(file)
            except VmroleError as error:
                faults.append(Fault(of=file, error=error))
    return found, faults + _doubles(found)


def refuse(faults: Sequence[Fault], count: int, *, done: int = 0) -> int:
    """Says all faults of `count` documents, in the manner of compilers; returns the exit status.

    `done`: so many of the documents have been applied before.
    """
    if count == 1 and (isinstance(faults[0].of, str) or not isinstance(faults[0].error, InvalidInput)):
        raise faults[0].error
    if count == 1:
        if _is_alone(faults[0].error):  # One sentence says it all; it is not said twice.
            raise _alone(faults[0])
        render.say(f"error: {faults[0].error}")
    else:
        what = f"{len(faults)} of {count} documents have faults" if len(faults) > 1 else "a document has a fault"
        render.say(f"error: {what}; {_what_was_done(faults, done)}")
    for fault in faults:
        _tell(fault)
    if count == 1 and faults[0].error.hint:
        render.say(f"hint: {faults[0].error.hint}")
    statuses = [exit_status(fault.error) for fault in faults]
    return 2 if 2 in statuses else statuses[0]


def _is_alone(error: VmroleError) -> bool:
    return isinstance(error, InvalidInput) and [one.message for one in error.problems] == [str(error)]


def _alone(fault: Fault) -> InvalidInput:
    """The error with its place in the sentence."""
    assert isinstance(fault.of, Given)
    (problem,) = _placed(fault.of, fault.error).problems
    place = fault.of.name if problem.line is None else f"{fault.of.name}:{problem.line}"
    return InvalidInput(": ".join(filter(None, (place, problem.key, problem.message))), hint=problem.hint)


def _what_was_done(faults: Sequence[Fault], done: int) -> str:
    """After a daemon that went away before it answered, nobody knows of the document that it was asked for."""
    before = f"the first {done} are applied" if done else "nothing was changed"
    if any(isinstance(fault.error, Unreachable) for fault in faults):
        known = f"{before} before it, and it" if done else "it"
        return f"{known} may be applied: see vmrole diff"
    return before


def refuse_file(error: InvalidInput, file: str) -> int:
    """Says what is wrong with a file of one document, line by line; returns the exit status."""
    return refuse([Fault(of=Given(file=file, number=0, line=1, text="", service=""), error=error)], 1)


def _tell(fault: Fault) -> None:
    if isinstance(fault.of, str):
        hint = f" ({fault.error.hint})" if fault.error.hint else ""
        render.say(f"{fault.error}{hint}")
    else:
        report_problems(_placed(fault.of, fault.error), fault.of.name, fault.of.document)


def problems(fault: Fault) -> tuple[Problem, ...]:
    """What is wrong, with the lines of the file."""
    if isinstance(fault.of, str):
        return (Problem(str(fault.error), hint=fault.error.hint),)
    return _placed(fault.of, fault.error).problems


def _placed(document: Given, error: VmroleError) -> InvalidInput:
    """The problems of a document, with the lines of its file."""
    problems = (
        error.problems
        if isinstance(error, InvalidInput)
        else (Problem(str(error), line=1 if document.number else None, hint=error.hint),)
    )
    moved = tuple(
        dataclasses.replace(one, line=None if one.line is None else one.line + document.line - 1) for one in problems
    )
    return InvalidInput(str(error), problems=moved, hint=error.hint)


def _members(name: str) -> list[str]:
    """The file itself, or the service files in a directory, by name; hidden ones are an editor's."""
    if name == STDIN or not os.path.isdir(name):  # noqa: PTH112 - pathlib's raises where one may not look
        return [name]
    try:
        names = sorted(one.name for one in Path(name).iterdir())
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror}", hint="name service files") from error
    files = [one for one in names if one.endswith(ENDINGS) and not one.startswith(".")]
    if not files:
        raise NotFound(f"there is no service file in {name}", hint=f"service files end in {', '.join(ENDINGS)}")
    return [str(Path(name) / one) for one in files]


def _is_of_content(file: str) -> bool:
    """Whether reading ends by itself, or fails at once: no pipe, terminal or other device."""
    try:
        kind = os.stat(file).st_mode  # noqa: PTH116 - as the line that reads it, it follows links
    except OSError:
        return True  # What is wrong with it is told by whoever reads it.
    return stat.S_ISREG(kind) or stat.S_ISDIR(kind)


def bounded(found: Sequence[Given]) -> None:
    """Raises InvalidInput when all documents are more than the daemon checks at a time."""
    size = len(json.dumps([one.text for one in found], ensure_ascii=False).encode())
    if len(found) > DOCUMENTS_MAX or size > TOGETHER_MAX_BYTES:
        raise InvalidInput(
            f"{len(found)} documents of {size >> 10} KiB are more than are checked together: at most {DOCUMENTS_MAX} "
            f"of {TOGETHER_MAX_BYTES >> 10} KiB; nothing was changed",
            hint="apply them in parts: name fewer files",
        )


def _documents(file: str) -> list[Given]:
    from orchestrator.servicefile import documents  # here: what reads answers, too, is not for --help to load

    text = read_text(file, hint="name a service file")
    found = documents.split(text)
    if not found:  # That it says nothing is told by whoever reads it.
        return [Given(file=file, number=0, line=1, text=text, service="")]
    if len(found) > DOCUMENTS_MAX:
        raise InvalidInput(f"{file} holds more than {DOCUMENTS_MAX} documents", hint="apply it in parts")
    return [
        Given(
            file=file,
            number=one.number if len(found) > 1 else 0,
            line=one.line,
            text=one.text,
            service=_service(tree),
            tree=tree,
        )
        for one in found
        for tree in (_read(one.text),)
    ]


def _read(text: str) -> Read | None:
    from orchestrator.servicefile.tree import read_tree

    try:
        return read_tree(text)
    except InvalidInput:
        return None


def _service(tree: Read | None) -> str:
    name = None if tree is None else tree[0].get("service")
    return name if isinstance(name, str) else ""


def _doubles(found: Iterable[Given]) -> list[Fault]:
    first: dict[str, Given] = {}
    faults = []
    for one in found:
        if one.service and one.service in first:
            told = f"{one.service} stands in {first[one.service].place(_line_of_name(first[one.service]))} as well"
            problem = Problem(told, key="service", line=_line_of_name(one), hint="keep one of the two")
            faults.append(Fault(of=one, error=InvalidInput(told, problems=(problem,))))
        elif one.service:
            first[one.service] = one
    return faults


def _line_of_name(document: Given) -> int | None:
    return None if document.tree is None else document.tree[0].lines.get("service")

"""`vmrole check`: what is wrong with service files, found without a daemon; for editors and pipelines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import gathering, render
from orchestrator.cli.gathering import Fault, Given
from orchestrator.cli.options import examples, format_option
from orchestrator.cli.refusals import exit_status, problem_line
from orchestrator.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from orchestrator.model import ServiceSpec


@click.command(epilog=examples("vmrole check shop.yaml", "vmrole check services/ -o json"))
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("-f", "--file", "more", multiple=True, metavar="FILE", help="The same as FILE, as apply takes it.")
@format_option("text", "json", "yaml")
def check(files: tuple[str, ...], more: tuple[str, ...], form: str) -> int:
    """Checks service files, or all in a directory, without a daemon. Exit status 2 when one has a fault.

    Images and secrets are not looked up, nor whether the host has room: `vmrole diff` asks the daemon for that. What
    an image decides, such as whether it is Windows, is taken from what its roles say.
    """
    if not (files or more):
        raise click.UsageError("name a service file, a directory of them, or - for stdin")
    given, faults = gathering.given([*files, *more])
    faults = [*faults, *_faults(given)]
    if form == "text":
        render.show(_lines(given, faults))
        count = len(given) + sum(isinstance(fault.of, str) for fault in faults)
        faulty = len({fault.of if isinstance(fault.of, str) else id(fault.of) for fault in faults})
        documents = f"{count} document{'s' * (count != 1)}"
        render.say(f"{documents}: {f'{faulty} with faults' if faulty else 'no fault'}")
    else:
        render.show([render.dump(_rows(given, faults), form)])
    statuses = [exit_status(fault.error) for fault in faults]
    return 2 if 2 in statuses else max(statuses, default=0)


def _faults(given: Sequence[Given]) -> Iterator[Fault]:
    """What each document says wrong, and what two of them cannot both have."""
    from orchestrator.rules import holding, sharing
    from orchestrator.servicefile import line_of, offline

    checked: list[tuple[Given, ServiceSpec]] = []
    for one in given:
        try:
            spec = offline.check(one.text, one.tree)
        except InvalidInput as error:
            yield Fault(of=one, error=error)
            continue
        clashes = (
            (other, sharing.clash(spec, its) or holding.clash(spec, its))
            for other, its in checked
            if other.service != one.service
        )
        for other, clash in clashes:
            if clash is not None:
                told = f"{clash.message}, {other.place()}"
                problem = replace(clash, message=told, line=line_of(one.text, clash.key))
                yield Fault(of=one, error=InvalidInput(told, problems=(problem,)))
                break
        checked.append((one, spec))


def _lines(given: Sequence[Given], faults: Sequence[Fault]) -> Iterator[str]:
    """In the manner of compilers, by file; one that gives no document is named in what is said."""
    for one in given:
        for problem in _problems(one, faults):
            yield render.plain(problem_line(problem, one.name, one.document))
    for fault in faults:
        if isinstance(fault.of, str):
            yield from (render.plain(problem_line(problem, "")) for problem in gathering.problems(fault))


def _problems(of: Given | str, faults: Iterable[Fault]) -> list[Problem]:
    return [problem for fault in faults if fault.of is of for problem in gathering.problems(fault)]


def _rows(given: Sequence[Given], faults: Sequence[Fault]) -> list[dict[str, Any]]:
    documents = [_row(one.name, one.number or 1, one.service, _problems(one, faults)) for one in given]
    files = [fault.of for fault in faults if isinstance(fault.of, str)]
    return [*documents, *(_row(one, None, "", _problems(one, faults)) for one in files)]


def _row(file: str, document: int | None, service: str, problems: Iterable[Problem]) -> dict[str, Any]:
    """`document` and `service` are null where a file gives none, or none can be read."""
    told = [{"line": one.line, "key": one.key, "message": one.message, "hint": one.hint} for one in problems]
    return {"file": file, "document": document, "service": service or None, "problems": told}

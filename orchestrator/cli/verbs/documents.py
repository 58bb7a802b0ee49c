"""Verbs about services: apply, diff, scale, delete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from orchestrator.cli import names, render
from orchestrator.cli.main import report_problems
from orchestrator.cli.options import wait_options
from orchestrator.cli.progress import progress
from orchestrator.cli.reading import read_text
from orchestrator.cli.waiting import end_of, until_gone, until_over, until_serving, until_settled
from orchestrator.client.client import Client
from orchestrator.errors import InvalidInput

file_option = click.option("-f", "--file", required=True, metavar="FILE", help="The service file; - is stdin.")


def read(file: str) -> str:
    """The text of a service file, or of stdin for `-`; raises as `reading.read_text` does."""
    return read_text(file, hint="name a service file")


def refuse(error: InvalidInput, file: str) -> int:
    """Says what is wrong with a file, line by line; returns the exit status."""
    render.say(f"error: {error}")
    report_problems(error, "stdin" if file == "-" else file)
    if error.hint:
        render.say(f"hint: {error.hint}")
    return 2


def changed(changes: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each change: what, from, to, and what that does."""
    lines = []
    for change in changes:
        before, after = render.plain(change["before"]), render.plain(change["after"])
        sign = "+" if not before else "-" if not after else "~"
        moved = f"{before} -> {after}" if before and after else before or after
        lines.append(f"{sign} {change['key']}: {moved} ({change['effect']})")
    return lines


@click.command()
@file_option
@click.option("--dry-run", is_flag=True, help="Say what would change and change nothing.")
@click.option("--expect", type=click.IntRange(0), help="Only if the service is at this revision (0: does not exist).")
@wait_options
@click.pass_obj
def apply(client: Client, file: str, dry_run: bool, expect: int | None, waits: bool, timeout: float | None) -> int:
    """Makes a service as its file says: deploys it, changes it, or finds nothing to do."""
    until = end_of(timeout)
    text = read(file)
    try:
        applied = client.apply(text, dry_run=dry_run, expected=expect)
    except InvalidInput as error:
        return refuse(error, file)
    service = applied["service"]
    if dry_run:
        render.show(changed(applied["changes"]) or ["nothing would change"])
        return 0
    assert service is not None
    verb = "unchanged" if not applied["changes"] else "applied"
    render.show([f"{service['name']}: {verb}", *changed(applied["changes"])])
    if waits:
        if applied["operation"] is not None:
            until_over(client, applied["operation"], until, progress())
        until_settled(client, service["name"], until)
    elif applied["operation"] is not None:
        render.say(f"rolling out; watch it with: vmrole wait {service['name']} --for=serving")
    return 0


@click.command()
@file_option
@click.pass_obj
def diff(client: Client, file: str) -> int:
    """Says what apply would change. Exit status 0 when nothing, 1 when something, as diff(1)."""
    text = read(file)
    try:
        applied = client.apply(text, dry_run=True)
    except InvalidInput as error:
        return refuse(error, file)
    render.show(changed(applied["changes"]))
    return 1 if applied["changes"] else 0


@click.command()
@click.argument("subject", metavar="ROLE.SERVICE|SERVICE", shell_complete=names.subject)
@click.argument("counts", nargs=-1, metavar="[ROLE=N]...")
@click.option("--instances", type=click.IntRange(0), help="How many, of ROLE.SERVICE.")
@click.option("--expect", type=click.IntRange(0), help="Only if the service is at this revision.")
@wait_options
@click.pass_obj
def scale(
    client: Client,
    subject: str,
    counts: tuple[str, ...],
    instances: int | None,
    expect: int | None,
    waits: bool,
    timeout: float | None,
) -> None:
    """Changes how many instances a role has: `scale web.shop --instances 5` or `scale shop web=5`."""
    until = end_of(timeout)
    role, dot, service = subject.partition(".")
    if dot and instances is not None and not counts:
        wanted = {role: instances}
    elif not dot and instances is None and counts:
        service, wanted = subject, dict(_count(word) for word in counts)
    else:
        raise click.UsageError("write: scale ROLE.SERVICE --instances N, or: scale SERVICE ROLE=N")
    client.scale(service, wanted, expected=expect)
    render.show(f"{name}.{service}: {number} instances" for name, number in wanted.items())
    if waits:
        until_serving(client, service, until, progress())


def _count(word: str) -> tuple[str, int]:
    role, _, number = word.partition("=")
    if not (role and number.isascii() and number.isdigit()):
        raise click.UsageError(f"{word!r} is not ROLE=N")
    return role, int(number)


@click.command()
@click.argument("kind", type=click.Choice(["service"]))
@click.argument("name", shell_complete=names.service)
@wait_options
@click.pass_obj
def delete(client: Client, kind: str, name: str, waits: bool, timeout: float | None) -> None:
    """Removes a service with all its instances, their local storage included.

    There is no question: what is deleted is named in the command.
    """
    assert kind == "service"
    until = end_of(timeout)
    client.remove(name)
    render.show([f"{name}: being deleted"])
    if waits:
        until_gone(client, name, until, progress(), removed=True)
        render.show([f"{name}: gone"])

"""`vmrole scale`: how many instances the roles of a service have."""

from __future__ import annotations

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples, wait_options
from orchestrator.cli.progress import progress
from orchestrator.cli.waiting import end_of, until_serving
from orchestrator.client.client import Client


@click.command(epilog=examples("vmrole scale web.shop --instances 5", "vmrole scale shop web=5 db=2 --wait"))
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
    render.show(f"{name}.{service}: {number} instance{'s' * (number != 1)}" for name, number in wanted.items())
    if waits:
        until_serving(client, service, until, progress())


def _count(word: str) -> tuple[str, int]:
    role, _, number = word.partition("=")
    if not (role and number.isascii() and number.isdigit()):
        raise click.UsageError(f"{word!r} is not ROLE=N")
    return role, int(number)

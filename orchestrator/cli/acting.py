"""What verbs about instances share that make an operation of a subject. No verb's work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples, selector_option, wait_options
from orchestrator.cli.progress import progress
from orchestrator.cli.waiting import end_of, until_over
from orchestrator.client.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator.client import wire

F = TypeVar("F", bound="Callable[..., Any]")
SUBJECT = "An INSTANCE (web-0 or web-0.shop), a role (web.shop) or a service (shop)."


def operating(name: wire.Verb, does: str, more: str = "") -> click.Command:
    """A verb that asks for an operation of that name, and says of it what it does."""
    turns = f"SUBJECT: {SUBJECT} One instance at a time unless told otherwise."
    about = "\n\n".join(part for part in (does, more, turns) if part)

    @click.command(
        name, help=about, epilog=examples(f"vmrole {name} web-0.shop --wait", f"vmrole {name} shop --together 2")
    )
    @click.argument("subject", shell_complete=names.subject)
    @click.option(
        "--together",
        type=click.IntRange(1),
        metavar="N",
        help="So many at the same time, within healing.maxUnavailable of their role; unless given, as "
        "upgrade.maxUnavailable of the service's file says, or one.",
    )
    @selector_option("those")
    @wait_options
    @_cold_option(name)
    @click.pass_obj
    def act(
        client: Client,
        subject: str,
        together: int | None,
        selector: str | None,
        waits: bool,
        timeout: float | None,
        cold: bool = False,
    ) -> None:
        until = end_of(timeout)
        operation = client.act(name, subject, together=together, labels=selector or "", cold=cold)
        render.show([operation["id"]])
        if together is not None and operation["together"] < together:
            render.say(
                f"not {together} but {operation['together']} at a time: healing.maxUnavailable of the role says so"
            )
        if waits:
            until_over(client, operation, until, progress(roads=name == "reimage"))

    return act


def _cold_option(name: wire.Verb) -> Callable[[F], F]:
    """Of a reimage alone."""
    if name != "reimage":
        return lambda command: command
    about = "Begin with the image, whatever checkpoint there is (reimage: warm or prepared in the service's file)."
    return click.option("--cold", is_flag=True, help=about)

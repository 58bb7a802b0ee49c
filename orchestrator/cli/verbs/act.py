"""Verbs that act on instances that exist, and the one that waits for them."""

from __future__ import annotations

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import Duration, examples, selector_option, wait_options
from orchestrator.cli.progress import progress
from orchestrator.cli.waiting import end_of, full_subject, off, until_gone, until_over, until_serving, until_settled
from orchestrator.client.client import Client
from orchestrator.errors import Conflict, NotFound

_SUBJECT = "An INSTANCE (web-0 or web-0.shop), a role (web.shop) or a service (shop)."


def _verb(name: str, does: str, more: str = "") -> click.Command:
    turns = f"SUBJECT: {_SUBJECT} One instance at a time unless told otherwise."
    about = "\n\n".join(part for part in (does, more, turns) if part)

    @click.command(
        name, help=about, epilog=examples(f"vmrole {name} web-0.shop --wait", f"vmrole {name} shop --together 2")
    )
    @click.argument("subject", shell_complete=names.subject)
    @click.option(
        "--together",
        type=click.IntRange(1),
        metavar="N",
        help="So many at the same time; unless given, as upgrade.maxUnavailable of the service's file says, or one.",
    )
    @selector_option("those")
    @wait_options
    @click.pass_obj
    def act(
        client: Client, subject: str, together: int | None, selector: str | None, waits: bool, timeout: float | None
    ) -> None:
        until = end_of(timeout)
        operation = client.act(name, subject, together=together, labels=selector or "")
        render.show([operation["id"]])
        if waits:
            until_over(client, operation, until, progress())

    return act


restart = _verb(
    "restart",
    "Restarts instances: the same generation boots again; all its data stays.",
    "What is stopped is left so; named alone, it is refused.",
)
reimage = _verb(
    "reimage",
    "Gives instances a new system disk from the image, the next generation; local storage stays.",
    "What is stopped stays off, and gets its new disk when it is started.",
)
rebuild = _verb(
    "rebuild",
    "Gives instances a new system disk and new, empty local storage.",
    "What is stopped stays off, and gets its new disks when it is started.",
)
stop = _verb(
    "stop",
    "Shuts instances down: out of rotation first, in the guest's time (stop.within), and off until: vmrole start.",
    "Disk, local storage, generation and address stay, and so does its share of the host's memory. Nothing else "
    "starts or heals it: no restart of the daemon or the host, no apply. A reimage, or what an apply changes of its "
    "VM, it gets when it is started. It can be deleted and scaled away. One stopped during its setup begins anew.",
)
start = _verb(
    "start",
    "Starts instances that were stopped: a boot, with everything as it was, and into rotation when it is ready.",
    "One that runs already is left alone.",
)


@click.command(epilog=examples("vmrole protect web-1.shop", "vmrole unprotect web-1.shop"))
@click.argument("subject", shell_complete=names.subject)
@selector_option("those")
@click.pass_obj
def protect(client: Client, subject: str, selector: str | None) -> None:
    """Keeps every verb and healing away from instances, for who wants to look into one, until: vmrole unprotect.

    Well, it serves on; sick or off, it leaves rotation and is left as it is. What names it alone is refused, and so
    is its deletion or scaling away; an operation on its role, and an apply, leave it as it is and say so. What was
    asked and has not begun is taken back; what has begun ends first.
    """
    for row in client.protect(subject, on=True, labels=selector or ""):
        render.show([f"{row['name']}: {'protected' if row['protected'] else 'being removed'}"])


@click.command(epilog=examples("vmrole unprotect web-1.shop", "vmrole apply -f shop.yaml"))
@click.argument("subject", shell_complete=names.subject)
@selector_option("those")
@click.pass_obj
def unprotect(client: Client, subject: str, selector: str | None) -> None:
    """Lets verbs and healing have instances again that were protected."""
    for row in client.protect(subject, on=False, labels=selector or ""):
        render.show([f"{row['name']}: not protected"])


@click.command(
    epilog=examples("vmrole wait shop --for serving --timeout 10m", "vmrole wait web-0.shop --for stopped")
)
@click.argument("subject", shell_complete=names.subject)
@click.option(
    "--for",
    "state",
    type=click.Choice(["serving", "stopped", "gone"]),
    default="serving",
    show_default=True,
    help="What to wait for.",
)
@click.option("--timeout", type=Duration(), help="At most so long: 90s, 10m. Exit status 4 then.")
@click.pass_obj
def wait(client: Client, subject: str, state: str, timeout: float | None) -> None:
    """Returns when an instance, a role or a service serves as it was asked to, or is stopped, or gone.

    What is stopped on purpose is not waited for to serve; where nothing else is left to wait for, that is a conflict.
    """
    until = end_of(timeout)
    if state == "gone":
        try:
            name = full_subject(client, subject)
        except NotFound:
            return
        until_gone(client, name, until, progress())
        return
    name = full_subject(client, subject)
    if state == "stopped":
        until_serving(client, name, until, progress(), is_there=off)
        return
    until_settled(client, name, until)
    rows = client.instances(name)
    if rows and all(off(row) for row in rows):
        raise Conflict(f"{name} is stopped", hint=f"run: vmrole start {name}")

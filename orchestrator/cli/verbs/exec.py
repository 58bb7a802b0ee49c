"""`vmrole exec`: a command in a guest, through its agent."""

from __future__ import annotations

import sys

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import Duration, examples
from orchestrator.cli.outlet import Outlet
from orchestrator.client import commands
from orchestrator.client.client import Client
from orchestrator.errors import InvalidInput

INPUT_MAX_BYTES = 512 * 1024
BY_SIGNAL = 255


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples("vmrole exec web-0.shop uname -a", "vmrole exec web-0 /bin/sh -c 'df / | tail -n 1'"),
)
@click.argument("instance", shell_complete=names.subject)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-i", "--stdin", "reads", is_flag=True, help="Give it what stands on standard input, at most 512 KiB.")
@click.option("--timeout", type=Duration(), help="Wait at most so long: 90s, 10m. Exit status 4 then; it goes on.")
@click.pass_obj
def exec(client: Client, instance: str, command: tuple[str, ...], reads: bool, timeout: float | None) -> int:
    """Runs COMMAND in a guest as the user of its agent (root), without network; the exit status is the command's.

    It is no terminal: what is printed comes when it has ended, the first MiB of it; byte for byte into a file or a
    pipe, and onto a terminal without what a terminal obeys. No shell reads the words: for a pipe, run /bin/sh -c. A
    command that a signal ended has the exit status 255.
    """
    line = command[1:] if command[0] == "--" else command  # Others want a -- before it; hands are used to that.
    if not line:
        raise click.UsageError("Missing argument 'COMMAND...'.")
    given = sys.stdin.buffer.read(INPUT_MAX_BYTES + 1) if reads else b""
    if len(given) > INPUT_MAX_BYTES:
        raise InvalidInput(f"standard input has more than {INPUT_MAX_BYTES} bytes", hint="bring a file: vmrole cp")
    name = client.instance(instance)["name"]
    ended = commands.run(client, name, line, given=given, within_s=timeout)
    for stream, text in ((sys.stdout, ended.output), (sys.stderr, ended.errors)):
        with Outlet(stream) as outlet:
            outlet.write(text)
    if not ended.whole:
        render.say("it printed more than is kept; let it write to a file, and fetch that: vmrole cp")
    return ended.status if 0 <= ended.status < BY_SIGNAL else BY_SIGNAL

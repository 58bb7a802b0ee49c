"""`vmrole help`: what a command does, for who asks as git and others are asked."""

from __future__ import annotations

import click

from orchestrator.cli import render
from orchestrator.cli.options import examples


@click.command(epilog=examples("vmrole help apply", "vmrole help image add"))
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help(context: click.Context, words: tuple[str, ...]) -> None:
    """Prints the help of a command, as its option --help does; without one, that of all."""
    at = context.find_root()
    for word in words:
        group = at.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"{at.command_path} has no commands of its own", at)
        name, command, _ = group.resolve_command(at, [word])
        assert command is not None  # resolve_command has refused what there is not.
        at = click.Context(command, at, name, **command.context_settings)
    render.show([at.get_help()])

"""`vmrole completion`: a script by which shells complete."""

from __future__ import annotations

from typing import Final

import click

from orchestrator.cli import render
from orchestrator.cli.options import examples
from orchestrator.errors import RequestError

SHELLS: Final = ("bash", "zsh", "fish")


@click.command(epilog=examples("vmrole completion bash"))
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Prints the completion of a shell: source <(vmrole completion bash)."""
    render.show([script(ctx.find_root().command, shell)])


def script(program: click.Command, shell: str) -> str:
    """What a shell reads to complete the program, without the last line's end. Raises RequestError."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise RequestError(f"there is no completion for {shell}")
    found = kind(program, {}, "vmrole", "_VMROLE_COMPLETE")
    return (found.source_template % found.source_vars()).rstrip("\n")

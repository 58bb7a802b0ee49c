"""`vmrole completion`: a script by which shells complete."""

from __future__ import annotations

import click

from orchestrator.cli import render
from orchestrator.cli.options import examples
from orchestrator.errors import RequestError


@click.command(epilog=examples("vmrole completion bash"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Prints the completion of a shell: source <(vmrole completion bash)."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise RequestError(f"there is no completion for {shell}")
    found = kind(ctx.find_root().command, {}, "vmrole", "_VMROLE_COMPLETE")
    render.show([found.source_template % found.source_vars()])

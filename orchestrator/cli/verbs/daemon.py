"""`vmrole daemon`: the orchestrator itself."""

from __future__ import annotations

import os

import click

from orchestrator.cli.options import examples


@click.command(epilog=examples("vmrole daemon --config /etc/vmrole/vmrole.toml"))
@click.option(
    "--config",
    "file",
    metavar="FILE",
    help="Its configuration; VMROLE_CONFIG or /etc/vmrole/vmrole.toml unless given.",
)
@click.pass_context
def daemon(ctx: click.Context, file: str | None) -> int:
    """Runs the daemon in the foreground, until SIGTERM or SIGINT."""
    from orchestrator.daemon import main

    socket = ctx.find_root().params["socket"]
    if socket:
        os.environ["VMROLE_SOCKET"] = os.path.abspath(socket)  # noqa: PTH100 - as configuration, not to be resolved
    return main(["--config", file] if file else [])

"""Verbs about this host and this program: doctor, daemon, completion, version."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from orchestrator import __version__
from orchestrator.cli import render
from orchestrator.cli.options import examples, format_option
from orchestrator.client.client import Client
from orchestrator.errors import Denied, RequestError, Unreachable


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


@click.command(epilog=examples("vmrole doctor"))
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The daemon's configuration; VMROLE_CONFIG or /etc/vmrole/vmrole.toml unless given.",
)
@format_option("table", "json", "yaml")
def doctor(file: Path | None, form: str) -> int:
    """Tries everything that vmrole needs of this host and says what is missing. Exit status 1 on a FAIL."""
    from orchestrator.host import config
    from orchestrator.host.doctor import Verdict, each

    failed, rows = False, []
    for check in each(None if file is None else config.load(file)):
        failed |= check.verdict is Verdict.FAIL
        rows.append({key: str(getattr(check, key)) for key in ("verdict", "name", "message", "remedy")})
        if form == "table":
            render.show([f"{_coloured(check.verdict)}  {check.name}: {render.plain(check.message)}"])
            if check.remedy:
                render.show([f"      -> {render.plain(check.remedy)}"])
    if form != "table":
        render.show([render.dump(rows, form)])
    return 1 if failed else 0


def _coloured(verdict: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return verdict
    return click.style(verdict, fg={"PASS": "green", "WARN": "yellow"}.get(verdict, "red"))


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


@click.command(epilog=examples("vmrole version"))
@click.pass_obj
def version(client: Client) -> None:
    """Prints the version of this program, and of the daemon if one answers."""
    render.show([f"vmrole {__version__}"])
    try:
        render.show([f"daemon {client.health()['version']}"])
    except Unreachable:
        render.say(f"no daemon on {client.path}")
    except Denied as error:
        render.say(f"the daemon's is not known: {error} ({error.hint})")

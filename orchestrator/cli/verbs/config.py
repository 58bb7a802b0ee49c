"""`vmrole config`: what the files and the environment of this host came to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import render
from orchestrator.cli.groups import Group
from orchestrator.cli.options import config_option, examples, format_option

if TYPE_CHECKING:
    from orchestrator.cli.render import Column, Row


@click.group(cls=Group, epilog=examples("vmrole config show"))
def config() -> None:
    """Says what the configuration of this host came to."""


@config.command(epilog=examples("vmrole config show", "vmrole config show -o json"))
@config_option
@format_option("table", "json", "yaml")
def show(config: Path | None, form: str) -> None:
    """Shows each value of the configuration and where it came from: file and line, environment, or default.

    Files of conf.d beside the file come after it, by name, and the environment last. Passwords in URIs are not shown.
    A daemon that runs goes by what there was when it started, and by its own environment.
    """
    from orchestrator.host.config import settle, written

    settled = settle(config)
    rows = [
        {"key": key, "value": written(getattr(settled.config, key)), "from": origin}
        for key, origin in settled.origins.items()
    ]
    if form != "table":
        render.show([render.dump(rows, form)])
        return
    render.show(render.table(_COLUMNS, rows))


_COLUMNS: list[Column[Row]] = [
    ("KEY", lambda row: row["key"]),
    ("FROM", lambda row: row["from"]),
    ("VALUE", lambda row: row["value"]),  # The last: lists are long, and nothing stands behind them.
]

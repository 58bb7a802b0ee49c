"""`vmrole doctor`: whether this host is fit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from orchestrator.cli import render
from orchestrator.cli.options import config_option, examples, format_option


@click.command(epilog=examples("vmrole doctor"))
@config_option
@format_option("table", "json", "yaml")
def doctor(config: Path | None, form: str) -> int:
    """Tries everything that vmrole needs of this host and says what is missing. Exit status 1 on a FAIL."""
    from orchestrator.host import config as configuration
    from orchestrator.host.doctor import Verdict, each

    failed, rows = False, []
    for check in each(None if config is None else configuration.load(config)):
        failed |= check.verdict is Verdict.FAIL
        rows.append({key: str(getattr(check, key)) for key in ("verdict", "name", "message", "remedy")})
        if form == "table":
            line = f"  {render.plain(check.name)}: {render.plain(check.message)}"
            render.show([_coloured(check.verdict) + line], coloured=True)
            if check.remedy:
                render.show([f"      -> {render.plain(check.remedy)}"])
    if form != "table":
        render.show([render.dump(rows, form)])
    return 1 if failed else 0


def _coloured(verdict: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return verdict
    return click.style(verdict, fg={"PASS": "green", "WARN": "yellow"}.get(verdict, "red"))

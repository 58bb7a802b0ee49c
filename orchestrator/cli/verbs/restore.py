"""`vmrole restore`: the records of a backup take the place of those that there are."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import render
from orchestrator.cli.options import config_option, examples


@click.command(epilog=examples("vmrole restore /var/backups/vmrole.backup"))
@click.argument("file", type=click.Path(path_type=Path))
@config_option
def restore(file: Path, config: Path | None) -> None:
    """Puts the records of a backup in place of those that are there, which are kept. No daemon may be running.

    What has happened on the host since the backup was made is not in its records: after the start of the daemon,
    `vmrole verify` says in what they differ.
    """
    from orchestrator.host import config as configuration
    from orchestrator.host import records

    restored = records.restore(configuration.load(config), file)
    counts = ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in sorted(restored.records.items()))
    lines = [f"restored: {counts or 'no records'}"]
    if restored.former is not None:
        lines.append(f"the former records are kept: {restored.former}")
    render.show([*lines, "start the daemon, then see in what records and host differ: vmrole verify"])

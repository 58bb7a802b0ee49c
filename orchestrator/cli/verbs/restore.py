"""`vmrole restore`: the records of a backup take the place of those that there are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import render
from orchestrator.cli.options import config_option, examples
from orchestrator.client import clock
from orchestrator.client.client import RESTORE_WITHIN_S, Client
from orchestrator.errors import Conflict, InvalidInput, NotFound, Unreachable, VmroleError, WaitedTooLong

if TYPE_CHECKING:
    from orchestrator.client import wire

_LOOK_EVERY_S: Final = 0.2
_NAME_ONE: Final = "name a file that vmrole backup has made"
_BY_HAND: Final = "systemctl stop vmrole; vmrole restore FILE; systemctl start vmrole"


@click.command(epilog=examples("vmrole restore /var/backups/vmrole.backup"))
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@click.pass_obj
def restore(client: Client, file: Path, config: Path | None) -> None:
    """Puts the records of a backup in place of those that are there, which are kept.

    A daemon that runs begins anew with them, in some seconds: VMs and their addresses go on. A backup that is damaged
    changes nothing. Where no daemon runs, root restores it, and the daemon is started afterwards.

    What has happened on the host since the backup was made is not in its records: `vmrole verify` says in what they
    differ. Tokens are to be made anew.
    """
    client = _meant(client, config)
    if client.host:
        raise InvalidInput(f"records are restored on their host itself: {client.host}", hint="go there")
    try:
        client.health()
    except Unreachable:
        _without_daemon(file, config)
    else:
        _while_it_runs(client, file)


def _meant(client: Client, config: Path | None) -> Client:
    """With a configuration its own daemon is meant, unless another one is named."""
    said = click.get_current_context().find_root().params
    if any(said.get(word) for word in ("socket", "server", "context")) or not (
        config or os.environ.get("VMROLE_CONFIG")
    ):
        return client
    from orchestrator.host import config as configuration

    return Client(str(configuration.load(config).socket))


def _while_it_runs(client: Client, file: Path) -> None:
    try:
        with file.open("rb") as source:
            given = client.restore(source, os.fstat(source.fileno()).st_size)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {file}", hint=_NAME_ONE) from error
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}", hint=_NAME_ONE) from error
    except NotFound as error:
        raise Conflict("the daemon is older than this command, and restores nothing", hint=_BY_HAND) from error
    except InvalidInput as error:
        raise InvalidInput(str(error).replace("what was sent", str(file), 1), hint=error.hint) from error
    render.say("the daemon has the backup, and begins anew with it; VMs go on")
    last = _ended(client, clock.monotonic_s() + RESTORE_WITHIN_S)
    if last["state"] == "refused":
        raise VmroleError(f"the records are those from before: {last['refusal']}", hint=last["hint"])
    if last["sha256"] != given["sha256"]:
        raise Conflict("another backup was restored after this one", hint="see what there is: vmrole get")
    _tell(last["records"], last["former"], "see in what records and host differ: vmrole verify")


def _ended(client: Client, until: float) -> wire.Restoring:
    """How the restoring has ended. Between two daemons nobody answers."""
    while True:
        try:
            last = client.last_restore()
        except (Unreachable, WaitedTooLong):
            last = None
        if last is not None and last["state"] in ("restored", "refused"):
            return last
        if clock.monotonic_s() >= until:
            hint = "look at its log; the next start of the daemon restores the backup"
            raise WaitedTooLong("the daemon has not come back with the records of the backup", hint=hint)
        clock.pause(_LOOK_EVERY_S)


def _without_daemon(file: Path, config: Path | None) -> None:
    from orchestrator.host import config as configuration
    from orchestrator.host import records

    restored = records.restore(configuration.load(config), file)
    former = "" if restored.former is None else str(restored.former)
    _tell(restored.records, former, "start the daemon, then see in what records and host differ: vmrole verify")


def _tell(records: Mapping[str, int], former: str, next_: str) -> None:
    counts = ", ".join(f"{count} {_plural(kind) if count != 1 else kind}" for kind, count in sorted(records.items()))
    lines = [f"restored: {counts or 'no records'}"]
    if former:
        lines.append(f"the former records are kept: {former}")
    render.show([*lines, next_])


def _plural(kind: str) -> str:
    """Of what a record is of: wishes, images."""
    return f"{kind}es" if kind.endswith(("s", "sh", "ch", "x")) else f"{kind}s"

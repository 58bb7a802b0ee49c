"""`vmrole backup`: a copy of the records."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO, Final

import click

from orchestrator.cli import render
from orchestrator.cli.options import config_option, examples
from orchestrator.cli.whole_files import whole_or_none
from orchestrator.client.client import Client
from orchestrator.errors import Conflict, InvalidInput, Unreachable
from orchestrator.model import records_copy
from orchestrator.model.records_copy import Seal

_CHUNK_BYTES: Final = 1 << 20


@click.command(epilog=examples("vmrole backup /var/backups/vmrole.backup"))
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@click.pass_obj
def backup(client: Client, file: Path, config: Path | None) -> None:
    """Writes all records to FILE, mode 0600, while the daemon runs; without one, root may as well.

    An earlier backup of that name is replaced once the new one is whole; any other file is left alone.

    It holds services with their user-data, instances, operations and the ledger. Not in it: images, disks, kept SSH
    host keys, and the secrets that service files name.
    """
    _may_be_replaced(file)
    with whole_or_none(file) as target:
        try:
            client.backup(target)
        except Unreachable:
            if os.geteuid() != 0 or client.host:
                raise
            _of_no_daemon(target, config)
        seal = _seal(target)
    told = f"{file}: {seal.size_bytes} bytes of records, for your eyes alone: user-data may hold secrets"
    render.show([render.plain(told)])


def _of_no_daemon(target: BinaryIO, config: Path | None) -> None:
    from orchestrator.host import config as configuration
    from orchestrator.host import records

    target.seek(0)
    target.truncate()
    with records.back_up(configuration.load(config)) as source:
        shutil.copyfileobj(source, target)


def _may_be_replaced(file: Path) -> None:
    """Raises Conflict for a file that no backup has made."""
    try:
        with file.open("rb") as present:
            if records_copy.read(present.readline(records_copy.LINE_MAX_BYTES)) is None:
                raise Conflict(f"{file} exists, and is no backup", hint="give another name, or move it away")
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}", hint="name a file to be made") from error


def _seal(target: BinaryIO) -> Seal:
    """That of a backup that has come whole; raises Unreachable when it has not."""
    target.seek(0)
    seal = records_copy.read(target.readline(records_copy.LINE_MAX_BYTES))
    whole, size_bytes = hashlib.sha256(), 0
    while chunk := target.read(_CHUNK_BYTES):
        whole.update(chunk)
        size_bytes += len(chunk)
    found = Seal(whole.hexdigest(), size_bytes)
    if seal != found:
        raise Unreachable("the backup did not come as it was sent", hint="try again")
    return found

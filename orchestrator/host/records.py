"""The records of this host while no daemon has them: a backup of them, and putting one back."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from orchestrator.drivers.store import backup
from orchestrator.drivers.store.backup import Restored
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import NotFound
from orchestrator.host.config import Config

__all__ = ["Restored", "back_up", "restore"]


def back_up(settings: Config) -> BinaryIO:
    """All records as they lie, as a file that has no name. Raises ConfigError while a daemon has them."""
    path = _records(settings)
    if not path.exists():
        raise NotFound(f"there are no records in {settings.state_dir}", hint="no daemon has run with this state_dir")
    with SqliteStore(path) as store:
        return store.backup()


def restore(settings: Config, file: Path) -> Restored:
    """See drivers.store.backup.restore."""
    return backup.restore(file, _records(settings))


def _records(settings: Config) -> Path:
    return Layout(settings.state_dir, settings.run_dir).records

"""Whether all that is recorded can be read: asked of the daemon, or looked up in a copy where none runs."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.client.client import Client
from orchestrator.control.present import Present
from orchestrator.control.upgrade import upgrade
from orchestrator.drivers.store.pending import Pending
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import ConfigError, Unreachable
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, fail, ok, warn
from orchestrator.model.restoring import RestoreState

_NAME = "records"
_UNREADABLE = "RECORD-UNREADABLE"  # verify's words
_REFUSED = "RESTORE-REFUSED"
_REFUSED_HINT = "restore another one, or take it away when you have seen it"
_SHOWN_MAX = 5
_LOCKS = Path("/proc/locks")
_KEPT_APART = "nothing is done for it: run the newer vmrole that wrote it, or restore a copy"


def records(settings: Config) -> Check:
    """What this version cannot read is set aside by the daemon: nothing happens to it any more."""
    file = Layout(settings.state_dir, settings.run_dir).records
    try:
        findings = Client(str(settings.socket), connect_within_s=0.0).findings()
    except Unreachable as silent:
        if not file.exists():
            return ok(_NAME, f"{file}: there are none yet")
        if _is_locked(file.with_suffix(".lock")):
            return fail(_NAME, f"a daemon has {file} open and does not answer: {silent}", "look into its log")
        pending = Pending(file)
        if (last := pending.last()).state is RestoreState.REFUSED:
            return warn(_NAME, f"a backup was not restored: {last.refusal}", f"{_REFUSED_HINT}: rm {pending.refused}")
        if last.state is RestoreState.PENDING:
            return ok(_NAME, f"{pending.file}: a backup that the next start of the daemon restores")
        try:
            return _verdict(_set_aside(file), str(file))
        except ConfigError as error:
            return fail(_NAME, str(error), error.hint)
    if refused := [finding["message"] for finding in findings if finding["code"] == _REFUSED]:
        return warn(_NAME, refused[0], _REFUSED_HINT)
    lost = [f"{finding['subject']}: {finding['message']}" for finding in findings if finding["code"] == _UNREADABLE]
    return _verdict(lost, "the daemon's")


def _verdict(lost: Sequence[str], whose: str) -> Check:
    if not lost:
        return ok(_NAME, f"{whose}: all can be read")
    more = f"; and {len(lost) - _SHOWN_MAX} more" if len(lost) > _SHOWN_MAX else ""
    return warn(_NAME, f"{len(lost)} cannot be read: {'; '.join(lost[:_SHOWN_MAX])}{more}", _KEPT_APART)


def _set_aside(file: Path) -> list[str]:
    """What a daemon would set aside, found in a copy: opening the file brings it to the form of this version."""
    with tempfile.TemporaryDirectory(prefix="vmrole-doctor-") as directory, _silent():
        for part in (file, file.with_name(f"{file.name}-journal")):  # A commit that was cut off is taken back by it.
            if part.exists():
                shutil.copyfile(part, Path(directory) / part.name)
        copy = Path(directory) / file.name
        try:
            with SqliteStore(copy) as store:
                upgrade(store)
                return [str(aside) for aside in Present(store).set_aside()]
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(copy), str(file)), hint=error.hint) from error


def _is_locked(lock: Path) -> bool:
    """Whether a process holds it; taking it to find out could be in the way of a daemon that starts."""
    if not lock.exists():
        return False
    inode = lock.stat().st_ino
    return any(line.split()[-3].endswith(f":{inode}") for line in _LOCKS.read_text().splitlines() if "FLOCK" in line)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What a daemon would tell its log is the check's to tell."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)

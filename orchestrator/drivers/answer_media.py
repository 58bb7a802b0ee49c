"""Answer discs as ISO files, one path per generation. What stands on a disc is `unattend`'s; who reads it, the VM's.

A disc holds secrets: its file is mode 0600. libvirt gives it to QEMU's user when the VM starts, so the directories
above it may be passed through (0711) but not listed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.drivers.layout import Layout
from orchestrator.errors import NoSpace, Permanent, Transient
from orchestrator.model import Instance, InstanceName
from unattend import AnswersInvalid, iso, nocloud

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o711


class AnswerDiscs:
    """ports.AnswerMedia in RUN/discs; at most one thread writes or erases for one instance at a time."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def write(self, instance: Instance) -> None:
        """See ports.AnswerMedia. Permanent when user-data is refused, NoSpace or Transient when the disk fails."""
        path = self._layout.disc(instance)
        if path.exists():
            return
        content = _content(instance)
        with _translated(path):
            for folder in (self._layout.discs, path.parent):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(_DIRECTORY_MODE)
            _write_whole(path, content)

    def erase(self, instance: Instance) -> None:
        """See ports.AnswerMedia. Overwriting would promise what neither tmpfs nor an SSD keeps; it is unlinked."""
        folder = self._layout.disc_dir(instance.name)
        with _translated(folder), contextlib.suppress(FileNotFoundError):
            for file in folder.iterdir():
                file.unlink(missing_ok=True)
            folder.rmdir()
            _sync_directory(folder.parent)

    def inventory(self) -> frozenset[InstanceName]:
        """See ports.AnswerMedia. A disc that was half written when the daemon died counts."""
        with _translated(self._layout.discs), contextlib.suppress(FileNotFoundError):
            return frozenset(InstanceName(folder.name) for folder in self._layout.discs.iterdir() if _holds(folder))
        return frozenset()


def _content(instance: Instance) -> bytes:
    """The disc of the present generation; the same bytes whenever it is made."""
    role = instance.role
    try:
        answers = nocloud.Answers(
            instance_id=instance.vm_uuid,
            hostname=instance.hostname,
            service=instance.service,
            instance=instance.name,
            generation=instance.generation,
            mac=instance.nic.mac,
            setup_restart=role.setup.restart,
            user_data=role.user_data,
            local_storage=tuple(storage.name for storage in role.local_storage),
        )
        return iso.write_iso(nocloud.files(answers), nocloud.LABEL)
    except AnswersInvalid as error:
        raise Permanent(f"the answers of role {role.name} are refused: {error}", hint=error.hint) from error


def _write_whole(path: Path, content: bytes) -> None:
    """The file with exactly this content, or none."""
    unfinished = path.with_name(f".{path.name}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, _FILE_MODE)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    unfinished.rename(path)
    _sync_directory(path.parent)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _holds(folder: Path) -> bool:
    """Whether anything is in the directory; one that has just gone holds nothing."""
    try:
        return any(folder.iterdir())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"{path}: {error.strerror}", hint="make room on this file system") from error
        raise Transient(f"{path}: {error.strerror}", hint="answer discs must be writable for the daemon") from error

"""Where secrets are fetched from: files, the daemon's environment, and systemd's credentials. Nothing is kept.

What is wrong is told by the secret's name and place, never by a piece of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from unattend import AnswersInvalid
from unattend.secret import Secret, SecretRef, SecretSource

SECRET_BYTES_MAX = 1024 * 1024  # a whole answer file may be one; public ones have up to 100 kB
CREDENTIALS = "CREDENTIALS_DIRECTORY"  # systemd.exec(5)


class HostSecrets:
    """Secrets as this host has them; looked up anew each time, so that a changed one counts at the next reimage."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def reveal(self, wanted: SecretRef) -> Secret:
        """The secret; raises AnswersInvalid, which says what is wrong with its place."""
        match wanted.source:
            case SecretSource.ENV:
                text = self._environment.get(wanted.name)
                if text is None:
                    raise _refused(wanted, "the daemon has no such variable", "set it where the daemon is started")
                return Secret(_sound(wanted, text))
            case SecretSource.FILE:
                path = Path(wanted.name)
                if not path.is_absolute():
                    raise _refused(wanted, "the path is not absolute", "begin it with '/'")
                return Secret(_sound(wanted, _read(wanted, path)))
            case SecretSource.CREDENTIAL:
                directory = self._environment.get(CREDENTIALS)
                if directory is None:
                    raise _refused(wanted, "the daemon has no credentials", "LoadCredential= in its systemd unit")
                if "/" in wanted.name or wanted.name in (".", ".."):
                    raise _refused(wanted, "this is not the name of a credential", "a file name without '/'")
                return Secret(_sound(wanted, _read(wanted, Path(directory) / wanted.name)))

    def fault(self, wanted: SecretRef) -> str:
        """Why the secret cannot be had; "" when it can."""
        try:
            self.reveal(wanted)
        except AnswersInvalid as refused:
            return f"{refused.message}; {refused.hint}" if refused.hint else refused.message
        return ""


def _read(wanted: SecretRef, path: Path) -> str:
    """The file's text; a FIFO or a device must not hang us, and what everybody may read is no secret."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _refused(wanted, f"it cannot be read: {error.strerror}", "name a file on the daemon's host") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _refused(wanted, "it is not a regular file", "name the file itself")
        if found.st_mode & stat.S_IROTH:
            raise _refused(wanted, "everybody may read it", "chmod o-r")
        content = os.read(descriptor, SECRET_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(content) > SECRET_BYTES_MAX:
        raise _refused(wanted, f"it is longer than {SECRET_BYTES_MAX // 1024} KiB", "name the right file")
    text = content.decode("utf-8", errors="replace")
    if text.encode() != content:  # A UnicodeDecodeError would carry the bytes along, also as the context of ours.
        raise _refused(wanted, "it is not UTF-8", "save it as UTF-8")
    return text.removesuffix("\n").removesuffix("\r")


def _sound(wanted: SecretRef, text: str) -> str:
    if not text:
        raise _refused(wanted, "it is empty", "")
    return text


def _refused(wanted: SecretRef, message: str, hint: str) -> AnswersInvalid:
    return AnswersInvalid(message, where=str(wanted), hint=hint)

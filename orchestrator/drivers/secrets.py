"""Where secrets are fetched from: a directory of the host's owner, and what its configuration and systemd hand over.

Whoever may apply a service file sees in his own guest what it names, so a name reaches only what the owner put
there for that: a file of `secrets_dir`, one of `secrets_dir`/SERVICE for that service alone, a variable that the
configuration lists, or a credential of the daemon's unit. No spelling reaches another file of the host, and the
answer to one that tries is the same whether that file exists or not.

What is wrong is told by the secret's name and place, never by a piece of it. Nothing is kept.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from vmrole_unattend import AnswersInvalid
from vmrole_unattend.secret import Reveal, Secret, SecretRef, SecretSource

from orchestrator.drivers.tools import certificates
from orchestrator.model import Certificate

SECRET_BYTES_MAX = 1024 * 1024  # a whole answer file may be one; public ones have up to 100 kB
CREDENTIALS = "CREDENTIALS_DIRECTORY"  # systemd.exec(5)
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO must not hang us
_NONE = "there is no such secret"


class HostSecrets:
    """Secrets as this host has them; looked up anew each time, so that a changed one counts at the next reimage."""

    def __init__(
        self, directory: Path, *, variables: Collection[str] = (), environment: Mapping[str, str] = os.environ
    ) -> None:
        self._directory = directory
        self._variables = frozenset(variables)
        self._environment = environment

    def of(self, service: str) -> Reveal:
        """What fetches secrets for that service; it raises AnswersInvalid, which says what is wrong with a place."""
        return lambda wanted: self._reveal(service, wanted)

    def fault(self, service: str, wanted: SecretRef | Certificate) -> str:
        """Why the service cannot have the secret, or no client believes the certificate; "" when all is well."""
        try:
            if isinstance(wanted, Certificate):
                return certificates.fetch(wanted, self.of(service)).fault
            self._reveal(service, wanted)
        except AnswersInvalid as refused:
            where = f"{refused.where}: " if isinstance(wanted, Certificate) else ""
            return where + (f"{refused.message}; {refused.hint}" if refused.hint else refused.message)
        return ""

    def _reveal(self, service: str, wanted: SecretRef) -> Secret:
        match wanted.source:
            case SecretSource.SECRET:
                if not _is_plain(wanted.name):
                    raise _refused(wanted, "this is no name of a secret", f"the name of a file in {self._directory}")
                return _named(wanted, self._directory, service)
            case SecretSource.FILE:
                return _read(wanted, self._directory, self._beneath(service, wanted))
            case SecretSource.ENV:
                return self._variable(wanted)
            case SecretSource.CREDENTIAL:
                directory = self._environment.get(CREDENTIALS)
                if directory is None:
                    raise _refused(wanted, "the daemon has no credentials", "LoadCredential= in its systemd unit")
                if not _is_plain(wanted.name):
                    raise _refused(wanted, "this is not the name of a credential", "a file name without '/'")
                return _read(wanted, Path(directory), (wanted.name,))

    def _beneath(self, service: str, wanted: SecretRef) -> tuple[str, ...]:
        """The parts of a path below the directory. Nothing is looked at: all others get one and the same answer."""
        top = f"{self._directory}/"
        parts = tuple(wanted.name.removeprefix(top).split("/"))
        allowed = len(parts) == 1 or (len(parts) == 2 and parts[0] == service)
        if not (wanted.name.startswith(top) and allowed and all(_is_plain(part) for part in parts)):
            hint = f"the host's owner puts it into {self._directory} or {self._directory}/{service}: {{secret: NAME}}"
            raise _refused(wanted, f"it is not a file that {service} may name", hint)
        return parts

    def _variable(self, wanted: SecretRef) -> Secret:
        if wanted.name not in self._variables:
            raise _refused(wanted, "the configuration does not list this variable", "secrets_env, on the host")
        text = self._environment.get(wanted.name)
        if text is None:
            raise _refused(wanted, "the daemon has no such variable", "set it where the daemon is started")
        return Secret(_sound(wanted, text))


def _is_plain(name: str) -> bool:
    """Whether it names an entry of a directory and cannot lead out of it."""
    return name not in ("", ".", "..") and not {"/", "\0"} & set(name)


def _named(wanted: SecretRef, directory: Path, service: str) -> Secret:
    """The service's own secret of that name, or else the one for all."""
    assert _is_plain(service) or not service, service
    try:
        return _read(wanted, directory, (service, wanted.name))
    except _Absent:
        return _read(wanted, directory, (wanted.name,))


class _Absent(AnswersInvalid):
    """Nothing is there, or a directory: which of them it is would tell one service of another."""


def _read(wanted: SecretRef, directory: Path, parts: tuple[str, ...]) -> Secret:
    """The secret at `parts` below the directory, each opened within the one before it, so that no link is followed.

    That is what openat2(2) promises with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, for parts that are plain names.
    """
    try:
        with contextlib.ExitStack() as stack:
            here = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # The owner's: it may be a link.
            stack.callback(os.close, here)
            for part in parts[:-1]:
                _must_be_owners(wanted, os.fstat(here), "its directory")
                here = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=here)
                stack.callback(os.close, here)
            _must_be_owners(wanted, os.fstat(here), "its directory")
            # A device does something when it is opened; what is no file is found out before that.
            _must_be_file(wanted, os.stat(parts[-1], dir_fd=here, follow_symlinks=False))
            file = os.open(parts[-1], _READ, dir_fd=here)
            stack.callback(os.close, file)
            _must_be_file(wanted, os.fstat(file))
            return _decoded(wanted, _content(file))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _Absent(_NONE, where=str(wanted), hint=f"the host's owner puts it into {directory}") from error
    except OSError as error:
        raise _refused(wanted, f"it cannot be read: {error.strerror}", f"see to it in {directory}") from error
    except ValueError as error:  # No file of this host can have such a name.
        raise _Absent(_NONE, where=ascii(str(wanted)), hint="a name in plain letters") from error


def _must_be_owners(wanted: SecretRef, found: os.stat_result, what: str) -> None:
    """Whoever may write there decides what the secret is."""
    if found.st_uid not in (0, os.geteuid()):
        raise _refused(wanted, f"{what} is neither root's nor the daemon's", "chown root")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _refused(wanted, f"{what} may be written by others", "chmod go-w")


def _must_be_file(wanted: SecretRef, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise _Absent(_NONE, where=str(wanted), hint="name a file")
    if not stat.S_ISREG(found.st_mode):
        raise _refused(wanted, "it is not a regular file", "put the file itself there, no link to it")
    if found.st_nlink != 1:
        raise _refused(wanted, "it is the same file as another (a hard link)", "put a copy there")
    if found.st_mode & stat.S_IROTH:
        raise _refused(wanted, "everybody may read it", "chmod o-r")
    _must_be_owners(wanted, found, "it")


def _content(file: int) -> bytes:
    """All of it, or as much as shows that it is too long."""
    content = b""
    while len(content) <= SECRET_BYTES_MAX and (piece := os.read(file, SECRET_BYTES_MAX + 1 - len(content))):
        content += piece
    return content


def _decoded(wanted: SecretRef, content: bytes) -> Secret:
    if len(content) > SECRET_BYTES_MAX:
        raise _refused(wanted, f"it is longer than {SECRET_BYTES_MAX // 1024} KiB", "name the right file")
    text = content.decode("utf-8", errors="replace")
    if text.encode() != content:  # A UnicodeDecodeError would carry the bytes along, also as the context of ours.
        raise _refused(wanted, "it is not UTF-8", "save it as UTF-8")
    return Secret(_sound(wanted, text.removesuffix("\n").removesuffix("\r")))


def _sound(wanted: SecretRef, text: str) -> str:
    if not text:
        raise _refused(wanted, "it is empty", "")
    return text


def _refused(wanted: SecretRef, message: str, hint: str) -> AnswersInvalid:
    return AnswersInvalid(message, where=str(wanted), hint=hint)

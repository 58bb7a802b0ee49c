"""One ISO in memory, byte for byte the same whenever and wherever it is made. What is in the files is not known here.

Windows reads the Joliet names, Linux those of Rock Ridge; the names of ISO 9660 itself are numbers that nobody sees.
A name may stand in directories ("openstack/latest/user_data"), which are made as they are needed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from vmrole_unattend import _iso_dates
from vmrole_unattend.errors import AnswersInvalid

# Joliet allows a name 64 characters (and pycdlib raises beyond), a volume label 16.
_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}")
_LEVELS_MAX = 8  # ECMA-119 6.8.2.1, the root included and the file's own name not; deeper ones would be moved
_PATH_MAX = 120  # Joliet counts 240 bytes of two for each character
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,16}")
_FILES_MAX = 999  # as many directories, too
_INTERCHANGE_LEVEL = 3
_JOLIET_LEVEL = 3
_ROOT_ONLY = 0o100400  # a regular file that only root of the guest may read: answers hold secrets
_DIRECTORY = 0o040500


def write_iso(files: Mapping[str, bytes], label: str, when_epoch_s: int = 0) -> bytes:
    """The ISO with these files, given in any order, all dated `when_epoch_s` (seconds since 1970, UTC).

    A name has at most 8 parts joined by '/', each of 1 to 64 letters, digits, '.', '_' and '-', and at most 120
    characters in all; `label` is the volume label, at most 16 of the same without the dot. Raises AnswersInvalid for
    others, and for two names that Windows would take for one. Equal arguments give equal bytes; any number of
    threads may write at once.
    """
    _check(files, label)
    disc = pycdlib.PyCdlib()
    written = io.BytesIO()
    try:
        disc.new(interchange_level=_INTERCHANGE_LEVEL, joliet=_JOLIET_LEVEL, rock_ridge="1.09", vol_ident=label)
        made = {"": ""}  # directory of the guest's: the number by which ISO 9660 knows it
        for number, name in enumerate(sorted(files), start=1):
            directory, _, own = name.rpartition("/")
            disc.add_fp(
                io.BytesIO(files[name]),
                len(files[name]),
                f"{_directory(disc, directory, made)}/F{number:03}.;1",
                rr_name=own,
                joliet_path=f"/{name}",
                file_mode=_ROOT_ONLY,
            )
        disc.write_fp(written)
        disc.close()
    except PyCdlibException as error:
        raise AnswersInvalid(f"no ISO can be made of these files: {error}", where=f"disc {label}") from error
    # pycdlib dates everything with the local time of now and offers no other; patching its clock would change it for
    # every thread, so the dates are written over afterwards.
    image = bytearray(written.getbuffer())
    _iso_dates.stamp(image, when_epoch_s)
    return bytes(image)


def _directory(disc: pycdlib.PyCdlib, name: str, made: dict[str, str]) -> str:
    """The path of ISO 9660 to a directory, which is made with all above it when it is new."""
    if name not in made:
        above, _, own = name.rpartition("/")
        path = f"{_directory(disc, above, made)}/D{len(made):03}"
        disc.add_directory(path, rr_name=own, joliet_path=f"/{name}", file_mode=_DIRECTORY)
        made[name] = path
    return made[name]


def _check(files: Mapping[str, bytes], label: str) -> None:
    if not _LABEL.fullmatch(label):
        raise AnswersInvalid(
            f"volume label {label[:40]!r} cannot be used",
            where="disc",
            hint="use 1 to 16 letters, digits, '_' or '-'",
        )
    if len(files) > _FILES_MAX:
        raise AnswersInvalid(f"{len(files)} files are more than {_FILES_MAX}", where=f"disc {label}")
    for name in files:
        parts = name.split("/")
        if len(name) > _PATH_MAX or len(parts) > _LEVELS_MAX or not all(map(_NAME.fullmatch, parts)):
            raise AnswersInvalid(
                f"file name {name[:80]!r} cannot be used",
                where=f"disc {label}",
                hint="use 1 to 64 letters, digits, '.', '_' or '-', not beginning with '.'; at most 7 directories",
            )
    _refuse_twins(files, label)


def _refuse_twins(files: Iterable[str], label: str) -> None:
    """Windows compares names without case; and no name can be a file and a directory."""
    known: dict[str, tuple[str, bool]] = {}  # in small letters: as it is written, and whether it is a file
    for name in files:
        ends = [at for at, letter in enumerate(name) if letter == "/"]
        for entry in (*((name[:end], False) for end in ends), (name, True)):
            other = known.setdefault(entry[0].lower(), entry)
            if other != entry:
                raise AnswersInvalid(
                    f"{other[0]!r} and {entry[0]!r} cannot both be on it",
                    where=f"disc {label}",
                    hint="use names that differ in more than case, and no file's name as a directory's",
                )

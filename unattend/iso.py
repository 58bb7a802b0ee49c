"""One ISO in memory, byte for byte the same whenever and wherever it is made. What is in the files is not known here.

Windows reads the Joliet names, Linux those of Rock Ridge; the names of ISO 9660 itself are numbers that nobody sees.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from unattend import _iso_dates
from unattend.errors import AnswersInvalid

# Joliet allows a name 64 characters (and pycdlib raises beyond), a volume label 16.
_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,16}")
_FILES_MAX = 999
_INTERCHANGE_LEVEL = 3
_JOLIET_LEVEL = 3
_ROOT_ONLY = 0o100400  # a regular file that only root of the guest may read: answers hold secrets


def write_iso(files: Mapping[str, bytes], label: str, when_epoch_s: int = 0) -> bytes:
    """The ISO with these files in its root, in any order, all dated `when_epoch_s` (seconds since 1970, UTC).

    `label` is the volume label, at most 16 of A-Z a-z 0-9 _ and -; names at most 64 of those and dots. Raises
    AnswersInvalid for other names. Equal arguments give equal bytes; any number of threads may write at once.
    """
    _check(files, label)
    disc = pycdlib.PyCdlib()
    written = io.BytesIO()
    try:
        disc.new(interchange_level=_INTERCHANGE_LEVEL, joliet=_JOLIET_LEVEL, rock_ridge="1.09", vol_ident=label)
        for number, name in enumerate(sorted(files), start=1):
            disc.add_fp(
                io.BytesIO(files[name]),
                len(files[name]),
                f"/F{number:03}.;1",
                rr_name=name,
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
        if not _NAME.fullmatch(name):
            raise AnswersInvalid(
                f"file name {name[:80]!r} cannot be used",
                where=f"disc {label}",
                hint="use 1 to 64 letters, digits, '.', '_' or '-', not beginning with '.'",
            )

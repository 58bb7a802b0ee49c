"""The two discs that the user brings: whether they are what they should be. Reads them and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from vmrole_images.report import BuildError
from vmrole_images.windows.answers import AGENT, TOOLS, Wanted

_MAGIC_AT = 32769  # ECMA-119 8.1: the second byte of the first volume descriptor
_WHERE = "https://fedorapeople.org/groups/virt/virtio-win/ has virtio-win.iso"


def require(iso: Path, virtio_win: Path, wanted: Wanted) -> None:
    """Raises BuildError unless both are ISOs and the second has the drivers for the wanted Windows."""
    for file, option in ((iso, "--iso"), (virtio_win, "--virtio-win")):
        try:
            with file.open("rb") as source:
                source.seek(_MAGIC_AT)
                magic = source.read(5)
        except OSError as error:
            raise BuildError(f"{option} {file} cannot be read: {error.strerror}") from error
        if magic != b"CD001":
            raise BuildError(f"{option} {file} is not an ISO", hint="name the disc image itself")
        if "," in str(file.resolve()):  # QEMU would read an option after it.
            raise BuildError(f"{option} {file}: its path has a comma", hint="rename it")
    disc = pycdlib.PyCdlib()
    try:
        disc.open(str(virtio_win))
        try:
            missing = [name for name in (*wanted.drivers, TOOLS, AGENT) if not _has(disc, name)]
        finally:
            disc.close()
    except PyCdlibException as error:
        raise BuildError(f"--virtio-win {virtio_win} cannot be read: {error}", hint=_WHERE) from error
    if missing:
        raise BuildError(f"--virtio-win {virtio_win} has no {', '.join(missing)}", hint=_WHERE)


def _has(disc: pycdlib.PyCdlib, name: str) -> bool:
    """Whether the disc has a file or directory of that name, by its Joliet or else its Rock Ridge names."""
    kind = "joliet_path" if disc.has_joliet() else "rr_path"
    try:
        disc.get_record(**{kind: f"/{name}"})
    except PyCdlibException:
        return False
    return True

"""What the firmware and the TPM of a VM remember beside its disk: kept with its checkpoint, and given back.

Variables of UEFI lie where our layout says, a TPM's state where libvirt keeps it, by the VM's UUID. Both go with the
domain, and are laid down again before the VM goes on. They are kept in one file, which holds secrets as a memory
does, and is known by its digest as that is. What a TPM's emulator has written is not trusted: plain files of its own
directory are taken, and no link is followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import Permanent
from orchestrator.model import Digested, Firmware, Instance, InstanceName

SUFFIX: Final = ".board"
MODE: Final = 0o600
FILE_BYTES: Final = 16 << 20  # more than any firmware or TPM remembers
FILES: Final = 32
_KINDS: Final = 2  # of a TPM's state: one for each version
_VARIABLES: Final = "variables"
_TPM: Final = "tpm"
_NEW: Final = ".new"
_HINT: Final = "the state directory, and that of libvirt's TPMs, must be writable for the daemon"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def has_any(instance: Instance) -> bool:
    """Whether its VM remembers anything beside its disk."""
    return instance.role.hardware.firmware is not Firmware.BIOS or instance.role.hardware.tpm


def keep(layout: Layout, instance: Instance) -> Digested | None:
    """Writes down what the VM of this generation, which is off, remembers; None where that is nothing."""
    if not has_any(instance):
        return None
    path = layout.board(instance.name, instance.generation)
    with file_faults(path, _HINT):
        content = _read(layout, instance)
        being_made = path.with_name(path.name + _NEW)
        being_made.unlink(missing_ok=True)
        with os.fdopen(os.open(being_made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as file:
            file.write(content)
        being_made.rename(path)
    return Digested(hashlib.sha256(content).hexdigest(), len(content))


def lay(layout: Layout, instance: Instance) -> None:
    """What the checkpoint's VM remembered, instead of whatever lies there; its VM is off. Raises Permanent where that
    is not what was kept.
    """
    of = instance.checkpoint
    if of is None or of.board is None:
        return
    path = layout.board(instance.name, of.generation)
    with file_faults(path, _HINT):
        content = path.read_bytes() if path.exists() else b""
        if Digested(hashlib.sha256(content).hexdigest(), len(content)) != of.board:
            raise Permanent(
                f"what {instance.name} has of its firmware and TPM is not what was kept",
                hint=f"vmrole reimage --cold {instance.name}",
            )
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            _lay(layout, instance, tar)


def erase_laid(layout: Layout, name: InstanceName) -> None:
    """The TPM's state that was given back, where no domain took it: whatever a kept file names."""
    for path in layout.checkpoint_dir(name).glob(f"*{SUFFIX}"):
        with file_faults(path, _HINT), contextlib.suppress(tarfile.TarError), tarfile.open(path) as tar:
            for entry in tar.getmembers():
                if uuid := _of_tpm(entry.name):
                    shutil.rmtree(layout.tpm(uuid), ignore_errors=True)


def _read(layout: Layout, instance: Instance) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        if instance.role.hardware.firmware is not Firmware.BIOS:
            variables = layout.nvram(instance)
            _add(tar, _VARIABLES, os.open(variables, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
        if instance.role.hardware.tpm:
            place = layout.tpm(instance.vm_uuid)
            name = f"{_TPM}/{instance.vm_uuid}"
            handle = _opened_directory(str(place))
            try:
                _add_directory(tar, name, handle)
                for kind in _directories(handle):  # "tpm2": the version
                    _add_state(tar, f"{name}/{kind}", _opened_directory(kind, handle))
            finally:
                os.close(handle)
    return written.getvalue()


def _opened_directory(path: str, within: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=within)


def _directories(handle: int) -> list[str]:
    with os.scandir(handle) as entries:
        return sorted(one.name for one in entries if one.is_dir(follow_symlinks=False))[:_KINDS]


def _add_state(tar: tarfile.TarFile, name: str, handle: int) -> None:
    """The plain files of a directory, and the directory."""
    try:
        _add_directory(tar, name, handle)
        with os.scandir(handle) as entries:
            plain = sorted(one.name for one in entries if one.is_file(follow_symlinks=False))
        for one in plain[:FILES]:
            _add(tar, f"{name}/{one}", os.open(one, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle))
    finally:
        os.close(handle)


def _add_directory(tar: tarfile.TarFile, name: str, handle: int) -> None:
    entry = _entry(name, os.fstat(handle))
    entry.type = tarfile.DIRTYPE
    tar.addfile(entry)


def _add(tar: tarfile.TarFile, name: str, handle: int) -> None:
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_BYTES:
            raise Permanent(f"{name} is nothing that firmware or a TPM remembers", hint="vmrole reimage --cold")
        content = file.read(FILE_BYTES)
        entry = _entry(name, found)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))


def _entry(name: str, found: os.stat_result) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.uid, entry.gid = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
    return entry


def _lay(layout: Layout, instance: Instance, tar: tarfile.TarFile) -> None:
    """Its emulator's user gets it from the innermost outwards: until the outermost is his, nobody but us can come in,
    and change what a path leads to.
    """
    nvram, tpm = layout.nvram(instance), layout.tpm(instance.vm_uuid)
    laid = list(_places(tar, nvram, tpm, instance.vm_uuid))
    for entry, path in laid:
        if path == tpm and entry.isdir():
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(tpm)
        path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        if entry.isdir():
            path.mkdir(mode=0o700)
        else:
            path.unlink(missing_ok=True)
            content = tar.extractfile(entry)
            assert content is not None, entry.name
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content.read())
    for entry, path in reversed(laid):
        # Variables are made root's: libvirt gives them to QEMU when it starts, as it does with those that it makes.
        if path != nvram:
            path.chmod(entry.mode & 0o777)
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)


def _places(tar: tarfile.TarFile, nvram: Path, tpm: Path, uuid: str) -> Iterator[tuple[tarfile.TarInfo, Path]]:
    """Where each entry goes, directories before what is in them; of a TPM only what is this VM's."""
    for entry in tar.getmembers():
        if entry.name == _VARIABLES and entry.isreg():
            yield entry, nvram
        elif _of_tpm(entry.name) == uuid and (entry.isreg() or entry.isdir()):
            yield entry, tpm.joinpath(*entry.name.split("/")[2:])


def _of_tpm(name: str) -> str:
    """The UUID of the VM whose TPM's state it is a part of; "" for anything else."""
    first, _, rest = name.partition("/")
    uuid, _, inner = rest.partition("/")
    plain = all(part not in ("", ".", "..") for part in inner.split("/")) or not inner
    return uuid if first == _TPM and plain and _UUID.fullmatch(uuid) else ""

"""Answer discs as ISO files, one path per generation. What stands on a disc is `unattend`'s; who reads it, the VM's.

A disc holds secrets: its file is mode 0600. libvirt gives it to QEMU's user when the VM starts, so the directories
above it may be passed through (0711) but not listed. A disc with passwords is written to memory only (tmpfs), where
nothing of it is left when it is unlinked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from vmrole_unattend import AnswersInvalid, configdrive, iso, nocloud
from vmrole_unattend.network_config import Network
from vmrole_unattend.secret import Reveal
from vmrole_unattend.windows import files as windows_files
from vmrole_unattend.windows.answers import Answers

from orchestrator.drivers.disks.blank import is_blank
from orchestrator.drivers.disks.host_keys import HostKeys
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.on_disk import on_disk
from orchestrator.drivers.tools.windows_machine import windows_machine
from orchestrator.errors import Permanent, Whose
from orchestrator.model import AnswerFormat, Instance, InstanceName, LanNic, service_of

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o711
_HINT = "answer discs must be writable for the daemon"
_IN_MEMORY = ("tmpfs", "ramfs")
MOUNTS = Path("/proc/self/mountinfo")


class AnswerDiscs:
    """ports.AnswerMedia in RUN/discs; at most one thread writes or erases for one instance at a time."""

    def __init__(self, layout: Layout, secrets_of: Callable[[str], Reveal], mounts: Path = MOUNTS) -> None:
        self._layout = layout
        self._secrets_of = secrets_of  # a service's own, by its name
        self._mounts = mounts
        self._host_keys = HostKeys(layout)

    def write(self, instance: Instance) -> None:
        """See ports.AnswerMedia. Permanent when user-data is refused, NoSpace or Transient when the disk fails."""
        path = self._layout.disc(instance)
        if path.exists() or instance.role.answers is AnswerFormat.NONE:
            return
        if not instance.role.keep_ssh_host_keys:
            self._host_keys.erase(instance.name)  # It may have kept some under an earlier service file.
        keys = self._host_keys.of(instance.name) if instance.role.keep_ssh_host_keys else {}
        with file_faults(path, _HINT):
            for folder in (self._layout.discs, path.parent):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(_DIRECTORY_MODE)
            if instance.role.secrets or keys:
                _must_be_memory(path.parent, self._mounts)
            _write_whole(
                path, _content(instance, self._secrets_of(service_of(instance.service)), keys, self._blank(instance))
            )

    def _blank(self, instance: Instance) -> tuple[str, ...]:
        """Names of the local storage that nothing has been written to."""
        return tuple(name for name, disk in self._layout.disks(instance).items() if is_blank(disk))

    def erase(self, name: InstanceName) -> None:
        """See ports.AnswerMedia. Overwriting would promise what neither tmpfs nor an SSD keeps; it is unlinked.

        Cut off as well, for a VM may have it open: it reads zeros from now on.
        """
        folder = self._layout.disc_dir(name)
        with file_faults(folder, _HINT), contextlib.suppress(FileNotFoundError):
            for file in folder.iterdir():
                if file.is_file() and not file.is_symlink():
                    os.truncate(file, 0)
                file.unlink(missing_ok=True)
            folder.rmdir()
            on_disk(folder.parent)

    def host_keys(self, name: InstanceName) -> Mapping[str, bytes]:
        """See ports.AnswerMedia."""
        return self._host_keys.public(name)

    def erase_identity(self, name: InstanceName) -> None:
        """See ports.AnswerMedia."""
        self._host_keys.erase(name)

    def inventory(self) -> frozenset[InstanceName]:
        """See ports.AnswerMedia. A disc that was half written when the daemon died counts."""
        with file_faults(self._layout.discs, _HINT), contextlib.suppress(FileNotFoundError):
            discs = self._layout.discs.iterdir()
            return frozenset(InstanceName(folder.name) for folder in discs if _holds(folder))
        return frozenset()

    def keepers(self) -> frozenset[InstanceName]:
        """See ports.AnswerMedia."""
        return self._host_keys.inventory()


def _content(instance: Instance, reveal: Reveal, host_keys: Mapping[str, str], blank: tuple[str, ...]) -> bytes:
    """The disc of the present generation; the same bytes whenever it is made with the same storage `blank`."""
    try:
        match instance.role.answers:
            case AnswerFormat.NOCLOUD:
                cloud = dataclasses.replace(cloud_answers(instance, reveal), ssh_host_keys=host_keys)
                return iso.write_iso(nocloud.files(cloud), nocloud.LABEL)
            case AnswerFormat.CONFIG_DRIVE:
                secret = instance.role.admin_password
                password = reveal(secret) if secret is not None else None
                cloud = dataclasses.replace(cloud_answers(instance, reveal), blank_storage=blank)
                made = configdrive.files(cloud, admin_password=password)
                return iso.write_iso(made, configdrive.LABEL)
            case AnswerFormat.NONE:
                raise AssertionError(f"{instance.name} reads no disc")
            case AnswerFormat.UNATTEND:
                machine = dataclasses.replace(windows_machine(instance), blank_storage=blank)
                return windows_files.disc(instance.role.unattend or Answers(), machine, reveal)
    except AnswersInvalid as error:
        name = instance.role.name
        raise Permanent(
            f"the answers of role {name} are refused: {error}", hint=error.hint, whose=Whose.ANSWERS
        ) from error


def cloud_answers(instance: Instance, reveal: Reveal) -> nocloud.Answers:
    """What a disc for cloud-init, or for what is like it, is made of."""
    role = instance.role
    nic, elsewhere, lan = instance.nic, role.user_data_from, instance.lan
    static = role.network.is_static
    return nocloud.Answers(
        instance_id=instance.vm_uuid,
        hostname=instance.hostname,
        service=service_of(instance.service),
        instance=instance.name,
        generation=instance.generation,
        mac=nic.mac,
        setup_restart=role.setup.restart,
        user_data=reveal(elsewhere).reveal() if elsewhere is not None else role.user_data,
        vendor_data=role.vendor_data,
        public_keys=role.public_keys,
        local_storage=instance.disks,
        places=tuple((drive.name, drive.mount) for drive in role.drives if drive.mount),
        shares=tuple((share.name, share.mount) for share in role.shares if share.mount),
        grows=role.size.disk_mib is not None,
        install_agent=role.install_agent,
        address=f"{nic.address}/{nic.prefix_length}" if static else "",
        gateway=nic.gateway if static and not (lan and lan.gateway) else "",
        dns=(role.network.dns or (nic.gateway,)) if static else (),
        search=role.network.search,
        proxy=role.network.proxy,
        address6=f"{nic.address6}/64" if nic.address6 else "",
        gateway6=nic.gateway6,
        more=(_beside(lan),) if lan else (),
    )


def _beside(lan: LanNic) -> Network:
    """The card on a bridge of the host's. By DHCP it has an address, and the way to everywhere where that is wanted;
    whom to ask for names is known.
    """
    if lan.by_dhcp:
        return Network(mac=lan.mac, routes=bool(lan.gateway), names=False)
    return Network(mac=lan.mac, address=lan.address, gateway=lan.gateway)


def _must_be_memory(folder: Path, mounts: Path) -> None:
    """Raises Permanent unless the directory lies on a file system that has no disk under it; proc(5), mountinfo."""
    place = folder.resolve()
    best, kind = Path("/"), ""
    for line in mounts.read_text().splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split(" ")[4].encode().decode("unicode_escape"))
        if place.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, after.split(" ")[0]
    if kind not in _IN_MEMORY:
        raise Permanent(
            f"{folder} lies on {kind or 'an unknown file system'}: a disc with secrets must not reach a disk",
            hint=f"mount a tmpfs there, or set run_dir to a directory on one: mount -t tmpfs tmpfs {folder.parent}",
        )


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
    on_disk(path.parent)


def _holds(folder: Path) -> bool:
    """Whether anything is in the directory; one that has just gone holds nothing."""
    try:
        return any(folder.iterdir())
    except FileNotFoundError:
        return False

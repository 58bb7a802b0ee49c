"""A Windows guest as far as cloudbase-init can tell: its own code runs here, over what Windows would see of a disc.

What is ours is only what cloudbase-init asks of the operating system: where the disc is, a registry, and a record of
what it wanted done. Which plugins run, in what order, and what a restart interrupts, is its own doing.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cloudbaseinit import conf
from cloudbaseinit.init import InitManager
from cloudbaseinit.metadata.services.osconfigdrive import base as drive_base
from cloudbaseinit.metadata.services.osconfigdrive import factory as drive_factory
from cloudbaseinit.osutils import base as os_base
from cloudbaseinit.osutils import factory as os_factory

_SERVICES = {
    "config-2": "cloudbaseinit.metadata.services.configdrive.ConfigDriveService",
    "cidata": "cloudbaseinit.metadata.services.nocloudservice.NoCloudConfigDriveService",
}
# The order is that of cloudbase-init's own configuration; the others of its plugins load nowhere but on Windows.
_PLUGINS = [
    "cloudbaseinit.plugins.common.sethostname.SetHostNamePlugin",
    "cloudbaseinit.plugins.common.networkconfig.NetworkConfigPlugin",
    "cloudbaseinit.plugins.common.sshpublickeys.SetUserSSHPublicKeysPlugin",
    "cloudbaseinit.plugins.common.userdata.UserDataPlugin",
    "cloudbaseinit.plugins.common.setuserpassword.SetUserPasswordPlugin",
]
_BOOTS_MAX = 5


@dataclasses.dataclass
class Did:
    """What cloudbase-init did, over all boots."""

    boots: int = 0
    hostname: str = ""
    password: str = ""
    links: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # MAC address, new name
    networks: list[tuple[str, str, int, str | None, Sequence[str]]] = dataclasses.field(default_factory=list)
    scripts: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # what ran it, the text


class _Manager(drive_base.BaseConfigDriveManager):  # type: ignore[misc]
    """Finds a CD-ROM by its label and its file, as their WindowsConfigDriveManager does."""

    def __init__(self, guest: Guest) -> None:
        super().__init__()
        self._guest = guest

    def get_config_drive_files(
        self, drive_label: str, metadata_file: str, searched_types: Sequence[str], searched_locations: Sequence[str]
    ) -> bool:
        """Copies the disc when it is theirs."""
        drive = self._guest.drive
        if not drive or "iso" not in searched_types or "cdrom" not in searched_locations:
            return False
        if self._guest.label.lower() != drive_label or not (drive / metadata_file.replace("\\", "/")).exists():
            return False
        shutil.copytree(drive, self.target_path, dirs_exist_ok=True)
        return True


class _Windows(os_base.BaseOSUtils):  # type: ignore[misc]
    """The calls of cloudbase-init to Windows, written down; scripts exit with what the guest was told."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def __getattr__(self, name: str) -> Any:
        self._guest.unknown.append(name)  # because cloudbase-init goes on when a plugin fails
        raise AttributeError(name)

    def wait_for_boot_completion(self) -> None:
        self._guest.did.boots += 1

    def get_config_value(self, name: str, section: str) -> Any:
        return self._guest.registry.get((section, name))

    def set_config_value(self, name: str, value: object, section: str) -> None:
        self._guest.registry[(section, name)] = value

    def reboot(self) -> None:
        self._guest.restarting = True

    def terminate(self) -> None:
        pass

    def set_host_name(self, name: str) -> bool:
        changed = name != self._guest.did.hostname
        self._guest.did.hostname = name
        return changed

    def user_exists(self, name: str) -> bool:
        return True

    def get_user_home(self, name: str) -> str:
        return str(self._guest.home)

    def set_user_password(self, name: str, password: str, password_expires: bool = False) -> None:
        self._guest.did.password = password

    def change_password_next_logon(self, name: str) -> None:
        pass

    def get_network_adapter_name_by_mac_address(self, mac: str) -> str:
        return f"adapter of {mac}"

    def rename_network_adapter(self, old: str, new: str) -> None:
        self._guest.did.links.append((old.removeprefix("adapter of "), new))

    def enable_network_adapter(self, name: str, enabled: bool) -> None:
        assert enabled

    def set_static_network_config(
        self, name: str, address: str, prefix_len: str, gateway: str | None, dns: Sequence[str]
    ) -> bool:
        self._guest.did.networks.append((name, address, int(prefix_len), gateway, list(dns)))
        return False

    def execute_powershell_script(self, path: str, sysnative: bool = True) -> tuple[bytes, bytes, int]:
        return self._run(f"powershell {'native' if sysnative else 'x86'}", path)

    def execute_process(
        self, args: Sequence[str], shell: bool = True, decode_output: bool = False
    ) -> tuple[bytes, bytes, int]:
        return self._run(args[0] if len(args) > 1 else "cmd", args[-1])

    def _run(self, program: str, path: str) -> tuple[bytes, bytes, int]:
        text = Path(path).read_text()
        self._guest.did.scripts.append((program, text))
        statuses = (status for words, status in self._guest.statuses.items() if words in text)
        return b"", b"", next(statuses, 0)


class Guest:
    """One Windows. `statuses` are exit statuses of scripts by words that are in them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.drive: Path | None = None
        self.label = ""
        self.registry: dict[tuple[str, str], object] = {}
        self.statuses: dict[str, int] = {}
        self.unknown: list[str] = []
        self.restarting = False
        self.did = Did()

    def insert(self, disc: bytes) -> None:
        """Puts the disc into the drive: what stands there is what Windows sees, the Joliet names."""
        image = self.home / "disc.iso"
        image.write_bytes(disc)
        argv = ["blkid", "-p", "-o", "value", "-s", "LABEL", image]
        found = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20)
        self.label = found.stdout.strip()
        self.drive = self.home / "drive"
        if self.drive.exists():
            shutil.rmtree(self.drive)
        self.drive.mkdir()
        argv = ["bsdtar", "--options", "iso9660:!rockridge", "-x", "-f", image, "-C", self.drive]
        subprocess.run(argv, capture_output=True, check=True, timeout=20)

    def boot(self) -> bool:
        """One run of the service. Returns whether it ended in a restart."""
        self.restarting = False
        conf.CONF.set_override("metadata_services", list(_SERVICES.values()))
        InitManager().configure_host()
        assert not self.unknown, "cloudbase-init calls what this guest does not have"
        return self.restarting

    def live(self) -> Did:
        """Runs until no restart is asked for."""
        for _ in range(_BOOTS_MAX):
            if not self.boot():
                return self.did
        raise AssertionError(f"restarts without an end: {self.did}")


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    """A guest in which cloudbase-init is installed, and nothing in the drive."""
    guest = Guest(tmp_path)
    (temporary := tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))  # A part with a file name is put there by that name.
    monkeypatch.setattr(os_factory, "get_os_utils", lambda: _Windows(guest))
    monkeypatch.setattr(drive_factory, "get_config_drive_manager", lambda: _Manager(guest))
    conf.CONF.set_override("plugins", _PLUGINS)
    return guest

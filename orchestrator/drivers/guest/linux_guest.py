"""What a Linux guest is asked through its agent: which boot it is in, and whether its services have started.

Asked in the order of what agents allow: files are read (a few milliseconds), a fixed script is run where files do not
say enough, and an agent that forbids both can still answer a ping. What the answers mean is `guest_services`'s.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from collections.abc import Mapping
from typing import Final

from orchestrator.drivers.guest import guest_services
from orchestrator.drivers.guest.agent_channel import AgentForbids, AgentSilent
from orchestrator.drivers.guest.agent_commands import LEFT_ALONE_MAX_S, AgentCommands
from orchestrator.model import Identity, Instance, InstanceName, Ready, Services

BOOT_ID_FILE: Final = "/proc/sys/kernel/random/boot_id"
SETUP_BOOT_FILE: Final = "/var/lib/vmrole/setup-boot"
_ID_BYTES = 64
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_IDS_SCRIPT: Final = f"head -c {_ID_BYTES} {BOOT_ID_FILE}; echo; head -c {_ID_BYTES} {SETUP_BOOT_FILE} 2>/dev/null"


@dataclasses.dataclass(frozen=True, slots=True)
class _Unready:
    """The last answer of a guest that was not ready: it stands for as long as it took to get it."""

    boot_id: str
    ready: Ready
    found: Services
    until_s: float


class LinuxGuest:
    """Raises AgentSilent and AgentRefused; thread-safe, as long as there is one turn per instance at a time."""

    def __init__(self, commands: AgentCommands) -> None:
        self._commands = commands
        self._identities: dict[InstanceName, Identity] = {}  # as told last
        self._unready: dict[InstanceName, _Unready] = {}
        self._plain: dict[InstanceName, str] = {}  # the VM (uuid) whose guest is known to have no systemd

    def identity(self, instance: Instance) -> Identity:
        """Which boot it is in."""
        found = self._identities[instance.name] = self._identity(instance)
        return found

    def _identity(self, instance: Instance) -> Identity:
        with contextlib.suppress(AgentForbids):
            boot_id, setup_boot_id = (
                self._commands.read(instance.name, path, _ID_BYTES).decode(errors="replace")
                for path in (BOOT_ID_FILE, SETUP_BOOT_FILE)
            )
            return _identity_of(boot_id, setup_boot_id, "files")
        with contextlib.suppress(AgentForbids):
            ended = self._commands.run(instance, "identity", ("/bin/sh", "-c", _IDS_SCRIPT))
            if ended is None:
                raise AgentSilent("the agent is still running a command")
            boot_id, _, setup_boot_id = ended.text.partition("\n")
            return _identity_of(boot_id, setup_boot_id, "exec")
        self._commands.call(instance.name, "guest-ping")
        return _identity_of("", "", "ping")

    def services(self, instance: Instance) -> Services:
        """Whether all auto-start services have started. A script that still runs counts as services that start."""
        boot_id = instance.boot_id or self._identity(instance).boot_id
        if instance.role.setup.restart and self._in_setup_boot(instance.name, boot_id):
            return Services(started=False, pending=("the setup restart",))
        return self._auto_start(instance, boot_id)

    def _in_setup_boot(self, name: InstanceName, boot_id: str) -> bool:
        """Whether setup runs in this very boot, as it does again when user-data restarts the guest by itself.

        What `identity` told of this boot last is believed: a turn asks it first.
        """
        told = self._identities.get(name)
        if told is not None and told.boot_id == boot_id:
            return told.setup_boot_id == boot_id != ""
        return bool(boot_id) and self._commands.shown(name, SETUP_BOOT_FILE) == boot_id

    def _auto_start(self, instance: Instance, boot_id: str) -> Services:
        name, ready = instance.name, instance.goal.role.ready
        marker = self._commands.shown(name, guest_services.READY_FILE)
        if boot_id and ((marker == boot_id and not ready.units) or self._plain.get(name) == instance.vm_uuid):
            return guest_services.by_marker(marker or "", ready, boot_id)
        with contextlib.suppress(AgentForbids):
            return self._by_script(instance, boot_id)
        if marker is None:
            self._commands.call(name, "guest-ping")
            return guest_services.by_answering(ready)
        result = self._commands.shown(name, guest_services.CLOUD_INIT_RESULT)
        if result:
            return guest_services.by_result_file(result, ready)
        return guest_services.by_marker(marker, ready, boot_id)

    def _by_script(self, instance: Instance, boot_id: str) -> Services:
        ready, last = instance.goal.role.ready, self._unready.get(instance.name)
        if last is None or (last.boot_id, last.ready) != (boot_id, ready):
            last = None
        elif time.monotonic() < last.until_s:
            return last.found  # A guest that answers slowly is busy starting; it is not kept from that.
        argv = ("/bin/sh", "-c", guest_services.SCRIPT, "vmrole", *ready.units)
        ended = self._commands.run(instance, f"services {ready.units}", argv)
        if ended is None:
            return last.found if last else Services(started=False, note="the guest is being asked for its services")
        found = guest_services.judge(ended.text, ready, boot_id)
        if found is None:
            return Services(started=False, note="the guest's shell does not run the question")
        self._unready.pop(instance.name, None)
        if not guest_services.has_systemd(ended.text):
            self._plain[instance.name] = instance.vm_uuid  # From now on its marker is read: that starts no process.
        elif not found.started:
            until_s = time.monotonic() + min(ended.took_s, LEFT_ALONE_MAX_S)
            self._unready[instance.name] = _Unready(boot_id, ready, found, until_s)
        return found

    def logs(self, instance: Instance) -> Mapping[str, str]:  # noqa: ARG002 - every system has the same shape
        """Nothing: what a Linux guest has to say of its setup it says on its console."""
        return {}


def _identity_of(boot_id: str, setup_boot_id: str, source: str) -> Identity:
    """What is no UUID is not known; without the boot's own the agent is worth no more than a ping."""
    boot, setup = (each if _UUID.fullmatch(each) else "" for each in (boot_id.strip(), setup_boot_id.strip()))
    return Identity(boot_id=boot, setup_boot_id=setup, source=source) if boot else Identity(boot_id="", source="ping")

"""What a Linux guest is asked through its agent: which boot it is in, and whether its services have started.

Asked in the order of what agents allow: files are read (a few milliseconds), a fixed script is run where files do not
say enough, and an agent that forbids both can still answer a ping. An agent that is confined by its own system
(SELinux, a hardened unit) goes the same way down. What the answers mean is `guest_services`'s.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Mapping
from typing import Final

from orchestrator.drivers.guest import guest_services
from orchestrator.drivers.guest.agent_commands import LEFT_ALONE_MAX_S, OUTPUT_BYTES, AgentCommands, Resets
from orchestrator.drivers.tools.agent_channel import AgentDenied, AgentForbids, AgentRefused, AgentSilent
from orchestrator.model import AnswerFormat, Identity, Instance, InstanceName, Ready, Role, Services, Unit, UnitState
from orchestrator.ports import Clock

BOOT_ID_FILE: Final = "/proc/sys/kernel/random/boot_id"
SETUP_BOOT_FILE: Final = "/var/lib/vmrole/setup-boot"
SETUP_BOOT_COPY: Final = "/etc/vmrole/setup-boot"  # The same, where confinements let nearly everybody read.
STANDS_S = 1.0  # How long a guest that runs a command of ours is not asked for its boot as well.
_ID_BYTES = 64
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DENIED: Final = "denied"
_ASKED: Final = "the guest is being asked for its services"
_IDS_SCRIPT: Final = f"""LC_ALL=C
export LC_ALL
head -c {_ID_BYTES} {BOOT_ID_FILE}
echo
for file in {SETUP_BOOT_FILE} {SETUP_BOOT_COPY}; do
  said=$(head -c {_ID_BYTES} $file 2>&1) && echo "$said" && exit 0
  case $said in *"ermission denied"* | *"not permitted"*) denied={_DENIED} ;; esac
done
echo "$denied"
"""

_JOURNAL_SCRIPT: Final = f"""LC_ALL=C
export LC_ALL
if command -v journalctl >/dev/null 2>&1; then
  journalctl --boot --quiet --no-pager --lines=1000 --output=short-iso
else
  dmesg
fi 2>&1 | tail -c {OUTPUT_BYTES}
"""


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """What was learned last; it means something in that run of the VM only."""

    vm_uuid: str
    resets: int
    identity: Identity
    at_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Unready:
    """The last answer of a guest that was not ready: it stands for as long as it took to get it."""

    boot_id: str
    ready: Ready
    found: Services
    until_s: float


class LinuxGuest:
    """Raises AgentSilent and AgentRefused; thread-safe, as long as there is one turn per instance at a time."""

    def __init__(self, commands: AgentCommands, monitors: Resets, clock: Clock) -> None:
        self._clock = clock
        self._commands = commands
        self._monitors = monitors
        self._known: dict[InstanceName, _Known] = {}
        self._unready: dict[InstanceName, _Unready] = {}
        self._plain: dict[InstanceName, str] = {}  # the VM (uuid) whose guest is known to have no systemd

    def forget(self, name: InstanceName) -> None:
        """The guest is gone for good."""
        for known in (self._known, self._unready, self._plain):
            known.pop(name, None)

    # Identity --------------------------------------------------------------------------------------------------

    def identity(self, instance: Instance) -> Identity:
        """Which boot it is in."""
        resets = self._monitors.resets(instance.name, instance.vm_uuid)
        last = self._known.get(instance.name)
        if last is not None and (last.vm_uuid, last.resets) != (instance.vm_uuid, resets):
            last = None
        if last is not None and self._clock.monotonic_s() < last.at_s + STANDS_S and self._commands.runs(instance):
            return last.identity  # The command itself is asked for: a guest that restarts has lost it.
        try:
            identity = self._identity(instance)
        except (AgentSilent, AgentRefused):
            self._known.pop(instance.name, None)  # It may come back as another boot.
            raise
        if identity is None:
            if last is None:
                raise AgentSilent("the guest is being asked which boot it is in")
            return last.identity
        self._known[instance.name] = _Known(instance.vm_uuid, resets, identity, self._clock.monotonic_s())
        return identity

    def _identity(self, instance: Instance) -> Identity | None:
        """None while a command that tells it still runs."""
        name, boot_id, confined = instance.name, "", False
        try:
            boot_id = self._read_id(name, BOOT_ID_FILE)
            identity = _identity_of(boot_id, self._setup_boot(name), "files")
            return self._without_setup(instance, identity)
        except AgentForbids:
            pass
        except AgentDenied:
            confined = True
        with contextlib.suppress(AgentForbids, AgentDenied):
            ended = self._commands.run(instance, "identity", ("/bin/sh", "-c", _IDS_SCRIPT))
            if ended is None:
                return None
            said, _, setup_boot_id = ended.text.partition("\n")
            if setup_boot_id.strip() != _DENIED:
                return _identity_of(said, setup_boot_id, "exec")
            boot_id, confined = boot_id or said, True
        self._commands.call(name, "guest-ping")
        return Identity(boot_id=_uuid(boot_id), source="ping", confined=guest_services.CONFINED if confined else "")

    def _setup_boot(self, name: InstanceName) -> str:
        """The id of the setup boot; AgentDenied when neither place of it may be read."""
        try:
            return self._read_id(name, SETUP_BOOT_FILE)
        except AgentDenied:
            copied = self._read_id(name, SETUP_BOOT_COPY)
            if not copied:
                raise  # It may be there and may not: whoever may not look cannot say that it is absent.
            return copied

    def _read_id(self, name: InstanceName, path: str) -> str:
        return self._commands.read(name, path, _ID_BYTES).decode(errors="replace")

    def _without_setup(self, instance: Instance, identity: Identity) -> Identity:
        """With the reason why the disc will not be applied in this boot, where cloud-init has switched itself off."""
        name = instance.name
        if identity.setup_boot_id or instance.set_up:
            return identity
        if not self._commands.exists(name, guest_services.CLOUD_INIT_DISABLED):
            return identity
        if self._commands.exists(name, guest_services.CLOUD_INIT_SWITCHED_OFF):
            why = guest_services.SWITCHED_OFF_BY_FILE
        elif "No ds found" in (self._commands.shown(name, guest_services.DS_IDENTIFY_LOG, tail=True) or ""):
            why = guest_services.SWITCHED_OFF_WITHOUT_SOURCE
        else:
            why = guest_services.SWITCHED_OFF
        return dataclasses.replace(identity, unfinished=why)

    # Services --------------------------------------------------------------------------------------------------

    def services(self, instance: Instance) -> Services:
        """Whether all auto-start services have started. A script that still runs counts as services that start."""
        boot_id = instance.boot_id or self.identity(instance).boot_id
        if instance.role.setup.restart and self._in_setup_boot(instance, boot_id):
            return Services(started=False, units=(Unit("the setup restart", UnitState.PENDING),))
        return self._auto_start(instance, boot_id)

    def _in_setup_boot(self, instance: Instance, boot_id: str) -> bool:
        """Whether setup runs in this very boot, as it does again when user-data restarts the guest by itself.

        What `identity` told of this boot last is believed: a turn asks it first.
        """
        last = self._known.get(instance.name)
        if last is not None and (last.vm_uuid, last.identity.boot_id) == (instance.vm_uuid, boot_id):
            return last.identity.setup_boot_id == boot_id != ""
        if not boot_id:
            return False
        with contextlib.suppress(AgentForbids, AgentDenied):
            return self._setup_boot(instance.name).strip() == boot_id
        return False

    def _auto_start(self, instance: Instance, boot_id: str) -> Services:
        name, ready = instance.name, instance.goal.role.ready
        if self._commands.runs(instance, _script_of(ready)):  # What runs already is all that is asked for.
            return self._by_script(instance, boot_id)
        marker = self._commands.shown(name, guest_services.READY_FILE)
        if boot_id and marker == boot_id and not ready.units:
            return guest_services.by_marker(marker, ready, boot_id)
        result = None
        if self._plain.get(name) == instance.vm_uuid:
            result = self._commands.shown(name, guest_services.CLOUD_INIT_RESULT)
            if boot_id and result == "" and marker is not None and not _alone(instance):
                return guest_services.by_marker(marker, ready, boot_id)
        with contextlib.suppress(AgentForbids, AgentDenied):
            return self._by_script(instance, boot_id)
        if marker is not None and result is None:
            result = self._commands.shown(name, guest_services.CLOUD_INIT_RESULT)
        if result:
            return guest_services.by_result_file(result, ready)
        if marker is None or result is None:
            self._commands.call(name, "guest-ping")
            confined = self._shows_files(name)
            return guest_services.by_answering(
                ready, guest_services.CONFINED if confined else guest_services.FORBIDDEN
            )
        return guest_services.by_marker(marker, ready, boot_id)

    def _shows_files(self, name: InstanceName) -> bool:
        """Whether the agent shows any file at all: then it is confined rather than forbidden to."""
        return self._commands.shown(name, BOOT_ID_FILE) is not None

    def _by_script(self, instance: Instance, boot_id: str) -> Services:
        ready, last = instance.goal.role.ready, self._unready.get(instance.name)
        if last is None or (last.boot_id, last.ready) != (boot_id, ready):
            last = None
        elif self._clock.monotonic_s() < last.until_s:
            return last.found  # A guest that answers slowly is busy starting; it is not kept from that.
        argv = ("/bin/sh", "-c", guest_services.SCRIPT, "vmrole", *ready.units)
        ended = self._commands.run(instance, _script_of(ready), argv)
        if ended is None:
            return last.found if last else Services(started=False, note=_ASKED, unheard=True)
        checked, alone = _is_checked(instance.goal.role), _alone(instance)
        found = guest_services.judge(ended.text, ready, boot_id, checked=checked, alone=alone)
        if found is None:
            return Services(started=False, note="the guest's shell does not run the question")
        self._unready.pop(instance.name, None)
        if not guest_services.has_systemd(ended.text):
            self._plain[instance.name] = instance.vm_uuid  # From now on its marker is read: that starts no process.
        if not found.started:
            until_s = self._clock.monotonic_s() + min(ended.took_s, LEFT_ALONE_MAX_S)
            self._unready[instance.name] = _Unready(boot_id, ready, found, until_s)
        return found

    def logs(self, instance: Instance) -> Mapping[str, str]:  # noqa: ARG002 - every system has the same shape
        """Nothing: what a Linux guest has to say of its setup it says on its console."""
        return {}

    def journal(self, instance: Instance) -> str | None:
        """systemd's of this boot, or what its kernel said."""
        ended = self._commands.run(instance, "journal", ("/bin/sh", "-c", _JOURNAL_SCRIPT))
        return None if ended is None else ended.text


def _script_of(ready: Ready) -> str:
    """By what the question for services is known: one for other units is another question."""
    return f"services {ready.units}"


def _alone(instance: Instance) -> bool:
    """Whether the guest sets itself up, without cloud-init."""
    return instance.role.answers is AnswerFormat.NONE


def _is_checked(role: Role) -> bool:
    """Whether something of the role's own has to pass before traffic comes, whatever the guest says."""
    return role.ready.probe is not None or bool(role.ready.command) or bool(role.endpoints)


def _uuid(text: str) -> str:
    """`text` when it is an id; "" when it is not."""
    return text.strip() if _UUID.fullmatch(text.strip()) else ""


def _identity_of(boot_id: str, setup_boot_id: str, source: str) -> Identity:
    """What is no UUID is not known; without the boot's own the agent is worth no more than a ping."""
    boot, setup = _uuid(boot_id), _uuid(setup_boot_id)
    return Identity(boot_id=boot, setup_boot_id=setup, source=source) if boot else Identity(boot_id="", source="ping")

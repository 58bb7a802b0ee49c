"""The Guest port through the agent inside. The guest is hostile: every answer is checked, cut and made harmless.

Asked in the order of what agents allow: files are read (a few milliseconds), a fixed script is run where files do not
say enough, and an agent that forbids both can still answer a ping. Nothing that a guest says becomes an address, a
path or a command; the only words of ours that reach its command line are the role's own.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import re
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from orchestrator.drivers import guest_services, host_probe
from orchestrator.drivers.agent_channel import AgentForbids, AgentRefused, AgentSilent
from orchestrator.drivers.evidence import Transcript
from orchestrator.drivers.hostile_text import harmless
from orchestrator.model import Identity, Instance, InstanceName, Probe, Ready, Services, Silence

BOOT_ID_FILE: Final = "/proc/sys/kernel/random/boot_id"
SETUP_BOOT_FILE: Final = "/var/lib/vmrole/setup-boot"
RUN_WITHIN_S = 1.5  # A turn waits so long for a command in the guest; a later turn takes the answer up.
RUN_FORGOTTEN_S = 60.0  # A command that took longer is started anew.
LEFT_ALONE_MAX_S = 5.0  # A guest that took longer to answer is asked again after this.
LOOK_FIRST_S, LOOK_LAST_S = 0.02, 0.25  # How long to sleep between two looks at a running command.
_ID_BYTES = 64
_FILE_BYTES = 4096
_OUTPUT_BYTES = 64 * 1024
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_IDS_SCRIPT: Final = f"head -c {_ID_BYTES} {BOOT_ID_FILE}; echo; head -c {_ID_BYTES} {SETUP_BOOT_FILE} 2>/dev/null"


@dataclasses.dataclass(frozen=True, slots=True)
class _Command:
    """A command that runs in the guest: its pid means something in that boot only."""

    boot_id: str
    pid: int
    since_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Ended:
    status: int  # exit status; -1 when a signal ended it
    output: str
    took_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Unready:
    """The last answer of a guest that was not ready: it stands for as long as it took to get it."""

    boot_id: str
    ready: Ready
    found: Services
    until_s: float


class Agents(Protocol):
    """What asks the agents; `agent_channel.AgentChannel`, whose errors are expected here."""

    def call(self, name: InstanceName, command: str, **arguments: object) -> Any:  # noqa: ANN401 - it is JSON
        """What the agent of that instance returned."""


class Resets(Protocol):
    """Who counts resets; `qmp_watch.Monitors`."""

    def resets(self, name: InstanceName, vm_uuid: str) -> int:
        """Resets of that VM that were seen by this process."""


class LibvirtGuest:
    """Thread-safe, as long as there is one turn per instance at a time."""

    def __init__(self, channel: Agents, monitors: Resets, transcript: Transcript) -> None:
        self._channel = channel
        self._monitors = monitors
        self._transcript = transcript
        self._commands: dict[tuple[InstanceName, str], _Command] = {}
        self._identities: dict[InstanceName, Identity] = {}  # as told last
        self._unready: dict[InstanceName, _Unready] = {}
        self._plain: dict[InstanceName, str] = {}  # the boot in which the guest is known to have no systemd
        self._resets_at_answer: dict[InstanceName, tuple[str, int]] = {}  # VM uuid, resets seen by then

    def identity(self, instance: Instance) -> Identity | Silence:
        """See ports.Guest."""
        resets = self._monitors.resets(instance.name, instance.vm_uuid)
        try:
            found = self._identity(instance)
        except (AgentSilent, AgentRefused) as silent:
            return self._silence(instance, "identity", silent)
        self._resets_at_answer[instance.name] = (instance.vm_uuid, resets)
        self._identities[instance.name] = found
        self._transcript.note(instance.name, "identity", f"{found}")
        return found

    def services(self, instance: Instance) -> Services | Silence:
        """See ports.Guest. A script that is still running counts as services that still start."""
        try:
            found = self._services(instance)
        except (AgentSilent, AgentRefused) as silent:
            return self._silence(instance, "services", silent)
        self._transcript.note(instance.name, "services", f"{found}")
        return found

    def probe(self, instance: Instance, probe: Probe, port: int) -> str:
        """See ports.Guest."""
        why_not = host_probe.ask(instance.nic.address, port, probe)
        self._transcript.note(instance.name, f"probe of port {port}", why_not or "passes")
        return why_not

    # Identity --------------------------------------------------------------------------------------------------

    def _identity(self, instance: Instance) -> Identity:
        with contextlib.suppress(AgentForbids):
            boot_id = self._read(instance.name, BOOT_ID_FILE, _ID_BYTES)
            setup_boot_id = self._read(instance.name, SETUP_BOOT_FILE, _ID_BYTES)
            return _identity_of(boot_id, setup_boot_id, "files")
        with contextlib.suppress(AgentForbids):
            ended = self._run(instance, "identity", ("/bin/sh", "-c", _IDS_SCRIPT))
            if ended is None:
                raise AgentSilent("the agent is still running a command")
            boot_id, _, setup_boot_id = ended.output.partition("\n")
            return _identity_of(boot_id, setup_boot_id, "exec")
        self._channel.call(instance.name, "guest-ping")
        return _identity_of("", "", "ping")

    # Services --------------------------------------------------------------------------------------------------

    def _services(self, instance: Instance) -> Services:
        ready = instance.goal.role.ready
        boot_id = instance.boot_id or self._identity(instance).boot_id
        if instance.role.setup.restart and self._in_setup_boot(instance.name, boot_id):
            return Services(started=False, pending=("the setup restart",))
        found = self._auto_start(instance, boot_id)
        if found.started and ready.command:
            ended = self._run(instance, f"ready.command {ready.command}", ready.command)
            if ended is None:
                return dataclasses.replace(found, started=False, note="ready.command is running")
            if ended.status != 0:
                said = harmless(ended.output.strip().rpartition("\n")[2])
                return dataclasses.replace(found, started=False, note=f"ready.command exits {ended.status}: {said}")
        return found

    def _in_setup_boot(self, name: InstanceName, boot_id: str) -> bool:
        """Whether setup runs in this very boot, as it does again when user-data restarts the guest by itself.

        What `identity` told of this boot last is believed: a turn asks it first.
        """
        told = self._identities.get(name)
        if told is not None and told.boot_id == boot_id:
            return told.setup_boot_id == boot_id != ""
        return bool(boot_id) and self._shown(name, SETUP_BOOT_FILE) == boot_id

    def _auto_start(self, instance: Instance, boot_id: str) -> Services:
        name, ready = instance.name, instance.goal.role.ready
        marker = self._shown(name, guest_services.READY_FILE)
        if boot_id and ((marker == boot_id and not ready.units) or self._plain.get(name) == boot_id):
            return guest_services.by_marker(marker or "", ready, boot_id)
        with contextlib.suppress(AgentForbids):
            return self._by_script(instance, boot_id)
        if marker is None:
            self._channel.call(name, "guest-ping")
            return guest_services.by_answering(ready)
        result = self._shown(name, guest_services.CLOUD_INIT_RESULT)
        if result:
            return guest_services.by_result_file(result, ready)
        return guest_services.by_marker(marker, ready, boot_id)

    def _shown(self, name: InstanceName, path: str) -> str | None:
        """The file's text, "" when there is none; None when the agent shows no files at all."""
        try:
            return self._read(name, path, _FILE_BYTES).strip()
        except AgentForbids:
            return None

    def _by_script(self, instance: Instance, boot_id: str) -> Services:
        ready, last = instance.goal.role.ready, self._unready.get(instance.name)
        if last is None or (last.boot_id, last.ready) != (boot_id, ready):
            last = None
        elif time.monotonic() < last.until_s:
            return last.found  # A guest that answers slowly is busy starting; it is not kept from that.
        argv = ("/bin/sh", "-c", guest_services.SCRIPT, "vmrole", *ready.units)
        ended = self._run(instance, f"services {ready.units}", argv)
        if ended is None:
            return last.found if last else Services(started=False, note="the guest is being asked for its services")
        found = guest_services.judge(ended.output, ready, boot_id)
        if found is None:
            return Services(started=False, note="the guest's shell does not run the question")
        self._unready.pop(instance.name, None)
        if not guest_services.has_systemd(ended.output):
            self._plain[instance.name] = boot_id  # From now on its marker is read, which costs the guest nothing.
        elif not found.started:
            until_s = time.monotonic() + min(ended.took_s, LEFT_ALONE_MAX_S)
            self._unready[instance.name] = _Unready(boot_id, ready, found, until_s)
        return found

    # Files and commands in the guest ---------------------------------------------------------------------------

    def _read(self, name: InstanceName, path: str, size_bytes: int) -> str:
        """The file's text; "" when it cannot be opened. Raises AgentForbids when the agent opens no files at all."""
        try:
            handle = self._channel.call(name, "guest-file-open", path=path, mode="r")
        except AgentForbids:
            raise
        except AgentRefused:
            return ""
        if not isinstance(handle, int):
            raise AgentSilent("the agent sent a file handle that is none")
        try:
            read = self._channel.call(name, "guest-file-read", handle=handle, count=size_bytes)
        finally:
            with contextlib.suppress(AgentSilent, AgentRefused):
                self._channel.call(name, "guest-file-close", handle=handle)
        return _decoded(read.get("buf-b64", "") if isinstance(read, dict) else None, size_bytes)

    def _run(self, instance: Instance, what: str, argv: Sequence[str]) -> _Ended | None:
        """Runs `argv` in the guest; None while it still runs: the next call asks on instead of starting anew.

        Takes at most about RUN_WITHIN_S and one answer of the agent.
        """
        name, key = instance.name, (instance.name, what)
        now_s = time.monotonic()
        command = self._commands.get(key)
        if command is None or command.boot_id != instance.boot_id or now_s - command.since_s > RUN_FORGOTTEN_S:
            pid = self._start(name, argv)
            command = self._commands[key] = _Command(instance.boot_id, pid, now_s)
        sleep_s = LOOK_FIRST_S
        while True:
            try:
                said = self._channel.call(name, "guest-exec-status", pid=command.pid)
            except AgentRefused:
                del self._commands[key]  # The agent restarted and knows it no more.
                return None
            if not isinstance(said, dict) or said.get("exited"):
                del self._commands[key]
                return _ended(said, time.monotonic() - command.since_s)
            if time.monotonic() - now_s + sleep_s > RUN_WITHIN_S:
                return None
            time.sleep(sleep_s)
            sleep_s = min(sleep_s * 2, LOOK_LAST_S)

    def _start(self, name: InstanceName, argv: Sequence[str]) -> int:
        options: dict[str, Any] = {"capture-output": True}  # A boolean in every version; the enum came with 8.1.
        said = self._channel.call(name, "guest-exec", path=argv[0], arg=list(argv[1:]), **options)
        pid = said.get("pid") if isinstance(said, dict) else None
        if not isinstance(pid, int):
            raise AgentSilent("the agent sent a process id that is none")
        return pid

    def _silence(self, instance: Instance, question: str, why: AgentSilent | AgentRefused) -> Silence:
        vm_uuid, answered_at = self._resets_at_answer.get(instance.name, ("", 0))
        seen = self._monitors.resets(instance.name, instance.vm_uuid)
        rebooting = seen > (answered_at if vm_uuid == instance.vm_uuid else 0)
        silence = Silence(reason=harmless(str(why)), rebooting=rebooting)
        self._transcript.note(instance.name, question, f"{silence}")
        return silence


def _identity_of(boot_id: str, setup_boot_id: str, source: str) -> Identity:
    """What is no UUID is not known; without the boot's own the agent is worth no more than a ping."""
    boot, setup = (each if _UUID.fullmatch(each) else "" for each in (boot_id.strip(), setup_boot_id.strip()))
    return Identity(boot_id=boot, setup_boot_id=setup, source=source) if boot else Identity(boot_id="", source="ping")


def _ended(said: object, took_s: float) -> _Ended:
    status = said.get("exitcode") if isinstance(said, dict) else None
    output = _decoded(said.get("out-data", "") if isinstance(said, dict) else "", _OUTPUT_BYTES)
    return _Ended(status if isinstance(status, int) else -1, output, took_s)


def _decoded(encoded: object, size_bytes: int) -> str:
    """The first `size_bytes` of a base64 text; raises AgentSilent when it is none."""
    if not isinstance(encoded, str):
        raise AgentSilent("the agent sent something else than was asked for")
    try:
        return base64.b64decode(encoded[: (size_bytes + 2) // 3 * 4], validate=True).decode(errors="replace")
    except ValueError as error:
        raise AgentSilent("the agent sent something else than was asked for") from error

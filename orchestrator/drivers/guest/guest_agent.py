"""The Guest port through the agent inside. The guest is hostile: every answer is checked, cut and made harmless.

Each operating system is asked in its own way: `linux_guest`, `windows_guest`. Here are what both need: silence told
apart from a restart, and the transcript. Nothing that a guest says becomes an address, a path or a command; the only
words of ours that reach its command line are the role's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.drivers.evidence import Transcript
from orchestrator.drivers.guest import agent_facts, drive_disks, host_probe, identity_marks, windows_scripts
from orchestrator.drivers.guest.agent_commands import AgentCommands, Agents, Resets
from orchestrator.drivers.guest.awakening import CLOCK_LAST_NS, Awakening
from orchestrator.drivers.guest.linux_guest import LinuxGuest
from orchestrator.drivers.guest.windows_guest import WindowsGuest
from orchestrator.drivers.tools.agent_channel import AgentAbsent, AgentBroken, AgentFrozen, AgentRefused, AgentSilent
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.drivers.tools.patience import Patience
from orchestrator.errors import Transient
from orchestrator.model import Agent, Attachment, Identity, Instance, InstanceName, Os, Probe, Services, Silence
from orchestrator.ports import Clock

CLOCK_AGAIN_S = 300.0  # between questions for a guest's clock
JOURNAL_S = 4.0  # how long a guest may take to tell the end of its journal: a repair waits behind it
JOURNAL_AGAIN_S = 0.1
SYNC = ("/bin/sh", "-c", "sync")
REASON_CHARS = 250  # of what an agent or libvirt says when there is no answer; a path and a remedy have room in it


class System(Protocol):
    """How one operating system is asked; an agent that does not answer raises AgentSilent or AgentRefused."""

    def identity(self, instance: Instance) -> Identity:
        """Which boot it is in."""

    def services(self, instance: Instance) -> Services:
        """Whether all auto-start services have started."""

    def forget(self, name: InstanceName) -> None:
        """The guest is gone for good."""

    def logs(self, instance: Instance) -> Mapping[str, str]:
        """The ends of the logs that setup writes, by file name, for whoever looks into a failure."""

    def journal(self, instance: Instance) -> str | None:
        """The end of the system's own log; None while it is being asked for."""


class LibvirtGuest:
    """Thread-safe, as long as there is one turn per instance at a time."""

    def __init__(self, channel: Agents, monitors: Resets, transcript: Transcript, clock: Clock) -> None:
        self._clock = clock
        self._channel = channel
        self._monitors = monitors
        self._transcript = transcript
        self._commands = commands = AgentCommands(channel, clock)
        self._systems: Mapping[Os, System] = {
            Os.LINUX: LinuxGuest(commands, monitors, clock),
            Os.WINDOWS: WindowsGuest(commands, monitors, clock),
        }
        self._awakening = Awakening(commands, clock)
        self._resets_at_answer: dict[InstanceName, tuple[str, int]] = {}  # VM uuid, resets seen by then
        self._clocks: dict[InstanceName, tuple[float, float | None]] = {}  # asked when, and by how much it was off

    def forget(self, name: InstanceName) -> None:
        """The guest is gone for good, and nothing of it is remembered."""
        self._resets_at_answer.pop(name, None)
        self._clocks.pop(name, None)
        self._commands.forget(name)
        self._awakening.forget(name)
        for system in self._systems.values():
            system.forget(name)

    def identity(self, instance: Instance) -> Identity | Silence:
        """See ports.Guest."""
        resets = self._monitors.resets(instance.name, instance.vm_uuid)
        try:
            found = self._systems[instance.role.os].identity(instance)
        except (AgentSilent, AgentRefused) as silent:
            return self._silence(instance, "identity", silent)
        self._resets_at_answer[instance.name] = (instance.vm_uuid, resets)
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

    def _services(self, instance: Instance) -> Services:
        found = self._systems[instance.role.os].services(instance)
        command = instance.goal.role.ready.command
        if found.started and command:
            ended = self._commands.run(instance, f"ready.command {command}", command)
            if ended is None:
                return dataclasses.replace(found, started=False, note="ready.command is running", unheard=True)
            if ended.status != 0:
                said = harmless(ended.text.strip().rpartition("\n")[2])
                note = f"ready.command exits {ended.status}" + (f": {said}" if said else "")
                return dataclasses.replace(found, started=False, note=note)
        return found

    def agent(self, instance: Instance) -> Agent | Silence:
        """See ports.Guest."""
        try:
            facts = agent_facts.ask(self._channel, instance.name)
            marks = identity_marks.ask(lambda path: self._commands.shown(instance.name, path), instance.role.os)
            return dataclasses.replace(facts, marks=marks)
        except AgentSilent as silent:
            return self._silence(instance, "agent", silent)

    def clock_off_s(self, instance: Instance) -> float | None:
        """See ports.Guest."""
        asked_s, off_s = self._clocks.get(instance.name, (float("-inf"), None))
        if self._clock.monotonic_s() < asked_s + CLOCK_AGAIN_S:
            return off_s
        off_s, before_s = None, self._clock.now_s()
        with contextlib.suppress(AgentSilent, AgentRefused):
            told_ns = self._channel.call(instance.name, "guest-get-time")
            if isinstance(told_ns, int):
                told_s = max(0, min(told_ns, CLOCK_LAST_NS)) / 1e9  # A guest says what it likes.
                off_s = told_s - (before_s + self._clock.now_s()) / 2
        self._clocks[instance.name] = self._clock.monotonic_s(), off_s
        return off_s

    def unfit(self, instance: Instance) -> str | Silence:
        """See ports.Guest."""
        try:
            return self._awakening.unfit(instance)
        except (AgentSilent, AgentRefused) as silent:
            return self._silence(instance, "unfit", silent)

    def write_out(self, instance: Instance) -> str | Silence:
        """See ports.Guest."""
        argv = SYNC if instance.role.os is Os.LINUX else windows_scripts.flush()
        try:
            ended = self._commands.run(instance, "sync", argv)
        except AgentRefused as refused:
            return harmless(f"its agent has nothing written to its disk: {refused}", REASON_CHARS)
        except AgentSilent as silent:
            return self._silence(instance, "write_out", silent)
        if ended is None:
            return Silence(reason="it writes to its disk what it held back")
        if ended.status == 0:
            return ""
        said = harmless(ended.text.strip(), REASON_CHARS) or f"exits {ended.status}"
        return f"it cannot write to its disk what it held back: {said}"

    def take_up(self, instance: Instance, attached: Attachment) -> str | Silence:
        """See ports.Guest."""
        return self._disks(instance, (attached.serial,), "take_up")

    def let_go(self, instance: Instance, attached: Attachment) -> str | Silence:
        """See ports.Guest."""
        return self._disks(instance, (attached.serial,), "let_go")

    def put_aside(self, instance: Instance) -> str | Silence:
        """See ports.Guest."""
        return self._disks(instance, instance.disk_serials, "step_aside")

    def take_back(self, instance: Instance) -> str | Silence:
        """See ports.Guest."""
        return self._disks(instance, instance.disk_serials, "take_up")

    def _disks(self, instance: Instance, serials: Sequence[str], verb: drive_disks.Verb) -> str | Silence:
        try:
            return drive_disks.asked(self._commands, instance, serials, verb)
        except AgentRefused as refused:
            return harmless(f"its agent runs no command: {refused}", REASON_CHARS)
        except AgentSilent as silent:
            return self._silence(instance, verb, silent)

    def awaken(self, instance: Instance) -> str | Silence:
        """See ports.Guest."""
        try:
            self._clocks.pop(instance.name, None)
            return self._awakening.awaken(instance)
        except AgentRefused as refused:
            return harmless(f"its agent refuses: {refused}", REASON_CHARS)
        except AgentSilent as silent:
            return self._silence(instance, "awaken", silent)

    def randomness(self, instance: Instance) -> str:
        """See ports.Guest."""
        return self._awakening.randomness(instance.name)

    def probe(self, instance: Instance, probe: Probe, port: int) -> str:
        """See ports.Guest."""
        why_not = host_probe.ask(instance.nic.address, port, probe)
        self._transcript.note(instance.name, f"probe of port {port}", why_not or "passes")
        return why_not

    def logs(self, instance: Instance) -> Mapping[str, str]:
        """What belongs beside the console log when the instance has failed; never raises for a silent guest."""
        try:
            return self._systems[instance.role.os].logs(instance)
        except Transient:
            return {}

    def evidence(self, instance: Instance) -> Mapping[str, bytes]:
        """The logs of its setup, and the end of its journal, which it has JOURNAL_S to tell."""
        files = {name: text.encode() for name, text in self.logs(instance).items()}
        return files | {"journal.txt": self._journal(instance).encode()}

    def _journal(self, instance: Instance) -> str:
        system, patience = self._systems[instance.role.os], Patience(self._clock, JOURNAL_S)
        try:
            while (journal := system.journal(instance)) is None:
                if patience.over:
                    return f"none: the guest did not tell it within {JOURNAL_S:g} s\n"
                patience.pause(JOURNAL_AGAIN_S)
        except Transient as error:
            return f"none: {harmless(str(error), REASON_CHARS)}\n"
        return journal

    def _silence(self, instance: Instance, question: str, why: AgentSilent | AgentRefused) -> Silence:
        vm_uuid, answered_at = self._resets_at_answer.get(instance.name, ("", 0))
        seen = self._monitors.resets(instance.name, instance.vm_uuid)
        rebooting = seen > (answered_at if vm_uuid == instance.vm_uuid else 0)
        frozen, absent = isinstance(why, AgentFrozen), isinstance(why, AgentAbsent)
        silence = Silence(
            reason=harmless(str(why), REASON_CHARS),
            rebooting=rebooting and not frozen,
            absent=absent,
            frozen=frozen,
            broken=isinstance(why, AgentBroken),
        )
        self._transcript.note(instance.name, question, f"{silence}")
        return silence

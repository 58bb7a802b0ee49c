"""What a Windows guest is asked through its agent: how far Setup is, and whether its services have started.

The agent runs from the first boot on, all through Setup, so that it answers says nothing. A script is run where
guest-exec is allowed; else State.ini is read, and then the monitor's word is all there is of the restart. PowerShell
takes seconds of a slow guest: it is left alone between two questions, and once Setup is complete a ping must do.
What the answers mean is `windows_setup`'s and `windows_services`'s.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Final

from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.windows import files as windows_files
from vmrole_unattend.windows.answers import Answers

from orchestrator.drivers.guest import windows_scripts, windows_services, windows_setup
from orchestrator.drivers.guest.agent_commands import LEFT_ALONE_MAX_S, OUTPUT_BYTES, AgentCommands, Resets
from orchestrator.drivers.guest.windows_setup import Status
from orchestrator.drivers.tools.agent_channel import AgentBroken, AgentDenied, AgentForbids, AgentRefused, AgentSilent
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.drivers.tools.windows_machine import windows_machine
from orchestrator.errors import Permanent, Whose
from orchestrator.model import AnswerFormat, Identity, Instance, InstanceName, Ready, Services, Unit, UnitState
from orchestrator.ports import Clock

STATE_INI: Final = r"C:\Windows\Setup\State\State.ini"
OURS: Final = "C:\\Windows\\Setup\\vmrole\\"  # Where our disc's script writes down which boot and instance it was.
LOGS: Final[Mapping[str, str]] = {
    "setuperr.log": r"C:\Windows\Panther\setuperr.log",
    "setupact.log": r"C:\Windows\Panther\setupact.log",
    "unattendgc-setupact.log": r"C:\Windows\Panther\UnattendGC\setupact.log",
    "unattendgc-setuperr.log": r"C:\Windows\Panther\UnattendGC\setuperr.log",
    "storage.log": r"C:\Windows\Setup\vmrole\storage.log",
}
_JOURNAL: Final = (  # Every Windows since Vista has it.
    r"C:\Windows\System32\wevtutil.exe",
    "qe",
    "System",
    "/c:100",
    "/rd:true",
    "/f:text",
)
_ASKED: Final = "the guest is being asked for its services"
_NOTES: Final = ("setup-boot", "instance", "generation", "storage-problem")
LOCAL_STORAGE: Final = "local-storage"  # under this name a role may ignore what is wrong with it
LOG_BYTES = 64 * 1024
AGAIN_S = 1.0  # Between two looks at least; two of them must agree.
BELIEVED_S = 300.0  # How long a complete guest that answers pings is taken to be in the boot that it told of.
GRACE_S = 60.0  # How long a service that nobody has tried to start is waited for.
FORGOTTEN_S = 300.0  # A first PowerShell on a slow host takes minutes; a second one beside it would not be quicker.
REFUSED_S = 60.0  # How long a guest that cannot start PowerShell is asked without it.
_SC_BYTES = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class _Look:
    """What was seen last; it means something in that run of the VM only."""

    vm_uuid: str
    resets: int
    is_restored: bool  # or is being restored, or saved for it
    status: Status
    identity: Identity
    at_s: float
    took_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Question:
    """What was asked about services: another boot or another wish is another question."""

    vm_uuid: str
    resets: int
    boot_id: str
    ready: Ready


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    """What was answered last, and since when."""

    question: _Question
    found: Services  # as judged
    told: Services  # as the port said it
    first_s: float  # when the question was asked first
    until_s: float  # before that it is not asked again


class WindowsGuest:
    """Raises AgentSilent and AgentRefused; thread-safe, as long as there is one turn per instance at a time."""

    def __init__(self, commands: AgentCommands, monitors: Resets, clock: Clock) -> None:
        self._clock = clock
        self._commands = commands
        self._monitors = monitors
        self._looks: dict[InstanceName, _Look] = {}
        self._answers: dict[InstanceName, _Answer] = {}
        self._no_powershell_until_s: dict[InstanceName, float] = {}
        self._powershell_of: dict[InstanceName, str] = {}  # the VM (uuid) whose PowerShell has answered

    def forget(self, name: InstanceName) -> None:
        """The guest is gone for good."""
        for known in (self._looks, self._answers, self._no_powershell_until_s, self._powershell_of):
            known.pop(name, None)

    # Identity --------------------------------------------------------------------------------------------------

    def identity(self, instance: Instance) -> Identity:
        """Which boot it is in, and what Setup still does."""
        name, resets = instance.name, self._monitors.resets(instance.name, instance.vm_uuid)
        last = self._looks.get(name)
        if last is not None and (last.vm_uuid, last.resets) != (instance.vm_uuid, resets):
            last = None
        if last is not None and instance.phase.traits.saves and not last.is_restored:  # Is it what was saved?
            last = None
        try:
            if last is not None and self._clock.monotonic_s() < last.at_s + _stands_for_s(last, instance):
                self._commands.call(name, "guest-ping")
                return last.identity
            look = self._look(instance, resets, last)
        except (AgentSilent, AgentRefused):
            self._looks.pop(name, None)  # It may come back as another boot.
            raise
        if look is None:
            if last is None:
                raise AgentSilent("the guest is being asked how far Setup is")
            return last.identity
        self._looks[name] = look
        return look.identity

    def _look(self, instance: Instance, resets: int, last: _Look | None) -> _Look | None:
        """None while the script still runs."""
        try:
            answer = self._by_script(instance)
            if answer is None:
                return None
            status, took_s = answer
        except AgentForbids:
            status, took_s = self._by_files(instance), AGAIN_S
        unfinished = windows_setup.unfinished(status, instance, _wanted(instance))
        again = last is not None and last.status.complete and last.status.boot == status.boot
        identity = Identity(
            boot_id=windows_setup.boot_id(instance, status.boot),
            setup_boot_id=windows_setup.setup_boot_id(status, instance),
            source="exec" if status.boot else "ping",
            unfinished=unfinished or ("" if again else windows_setup.CONFIRMING),
        )
        return _Look(
            instance.vm_uuid, resets, instance.phase.traits.saves, status, identity, self._clock.monotonic_s(), took_s
        )

    def _by_script(self, instance: Instance) -> tuple[Status, float] | None:
        """What it says and how long it took; None while it runs.

        Raises AgentForbids when the guest runs none, for whatever reason.
        """
        if not self._has_powershell(instance.name):
            raise AgentForbids("there is no PowerShell")
        try:
            ended = self._commands.run(instance, "status", windows_scripts.status(), forgotten_s=FORGOTTEN_S)
        except AgentForbids:
            raise
        except AgentRefused as error:
            self._has_answered_before(instance, f"PowerShell cannot be started for now: {error}")
            self._no_powershell_until_s[instance.name] = self._clock.monotonic_s() + REFUSED_S
            raise AgentForbids("PowerShell cannot be started") from error
        if ended is None:
            return None
        status = windows_setup.parse(ended.text)
        if status is None:
            self._has_answered_before(instance, "PowerShell has not answered the question this time")
            raise AgentForbids("PowerShell does not run the question")
        self._powershell_of[instance.name] = instance.vm_uuid
        return status, ended.took_s

    def _has_answered_before(self, instance: Instance, why: str) -> None:
        """Raises AgentSilent where PowerShell works, if not this time: files know less and do not stand in for it."""
        if self._powershell_of.get(instance.name) == instance.vm_uuid:
            raise AgentSilent(why)

    def _has_powershell(self, name: InstanceName) -> bool:
        return self._clock.monotonic_s() >= self._no_powershell_until_s.get(name, 0.0)

    def _by_files(self, instance: Instance) -> Status:
        """What can be read. When the boot began cannot; an agent that shows no files either tells a name at most."""
        name = instance.name
        try:
            state, *notes = (
                windows_setup.text(self._commands.read(name, path)).strip()
                for path in (STATE_INI, *(f"{OURS}{note}" for note in _NOTES))
            )
        except AgentForbids:
            return windows_setup.by_name_alone(self._host_name(instance), instance)
        setup_boot, whose, generation, problem = notes
        return Status(
            setup_boot=windows_setup.moment(setup_boot),
            image_state=windows_setup.image_state(state),
            computer=self._host_name(instance),
            instance=whose,
            generation=generation,
            storage_problem=harmless(problem),
        )

    def _host_name(self, instance: Instance) -> str:
        """What the agent says that the computer is called; the name that was wished for when it may not say."""
        try:
            said = self._commands.call(instance.name, "guest-get-host-name")
        except AgentForbids:
            self._commands.call(instance.name, "guest-ping")
            return _wanted(instance)
        name = said.get("host-name") if isinstance(said, dict) else None
        if not isinstance(name, str):
            raise AgentBroken("the agent sent a host name that is none")
        return name

    # Services --------------------------------------------------------------------------------------------------

    def services(self, instance: Instance) -> Services:
        """Whether all auto-start services have started: they have when two looks in one boot say so."""
        resets = self._monitors.resets(instance.name, instance.vm_uuid)
        question = _Question(instance.vm_uuid, resets, instance.boot_id, instance.goal.role.ready)
        now_s, last = self._clock.monotonic_s(), self._answers.get(instance.name)
        if last is not None and last.question != question:
            last = None
        if last is not None and now_s < last.until_s:
            return last.told
        if (setup := self._setup_goes_on(instance) or self._without_storage(instance)) is not None:
            return setup
        first_s = last.first_s if last else now_s
        answer = self._ask(instance, question.ready, patient=now_s - first_s < GRACE_S)
        if answer is None:
            return last.told if last else Services(started=False, note=_ASKED, unheard=True)
        found, took_s = answer
        told = found
        if found.started and not (last and last.found.started):
            told = dataclasses.replace(found, started=False, note="all have started; confirming with a second look")
        until_s = self._clock.monotonic_s() + min(max(took_s, AGAIN_S), LEFT_ALONE_MAX_S)
        self._answers[instance.name] = _Answer(question, found, told, first_s, until_s)
        return told

    def _setup_goes_on(self, instance: Instance) -> Services | None:
        """A guest that goes through another restart of its own has not begun to start its services."""
        look = self._looks.get(instance.name)
        if (
            look is None
            or look.vm_uuid != instance.vm_uuid
            or look.identity.unfinished in ("", windows_setup.CONFIRMING)
        ):
            return None
        return Services(
            started=False, units=(Unit("Windows Setup", UnitState.PENDING),), note=look.identity.unfinished
        )

    def _without_storage(self, instance: Instance) -> Services | None:
        """A setup that could not give local storage its place is over: neither waiting nor another try mends that."""
        look = self._looks.get(instance.name)
        ignored = LOCAL_STORAGE in instance.goal.role.ready.ignore
        if look is None or look.vm_uuid != instance.vm_uuid or not look.status.storage_problem or ignored:
            return None
        problem = look.status.storage_problem
        remedy = f"mend the image, or let it be: ready: {{ignore: [{LOCAL_STORAGE}]}}"
        return Services(
            started=False,
            units=(Unit(LOCAL_STORAGE, UnitState.FAILED),),
            verdict=f"setup has finished, but {problem} ({remedy})",
        )

    def _ask(self, instance: Instance, ready: Ready, *, patient: bool) -> tuple[Services, float] | None:
        """What the guest says and how long it took; None while the question runs."""
        with_powershell = self._has_powershell(instance.name)
        try:
            argv = windows_scripts.services(ready.units) if with_powershell else windows_scripts.WITHOUT_POWERSHELL
            ended = self._commands.run(
                instance,
                f"services {with_powershell} {ready.units}",
                argv,
                output_bytes=_SC_BYTES,
                forgotten_s=FORGOTTEN_S,
            )
        except AgentForbids:
            return windows_services.by_image_state(ready), AGAIN_S
        except ValueError as error:
            return Services(started=False, units=(Unit("", UnitState.FAILED, f"ready.services: {error}"),)), AGAIN_S
        except AgentRefused as error:
            if not with_powershell:
                raise
            self._has_answered_before(instance, f"PowerShell cannot be started for now: {error}")
            self._no_powershell_until_s[instance.name] = self._clock.monotonic_s() + REFUSED_S
            return None
        if ended is None:
            return None
        if with_powershell:
            services = windows_services.parse(ended.text)
        else:
            services = windows_services.parse_without_powershell(ended.text, ready.units)
        if services is None:
            by = "PowerShell" if with_powershell else "sc.exe"
            return Services(started=False, note=f"the guest's {by} does not answer what it was asked"), ended.took_s
        return windows_services.judge(services, ready, patient=patient), ended.took_s

    # Logs ------------------------------------------------------------------------------------------------------

    def logs(self, instance: Instance) -> Mapping[str, str]:
        """The ends of Setup's logs, without the lines that may hold a secret; only those that can be read."""
        found = {}
        for name, path in LOGS.items():
            content = b""
            with contextlib.suppress(AgentDenied):
                content = self._commands.read(instance.name, path, LOG_BYTES, tail=True)
            if content:
                cut = len(content) >= LOG_BYTES
                found[name] = windows_setup.masked(windows_setup.text(content), begins_within=cut)
        return found

    def journal(self, instance: Instance) -> str | None:
        """The newest of its System log, without the lines that may hold a secret."""
        ended = self._commands.run(instance, "journal", _JOURNAL)
        if ended is None:
            return None
        cut = len(ended.output) >= OUTPUT_BYTES
        return windows_setup.masked(windows_setup.text(ended.output), ends_within=cut)


def _stands_for_s(look: _Look, instance: Instance) -> float:
    """How long what was seen is taken to be so, while the agent answers and the monitor sees no reset."""
    if not look.identity.unfinished and not instance.phase.traits.boot_may_end:
        return BELIEVED_S
    return min(max(look.took_s, AGAIN_S), LEFT_ALONE_MAX_S)


def _wanted(instance: Instance) -> str:
    """What the computer shall be called."""
    if instance.role.answers is AnswerFormat.UNATTEND:
        try:
            return windows_files.computer_name(instance.role.unattend or Answers(), windows_machine(instance))
        except AnswersInvalid as error:
            raise Permanent(
                f"the answers of role {instance.role.name}: {error}", hint=error.hint, whose=Whose.ANSWERS
            ) from error
    return instance.hostname

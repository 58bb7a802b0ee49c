"""Setup on a sealed image: specialize in the first boot, a restart, oobeSystem in the second.

Sources: Microsoft, How Configuration Passes Work; Windows Setup States; the reference of the settings named here.
Where a person would be asked something, Setup waits for ever, as it does on a server in a rack.
"""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Callable
from xml.etree.ElementTree import Element

from vmrole_images.setup_simulator.guest import answerfile, cache, commands, registry
from vmrole_images.setup_simulator.guest.answerfile import AnswerFile, AnswerFileError
from vmrole_images.setup_simulator.guest.scripts import FOUND
from vmrole_images.setup_simulator.guest.search import search
from vmrole_images.setup_simulator.guest.world import ARCHITECTURE, World

SHELL = "microsoft-windows-shell-setup"
DEPLOYMENT = "microsoft-windows-deployment"
INTERNATIONAL = "microsoft-windows-international-core"
NAME_BYTES_MAX = 15
PATH_CHARS_MAX = 259  # RunSynchronousCommand/Path in the reference of settings
_FORBIDDEN = frozenset("{|}~[\\]^':;<=>?@!\"#$%`()+/.,*& ")
_DONE = "3"  # ChildCompletion of a part of Setup that has ended; 1 while it runs.
_RUNS = "1"


class Next(enum.Enum):
    """What the machine does now."""

    SERVE = enum.auto()  # Setup is complete
    RESTART = enum.auto()
    WAIT = enum.auto()  # for a person, for ever


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How Setup left this boot, and why in words."""

    next: Next
    why: str = ""


class _Stop(Exception):
    """Setup cannot go on in this boot."""


@dataclasses.dataclass(slots=True)
class Setup:
    """Setup in one boot. `pause` waits that many seconds, `log` takes the lines of setupact.log."""

    world: World
    log: Callable[[str], None]
    pause: Callable[[float], None]

    def run(self) -> Outcome:
        """Does what is to be done in this boot; never raises for what an answer file says."""
        values = self.world.values
        try:
            match values.get(registry.IMAGE_STATE):
                case registry.COMPLETE:
                    return Outcome(Next.SERVE)
                case registry.GENERALIZED:
                    return self._specialize()
                case registry.SPECIALIZED:
                    return self._oobe()
                case _ if values.get(registry.RESTART_WANTED) == "1":
                    return self._specialize()
                case _ if values.get(registry.WELCOME) == "1":
                    return self._oobe()
                case _:
                    raise _Stop("the computer restarted unexpectedly; Windows installation cannot proceed")
        except (_Stop, AnswerFileError) as error:
            self.log(f"Error: {error}")
            return Outcome(Next.WAIT, str(error))

    # specialize -------------------------------------------------------------------------------------------------

    def _specialize(self) -> Outcome:
        world, values = self.world, self.world.values
        again = values.get(registry.RESTART_WANTED) == "1"
        values.set({registry.IMAGE_STATE: registry.UNDEPLOYABLE, registry.CHILD: _RUNS, registry.RESTART_WANTED: "0"})
        components = self._components("specialize")
        self.pause(world.options.pass_seconds)
        if not again:
            values.set({registry.NAME: self._computer_name(components)})
        if self._run_synchronous(components.get(DEPLOYMENT)):
            values.set({registry.RESTART_WANTED: "1"})
            return Outcome(Next.RESTART, "a command of specialize wants a restart")
        if world.options.stuck:
            raise _Stop("told to be stuck in specialize")
        cache.mark(world.system, "specialize")
        values.set({registry.IMAGE_STATE: registry.SPECIALIZED, registry.CHILD: _DONE})
        return Outcome(Next.RESTART, "specialize is done")

    def _computer_name(self, components: dict[str, Element]) -> str:
        name = answerfile.text(components.get(SHELL), "ComputerName")
        if name in ("", "*"):
            return f"WIN-{os.urandom(6).hex()[:11].upper()}"
        if len(name.encode()) > NAME_BYTES_MAX or _FORBIDDEN & set(name) or name.isdecimal():
            raise _Stop(f"ComputerName {name!r} cannot be a computer's name")
        return name.upper()

    def _run_synchronous(self, deployment: Element | None) -> bool:
        """Runs the commands that have not run yet; whether one wants a restart before the next."""
        values = self.world.values
        items = answerfile.items(deployment, "RunSynchronous/RunSynchronousCommand")
        for number in range(int(values.get(registry.COMMANDS_DONE) or 0), len(items)):
            path = answerfile.text(items[number], "Path")
            if len(path) > PATH_CHARS_MAX:
                raise _Stop(f"Path of RunSynchronous command {number + 1} has {len(path)} characters")
            status = commands.run(self.world, path, self.log)
            will = (answerfile.text(items[number], "WillReboot") or "Never").lower()
            if (will, status) == ("onrequest", 2):
                return True  # The same command runs again after the restart.
            if will == "onrequest" and status not in (0, 1):
                raise _Stop(f"RunSynchronous command {number + 1} ended with {status}")
            values.set({registry.COMMANDS_DONE: str(number + 1)})
            if will == "always" or (will, status) == ("onrequest", 1):
                return True
        return False

    # oobeSystem -------------------------------------------------------------------------------------------------

    def _oobe(self) -> Outcome:
        world, values = self.world, self.world.values
        values.set({registry.IMAGE_STATE: registry.UNDEPLOYABLE, registry.CHILD: _RUNS})
        components = self._components("oobeSystem")
        values.set({registry.WELCOME: "0"})
        self.pause(world.options.pass_seconds)
        if question := _question(components):
            values.set({registry.WELCOME: "1"})  # It asks again after a restart.
            return Outcome(Next.WAIT, f"Windows Welcome asks for {question}")
        cache.mark(world.system, "oobeSystem")
        values.set({registry.SYSTEM_SETUP: "0", registry.OOBE: "0", registry.CHILD: _DONE})
        values.set({registry.IMAGE_STATE: registry.COMPLETE})
        if _logs_on(components.get(SHELL)):
            for item in answerfile.items(components[SHELL], "FirstLogonCommands/SynchronousCommand"):
                commands.run(world, answerfile.text(item, "CommandLine"), self.log)
        return Outcome(Next.SERVE)

    def _components(self, name: str) -> dict[str, Element]:
        """Finds the answer file of a pass, keeps it, and returns what it says; {} when there is none."""
        found = search(name, self.world.drives, self.world.values)
        if found is None:
            self.log(f"No unattend file was found for pass [{name}].")
            return {}
        self.log(FOUND.format(name, found.place))
        cache.keep(self.world.system, found)
        return _taken(found.file, name, self.log)


def _taken(file: AnswerFile, name: str, log: Callable[[str], None]) -> dict[str, Element]:
    components = file.components(name, ARCHITECTURE)
    for component in components:
        log(f"[{name}] {component}")
    return components


def _question(components: dict[str, Element]) -> str:
    """What Windows Welcome would ask a person on a server; "" when the answer file says everything."""
    shell = components.get(SHELL)
    if not answerfile.text(components.get(INTERNATIONAL), "UserLocale"):
        return "country and language"
    if answerfile.text(shell, "OOBE/HideEULAPage").lower() != "true":
        return "agreement to the license terms"
    administrator = answerfile.text(shell, "UserAccounts/AdministratorPassword/Value")
    if not administrator and not answerfile.items(shell, "UserAccounts/LocalAccounts/LocalAccount"):
        return "the administrator's password"
    return ""


def _logs_on(shell: Element | None) -> bool:
    return answerfile.text(shell, "AutoLogon/Enabled").lower() == "true"

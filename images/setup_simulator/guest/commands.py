"""Command lines that Setup runs. None is really run: a few are known, and have the effect that they would have.

Known are the disc's own `vmrole\\specialize.cmd` and `vmrole\\first-logon.cmd`, found through the drive letters as
the command line says, and `simulate KEY=VALUE`, which tells this simulator to misbehave. All others succeed without
effect.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from images.setup_simulator.guest.options import OptionError
from images.setup_simulator.guest.world import VMROLE, World

SPECIALIZE = r"vmrole\specialize.cmd"
FIRST_LOGON = r"vmrole\first-logon.cmd"
_SIMULATE = re.compile(r"\bsimulate\s+([a-z-]+)=([^\s\"&|]+)", re.IGNORECASE)
_NOTE = r"vmrole instance (?P<instance>\S+) generation (?P<generation>\d+) id (?P<id>\S+)"

Log = Callable[[str], None]


def run(world: World, line: str, log: Log) -> int:
    """The exit status of a command line."""
    if wish := _SIMULATE.search(line):
        try:
            world.wish({wish[1].lower(): wish[2]})
        except OptionError as error:
            log(f"simulate: {error}")
            return 87  # ERROR_INVALID_PARAMETER
        log(f"simulate: {wish[1]} is {wish[2]}")
        return 0
    for script, does in ((SPECIALIZE, _specialize), (FIRST_LOGON, _first_logon)):
        if script in line.lower().replace("/", "\\"):
            return _from_disc(world, script, does, log)
    log(f"not run, the simulator does not know it: {line}")
    return 0


def _from_disc(world: World, script: str, does: Callable[[World, str, str], None], log: Log) -> int:
    """Runs a script of the first drive that holds it; 1 when none does, as `if exist` leaves it."""
    for drive in world.drives:
        content = drive.read(script)
        if content is not None:
            does(
                world, content.decode(errors="replace"), (drive.read("Unattend.xml") or b"").decode(errors="replace")
            )
            log(f"ran {drive.name_of(script)}")
            return 0
    log(f"no drive has {script}")
    return 1


def _specialize(world: World, _script: str, answers: str) -> None:
    """The notes that vmrole reads later: which boot ran setup, and for which generation of which instance."""
    said = re.search(_NOTE, answers)
    notes = {"instance": said["instance"], "generation": said["generation"]} if said else {}
    for name, text in (*notes.items(), ("setup-boot", world.boot)):
        world.system.write(rf"{VMROLE}\{name}", f"{text}\r\n".encode())


def _first_logon(world: World, script: str, _answers: str) -> None:
    world.system.write(rf"{VMROLE}\first-logon.log", script.encode())

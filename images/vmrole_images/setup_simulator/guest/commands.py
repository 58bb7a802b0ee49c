"""Command lines that Setup runs. None is really run: a few are known, and have the effect that they would have.

Known are a `for` over drive letters that calls a script of the disc, `vmrole\\specialize.cmd`, a call of its copy of
`first-logon.cmd`, and `simulate KEY=VALUE`, which tells this simulator to misbehave. All others succeed without
effect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from vmrole_images.setup_simulator.guest.drive import Drive
from vmrole_images.setup_simulator.guest.options import OptionError
from vmrole_images.setup_simulator.guest.world import VMROLE, World

SPECIALIZE = r"vmrole\specialize.cmd"
FILES = rf"{VMROLE}\files"  # where the disc's script copies what lies beside it
FIRST_LOGON = rf"{FILES}\first-logon.cmd"
BOOT_SCRIPT = r"vmrole\boot.ps1"
INVALID_PARAMETER = 87  # ERROR_INVALID_PARAMETER
_SIMULATE = re.compile(r"\bsimulate\s+([a-z-]+)=([^\s\"&|]+)", re.IGNORECASE)
_LETTERS = re.compile(r"\bfor\s+%+\w\s+in\s+\(([^)]*)\)", re.IGNORECASE)
_NOTE = re.compile(r'^>\s*"%notes%\\([\w-]+)"\s+echo\s+(.*?)\s*$', re.MULTILINE)

Log = Callable[[str], None]


def run(world: World, line: str, log: Log) -> int:
    """The exit status of a command line."""
    if wish := _SIMULATE.search(line):
        try:
            world.wish({wish[1].lower(): wish[2]})
        except OptionError as error:
            log(f"simulate: {error}")
            return INVALID_PARAMETER
        log(f"simulate: {wish[1]} is {wish[2]}")
        return 0
    if SPECIALIZE in line.lower():
        return _from_disc(world, line, SPECIALIZE, _specialize, log)
    if FIRST_LOGON.lower().partition("\\")[2] in line.lower():
        return _first_logon(world, log)
    log("not run, the simulator does not know it")  # Not the line itself: it may hold a secret.
    return 0


def _from_disc(world: World, line: str, script: str, does: Callable[[World, Drive, str], None], log: Log) -> int:
    """Runs a script of the drives that the line names, each that holds it; 1 when none does."""
    found = False
    for drive in _named(world.drives, line):
        content = drive.read(script)
        if content is not None:
            does(world, drive, content.decode(errors="replace"))
            log(f"ran {drive.name_of(script)}")
            found = True
    if not found:
        log(f"no drive has {script}")
    return 0 if found else 1


def _named(drives: Sequence[Drive], line: str) -> list[Drive]:
    letters = _LETTERS.search(line)
    return [drive for letter in (letters[1].split() if letters else ()) for drive in drives if drive.letter == letter]


def _specialize(world: World, disc: Drive, script: str) -> None:
    """The notes that vmrole reads later: which boot ran setup, and for which generation of which instance.

    The boot is what the disc's own question to WMI would answer; it is put where PowerShell's or wmic's answer goes.
    """
    asked = b"smss.exe" in (disc.read(BOOT_SCRIPT) or b"") and not world.options.no_powershell
    boot = world.boot if asked or "wmic.exe" in script else ""
    if 'copy /y "%~dp0*.*" "%notes%\\files"' in script and (beside := disc.find("vmrole")) is not None:
        for file in beside.iterdir():
            world.system.write(rf"{FILES}\{file.name}", file.read_bytes())
    for note in _NOTE.finditer(script):
        text = note[2].replace("%boot%", boot) or "ECHO is off."
        world.system.write(rf"{VMROLE}\{note[1]}", f"{text}\r\n".encode())


def _first_logon(world: World, log: Log) -> int:
    """What would run is kept where a test can read it; 1 when it is not there."""
    script = world.system.read(FIRST_LOGON)
    if script is None:
        log(f"there is no {FIRST_LOGON}")
        return 1
    world.system.write(rf"{VMROLE}\first-logon.log", script)
    log(f"ran {FIRST_LOGON}")
    return 0

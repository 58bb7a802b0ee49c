"""What Windows would print for the questions that vmrole asks through guest-exec. Nothing is really run.

A PowerShell script of vmrole's is known by the comment in its first line; without PowerShell the question is asked
with sc.exe and reg.exe.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from vmrole_images.setup_simulator.guest import registry
from vmrole_images.setup_simulator.guest.search import CACHE
from vmrole_images.setup_simulator.guest.services import Service, Status
from vmrole_images.setup_simulator.guest.world import World

LOG = r"Windows\Panther\UnattendGC\setupact.log"
FOUND = "Found usable unattend file for pass [{}] at [{}]."
_KEY = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services"
_STATES = {"Stopped": (1, "STOPPED"), "Start Pending": (2, "START_PENDING"), "Running": (4, "RUNNING")}
_AUTO, _MANUAL = 2, 3


class CannotRun(Exception):
    """There is no such program here, or the simulator does not know what it would do."""


def run(world: World, path: str, arguments: Sequence[str]) -> str:
    """What the program prints; it ends with 0. Raises CannotRun."""
    match path.lower().replace("/", "\\").rpartition("\\")[2].removesuffix(".exe"):
        case "powershell" if not world.options.no_powershell:
            return _powershell(world, arguments)
        case "cmd":
            return _cmd(world, " ".join(arguments))
        case _:
            raise CannotRun("No such file or directory")


def _powershell(world: World, arguments: Sequence[str]) -> str:
    words = [word.lower() for word in arguments]
    if "-encodedcommand" not in words or words.index("-encodedcommand") + 1 == len(words):
        raise CannotRun("the simulator knows PowerShell with -EncodedCommand only")
    try:
        encoded = arguments[words.index("-encodedcommand") + 1]
        script = base64.b64decode(encoded, validate=True).decode("utf-16-le")
    except ValueError as error:
        raise CannotRun("-EncodedCommand is not UTF-16LE in base64") from error
    match script.partition("\n")[0].split():
        case ["#", "vmrole", "status", "1"]:
            return status(world)
        case ["#", "vmrole", "services", "1", *required]:
            return services(world, tuple(unquote(name) for name in required))
        case ["#", "vmrole", "flush", "1"]:
            world.flush()
            return ""
        case _:
            raise CannotRun("the simulator does not know this script")


def status(world: World) -> str:
    """The lines of `# vmrole status 1`."""
    said = {
        "boot": world.boot,
        "setup-boot": world.note("setup-boot"),
        "image-state": world.values.get(registry.IMAGE_STATE),
        "system-setup": world.values.get(registry.SYSTEM_SETUP),
        "oobe": world.values.get(registry.OOBE),
        "computer": world.computer(),
        "instance": world.note("instance"),
        "generation": world.note("generation"),
        "answer-file": _answer_file(world),
        "cached": "yes" if _foreign(world) else "no",
    }
    return "".join(f"{key}={value}\n" for key, value in said.items())


def services(world: World, required: Sequence[str]) -> str:
    """The lines of `# vmrole services 1`: auto-start services that do not run, and the named ones."""
    wanted = {name.lower() for name in required}
    lines = [
        f"service={one.name}|{now.state}|{now.exit_code}|{now.specific}|{one.delayed:d}|{one.trigger:d}|{one.type}"
        for one, now in world.services()
        if (one.auto and now.state != "Running") or one.name.lower() in wanted
    ]
    return "".join(f"{line}\n" for line in (*lines, f"end={len(lines)}"))


def _answer_file(world: World) -> str:
    log = (world.system.read(LOG) or b"").decode(errors="replace")
    before, after = FOUND.format("specialize", "\0").split("\0")
    if before in log:
        return log.partition(before)[2].partition(after)[0]
    return world.system.name_of(CACHE) if world.system.find(CACHE) else ""


def _foreign(world: World) -> bool:
    """Whether the cached answer file is of another instance, another generation, or none of ours."""
    content = world.system.read(CACHE)
    if content is None:
        return False
    instance, generation = world.note("instance"), world.note("generation")
    named = re.sub("-(?=-)", "- ", instance)  # as the disc's file says it: no comment in XML holds two of them
    ours = f"vmrole instance {named} generation {generation} id "
    return not instance or ours.encode() not in content


def _cmd(world: World, line: str) -> str:
    """The commands of a line that are joined by `&`."""
    printed = []
    for command in line.split(" & "):
        words = command.lower().split()
        if "sc.exe" in words and "queryex" in words:
            printed.append("".join(_queryex(one, now) for one, now in world.services()))
        elif "reg.exe" in words and "query" in words and "/s" in words:
            printed.append(_reg_query(world, words))
        else:
            raise CannotRun(f"the simulator does not know {command!r}")
    return "".join(printed)


def _queryex(service: Service, now: Status) -> str:
    number, word = _STATES[now.state]
    lines = (
        "",
        f"SERVICE_NAME: {service.name}",
        f"DISPLAY_NAME: {service.name}",
        f"        TYPE               : {service.type:x}  WIN32",
        f"        STATE              : {number}  {word}",
        f"        WIN32_EXIT_CODE    : {now.exit_code}  (0x{now.exit_code:x})",
        f"        SERVICE_EXIT_CODE  : {now.specific}  (0x{now.specific:x})",
        "        CHECKPOINT         : 0x0",
        "        WAIT_HINT          : 0x0",
        f"        PID                : {1000 if word == 'RUNNING' else 0}",
        "        FLAGS              :",
    )
    return "".join(f"{line}\r\n" for line in lines)


def _reg_query(world: World, words: Sequence[str]) -> str:
    """What `reg query … /s` finds: a value by its name (/v), or keys by a word (/k /f)."""
    lines: list[str] = []
    if "/f" in words:
        lines += [rf"{_KEY}\{one.name}\TriggerInfo" for one, _now in world.services() if one.trigger]
    elif "/v" in words:
        name, value = _VALUES[words[words.index("/v") + 1]]
        for one, _now in world.services():
            if (number := value(one)) is not None:
                lines += [rf"{_KEY}\{one.name}", f"    {name}    REG_DWORD    0x{number:x}", ""]
    return "".join(f"{line}\r\n" for line in ("", *lines, f"End of search: {len(lines)} match(es) found."))


_VALUES: dict[str, tuple[str, Callable[[Service], int | None]]] = {
    "start": ("Start", lambda one: _AUTO if one.auto else _MANUAL),
    "type": ("Type", lambda one: one.type),
    "delayedautostart": ("DelayedAutoStart", lambda one: 1 if one.delayed else None),
}

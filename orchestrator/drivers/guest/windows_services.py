"""What a Windows guest says of its auto-start services, and what we make of it. Pure: text in, `Services` out.

The text is what `windows/services.ps1` prints, or, where there is no PowerShell, what sc.exe and reg.exe do. Which
services do not count, and why: those with a trigger start when something happens (TriggerInfo), per-user ones are
templates (Type 0x40), delayed ones start some two minutes later with no promise (SERVICE_DELAYED_AUTO_START_INFO).
A service that has ended with exit code 0 has done its work.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from orchestrator.drivers.tools.hostile_text import harmless, harmless_names, harmless_units
from orchestrator.model import Ready, Services, Unit, UnitState

_NAME_CHARS = 64
SERVICES_MAX = 5000  # A Windows has some three hundred.
_NEVER_STARTED = 1077  # ERROR_SERVICE_NEVER_STARTED
_SPECIFIC = 1066  # ERROR_SERVICE_SPECIFIC_ERROR
_PER_USER = 0x40  # SERVICE_USER_SERVICE
_NUMBER_DIGITS_MAX = 10  # a DWORD
_AUTO_START = 2  # SERVICE_AUTO_START
_RUNNING = "Running"
_STATES: Final = {  # SERVICE_STATUS.dwCurrentState, in WMI's words
    1: "Stopped",
    2: "Start Pending",
    3: "Stop Pending",
    4: _RUNNING,
    5: "Continue Pending",
    6: "Pause Pending",
    7: "Paused",
}
_PENDING: Final = ("Start Pending", "Continue Pending", "Stop Pending")
_WORDS: Final = {  # winerror.h
    2: "its program was not found",
    5: "access was denied",
    1053: "it did not answer in time when it was started",
    1058: "it is disabled, or a device that it needs is",
    1067: "its process ended unexpectedly",
    1068: "a service that it depends on did not start",
    1069: "it could not log on with its account",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service, as the guest tells of it. `name` is still hostile."""

    name: str
    state: str  # WMI's word
    exit_code: int = 0
    specific: int = 0  # the service's own code, when `exit_code` is 1066
    delayed: bool = False
    trigger: bool = False
    kind: int = 0  # Type: a bit field


def parse(said: str) -> tuple[Service, ...] | None:
    """The services that the script told of; None when that is not the whole of its output."""
    services: list[Service] = []
    end = ""
    for line in said.splitlines():
        key, _, value = line.strip().partition("=")
        if key == "end":
            end = value
        elif key == "service" and len(services) < SERVICES_MAX:
            if (service := _service(value)) is None:
                return None
            services.append(service)
    return tuple(services) if end == str(len(services)) else None


def judge(services: Sequence[Service], ready: Ready, *, patient: bool) -> Services:
    """What they mean for a role with these conditions.

    `patient`: whether an automatic service that nobody has tried to start yet is still waited for.
    """
    ignored = frozenset(name.casefold() for name in ready.ignore)
    required = {name.casefold(): name for name in ready.units}
    pending: list[Unit] = []
    failed: list[Unit] = []
    unstarted: list[str] = []
    for service in services:
        key = service.name.casefold()
        if key in required:
            del required[key]
            _judge_required(service, pending, failed)
        elif key not in ignored and _counts(service, ready):
            never = service.state == "Stopped" and service.exit_code == _NEVER_STARTED
            if service.state in _PENDING or (never and (patient or service.delayed)):
                pending.append(Unit(service.name, UnitState.PENDING))
            elif never:
                unstarted.append(service.name)
            elif service.state == "Stopped" and service.exit_code != 0:
                failed.append(Unit(_shown(service), UnitState.FAILED, _why(service)))
            elif service.state not in ("Stopped", _RUNNING, "Paused", "Pause Pending"):
                pending.append(Unit(_shown(service), UnitState.PENDING, service.state or "no state"))
    pending += [Unit(name, UnitState.ABSENT, "there is no such service") for name in required.values()]
    note = f"nobody has tried to start {', '.join(harmless_names(unstarted[:3]))}" if unstarted else ""
    more = f" and {len(unstarted) - 3} more" if len(unstarted) > 3 else ""
    return Services(
        started=not pending and not failed,
        units=(*harmless_units(failed), *harmless_units(pending)),
        note=f"{note}{more}",
    )


def by_image_state(ready: Ready) -> Services:
    """For a guest whose agent forbids guest-exec: that Setup is complete is all there is."""
    if ready.units or ready.command:
        told = "ready.services and ready.command need guest-exec, which the guest's agent forbids"
        return Services(started=False, units=(Unit("", UnitState.FAILED, told),))
    return Services(started=True, note="the agent forbids guest-exec: judged by the end of Windows Setup alone")


def _service(fields: str) -> Service | None:
    """NAME|STATE|EXITCODE|SPECIFIC|DELAYED|TRIGGER|TYPE; a name may hold a '|' of its own."""
    name, *rest = fields.rsplit("|", 6)
    numbers = [_number(text) for text in rest[1:]]
    if len(rest) != 6 or None in numbers or not name:
        return None
    exit_code, specific, delayed, trigger, kind = (number or 0 for number in numbers)
    return Service(
        name=name,
        state=rest[0].strip(),
        exit_code=exit_code,
        specific=specific,
        delayed=delayed == 1,
        trigger=trigger == 1,
        kind=kind,
    )


def _number(text: str) -> int | None:
    """A decimal DWORD; 0 for nothing, which is what WMI says of what it does not know."""
    text = text.strip()
    if not text:
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS_MAX else None


def _counts(service: Service, ready: Ready) -> bool:
    if service.trigger or service.kind & _PER_USER:
        return False
    return ready.delayed or not service.delayed


def _judge_required(service: Service, pending: list[Unit], failed: list[Unit]) -> None:
    """It must be running, whatever starts it."""
    if service.state == _RUNNING:
        return
    if service.state == "Stopped" and service.exit_code not in (0, _NEVER_STARTED):
        failed.append(Unit(_shown(service), UnitState.FAILED, _why(service)))
    else:
        pending.append(Unit(_shown(service), UnitState.PENDING, service.state.lower() or "no state"))


def _shown(service: Service) -> str:
    """Its name, short enough to leave room for what is said of it."""
    return harmless(service.name, _NAME_CHARS)


def _why(service: Service) -> str:
    if service.exit_code == _SPECIFIC:
        return f"it ended with an error of its own, {service.specific} (1066)"
    words = _WORDS.get(service.exit_code)
    return f"{words} ({service.exit_code})" if words else f"it ended with error {service.exit_code}"


# Without PowerShell ---------------------------------------------------------------------------------------------

_KEY: Final = re.compile(
    r"HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\([^\\]+)(?:\\(.*))?", re.IGNORECASE
)
_VALUE: Final = re.compile(r"\s+(\w+)\s+REG_DWORD\s+0x([0-9a-fA-F]{1,8})")
_CONTROLLED: Final = re.compile(r"\s*[^:]*:\s?(.*)")  # "        STATE              : 4  RUNNING"


def parse_without_powershell(said: str, required: Sequence[str]) -> tuple[Service, ...] | None:
    """The same services as `parse` gives, from sc.exe's list and reg.exe's answers; None when either is missing.

    The words before the colons are in the language of that Windows; their order and the numbers are not.
    """
    settings: dict[str, dict[str, int]] = collections.defaultdict(dict)
    triggers, key = set(), ""
    for line in said.splitlines():
        if found := _KEY.match(line.rstrip()):
            key = "" if found[2] else found[1].casefold()
            if (found[2] or "").casefold() == "triggerinfo":
                triggers.add(found[1].casefold())
        elif key and (value := _VALUE.match(line)):
            settings[key][value[1].casefold()] = int(value[2], 16)
        elif not line.strip():
            key = ""
    named = frozenset(name.casefold() for name in required)
    services = []
    for service in _controlled(said.partition("HKEY_LOCAL_MACHINE")[0]):
        key = service.name.casefold()
        if (settings[key].get("start") == _AUTO_START and service.state != _RUNNING) or key in named:
            services.append(_with_settings(service, settings[key], trigger=key in triggers))
    return tuple(services) if any("start" in each for each in settings.values()) and services else None


def _with_settings(service: Service, settings: Mapping[str, int], *, trigger: bool) -> Service:
    return dataclasses.replace(
        service, delayed=settings.get("delayedautostart") == 1, trigger=trigger, kind=settings.get("type", 0)
    )


def _controlled(said: str) -> Iterator[Service]:
    """sc.exe queryex: a block of lines per service, in order name, display name, type, state, two exit codes."""
    block: list[str] = []
    for line in [*said.splitlines()[: SERVICES_MAX * 12], ""]:
        if line.strip():
            if not line.strip().startswith("(") and (value := _CONTROLLED.match(line)):
                block.append(value[1])
            continue
        if len(block) >= 6:
            name, _, _, state, exit_code, specific = block[:6]
            yield Service(
                name=name.strip(),
                state=_STATES.get(_leading(state), ""),
                exit_code=_leading(exit_code),
                specific=_leading(specific),
            )
        block = []


def _leading(text: str) -> int:
    """The number at the start: "1077  (0x435)" is 1077."""
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    return _number(word) or 0

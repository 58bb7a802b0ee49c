"""Auto-start services whose states move with the time since the boot. Pure.

The kinds are those that Windows has: some run at once, some take a while, some finish by themselves, some are started
by a trigger or later or never, some fail. Exit codes: System Error Codes 1067 and 1077.
"""

from __future__ import annotations

import dataclasses
import enum
import math

from vmrole_images.setup_simulator.guest.options import Options

PROCESS_ABORTED = 1067
NEVER_STARTED = 1077
OWN_PROCESS, SHARED_PROCESS, PER_USER = 0x10, 0x20, 0x60


class End(enum.Enum):
    """What becomes of a service that has been started."""

    RUNS = enum.auto()
    FINISHES = enum.auto()  # by itself, with exit code 0
    FAILS = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service. Times are seconds since the boot; one that starts at infinity is never tried."""

    name: str
    starts_s: float = 0.0
    starting_s: float = 0.0  # how long it is Start Pending
    end: End = End.RUNS
    delayed: bool = False
    trigger: bool = False
    type: int = SHARED_PROCESS
    auto: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """What Win32_Service says: State, ExitCode, ServiceSpecificExitCode."""

    state: str
    exit_code: int
    specific: int = 0


# Names that Windows has where the kind is known from there; the last ones are ours.
USUAL = (
    Service(name="EventLog"),
    Service(name="Dhcp"),
    Service(name="LanmanServer", starts_s=0.5, starting_s=0.5),
    Service(name="QEMU-GA", type=OWN_PROCESS),
    Service(name="Spooler", starts_s=1.0, starting_s=1.0, type=OWN_PROCESS),
    Service(name="gupdate", starts_s=0.5, starting_s=0.2, end=End.FINISHES, type=OWN_PROCESS),
    Service(name="sppsvc", starts_s=120.0, delayed=True, type=OWN_PROCESS),
    Service(name="MapsBroker", starts_s=math.inf, delayed=True),
    Service(name="RemoteRegistry", starts_s=math.inf, trigger=True),
    Service(name="CDPUserSvc", starts_s=math.inf, type=PER_USER),
    Service(name="Fax", starts_s=math.inf, auto=False),
    Service(name="SimulatedWeb", starts_s=1.0, starting_s=1.5, type=OWN_PROCESS),
)


def present(options: Options) -> tuple[Service, ...]:
    """All services of this machine."""
    more: list[Service] = []
    if options.slow_service > 0:
        more.append(Service(name="SimulatedSlow", starting_s=options.slow_service, type=OWN_PROCESS))
    if options.failed_service:
        more.append(Service(name=options.failed_service, starting_s=0.5, end=End.FAILS, type=OWN_PROCESS))
    return (*USUAL, *more)


def status(service: Service, since_s: float) -> Status:
    """The state of a service so long after the boot."""
    if since_s < service.starts_s:
        return Status("Stopped", NEVER_STARTED)
    if since_s < service.starts_s + service.starting_s:
        return Status("Start Pending", 0)
    match service.end:
        case End.RUNS:
            return Status("Running", 0)
        case End.FINISHES:
            return Status("Stopped", 0)
        case End.FAILS:
            return Status("Stopped", PROCESS_ABORTED)


def settled_s(services: tuple[Service, ...]) -> float:
    """When the last service that starts at the boot, neither later nor by a trigger, has come as far as it comes."""
    return max(
        one.starts_s + one.starting_s
        for one in services
        if one.auto and not one.delayed and not one.trigger and math.isfinite(one.starts_s)
    )

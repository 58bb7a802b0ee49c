"""What every part of the simulator sees: the drives, the registry, this boot, and what goes wrong on purpose."""

from __future__ import annotations

import dataclasses
import datetime
import os
import time
from collections.abc import Callable

from vmrole_images.setup_simulator.guest import options, registry, services
from vmrole_images.setup_simulator.guest.drive import Drive
from vmrole_images.setup_simulator.guest.options import Options
from vmrole_images.setup_simulator.guest.registry import Registry

VMROLE = r"Windows\Setup\vmrole"  # where the disc's own script leaves its notes
ARCHITECTURE = "amd64"


@dataclasses.dataclass(slots=True)
class World:
    """One boot of the machine. `boot` is the creation date of smss.exe, the first process, as WMI writes it (DMTF).

    `booted_s` is the same moment on the monotonic clock.
    """

    drives: tuple[Drive, ...]  # the first is C:
    values: Registry
    boot: str
    booted_s: float
    options: Options
    clock: Callable[[], float] = time.monotonic
    flush: Callable[[], None] = os.sync  # writes to the drives what is held back

    @property
    def system(self) -> Drive:
        """C:"""
        return self.drives[0]

    def since_boot_s(self) -> float:
        """Seconds of this boot."""
        return self.clock() - self.booted_s

    def wish(self, changes: dict[str, str]) -> None:
        """Changes what goes wrong, for this boot and all later ones; OptionError for a wish that there is not."""
        self.options = options.changed(self.options, changes)
        options.write(self.system, self.options)

    def services(self) -> tuple[tuple[services.Service, services.Status], ...]:
        """All services with their present states."""
        now_s = self.since_boot_s()
        return tuple((one, services.status(one, now_s)) for one in services.present(self.options))

    def note(self, name: str) -> str:
        """A line that the disc's own script left; "" when there is none."""
        content = self.system.read(rf"{VMROLE}\{name}")
        return content.decode(errors="replace").strip().partition("\n")[0].strip() if content else ""

    def computer(self) -> str:
        """The name that this boot runs under; a new one holds from the next boot on."""
        return self.values.get(registry.ACTIVE_NAME)


def dmtf(moment: datetime.datetime) -> str:
    """A moment as WMI writes it: yyyymmddHHMMSS.ffffff+UUU, with the minutes east of UTC."""
    offset = moment.utcoffset() or datetime.timedelta()
    return f"{moment:%Y%m%d%H%M%S.%f}{int(offset.total_seconds()) // 60:+04d}"


def power_on(drives: tuple[Drive, ...], boot: str, clock: Callable[[], float] = time.monotonic) -> World:
    """The world at the beginning of a boot: the name that was set last becomes the machine's."""
    values = Registry(drives[0])
    values.set({registry.ACTIVE_NAME: values.get(registry.NAME)})
    return World(drives, values, boot, clock(), options.read(drives[0]), clock)

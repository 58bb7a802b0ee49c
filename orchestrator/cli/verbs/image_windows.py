"""What `vmrole image build windows` is told besides: media, edition, machine. The recipe is `images.windows`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import Duration

if TYPE_CHECKING:
    from vmrole_images.report import BuildReport

    from orchestrator.model import Hardware

    Building = Callable[[Path, Callable[[str], None]], BuildReport]


def hardware() -> Hardware:
    """What the recipe installs for; recorded with the image."""
    from orchestrator.model import Firmware, Hardware

    return Hardware(firmware=Firmware.UEFI)


_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option("--iso", type=_FILE, help="The installation disc of Windows."),
    click.option("--virtio-win", type=_FILE, help="The disc with virtio's drivers for Windows and the agent."),
    click.option("--edition", help="Its name in install.wim, such as 'Windows Server 2022 SERVERSTANDARD'."),
    click.option(
        "--windows",
        "release",
        type=click.Choice(["2016", "2019", "2022", "2025", "10"]),
        help="The release of Windows, 2022 unless given.",
    ),
    click.option("--locale", help="A language of the disc, en-US unless given."),
    click.option("--disk-gib", type=click.IntRange(24, 2048), help="The size of Windows' disk, 40 unless given."),
    click.option("--vcpus", type=click.IntRange(1, 64), help="While Windows is built, 2 unless given."),
    click.option(
        "--memory-mib", type=click.IntRange(2048, 1 << 20), help="While Windows is built, 4096 unless given."
    ),
    click.option(
        "--within",
        "within_s",
        type=Duration(),
        help="Give up the building of Windows after so long, 6h unless given.",
    ),
    click.option("--screen", type=_FILE, help="A socket on which a VNC client sees Windows' screen."),
)
_OF_WANTED = ("edition", "release", "locale", "disk_gib")
_OF_MACHINE = ("vcpus", "memory_mib", "within_s", "screen")


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the recipe; each is None unless it was given."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def wanted(recipe: str, media: Mapping[str, Any]) -> Building | None:
    """How the windows image is built with these options; None for another recipe. Raises UsageError."""
    given = {name: value for name, value in media.items() if value is not None}
    if recipe != "windows":
        if given:
            raise click.UsageError(f"--{next(iter(given)).replace('_', '-')} is for the windows recipe")
        return None
    for name in ("iso", "virtio_win", "edition"):
        if name not in given:
            raise click.UsageError(f"the windows recipe needs --{name.replace('_', '-')}")

    def building(place: Path, progress: Callable[[str], None]) -> BuildReport:
        from vmrole_images import windows

        what = windows.Wanted(**{name: given[name] for name in _OF_WANTED if name in given})
        computer = windows.Machine(**{name: given[name] for name in _OF_MACHINE if name in given})
        return windows.build(what, computer, given["iso"], given["virtio_win"], place, progress)

    return building

"""Where Setup looks for an answer file at the beginning of a pass, in Microsoft's order of precedence.

Source: Windows Setup Automation Overview, "Implicit answer file search order". The first file that has settings for
the pass which are not annotated as processed is taken. The table there names Unattend.xml and Autounattend.xml for
most places; on a sealed image people see only Unattend.xml taken from removable media (KubeVirt's guide, oVirt, field
reports), so that is what this simulator takes there: whoever passes here passes under either reading.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from vmrole_images.setup_simulator.guest import answerfile, registry
from vmrole_images.setup_simulator.guest.answerfile import AnswerFile, AnswerFileError
from vmrole_images.setup_simulator.guest.drive import Drive, DriveType, locate
from vmrole_images.setup_simulator.guest.registry import Registry

CACHE = r"Windows\Panther\unattend.xml"
CACHE_RANK = 3
_BOTH = ("Unattend.xml", "Autounattend.xml")
_PLAIN = ("Unattend.xml",)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """The file that a pass uses. `rank` is its line in Microsoft's table, 1 to 8; `place` is its full path."""

    rank: int
    place: str
    content: bytes = dataclasses.field(repr=False)
    file: AnswerFile = dataclasses.field(repr=False)


def search(name: str, drives: Sequence[Drive], values: Registry) -> Found | None:
    """The file for pass `name`. AnswerFileError, with the path, when one that comes before it cannot be read.

    The first of `drives` is C:. In WinPE, where places differ, Setup is not simulated.
    """
    for rank, drive, path in _places(drives, values):
        content = drive.read(path)
        if content is None:
            continue
        try:
            file = answerfile.parse(content)
        except AnswerFileError as error:
            raise AnswerFileError(f"{drive.name_of(path)}: {error}") from error
        if file.pending(name):
            return Found(rank, drive.name_of(path), content, file)
    return None


def _places(drives: Sequence[Drive], values: Registry) -> Iterator[tuple[int, Drive, str]]:
    system = drives[0]
    if named := locate(values.get(registry.ANSWER_FILE), drives):
        yield 1, *named
    for name in _BOTH:
        yield 2, system, rf"Windows\Panther\Unattend\{name}"
    yield CACHE_RANK, system, CACHE
    for rank, kind in ((4, DriveType.REMOVABLE), (5, DriveType.READ_ONLY)):
        for drive in sorted(drives, key=lambda one: one.letter):
            if drive.kind is kind:
                for name in _PLAIN:
                    yield rank, drive, name
    yield 6, system, r"Windows\System32\Sysprep\Unattend.xml"
    for name in _BOTH:
        yield 7, system, name
    # 8 is the root of the drive that setup.exe runs from: in a sealed image C: again.

"""The text of a service file goes down the floors: the folders that it comes through, and what calls back up.

The floors are those of `orchestrator/__init__.py`. What a lower one has answered returns to who has asked, and is no
way up: that is how the text's parts come to be written where the journey began.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from tests.world.fabric import Fabric
from tests.world.places import REPOSITORY
from tests.world.service_files import GOOD

# From top to bottom; the answers to a guest's questions are checked by who will render them.
FLOORS = (
    "api",
    "control",
    "lifecycle",
    "steps",
    "servicefile",
    "vmrole_unattend",
    "rules",
    "ports",
    "model",
    "errors",
)
NO_FLOORS = {"drivers", "log"}  # The store answers a port, and everybody may talk.
ROOMS_MAX = 7
# The file is read before it is known what its words mean on this host: who knows is asked from below.
ASKED_FROM_BELOW = {"Present.find": "which image a name is, of those that there are"}


def room(frame: FrameType) -> str:
    """The folder of the product that a function is of; "" for those of others."""
    try:
        whole = Path(frame.f_code.co_filename).relative_to(REPOSITORY).parts
    except ValueError:
        return ""
    return Path(whole[1]).stem if whole[0] in ("orchestrator", "unattend") else ""


def caller(frame: FrameType) -> str:
    """The folder of who has called it, whatever of others lies between."""
    above = frame.f_back
    while above is not None and not room(above):
        above = above.f_back
    return room(above) if above is not None else ""


@contextlib.contextmanager
def noted() -> Iterator[list[tuple[str, str, str]]]:
    """Each call that leads from one folder into another: both, and the function that is called."""
    calls: list[tuple[str, str, str]] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and (there := room(frame)) and (here := caller(frame)) not in ("", there):
            calls.append((here, there, frame.f_code.co_qualname))

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def climbs(calls: list[tuple[str, str, str]]) -> set[str]:
    """The functions that are called from a lower floor; what an iterator still has to make is its maker's."""
    on_floors = [one for one in calls if not NO_FLOORS & {one[0], one[1]} and not one[2].endswith("<genexpr>")]
    return {name for here, there, name in on_floors if FLOORS.index(there) < FLOORS.index(here)}


def test_what_is_applied_goes_down_through_few_rooms() -> None:
    """Called from below are those alone that know what a word of the file means on this host."""
    fabric = Fabric()
    with noted() as calls:
        fabric.control.apply(GOOD)
    rooms = {there for _, there, _ in calls} | {"control"}
    assert rooms - NO_FLOORS <= set(FLOORS)
    assert len(rooms - NO_FLOORS) <= ROOMS_MAX, rooms
    assert climbs(calls) == ASKED_FROM_BELOW.keys()


def test_a_way_up_is_seen() -> None:
    """Of a call from one floor into a higher one."""
    down, up = ("control", "rules", "check_vip"), ("rules", "control", "Control.apply")
    assert climbs([down, ("ports", "drivers", "SqliteStore.commit")]) == set()
    assert climbs([down, up]) == {"Control.apply"}

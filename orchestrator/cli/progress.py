"""Live progress per instance on stderr: a table that changes on a terminal, otherwise a line for each phase."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Protocol

from orchestrator.cli import render
from orchestrator.client import states

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from orchestrator.client import wire

_REFRESH_PER_S = 4


class Progress(Protocol):
    """Told of every change; a `with` around the telling."""

    def tell(self, row: wire.InstanceView) -> None:
        """An instance as it is now."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *_: object) -> None: ...


class _Warnings:
    """What was lost on the way, said once it is over; what an earlier stop has cost is not told again."""

    def __init__(self) -> None:
        self._before: dict[str, str] = {}
        self._new: dict[tuple[str, str], None] = {}

    def note(self, row: wire.InstanceView) -> None:
        before = self._before.setdefault(row["name"], row["warning"])
        if row["warning"] != before:
            self._before[row["name"]] = row["warning"]
            if row["warning"]:
                self._new[row["name"], row["warning"]] = None

    def say(self) -> None:
        for name, warning in self._new:
            render.say(f"warning: {name}: {render.plain(warning)}")
        self._new.clear()


class _Roads:
    """By which road each was made anew, said once it is over; of cold roles there is nothing to say."""

    def __init__(self, told: bool) -> None:
        self._told = told
        self._roads: dict[str, str] = {}

    def note(self, row: wire.InstanceView) -> None:
        self._roads[row["name"]] = row["road"]

    def say(self) -> None:
        for name, road in self._roads.items():
            if self._told and road:
                render.say(f"{name}: {render.plain(road)}")
        self._roads.clear()


class Lines:
    """One line whenever an instance enters a phase or another boot."""

    def __init__(self, *, roads: bool = False) -> None:
        self._told: dict[str, tuple[object, ...]] = {}
        self._warnings = _Warnings()
        self._roads = _Roads(roads)

    def tell(self, row: wire.InstanceView) -> None:
        """See Progress."""
        self._warnings.note(row)
        self._roads.note(row)
        state = (row["phase"], row["generation"], row["boot"])
        if self._told.get(row["name"]) == state:
            return
        self._told[row["name"]] = state
        at = f"generation {row['generation']}, boot {row['boot']}"
        failure = f": {render.plain(row['failure'])}" if states.has_failed(row["phase"]) else ""
        render.say(f"{time.strftime('%H:%M:%S')}  {row['name']:<18} {row['phase']:<10} {at}{failure}")

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._roads.say()
        self._warnings.say()


class Board:
    """A table on the terminal, one line per instance."""

    def __init__(self, *, roads: bool = False) -> None:
        self._rows: dict[str, wire.InstanceView] = {}
        self._live: Live | None = None
        self._warnings = _Warnings()
        self._roads = _Roads(roads)

    def tell(self, row: wire.InstanceView) -> None:
        """See Progress."""
        self._warnings.note(row)
        self._roads.note(row)
        self._rows[row["name"]] = row

    def __enter__(self) -> Board:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False)
        self._live = Live(console=console, get_renderable=self._drawn, refresh_per_second=_REFRESH_PER_S)
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._live is not None
        self._live.stop()
        self._roads.say()
        self._warnings.say()

    def _drawn(self) -> Table:
        from rich.markup import escape
        from rich.table import Table
        from rich.text import Text

        drawn = Table.grid(padding=(0, 3))
        for row in self._rows.values():
            waits = row["failure"] if states.has_failed(row["phase"]) else row["waiting"]
            at = f"generation {row['generation']}, boot {row['boot']}"
            phase = Text(row["phase"], style=_style(row["phase"]))
            drawn.add_row(row["name"], phase, render.ago(row["phase_since_s"]), at, escape(render.plain(waits)))
        return drawn


def _style(phase: str) -> str:
    if states.serves(phase):
        return "green"
    if states.has_failed(phase):
        return "bold red"
    if states.winds_down(phase):
        return "yellow"
    return "dim" if states.is_off(phase) or phase == states.GONE else ""


def progress(*, roads: bool = False) -> Progress:
    """The table when stderr is a terminal that can redraw, else lines. `roads`: in the end, how each was made."""
    redraws = render.is_terminal() and os.environ.get("TERM", "dumb") != "dumb"
    return Board(roads=roads) if redraws else Lines(roads=roads)

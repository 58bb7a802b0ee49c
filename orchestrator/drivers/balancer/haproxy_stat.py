"""What HAProxy's statistics say of members, and what seat that makes. Pure."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from orchestrator.errors import Unreachable
from orchestrator.model import InstanceName, PoolName, Seat, Standing


class Row(NamedTuple):
    """A member in one pool, by the columns of `show stat` that matter here; texts as HAProxy writes them."""

    pxname: str
    svname: str
    qcur: str
    scur: str
    status: str
    weight: str
    check_status: str
    addr: str

    @property
    def connections(self) -> int:
        """Open ones, queued ones included."""
        return int(self.scur or 0) + int(self.qcur or 0)

    @property
    def in_rotation(self) -> bool:
        """Whether the member gets traffic as soon as its check passes: it neither drains nor is taken out.

        Of one that is down nothing but its weight says that it drains.
        """
        return self.weight != "0" and self.status.startswith(("UP", "DOWN", "no check"))

    @property
    def checked(self) -> bool:
        """Whether a check has said something of it."""
        return not self.status.startswith("no check") and not self.check_status.endswith("INI")

    @property
    def up(self) -> bool:
        """Whether its check passes."""
        return self.status.startswith(("UP", "no check"))


Rows: TypeAlias = dict[tuple[PoolName, InstanceName], Row]
_HEAD: Final = "# "


def parsed(answer: str) -> Rows:
    """Every member of the answer to `show stat`. Unreachable when a line of it is not whole."""
    lines = iter(answer.removeprefix(_HEAD).splitlines())
    columns = next(lines, "").split(",")
    try:
        places = [columns.index(name) for name in Row._fields]
    except ValueError as error:
        raise Unreachable(f"HAProxy's statistics have no such column: {error}", hint="it is asked again") from error
    rows: Rows = {}
    for line in lines:
        if line:
            # What a check has heard may hold anything, and stands in quotes then.
            cells = next(csv.reader([line])) if '"' in line else line.split(",")
            if len(cells) != len(columns):
                raise Unreachable("HAProxy's answer ends in the middle of a line", hint="it is asked again")
            row = Row(*(cells[place] for place in places))
            rows[PoolName(row.pxname), InstanceName(row.svname)] = row
    return rows


def seats(rows: Rows, old_connections: Mapping[InstanceName, int]) -> dict[InstanceName, Seat]:
    """The seats of all that are in the rows, and of those whose connections in former workers are still open."""
    of: dict[InstanceName, list[tuple[PoolName, Row]]] = {}
    for (pool, name), row in rows.items():
        of.setdefault(name, []).append((pool, row))
    taken = {name: _seat(places, old_connections.get(name, 0)) for name, places in of.items()}
    for name, open_ones in old_connections.items():
        if open_ones and name not in taken:  # Its endpoints have gone; what was open goes on until it leaves.
            taken[name] = Seat(address="", standing=Standing.DRAINING, connections=open_ones, pools=())
    return taken


def connections(answers: Iterable[str]) -> dict[InstanceName, int]:
    """How many connections former workers hold to each member."""
    count: dict[InstanceName, int] = {}
    for answer in answers:
        for (_, name), row in parsed(answer).items():
            count[name] = count.get(name, 0) + row.connections
    return count


def _seat(rows: list[tuple[PoolName, Row]], old_connections: int) -> Seat:
    """One member over all its pools: draining when draining in any, up only when up in all."""
    if not all(row.in_rotation for _, row in rows):
        standing = Standing.DRAINING
    elif all(row.up for _, row in rows):
        standing = Standing.UP
    else:
        standing = Standing.DOWN
    return Seat(
        address=rows[0][1].addr.rpartition(":")[0],
        standing=standing,
        connections=sum(row.connections for _, row in rows) + old_connections,
        pools=tuple(pool for pool, _ in rows),
        checked=all(row.checked for _, row in rows),
    )

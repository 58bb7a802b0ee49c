"""What HAProxy's statistics say of members, and what seat that makes. Pure."""

from __future__ import annotations

import csv
import functools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from orchestrator.errors import Unreachable
from orchestrator.model import Carried, InstanceName, PoolName, Seat, Standing, Traffic


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
_WHOLE: Final = "BACKEND"  # the line of the pool itself
_COUNTED: Final = ("scur", "qcur", "stot", "bin", "bout", "econ", "eresp", "hrsp_4xx", "hrsp_5xx")
SEATS_MAX: Final = 1 << 14


def parsed(answer: str) -> Rows:
    """Every member of the answer to `show stat`. Unreachable when a line of it is not whole."""
    rows = (Row(*cells) for cells in _cells(answer, Row._fields))
    return {(PoolName(row.pxname), InstanceName(row.svname)): row for row in rows}


def carried(answer: str) -> Carried | None:
    """The traffic of the one pool whose backend and members an answer to `show stat` holds; None when it has none."""
    counts = {name: _traffic(name, cells) for name, *cells in _cells(answer, ("svname", *_COUNTED))}
    whole = counts.pop(_WHOLE, None)
    members = {InstanceName(name): traffic for name, traffic in counts.items()}
    return None if whole is None else Carried(whole=whole, members=members)


def _traffic(name: str, cells: Sequence[str]) -> Traffic:
    """By the columns of `_COUNTED`, in their order; what is counted of http alone is empty in other pools.

    An answer of HAProxy's own, which says that a member failed, is counted of the pool: of the member its failure is.
    """
    refusals, errors = cells[-2:]
    current, queued, begun, received, sent, unmade, broken = (int(cell or 0) for cell in cells[:-2])
    failures = 0 if name == _WHOLE and errors else unmade + broken
    return Traffic(
        open=current + queued,
        begun=begun,
        received_bytes=received,
        sent_bytes=sent,
        refusals=int(refusals) if refusals else None,
        errors=int(errors or 0) + failures,
    )


def _cells(answer: str, fields: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Those columns of each line."""
    lines = iter(answer.removeprefix(_HEAD).splitlines())
    columns = next(lines, "").split(",")
    try:
        places = [columns.index(name) for name in fields]
    except ValueError as error:
        raise Unreachable(f"HAProxy's statistics have no such column: {error}", hint="it is asked again") from error
    chosen, last = operator.itemgetter(*places), max(places)
    for line in lines:
        if line:
            # What a check has heard may hold anything, and stands in quotes then.
            quoted = next(csv.reader([line])) if '"' in line else None
            if (len(quoted) if quoted else line.count(",") + 1) != len(columns):
                raise Unreachable("HAProxy's answer ends in the middle of a line", hint="it is asked again")
            yield chosen(quoted or line.split(",", last + 1))


def seats(rows: Rows, old_connections: Mapping[InstanceName, int]) -> dict[InstanceName, Seat]:
    """The seats of all that are in the rows, and of those whose connections in former workers are still open."""
    of: dict[InstanceName, tuple[Row, ...]] = {}
    for (_, name), row in rows.items():
        of[name] = (*of.get(name, ()), row)
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


@functools.lru_cache(maxsize=SEATS_MAX)
def _seat(rows: tuple[Row, ...], old_connections: int) -> Seat:
    """One member over all its pools: draining when draining in any, up only when up in all.

    Remembered: each second everybody is looked at, and next to nobody has changed.
    """
    if not all(row.in_rotation for row in rows):
        standing = Standing.DRAINING
    elif all(row.up for row in rows):
        standing = Standing.UP
    else:
        standing = Standing.DOWN
    return Seat(
        address=rows[0].addr.rpartition(":")[0],
        standing=standing,
        connections=sum(row.connections for row in rows) + old_connections,
        pools=tuple(PoolName(row.pxname) for row in rows),
        checked=all(row.checked for row in rows),
    )

"""What a balancer shall be: endpoints, members, and which of these drain; in a file that the next daemon reads.

The file's first line is the whole of it, and each other line what has changed since: of ten thousand members one that
joins is a line of a hundred bytes.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.model import CommandProbe, Frontend, InstanceName, Member, Mode, PoolName

log = logging.getLogger(__name__)
WRITABLE: Final = "the balancer's directory must be writable for the daemon"


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a balancer shall be: its endpoints, its members, and which of these are draining, or are not well."""

    frontends: tuple[Frontend, ...] = ()
    members: Mapping[str, Member] = dataclasses.field(default_factory=dict)
    draining: frozenset[str] = frozenset()
    unwell: frozenset[str] = frozenset()  # as somebody beside the balancer says
    reached: Mapping[str, Member] = dataclasses.field(default_factory=dict)  # by themselves, at ports of their own

    @functools.cached_property
    def pools(self) -> frozenset[PoolName]:
        """Those that some endpoint has."""
        return frozenset(frontend.pool for frontend in self.frontends)

    @functools.cached_property
    def commanded(self) -> frozenset[PoolName]:
        """Of whose members a command in the guest says how they are."""
        return frozenset(one.pool for one in self.frontends if isinstance(one.probe, CommandProbe))

    @functools.cached_property
    def by_way(self) -> Mapping[tuple[str, int, bool], Frontend]:
        """Which endpoint leads from a port, of tcp or, True, of udp, to a member's address: at whatever VIP, for it
        may have another by now than what is open was begun at.
        """
        ends = self._ends
        return {
            (address, port, ends[pool].mode is Mode.UDP): ends[pool]
            for member in (*self.members.values(), *self.reached.values())
            for pool, _ in member.pools
            if pool in ends
            for address in filter(None, (member.address, member.address6))
            for port in ends[pool].ports
        }

    @functools.cached_property
    def _ends(self) -> Mapping[PoolName, Frontend]:
        return {frontend.pool: frontend for frontend in self.frontends}

    @functools.cached_property
    def of_ipv6(self) -> Mapping[str, str]:
        """The members' addresses by those that they have of IPv6."""
        known = (*self.members.values(), *self.reached.values())
        return {member.address6: member.address for member in known if member.address6}

    def address(self, member: Member, pool: PoolName) -> str:
        """Where the member is behind the pool's endpoint; "" while it has no address of the VIP's family."""
        return member.behind(self._ends.get(pool))

    @functools.cached_property
    def _doors(self) -> Mapping[PoolName, int]:
        """How many doors each endpoint has that has any."""
        return {frontend.pool: len(frontend.ports) for frontend in self.frontends if frontend.each}

    def door(self, pool: PoolName, index: int) -> bool:
        """Whether an endpoint has one for the instance of that index."""
        return index < self._doors.get(pool, 0)

    def closed(self, name: str) -> bool:
        """Whether the member gets no new connections, whatever the balancer itself thinks of it."""
        return name in self.draining or name in self.unwell

    def with_frontends(self, frontends: tuple[Frontend, ...]) -> Shape:
        """These endpoints, and the members that have a place behind one of them."""
        pools = frozenset(frontend.pool for frontend in frontends)
        members, reached = (
            {name: member for name, member in known.items() if any(pool in pools for pool, _ in member.pools)}
            for known in (self.members, self.reached)
        )
        return Shape(
            frontends=frontends,
            members=members,
            draining=self.draining.intersection(members),
            unwell=self.unwell.intersection(members),
            reached=reached,
        )

    def with_reached(self, member: Member) -> Shape:
        """The same, with a member that is reached at these ports of its own, or at none."""
        others = {name: other for name, other in self.reached.items() if name != member.name}
        return dataclasses.replace(self, reached=others | ({member.name: member} if member.pools else {}))

    def with_member(self, member: Member) -> Shape:
        """The member among the others, not draining; as well as it was, unless it is another one by now."""
        members = {**self.members, member.name: member}
        unwell = self.unwell if self.members.get(member.name) == member else self.unwell - {member.name}
        return dataclasses.replace(self, members=members, draining=self.draining - {member.name}, unwell=unwell)

    def with_draining(self, name: InstanceName) -> Shape:
        """The same, with a member that drains."""
        return dataclasses.replace(self, draining=self.draining | {name})

    def with_health(self, name: InstanceName, *, well: bool) -> Shape:
        """The same, with a member that is told to be well or not; one that is not there is not noted."""
        unwell = self.unwell - {name} if well or name not in self.members else self.unwell | {name}
        return dataclasses.replace(self, unwell=unwell)

    def without(self, name: InstanceName) -> Shape:
        """The others."""
        members, left = dict(self.members), {name}
        members.pop(name, None)
        return dataclasses.replace(self, members=members, draining=self.draining - left, unwell=self.unwell - left)


@dataclasses.dataclass(frozen=True)
class Change:
    """What of a shape has become otherwise, its endpoints being the same; None and False: no longer there."""

    members: Mapping[str, Member | None] = dataclasses.field(default_factory=dict)
    reached: Mapping[str, Member | None] = dataclasses.field(default_factory=dict)
    draining: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    unwell: Mapping[str, bool] = dataclasses.field(default_factory=dict)


def change(before: Shape, after: Shape) -> Change | None:
    """What makes one the other; None when that takes more than a change of members."""
    if before.frontends != after.frontends:
        return None
    return Change(
        members=_changed(before.members, after.members),
        reached=_changed(before.reached, after.reached),
        draining={name: name in after.draining for name in before.draining ^ after.draining},
        unwell={name: name in after.unwell for name in before.unwell ^ after.unwell},
    )


def _changed(before: Mapping[str, Member], after: Mapping[str, Member]) -> dict[str, Member | None]:
    if before is after:
        return {}
    gone: dict[str, Member | None] = {name: None for name in before if name not in after}
    return gone | {name: member for name, member in after.items() if before.get(name) is not member}


def changed(shape: Shape, changes: Iterable[Change]) -> Shape:
    """The shape after all of them, one after the other."""
    members, reached = dict(shape.members), dict(shape.reached)
    draining, unwell = set(shape.draining), set(shape.unwell)
    for one in changes:
        for known, others in ((members, one.members), (reached, one.reached)):
            for name, member in others.items():
                if member is None:
                    known.pop(name, None)
                else:
                    known[name] = member
        for names, marks in ((draining, one.draining), (unwell, one.unwell)):
            for name, there in marks.items():
                (names.add if there else names.discard)(name)
    return Shape(
        frontends=shape.frontends,
        members=members,
        draining=frozenset(draining),
        unwell=frozenset(unwell),
        reached=reached,
    )


_SHAPE = TypeAdapter(Shape)
_CHANGE = TypeAdapter(Change)
_NOTHING: Final = Change()
_LINES_LEAST: Final = 64  # The whole is written anew when there is a line for each member, but not sooner than this.


class Desired:
    """A shape and the file that keeps it. Not thread-safe."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.shape = self._kept()
        self._room = 0  # lines until the whole is written anew; what another daemon has left may end anywhere

    def keep(self, shape: Shape) -> None:
        """From now on it shall be this, for the next daemon too."""
        before, self.shape = self.shape, shape
        told = change(before, shape) if self._room > 0 else None
        if told == _NOTHING:
            return
        room, self._room = self._room - 1, 0  # What fails may have left a part of a line.
        if told is None or not self._is_added(told):
            self._write(shape)
            room = max(_LINES_LEAST, len(shape.members))
        self._room = room

    def _write(self, shape: Shape) -> None:
        fresh = self._file.with_suffix(".new")
        with file_faults(fresh, WRITABLE):
            fresh.write_bytes(_SHAPE.dump_json(shape) + b"\n")
            fresh.rename(self._file)

    def _is_added(self, told: Change) -> bool:
        """Whether there is a file that it could be added to."""
        with file_faults(self._file, WRITABLE):
            try:
                with self._file.open("r+b", buffering=0) as file:
                    file.seek(0, os.SEEK_END)
                    line = _CHANGE.dump_json(told, exclude_defaults=True) + b"\n"
                    if file.write(line) != len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._file))
            except FileNotFoundError:
                return False
        return True

    def forget(self) -> None:
        """Nothing, and no file."""
        self.keep(Shape())
        self._file.unlink(missing_ok=True)

    def _kept(self) -> Shape:
        try:
            whole, *lines = self._file.read_bytes().split(b"\n")
            # What follows the last end of a line was being written when its daemon died: it was not noted.
            return changed(_SHAPE.validate_json(whole), map(_CHANGE.validate_json, lines[:-1]))
        except FileNotFoundError:
            return Shape()
        except ValueError as error:
            log.warning("%s cannot be read, members join again: %s", self._file, error)
            return Shape()

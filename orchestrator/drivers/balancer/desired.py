"""What a balancer shall be: endpoints, members, and which of these drain; in a file that the next daemon reads."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.model import Frontend, InstanceName, Member, Mode, PoolName

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
    def by_way(self) -> Mapping[tuple[str, int, bool], Frontend]:
        """Which endpoint leads from a port, of tcp or, True, of udp, to a member's address: at whatever VIP, for it
        may have another by now than what is open was begun at.
        """
        ends = {frontend.pool: frontend for frontend in self.frontends}
        return {
            (member.address, port, ends[pool].mode is Mode.UDP): ends[pool]
            for member in (*self.members.values(), *self.reached.values())
            for pool, _ in member.pools
            if pool in ends
            for port in ends[pool].ports
        }

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
        members = {other: member for other, member in self.members.items() if other != name}
        left = {name}
        return dataclasses.replace(self, members=members, draining=self.draining - left, unwell=self.unwell - left)


_SHAPE = TypeAdapter(Shape)


class Desired:
    """A shape and the file that keeps it. Not thread-safe."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.shape = self._kept()

    def keep(self, shape: Shape) -> None:
        """From now on it shall be this, for the next daemon too."""
        self.shape = shape
        fresh = self._file.with_suffix(".new")
        with file_faults(fresh, WRITABLE):
            fresh.write_text(json.dumps(_SHAPE.dump_python(shape, mode="json")))
            fresh.rename(self._file)

    def forget(self) -> None:
        """Nothing, and no file."""
        self.keep(Shape())
        self._file.unlink(missing_ok=True)

    def _kept(self) -> Shape:
        try:
            return _SHAPE.validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return Shape()
        except ValueError as error:
            log.warning("%s cannot be read, members join again: %s", self._file, error)
            return Shape()

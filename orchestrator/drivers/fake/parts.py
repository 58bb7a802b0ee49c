"""Disks, discs, pools and networks of the fake world."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Collection, Mapping, Sequence

from orchestrator.drivers.fake.world import CHECK_AFTER_S, World
from orchestrator.errors import Busy, Foreign, Transient, Whose
from orchestrator.model import (
    AnswerFormat,
    Carried,
    Frontend,
    Given,
    Instance,
    InstanceName,
    Member,
    Missing,
    Nic,
    Notice,
    Part,
    PoolName,
    Power,
    Probed,
    Seat,
    Service,
    Standing,
    place_of,
)
from orchestrator.ports import Held


def ed25519_key(seed: str) -> bytes:
    """The file of a public key that has the form of one."""
    blob = b"".join(len(part).to_bytes(4) + part for part in (b"ssh-ed25519", hashlib.sha256(seed.encode()).digest()))
    return b"ssh-ed25519 " + base64.b64encode(blob) + b" root@guest\n"


class FakeMedia:
    """Answer discs in memory."""

    def __init__(self, world: World) -> None:
        self._world = world

    def write(self, instance: Instance) -> None:
        """See ports.AnswerMedia."""
        self._world.meet("media")
        with self._world.lock:
            if instance.role.keep_ssh_host_keys:
                self._world.identities.setdefault(instance.name, f"made in generation {instance.generation}")
            else:
                self._world.identities.pop(instance.name, None)
            if instance.role.answers is not AnswerFormat.NONE:
                self._world.discs[instance.name] = instance.generation

    def erase(self, name: InstanceName) -> None:
        """See ports.AnswerMedia."""
        self._world.meet("media")
        with self._world.lock:
            machine = self._world.machines.get(name)
            assert machine is None or not machine.disc, f"{name}: a disc is destroyed while it is in the drive"
            self._world.discs.pop(name, None)

    def inventory(self) -> frozenset[InstanceName]:
        """See ports.AnswerMedia."""
        self._world.meet("media")
        return frozenset(self._world.discs)

    def keepers(self) -> frozenset[InstanceName]:
        """See ports.AnswerMedia."""
        self._world.meet("media")
        return frozenset(self._world.identities)

    def host_keys(self, name: InstanceName) -> Mapping[str, bytes]:
        """See ports.AnswerMedia."""
        made = self._world.identities.get(name)
        return {} if made is None else {"ed25519": ed25519_key(f"{name} {made}")}

    def erase_identity(self, name: InstanceName) -> None:
        """See ports.AnswerMedia."""
        self._world.meet("media")
        self._world.identities.pop(name, None)


class FakeBalancer:
    """Pools in memory."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._delays: tuple[tuple[Frontend, ...], Mapping[PoolName, float]] = ((), {})  # of whose first checks

    def shape(self, frontends: Sequence[Frontend]) -> None:
        """See ports.Balancer."""
        self._world.meet("balancer")
        world = self._world
        if world.frontends == tuple(frontends):  # As each service's turn has it; there may be many of them.
            return
        world.frontends = tuple(frontends)
        there = {end.pool for end in frontends}
        world.doors = {name: pools & there for name, pools in world.doors.items() if pools & there}
        for name, seat in [*world.seats_taken.items()]:
            if there.isdisjoint(seat.pools):
                del world.seats_taken[name]

    def join(self, member: Member) -> None:
        """See ports.Balancer."""
        self._world.meet("balancer")
        world = self._world
        machine = world.machines.get(member.name)
        assert machine is not None, f"{member.name} joins the pool without a VM"
        assert member.address == machine.instance.nic.address, f"{member.name} joins with another's address"
        pools = tuple(pool for pool, _ in member.pools)
        before = world.seats_taken.get(member.name)
        if before is None or set(before.pools) != set(pools):
            world.joined_at_s[member.name] = world.time_s
        world.seats_taken[member.name] = Seat(
            address=member.address, standing=Standing.UP, connections=0, pools=pools
        )

    def drain(self, name: InstanceName) -> None:
        """See ports.Balancer."""
        self._world.meet("balancer")
        seat = self._world.seats_taken.get(name)
        if seat is not None and name in self._world.faults.check_fails and self._world.faults.sick_cannot_drain:
            raise Busy(f"{name} is down after it was told otherwise", whose=Whose.BALANCER)
        if seat is not None:
            self._world.seats_taken[name] = dataclasses.replace(seat, standing=Standing.DRAINING)

    def heed(self, name: InstanceName, *, well: bool) -> None:
        """See ports.Balancer."""
        self._world.meet("balancer")
        if well:
            self._world.told_unwell.discard(name)
        elif name in self._world.seats_taken:
            self._world.told_unwell.add(name)

    def leave(self, name: InstanceName) -> None:
        """See ports.Balancer."""
        self._world.meet("balancer")
        self._world.seats_taken.pop(name, None)
        self._world.told_unwell.discard(name)
        for key in [key for key in self._world.bytes if key[0] == name]:
            del self._world.bytes[key]

    def seats(self) -> Mapping[InstanceName, Seat]:
        """See ports.Balancer."""
        self._world.meet("balancer")
        world = self._world
        return {name: self._now(name, seat) for name, seat in world.seats_taken.items()}

    def _first_check_s(self, seat: Seat) -> float:
        frontends, delays = self._delays
        if frontends is not self._world.frontends:
            frontends = self._world.frontends
            delays = {end.pool: end.probe.initial_delay_s or 0.0 for end in frontends if end.probe is not None}
            self._delays = frontends, delays
        return CHECK_AFTER_S + max((delays.get(pool, 0.0) for pool in seat.pools), default=0.0)

    def glance(self, name: InstanceName) -> Seat | None:
        """See ports.Balancer."""
        return self.seat(name)

    def seat(self, name: InstanceName) -> Seat | None:
        """See ports.Balancer."""
        self._world.meet("balancer")
        seat = self._world.seats_taken.get(name)
        return None if seat is None else self._now(name, seat)

    def _now(self, name: InstanceName, seat: Seat) -> Seat:
        world = self._world
        checked = world.time_s - world.joined_at_s.get(name, 0.0) >= self._first_check_s(seat)
        fails = checked and not world.is_reachable(name)
        sick = seat.standing is Standing.UP and (fails or name in world.told_unwell)
        standing = Standing.DOWN if sick else seat.standing
        connections = world.connections.get(name, 0)
        return dataclasses.replace(seat, standing=standing, connections=connections, checked=checked)

    def traffic(self, pools: Collection[PoolName]) -> Mapping[PoolName, Carried]:
        """See ports.Balancer."""
        self._world.meet("balancer")
        world = self._world
        served = {end.pool for end in world.frontends} & set(pools)
        return {
            pool: Carried.by(
                {name: world.traffic_of(name, pool) for name, at in world.seats_taken.items() if pool in at.pools}
            )
            for pool in served
        }

    def probed(self, pools: Collection[PoolName]) -> Mapping[PoolName, Mapping[InstanceName, Sequence[Probed]]]:
        """See ports.Balancer. Its members were asked once, a moment after they had joined."""
        self._world.meet("balancer")
        world = self._world
        served = {end.pool for end in world.frontends} & set(pools)
        results = {
            name: (Probed(at_s=world.now_s(), why="" if world.is_reachable(name) else "the answer is 503"),)
            for name, seat in world.seats_taken.items()
            if self._now(name, seat).checked
        }
        members = {
            pool: {
                name: results[name]
                for name, seat in world.seats_taken.items()
                if pool in seat.pools and name in results
            }
            for pool in served
        }
        return {pool: of_it for pool, of_it in members.items() if of_it}

    def faults(self) -> Sequence[str]:
        """See ports.Balancer."""
        return tuple(self._world.faults.balancer)


class FakeDoors:
    """Doors in memory."""

    def __init__(self, world: World) -> None:
        self._world = world

    def reach(self, member: Member) -> None:
        """See ports.Doors."""
        self._world.meet("doors")
        there = {end.pool: len(end.ports) for end in self._world.frontends if end.each}
        index = place_of(member.name)[1]
        if pools := frozenset(pool for pool, _ in member.pools if index < there.get(pool, 0)):
            self._world.doors[member.name] = pools
        else:
            self._world.doors.pop(member.name, None)
        if missing := [pool for pool, _ in member.pools if pool not in there]:
            raise Busy(f"the endpoint {missing[0]} is not set up yet")

    def reached(self) -> Collection[InstanceName]:
        """See ports.Doors."""
        return frozenset(self._world.doors)


class FakeVips:
    """Virtual addresses in memory."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wanted: frozenset[str] = frozenset()

    def hold(self, vips: Collection[str]) -> Held:
        """See ports.Vips."""
        self._world.meet("vips")
        world = self._world
        with world.lock:
            if self._wanted == set(vips) == world.vips and not world.faults.others_vips:
                return Held()
            before, self._wanted = self._wanted, frozenset(vips)
            refused = self._wanted & world.faults.others_vips
            added = self._wanted - refused - world.vips
            world.vips |= added
            world.vips_taken_off += sorted(world.vips - self._wanted)
            world.vips &= self._wanted
            self._wanted -= refused
        why = {vip: Foreign(f"{vip} is in use by 52:54:00:ba:d0:01 in the network of eth0") for vip in refused}
        return Held(put_back=added & before, refused=why)

    def held(self) -> frozenset[str]:
        """See ports.Vips."""
        self._world.meet("vips")
        return frozenset(self._world.vips)


class FakeNetwork:
    """Networks in memory."""

    def __init__(self, world: World) -> None:
        self._world = world

    def lay(
        self,
        service: Service,
        instances: Sequence[Instance],
        beside: Service | None = None,  # noqa: ARG002 - the port's
    ) -> tuple[Notice, ...]:
        """See ports.Network."""
        self._world.meet("network")
        world = self._world
        if world.faults.network_cannot_start:
            raise Transient(f"network {service.network.name}: dnsmasq: Address already in use")
        world.networks[service.name] = frozenset(one.name for one in instances)
        world.cards[service.name] = {one.name: one.nic for one in instances}
        taken = sorted(one.name for one in instances if one.name in world.unplugged)
        notices = [Notice(name, "somebody took its port off the service's bridge: put back") for name in taken]
        world.unplugged.difference_update(taken)
        return tuple(notices)

    def lift(self, service: Service) -> None:
        """See ports.Network."""
        self._world.meet("network")
        left = [name for name, machine in self._world.machines.items() if machine.instance.service == service.name]
        assert not left, f"the network of {service.name} is lifted under {left}"
        self._world.networks.pop(service.name, None)
        self._world.cards.pop(service.name, None)
        self._world.called.pop(service.name, None)

    def call(self, service: Service, ready: Mapping[str, Collection[str]]) -> None:
        """See ports.Network."""
        self._world.meet("network")
        if service.name in self._world.networks:
            self._world.called[service.name] = {role: frozenset(those) for role, those in ready.items() if those}

    def inventory(self) -> frozenset[str]:
        """See ports.Network."""
        self._world.meet("network")
        return frozenset(self._world.networks)

    def laid(self, service: Service) -> Mapping[InstanceName, Nic]:
        """See ports.Network."""
        self._world.meet("network")
        return dict(self._world.cards.get(service.name, {}))

    def missing(self, service: Service, instances: Sequence[Instance]) -> tuple[Missing, ...]:
        """See ports.Network."""
        found = []
        if service.name not in self._world.networks:
            found.append(Missing(Part.NETWORK, service.name, "it does not run"))
        gone = self._world.faults.bridges_gone
        cards = ((one.name, one.lan) for one in instances)
        found += [
            Missing(Part.PORT, whose, f"there is no bridge {lan.bridge} on this host")
            for whose, lan in cards
            if lan is not None and lan.bridge in gone
        ]
        ports = ((one.name, self.fault(one) or ("" if self.has_port(one) else "it is gone")) for one in instances)
        return (*found, *(Missing(Part.PORT, whose, why) for whose, why in ports if why))

    def fault(self, instance: Instance) -> str:
        """See ports.Network."""
        machine = self._world.machines.get(instance.name)
        running = machine is not None and machine.power is Power.RUNNING
        return "its port is not on its bridge" if running and instance.name in self._world.unplugged else ""

    def given(self) -> Sequence[Given]:
        """See ports.Network."""
        return tuple(self._world.given.values())

    def keeps(self, address: str) -> str:
        """See ports.Network."""
        return "this host's own address" if address in self._world.own else ""

    def has_port(self, instance: Instance) -> bool:
        """See ports.Network."""
        machine = self._world.machines.get(instance.name)
        return machine is not None and machine.power is not Power.OFF and machine.has_port

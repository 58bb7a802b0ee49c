"""The whole world in memory, with the invariants asserted inside: for tests of thousands of cases, nothing else.

A `World` is unkind on purpose: a guest takes its time, sets itself up only from a disc, restarts to complete its
setup, answers nothing while it boots, and every call that would break an invariant is an AssertionError.
"""

from __future__ import annotations

from orchestrator import ports
from orchestrator.drivers.fake.blobs import FakeBlobs
from orchestrator.drivers.fake.channel import FakeChannel
from orchestrator.drivers.fake.disks import FakeDisks
from orchestrator.drivers.fake.drives import FakeDrives
from orchestrator.drivers.fake.faults import Faults
from orchestrator.drivers.fake.inside import FakeInside
from orchestrator.drivers.fake.machines import FakeGuest, FakeHypervisor
from orchestrator.drivers.fake.parts import FakeBalancer, FakeDoors, FakeMedia, FakeNetwork, FakeVips
from orchestrator.drivers.fake.passing import FakePci
from orchestrator.drivers.fake.world import FakeMachine, World
from orchestrator.drivers.store.memory import MemoryStore as FakeStore

__all__ = ["FakeBlobs", "FakeDrives", "FakeInside", "FakeMachine", "FakeStore", "Faults", "World", "fake_host"]


def fake_host(world: World) -> ports.Host:
    """All ports of one host, answered by the fake world."""
    machine = ports.Machine(
        disks=FakeDisks(world),
        blobs=FakeBlobs(world),
        media=FakeMedia(world),
        hypervisor=FakeHypervisor(world),
        guest=FakeGuest(world),
        inside=FakeInside(world),
        channel=FakeChannel(world),
        network=FakeNetwork(world),
        clock=world,
        pci=FakePci(world),
    )
    front = ports.Front(balancer=FakeBalancer(world), doors=FakeDoors(world), vips=FakeVips(world))
    return ports.Host(machine=machine, front=front)

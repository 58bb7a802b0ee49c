"""Puts the parts of the hypervisor side together: one connection, one set of monitors, two ports and the evidence."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping

from orchestrator.drivers.evidence import Evidence, Source, Transcript
from orchestrator.drivers.guest.agent_inside import AgentInside
from orchestrator.drivers.guest.agent_probes import AgentProbes
from orchestrator.drivers.guest.guest_agent import LibvirtGuest
from orchestrator.drivers.guest.runtime_channel import RuntimeChannel
from orchestrator.drivers.hypervisor.domain_xml import MachineType
from orchestrator.drivers.hypervisor.last_words import LastWords
from orchestrator.drivers.hypervisor.libvirt_host import LibvirtHypervisor
from orchestrator.drivers.hypervisor.qmp_watch import Monitors, listening
from orchestrator.drivers.kept_evidence import KeptEvidence
from orchestrator.drivers.tools.agent_channel import AT_ONCE, AgentChannel
from orchestrator.drivers.tools.event_loop import event_loop_thread
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.libvirt_connection import AGENT_CONNECTED, LibvirtConnection, close_all, open_all
from orchestrator.model import InstanceName
from orchestrator.ports import Clock, Desk


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VirtualMachines:
    """What the daemon needs of this side."""

    connection: LibvirtConnection  # shared with whoever else talks to the same libvirtd
    hypervisor: LibvirtHypervisor
    guest: LibvirtGuest
    inside: AgentInside
    channel: RuntimeChannel
    probes: AgentProbes
    evidence: Evidence


@contextlib.contextmanager
def virtual_machines(
    uri: str,
    layout: Layout,
    machine: MachineType,
    loop: asyncio.AbstractEventLoop,
    wake: Callable[[InstanceName, str], None],
    clock: Clock,
    kept: KeptEvidence,
    sources: Mapping[str, Source],
    desk: Desk,
) -> Iterator[VirtualMachines]:
    """Opens this host's VMs. `loop` must run in another thread until the context has ended. `sources` are those of
    evidence that this side does not know.

    `wake` is called with an instance and why, from several threads, and must neither block nor raise. The name ""
    means everyone: events were lost while libvirtd was away. Names may also be those of domains that are not ours.
    """
    shutil.rmtree(layout.former_monitors, ignore_errors=True)  # Sockets of VMs that any other could speak to.
    with listening(layout.monitor) as listener, listening(layout.channel) as guests, event_loop_thread() as apart:
        monitors = Monitors(loop, wake, listener, clock)
        # Guests are hostile, and monitors must not wait for them: they have a loop, and its thread, to themselves.
        runtime = RuntimeChannel(apart, guests, monitors.whose, wake, desk, clock)
        yield from _opened(uri, layout, machine, monitors, runtime, wake, clock, kept, sources)


def _opened(
    uri: str,
    layout: Layout,
    machine: MachineType,
    monitors: Monitors,
    runtime: RuntimeChannel,
    wake: Callable[[InstanceName, str], None],
    clock: Clock,
    kept: KeptEvidence,
    sources: Mapping[str, Source],
) -> Iterator[VirtualMachines]:
    transcript = Transcript(clock)

    def happened(name: str, why: str) -> None:
        if why == AGENT_CONNECTED or not name:  # Without a name: events were lost, an agent's among them perhaps.
            channel.reconnected(InstanceName(name))
        wake(InstanceName(name), why)

    connection = LibvirtConnection(uri, happened, clock)
    # Agents get connections of their own, or those that hang would keep every look at a healthy VM waiting.
    for_agents = [LibvirtConnection(uri, None, clock) for _ in range(AT_ONCE)]
    channel = AgentChannel(for_agents, clock)
    open_all([connection, *for_agents])
    try:
        guest = LibvirtGuest(channel, monitors, transcript, clock)
        last_words = LastWords(connection, monitors)

        def forget(name: InstanceName) -> None:
            guest.forget(name)
            runtime.forget(name)

        own = {"libvirt": last_words.machine, "screen": last_words.screen, "guest": guest.evidence}
        evidence = Evidence(layout, transcript, kept, {**own, **sources})
        yield VirtualMachines(
            connection=connection,
            hypervisor=LibvirtHypervisor(connection, channel, monitors, evidence, layout, machine, forget),
            guest=guest,
            inside=AgentInside(channel),
            channel=runtime,
            probes=AgentProbes(channel),
            evidence=evidence,
        )
    finally:
        close_all([connection, *for_agents])
        runtime.close()
        monitors.close()

"""Limits of VMs that run, by a libvirt without machines (its test driver): when it is asked, and what it keeps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.evidence import Evidence, Transcript
from orchestrator.drivers.hypervisor.domain_xml import NAMESPACE, Accelerator, MachineType
from orchestrator.drivers.hypervisor.libvirt_host import LibvirtHypervisor
from orchestrator.drivers.hypervisor.qmp_watch import Monitors, listening
from orchestrator.drivers.kept_evidence import KeptEvidence
from orchestrator.drivers.tools.agent_channel import AgentChannel
from orchestrator.drivers.tools.event_loop import event_loop_thread
from orchestrator.drivers.tools.layout import Layout
from orchestrator.model import DiskBus, Instance, Limits
from tests.unit.drivers.hypervisor.driverless import URI, Driverless
from tests.world.instances import instance

_XML = """<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory>65536</memory><os><type>hvm</type></os>
<metadata><v:instance xmlns:v='{namespace}' name='{name}' service='shop' role='web' generation='1' uid='u' image='i'/>
</metadata><devices><interface type='network'><source network='default'/><target dev='{tap}'/></interface>
</devices></domain>"""


class Counted(Driverless):
    """Every time that somebody takes the connection is noted: without it libvirt cannot be asked anything."""

    def __init__(self) -> None:
        super().__init__(URI, None, SystemClock())
        self.taken: list[str] = []

    @contextlib.contextmanager
    def use(self, what: str) -> Iterator[libvirt.virConnect]:
        """See LibvirtConnection."""
        self.taken.append(what)
        with super().use(what) as connection:
            yield connection


class Machines:
    """A hypervisor on the test driver, with one VM, and how often it has asked."""

    def __init__(self, hypervisor: LibvirtHypervisor, connection: Counted, of: Instance) -> None:
        self.hypervisor, self.instance = hypervisor, of
        self._connection = connection
        xml = _XML.format(namespace=NAMESPACE, name=of.name, uuid=of.vm_uuid, tap=of.nic.tap)
        self.domain = libvirt.open(URI).defineXML(xml)
        self.domain.create()

    def look(self, limits: Limits) -> list[str]:
        """A look at the instance, whose role says so, as a step takes it; returns for what libvirt was asked."""
        self._connection.taken.clear()
        self.hypervisor.look(self.instance.name)
        role = dataclasses.replace(self.instance.role, limits=limits)
        self.hypervisor.limit(dataclasses.replace(self.instance, role=role))
        return list(self._connection.taken)

    def rate_mib(self) -> int:
        """What libvirt lets the interface carry."""
        told = self.domain.interfaceParameters(self.instance.nic.tap, 0)
        return int(told["inbound.average"]) // 1024


def with_nvme(of: Instance) -> Instance:
    """With disks of a kind that libvirt cannot throttle: its test driver refuses to throttle the others."""
    hardware = dataclasses.replace(of.role.hardware, disk_bus=DiskBus.NVME)
    return dataclasses.replace(of, role=dataclasses.replace(of.role, hardware=hardware))


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """web-0.shop runs."""
    layout = Layout(tmp_path / "state", tmp_path / "run")
    layout.run.mkdir()
    layout.channel.touch()
    connection = Counted()
    with event_loop_thread() as loop, listening(layout.monitor) as listener:
        monitors = Monitors(loop, lambda _name, _why: None, listener, SystemClock())
        machine = MachineType(accelerator=Accelerator.TCG, shares_cpus=False, shapes_traffic=True)
        hypervisor = LibvirtHypervisor(
            connection,
            AgentChannel([connection], SystemClock()),
            monitors,
            Evidence(layout, Transcript(SystemClock()), KeptEvidence(layout, SystemClock())),
            layout,
            machine,
            lambda _: None,
        )
        made = Machines(hypervisor, connection, with_nvme(instance()))
        try:
            yield made
        finally:
            with contextlib.suppress(libvirt.libvirtError):
                made.domain.destroy()
            made.domain.undefine()
            monitors.close()


ONLY_A_LOOK = ["look at web-0.shop"]
AND_LIMITS = ["look at web-0.shop", "limit web-0.shop"]


def test_a_vm_that_has_its_limits_is_only_looked_at(machines: Machines) -> None:
    """libvirt is asked for limits once for each change and each start of the VM, however often it is looked at."""
    slow, slower = Limits(network_rate_mib_per_s=20), Limits(network_rate_mib_per_s=10)
    assert machines.look(slow) == AND_LIMITS
    assert machines.rate_mib() == 20
    assert [machines.look(slow) for _ in range(3)] == [ONLY_A_LOOK] * 3
    assert machines.look(slower) == AND_LIMITS
    assert machines.rate_mib() == 10
    assert machines.look(slower) == ONLY_A_LOOK


def test_another_start_of_the_vm_is_told_anew(machines: Machines) -> None:
    """One that somebody else has ended and started has the limits of its definition, whatever its last run had."""
    slow = Limits(network_rate_mib_per_s=20)
    assert [machines.look(slow), machines.look(slow)] == [AND_LIMITS, ONLY_A_LOOK]
    machines.domain.destroy()
    machines.look(slow)
    machines.domain.create()
    assert machines.look(slow) == AND_LIMITS
    assert machines.rate_mib() == 20
    assert machines.look(slow) == ONLY_A_LOOK

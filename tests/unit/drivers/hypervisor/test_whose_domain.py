"""Whose a domain is, asked of a libvirt without machines (its test driver)."""

from __future__ import annotations

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
from orchestrator.errors import Foreign
from orchestrator.model import InstanceName
from tests.unit.drivers.hypervisor.driverless import URI, Driverless

NAME = InstanceName("web-0.shop")
_XML = """<domain type='test'><name>{name}</name><memory>65536</memory><os><type>hvm</type></os><metadata>
<v:instance xmlns:v='{namespace}' name='{name}' service='shop' role='web' generation='1' uid='u' image='i'{whose}/>
</metadata></domain>"""


@pytest.fixture
def hypervisor(tmp_path: Path) -> Iterator[LibvirtHypervisor]:
    """The installation "ours" on the test driver."""
    layout = Layout(tmp_path / "state", tmp_path / "run")
    layout.run.mkdir()
    layout.channel.touch()
    connection = Driverless(URI, None, SystemClock())
    with event_loop_thread() as loop, listening(layout.monitor) as listener:
        monitors = Monitors(loop, lambda _name, _why: None, listener, SystemClock())
        machine = MachineType(accelerator=Accelerator.TCG, installation="ours")
        evidence = Evidence(layout, Transcript(SystemClock()), KeptEvidence(layout, SystemClock()))
        yield LibvirtHypervisor(
            connection, AgentChannel([connection], SystemClock()), monitors, evidence, layout, machine, lambda _: None
        )
        monitors.close()


@pytest.mark.parametrize(("whose", "claimed"), [("ours", True), ("", False), ("another", None)])
def test_whose_a_domain_is(hypervisor: LibvirtHypervisor, whose: str, claimed: bool | None) -> None:
    """A domain of ours is ours; one that does not say whose it is can be seen, and is not claimed; one of another
    installation is in no inventory, and whatever is asked of it is refused.
    """
    attribute = f" installation='{whose}'" if whose else ""
    domain = libvirt.open(URI).defineXML(_XML.format(name=NAME, namespace=NAMESPACE, whose=attribute))
    try:
        assert [seen.claimed for seen in hypervisor.inventory()] == ([] if claimed is None else [claimed])
        if claimed is None:
            for verb in ("look", "ask_restart", "ask_shutdown", "reset", "power_off", "eject", "undefine"):
                with pytest.raises(Foreign, match="another vmrole"):
                    getattr(hypervisor, verb)(NAME)
    finally:
        domain.undefine()

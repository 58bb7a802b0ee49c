"""The real world as a stage: libvirt and QEMU of the lab, the drivers that lay disks and discs, the micro image."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.control.guest_desk import GuestDesk
from orchestrator.control.present import Present
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.disks.answer_media import AnswerDiscs
from orchestrator.drivers.disks.blobs import BlobDirectory
from orchestrator.drivers.disks.drives import RawDrives
from orchestrator.drivers.disks.overlays import QemuImgDisks
from orchestrator.drivers.fake import FakeStore
from orchestrator.drivers.hypervisor.domain_xml import Accelerator, MachineType
from orchestrator.drivers.kept_evidence import KeptEvidence
from orchestrator.drivers.secrets import HostSecrets
from orchestrator.drivers.tools.event_loop import event_loop_thread
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.virtual_machines import VirtualMachines, virtual_machines
from orchestrator.model import DiskFormat, Instance, InstanceName
from orchestrator.ports import Guest, Hypervisor, Inside
from tests.contract.suites.stage import NETWORK, SUBNET, make_instance
from tests.lab.harness import places
from tests.lab.harness.lab import Lab
from tests.world.waiting import comes_true

_LOOK_S = 0.1
_NETWORK_XML = """
<network>
  <name>{network}</name>
  <bridge name='vr-contract'/>
  <ip address='{subnet}.1' prefix='24'>
    <dhcp>{hosts}</dhcp>
  </ip>
</network>"""


class RealStage:
    """A libvirt network with reservations, and everything else as the daemon has it."""

    def __init__(
        self,
        lab: Lab,
        layout: Layout,
        image: Path,
        machines: VirtualMachines,
        woken: list[tuple[InstanceName, str]],
        opened: contextlib.ExitStack,
    ) -> None:
        self.lab = lab
        self.layout = layout
        self.image_sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
        self.hypervisor: Hypervisor = machines.hypervisor
        self.guest: Guest = machines.guest
        self.inside: Inside = machines.inside
        self.woken = woken
        self._opened = opened
        self.disks = QemuImgDisks(layout)
        self._discs = AnswerDiscs(layout, HostSecrets(Path("/nowhere"), environment={}).of)
        held = layout.image(self.image_sha256, DiskFormat.QCOW2)
        held.parent.mkdir(parents=True)
        shutil.copyfile(image, held)
        held.chmod(0o444)
        nics = [make_instance(self, index).nic for index in range(3)]
        hosts = "".join(f"<host mac='{nic.mac}' ip='{nic.address}'/>" for nic in nics)
        xml = _NETWORK_XML.format(network=NETWORK, subnet=SUBNET, hosts=hosts)
        lab.host.run(["virsh", "net-create", "/dev/stdin"], text=xml)

    def lay(self, instance: Instance, *, disc: bool = True) -> None:
        """See Stage."""
        self._discs.erase(instance.name)
        self.disks.erase_overlay(instance.name)
        self.disks.lay_overlay(instance)
        self.disks.lay_local_storage(instance)
        if disc:
            self._discs.write(instance)

    def lay_drive(self, name: str) -> None:
        """See Stage."""
        RawDrives(self.layout).lay(name, 16)

    def erase_disc(self, instance: Instance) -> None:
        """Destroys the answer disc, as a turn does when the instance is set up."""
        self._discs.erase(instance.name)

    def until(self, true: Callable[[], bool], within_s: float = 120.0) -> None:
        """See Stage."""
        assert comes_true(true, within_s, look_s=_LOOK_S), f"it did not come true within {within_s:.0f} s"

    def kill(self, name: InstanceName) -> None:
        """See Stage."""
        os.kill(self.pid(name), 9)

    def stop_qemu(self, name: InstanceName) -> None:
        """See Stage."""
        os.kill(self.pid(name), signal.SIGSTOP)

    def continue_qemu(self, name: InstanceName) -> None:
        """See Stage."""
        os.kill(self.pid(name), signal.SIGCONT)

    def suspend(self, name: InstanceName) -> None:
        """See Stage."""
        self.lab.virsh("suspend", name)

    def resume(self, name: InstanceName) -> None:
        """See Stage."""
        self.lab.virsh("resume", name)

    def pid(self, name: InstanceName) -> int:
        """The process of the VM, as libvirt wrote it down."""
        return int(Path(f"/run/libvirt/qemu/{name}.pid").read_text())

    def close(self) -> None:
        """Ends what a daemon holds of this side, as a daemon that ends would; closing twice is fine."""
        self._opened.close()

    @contextlib.contextmanager
    def stopped_libvirtd(self) -> Iterator[None]:
        """libvirtd hangs inside: it takes connections and answers nothing."""
        pid = int(Path("/run/libvirtd.pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def virtual_machines_of(
    lab: Lab, layout: Layout, woken: list[tuple[InstanceName, str]], *, shares_cpus: bool = False
) -> Iterator[VirtualMachines]:
    """The hypervisor side as a daemon opens it; who is woken and why is appended to `woken`."""

    def wake(name: InstanceName, why: str) -> None:
        woken.append((name, why))

    machine = MachineType(accelerator=Accelerator.TCG, shares_cpus=shares_cpus)
    with (
        event_loop_thread() as loop,
        virtual_machines(
            lab.libvirt_uri,
            layout,
            machine,
            loop,
            wake,
            SystemClock(),
            KeptEvidence(layout, SystemClock()),
            {},
            _desk(layout),
        ) as machines,
    ):
        yield machines


def _desk(layout: Layout) -> GuestDesk:
    """Of a daemon that has nothing on record."""
    store = FakeStore()
    return GuestDesk(Present(store), SystemClock(), BlobDirectory(layout, SystemClock()), store)


@contextlib.contextmanager
def real_stage(lab: Lab, image: Path, *, shares_cpus: bool = False) -> Iterator[RealStage]:
    """A stage with files of its own; its VMs are swept by the fixture `lab`."""
    woken: list[tuple[InstanceName, str]] = []
    # Not below pytest's directory: the path of a monitor's socket has to be short.
    with (
        tempfile.TemporaryDirectory(prefix="stage-", dir=lab.root) as root,
        contextlib.ExitStack() as opened,
    ):
        layout = Layout(Path(root, "state"), Path(root, "run"))
        layout.run.mkdir()
        places.let_qemu_pass(layout.state)
        machines = opened.enter_context(virtual_machines_of(lab, layout, woken, shares_cpus=shares_cpus))
        yield RealStage(lab, layout, image, machines, woken, opened)

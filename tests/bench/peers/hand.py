"""By hand: an overlay with qemu-img, a domain defined and started with virsh. The least that a reset can be."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.bench.peers.agents import Machine
from tests.bench.peers.stage import CPU, MACHINE, MEMORY_MIB, NETWORK, PORT, Seat, Stage

_DOMAIN: Final = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>{memory_mib}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='{machine}'>hvm</type><boot dev='hd'/></os><features><acpi/><apic/></features>
<cpu mode='custom' match='exact' check='none'><model fallback='allow'>{cpu}</model></cpu>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{overlay}'/>
<target dev='vda' bus='virtio'/></disk><disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='{seed}'/><target dev='vdb' bus='virtio'/></disk>
<interface type='network'><mac address='{mac}'/><source network='{network}'/><model type='virtio'/></interface>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel><serial type='pty'/>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></domain>
"""


class Hand:
    """Virsh and qemu-img."""

    tool = "hand"
    images: Sequence[str] = ("debian", "micro")
    rests = True
    address_is = "its own"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._image = ""
        self._seats: list[Seat] = []

    def version(self) -> str:
        """Of libvirt, whose virsh it is."""
        return "libvirt " + self._stage.run("virsh", "--version").strip()

    def set_up(self, image: str, machines: int) -> None:
        """See Peer."""
        self._image = image
        self._seats = [self._stage.seat(self.tool, number) for number in range(machines)]
        for seat in self._seats:
            self._stage.seed(seat, image)
            self._start(seat)

    def machine(self, number: int) -> Machine:
        """See Peer."""
        return self._stage.domain(self._seats[number].name)

    def url(self, number: int) -> str:
        """See Peer."""
        return f"http://{self._seats[number].address}:{PORT}/"

    def reset(self, numbers: Sequence[int]) -> None:
        """Destroys, and starts the same on a new overlay."""
        with ThreadPoolExecutor(len(numbers)) as pool:
            list(pool.map(self._reset, [self._seats[number] for number in numbers]))

    def shutdown_s(self, number: int, since_s: float) -> float:
        """It is ended."""
        return 0.0

    def remove(self) -> None:
        """See Peer."""
        for seat in self._seats:
            for verb in ("destroy", "undefine"):
                self._stage.lab.host.run(["virsh", verb, seat.name], check=False)
            for file in self._stage.pool.glob(f"{seat.name}*"):
                file.unlink()
        self._seats = []

    def _reset(self, seat: Seat) -> None:
        self._stage.run("virsh", "destroy", seat.name)
        self._stage.run("virsh", "undefine", seat.name)
        self._start(seat)

    def _start(self, seat: Seat) -> None:
        overlay, definition = (self._stage.pool / f"{seat.name}{end}" for end in (".qcow2", ".xml"))
        overlay.unlink(missing_ok=True)
        base = str(self._stage.base(self._image))
        self._stage.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, str(overlay))
        definition.write_text(
            _DOMAIN.format(
                name=seat.name,
                memory_mib=MEMORY_MIB[self._image],
                machine=MACHINE,
                cpu=CPU,
                overlay=overlay,
                seed=seat.seed,
                mac=seat.mac,
                network=NETWORK,
            )
        )
        self._stage.run("virsh", "define", str(definition))
        self._stage.run("virsh", "start", seat.name)

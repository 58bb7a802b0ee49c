"""What all tools of the comparison have alike: the image, the answers, the network, the pool, the processor."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import libvirt

from tests.bench.peers import agents
from tests.bench.peers.agents import Machine
from tests.lab.harness import places
from tests.lab.harness.lab import Lab

CPU: Final = "qemu64"  # which all of them can say; `max` is a name of QEMU's and not of all tools'
MACHINE: Final = "q35"
MEMORY_MIB: Final = {"debian": 512, "micro": 128}
PORT: Final = 8080
NETWORK: Final = "peers"
BRIDGE: Final = "peers0"
EIGHT: Final = 8
TOOLS: Final = ("hand", "virt-install", "kcli", "vagrant", "ganeti")  # each has ten addresses of the network
COMMAND_S: Final = 1800.0
# Reservations: for an address out of a range dnsmasq would wait three seconds for a ping.
_NETWORK_XML: Final = """<network><name>{name}</name><bridge name='{bridge}' stp='off'/><forward mode='open'/>
<ip address='10.91.0.1' netmask='255.255.255.0'><dhcp>{hosts}</dhcp></ip></network>"""
POOL_XML: Final = "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"
_KEYS: Final = "usr/share/rubygems-integration/all/gems/vagrant-*/keys/vagrant.pub"
PAGE: Final = """  - path: /srv/page/index.html
    content: "clean"
  - path: /etc/systemd/system/page.service
    content: |
      [Unit]
      After=network.target
      [Service]
      ExecStart=/usr/bin/python3 -m http.server 8080 --directory /srv/page
      [Install]
      WantedBy=multi-user.target
"""
# The user is Vagrant's, who logs in as such; everybody's guest has it.
ANSWERS: Final = """#cloud-config
users:
  - name: vagrant
    shell: /bin/bash
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys: ["{key}"]
write_files:
{page}runcmd:
  - [systemctl, enable, {now}page.service]
"""


class Peer(Protocol):
    """One tool: how it makes, resets and removes machines. Its verbs take a machine's number."""

    tool: str
    images: Sequence[str]  # what it can be measured with
    rests: bool  # whether its machines may be suspended while others are measured
    address_is: str  # whose address is asked under load: the VIP, or the machine's own

    def version(self) -> str:
        """Of the tool. Raises OSError or CommandError where it is not there."""

    def set_up(self, image: str, machines: int) -> None:
        """Makes so many machines, from 0 on, and returns when they have been started."""

    def machine(self, number: int) -> Machine:
        """Through which the bench looks at it."""

    def url(self, number: int) -> str:
        """Where its page is asked for."""

    def reset(self, numbers: Sequence[int]) -> None:
        """The tool's own commands that make them clean; all at once where there are several."""

    def shutdown_s(self, number: int, since_s: float) -> float:
        """For how long its old guest was shutting down since then (seconds since the epoch); 0 where it is ended."""

    def remove(self) -> None:
        """Takes away all that is left of its machines."""


@dataclasses.dataclass(frozen=True, slots=True)
class Seat:
    """A machine's own: name, MAC, address, and the disk with its answers, whose label is `cidata`."""

    name: str
    mac: str
    address: str
    seed: Path


class Stage:
    """The network and the pool, in a lab; `with` takes them away again."""

    def __init__(self, lab: Lab, images: dict[str, Path]) -> None:
        self.lab = lab
        self.pool = lab.root / "peers"
        self._images = images
        self.connection = libvirt.open(lab.libvirt_uri)
        libvirt.registerErrorHandler(lambda *_: None, None)  # Who is asked too early says so; nobody need read it.

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self._away)
            self.pool.mkdir()
            self.pool.chmod(0o755)
            places.let_qemu_pass(self.pool / "files")
            for image, path in self._images.items():
                shutil.copyfile(path, self.base(image))
                self.base(image).chmod(0o644)
            self._define("net-define", self.pool / "network.xml", self._network())
            self.lab.virsh("net-start", NETWORK)
            self._define("pool-define", self.pool / "pool.xml", POOL_XML.format(name="default", path=self.pool))
            self.lab.virsh("pool-start", "default")
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._away()

    def _away(self) -> None:
        for verb, what in (
            ("net-destroy", NETWORK),
            ("net-undefine", NETWORK),
            ("pool-destroy", "default"),
            ("pool-undefine", "default"),
        ):
            self.lab.host.run(["virsh", verb, what], check=False)
        shutil.rmtree(self.pool, ignore_errors=True)
        self.connection.close()

    def base(self, image: str) -> Path:
        """The image that all machines lie on, in the pool."""
        return self.pool / f"{image}.qcow2"

    def seat(self, tool: str, number: int) -> Seat:
        """Of a tool's machine."""
        return self.seat_in(self.pool, tool, number)

    @staticmethod
    def seat_in(pool: Path, tool: str, number: int) -> Seat:
        """The same, with its files in a pool."""
        row, name = TOOLS.index(tool), f"{tool}-{number}"
        address = f"10.91.0.{10 * (row + 1) + number}"
        return Seat(name, f"52:54:00:91:0{row}:0{number}", address, pool / f"seed-{name}.iso")

    def seed(self, seat: Seat, image: str) -> None:
        """Writes the disk with its answers, as a tool's user would have it made once."""
        files = self.pool / f"answers-{seat.name}"
        files.mkdir(exist_ok=True)
        meta = {"instance-id": str(uuid.uuid4()), "local-hostname": seat.name}
        if image == "micro":
            meta |= {"vmrole-instance": seat.name, "vmrole-service": "peers"}
        (files / "meta-data").write_text(json.dumps(meta, indent=1))
        (files / "user-data").write_text(answers(now=True) if image == "debian" else "#cloud-config\n{}\n")
        self.lab.host.run(["genisoimage", "-quiet", "-o", str(seat.seed), "-V", "cidata", "-J", "-r", str(files)])
        seat.seed.chmod(0o666)

    def domain(self, name: str) -> agents.Domain:
        """A machine that libvirt runs."""
        return agents.Domain(name, self.connection)

    def run(self, *argv: str) -> str:
        """What a command of a tool's prints; CommandError when it fails."""
        return self.lab.host.run(argv, timeout_s=COMMAND_S).stdout

    def _network(self) -> str:
        seats = [self.seat(tool, number) for tool in TOOLS for number in range(EIGHT)]
        hosts = "".join(f"<host mac='{seat.mac}' ip='{seat.address}'/>" for seat in seats)
        return _NETWORK_XML.format(name=NETWORK, bridge=BRIDGE, hosts=hosts)

    def _define(self, verb: str, file: Path, xml: str) -> None:
        file.write_text(xml)
        self.lab.virsh(verb, str(file))


def answers(*, now: bool) -> str:
    """The same page for everybody; `now` starts it in the first boot, as there is no other."""
    key = next((file.read_text().strip() for file in Path("/").glob(_KEYS)), "")
    return ANSWERS.format(key=key, page=PAGE, now="--now, " if now else "")

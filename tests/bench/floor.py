"""The floor: what vmrole does for an instance, done by hand with qemu-img, genisoimage, virsh and the agent.

The same image, the same machine and the same answers, and nothing recorded, guarded, watched or balanced.
"""

from __future__ import annotations

import base64
import json
import shutil
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab.harness.lab import Lab

READY_S = 300.0
LOOK_S = 0.2  # Each look is a process of virsh, which takes its time from the guest.
VMS_MAX = 8
OFF_S = 60.0

# Reservations, as vmrole makes them: for an address out of a range dnsmasq would wait three seconds for a ping.
NETWORK = """<network><name>floor</name><bridge name='floor0' stp='off'/><forward mode='open'/>
<ip address='10.91.0.1' prefix='24'><dhcp>{hosts}</dhcp></ip></network>"""
HOST = "<host mac='52:54:00:91:00:{number:02x}' ip='10.91.0.{address}'/>"

DOMAIN = """<domain type='{kind}'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>{memory_mib}</memory>
<vcpu>1</vcpu><os><type arch='x86_64' machine='{machine}'>hvm</type><boot dev='hd'/></os>
<features><acpi/>{tcg}</features>
<cpu mode='{cpu}'/><on_reboot>restart</on_reboot><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap'/><source file='{overlay}'/>
<target dev='vda' bus='virtio'/></disk>
<controller type='scsi' model='virtio-scsi'/><disk type='file' device='cdrom'><driver name='qemu' type='raw'/>
<source file='{disc}'/><target dev='sda' bus='scsi'/><readonly/></disk>
<interface type='network'><mac address='52:54:00:91:00:{number:02x}'/><source network='floor'/>
<model type='virtio'/><rom enabled='no'/></interface>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<serial type='pty'/><controller type='usb' model='none'/><memballoon model='none'/>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></domain>"""


class Floor:
    """VMs by hand in a directory of their own; `with` removes all of it."""

    def __init__(self, lab: Lab, image: Path, place: Path, like: str) -> None:
        """`like` is the XML of a domain of vmrole's: machine, accelerator and memory are taken from it."""
        self._lab = lab
        self._image = image
        self._place = place
        self._kind = "kvm" if "type='kvm'" in like else "qemu"
        self._machine = like.split("machine='", 1)[1].split("'", 1)[0]
        self._tcg = "" if self._kind == "kvm" else "<tcg><tb-cache unit='MiB'>32</tb-cache></tcg>"
        self._cpu = "host-passthrough" if self._kind == "kvm" else "maximum"
        self._names: set[str] = set()

    def __enter__(self) -> Floor:
        self._place.mkdir(parents=True, exist_ok=True)
        network = self._place / "network.xml"
        hosts = "".join(HOST.format(number=number, address=10 + number) for number in range(VMS_MAX))
        network.write_text(NETWORK.format(hosts=hosts))
        self._lab.virsh("net-create", str(network))
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            self._lab.host.run(["virsh", "destroy", name], check=False)
            self._lab.host.run(["virsh", "undefine", name], check=False)
        self._lab.virsh("net-destroy", "floor")
        shutil.rmtree(self._place, ignore_errors=True)

    def deploy(self, name: str) -> None:
        """Lays an overlay, writes a disc, defines and starts a VM, and waits until its agent says ready."""
        self._names.add(name)
        overlay, disc = self.overlay(name), self._disc(name)
        overlay.unlink(missing_ok=True)
        backing = ["-b", str(self._image), "-F", "qcow2"]
        self._lab.host.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(overlay)])
        definition = self._place / f"{name}.xml"
        definition.write_text(
            DOMAIN.format(
                kind=self._kind,
                name=name,
                number=int(name.rpartition("-")[2]),
                uuid=uuid.uuid4(),
                memory_mib=128,
                machine=self._machine,
                tcg=self._tcg,
                cpu=self._cpu,
                overlay=overlay,
                disc=disc,
            )
        )
        self._lab.virsh("define", str(definition))
        self._lab.virsh("start", name)
        self._await_ready(name)

    def reimage(self, name: str) -> None:
        """Shuts the VM down, throws it away, and deploys it again."""
        self._lab.virsh("shutdown", name, "--mode", "agent")
        end = time.monotonic() + OFF_S
        while self._lab.virsh("domstate", name).strip() != "shut off":
            assert time.monotonic() < end, f"{name} does not shut down"
            time.sleep(LOOK_S)
        self._lab.virsh("undefine", name)
        self.deploy(name)

    def deploy_all(self, names: list[str]) -> None:
        """Deploys all of them at once."""
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(self.deploy, names))

    def overlay(self, name: str) -> Path:
        """The file of its system disk."""
        return self._place / f"{name}.qcow2"

    def url(self, name: str) -> str:
        """Where its web server answers."""
        return f"http://10.91.0.{10 + int(name.rpartition('-')[2])}:8080/healthz"

    def agent(self, name: str, command: str, arguments: dict[str, object]) -> object:
        """What its agent answers; None where it does not."""
        call = json.dumps({"execute": command, "arguments": arguments})
        done = self._lab.host.run(["virsh", "qemu-agent-command", "--timeout", "5", name, call], check=False)
        return json.loads(done.stdout)["return"] if done.returncode == 0 else None

    def _disc(self, name: str) -> Path:
        files = self._place / name
        files.mkdir(exist_ok=True)
        meta = {
            "instance-id": str(uuid.uuid4()),
            "local-hostname": name,
            "vmrole-generation": 1,
            "vmrole-setup-restart": True,
            "vmrole-service": "floor",
            "vmrole-instance": name,
        }
        (files / "meta-data").write_text(json.dumps(meta, indent=1))
        (files / "user-data").write_text("#cloud-config\n{}\n")
        disc = self._place / f"{name}.iso"
        self._lab.host.run(["genisoimage", "-quiet", "-o", str(disc), "-V", "cidata", "-J", "-r", str(files)])
        return disc

    def _await_ready(self, name: str) -> None:
        """Ready is the image's own marker: /run/vmrole/ready holds the id of this boot, which is not the setup's."""
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            ready = self._read(name, "/run/vmrole/ready")
            if ready and self._read(name, "/var/lib/vmrole/setup-boot") not in ("", ready):
                return
            time.sleep(LOOK_S)
        raise AssertionError(f"{name} is not ready after {READY_S:.0f} s")

    def _read(self, name: str, path: str) -> str:
        opened = self.agent(name, "guest-file-open", {"path": path, "mode": "r"})
        if opened is None:
            return ""
        answer = self.agent(name, "guest-file-read", {"handle": opened, "count": 64})
        self.agent(name, "guest-file-close", {"handle": opened})
        return base64.b64decode(answer["buf-b64"]).decode().strip() if isinstance(answer, dict) else ""

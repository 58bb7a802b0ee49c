"""Ganeti: a cluster of one node; an instance is shut down, reinstalled by its OS definition, and started up.

Its files are the lab's own, laid over those of the host; its host name as well. It starts its daemons by itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.peers.agents import Machine, Process
from tests.bench.peers.stage import BRIDGE, CPU, EIGHT, MEMORY_MIB, PORT, Seat, Stage

_NODE: Final = "node1.peers"
_CLUSTER: Final = "10.91.0.2"
_UTS: Final = Path("/run/peers-uts")
_RUN: Final = Path("/run/ganeti/kvm-hypervisor")
_PRIVATE: Final = ("/etc/ganeti", "/var/lib/ganeti", "/var/log/ganeti", "/srv")
# A full copy: it lays no overlays of files. The second disk has the answers.
_CREATE: Final = """#!/bin/bash
set -e
qemu-img convert -n -O raw "{pool}/$OS_VARIANT.qcow2" "$DISK_0_PATH"
dd if="{pool}/seed-$INSTANCE_NAME.iso" of="$DISK_1_PATH" conv=notrunc status=none
"""
_BOUNDS: Final = (
    "min:disk-size=16,memory-size=64,cpu-count=1,disk-count=1,nic-count=0,spindle-use=1"
    "/max:disk-size=10G,memory-size=4G,cpu-count=4,disk-count=4,nic-count=4,spindle-use=4"
)
_STANDARD: Final = "disk-size=3G,memory-size=512,cpu-count=1,disk-count=1,nic-count=1,spindle-use=1"
_HYPERVISOR: Final = (
    "kvm:kvm_flag=disabled,kvm_path=/usr/bin/qemu-system-x86_64,kernel_path=,initrd_path=,serial_console=true,"
    f"vnc_bind_address=,cpu_type={CPU},acpi=true,security_model=none,disk_cache=default,use_guest_agent=true"
)


class Ganeti:
    """Instances of a cluster with file disks."""

    tool = "ganeti"
    images: Sequence[str] = ("debian", "micro")
    rests = True
    address_is = "its own"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._seats: list[Seat] = []
        self._clustered = False

    def version(self) -> str:
        """Of the package."""
        return self._stage.run("dpkg-query", "-W", "-f", "${Version}", "ganeti").strip()

    def set_up(self, image: str, machines: int) -> None:
        """See Peer."""
        if not self._clustered:
            self._cluster()
        self._seats = [self._stage.seat(self.tool, number) for number in range(machines)]
        for seat in self._seats:
            self._stage.seed(seat, image)
            # fmt: off
            self._ganeti(
                "gnt-instance", "add", "-t", "file", "-o", f"peers+{image}",
                "--disk", "0:size=3G", "--disk", "1:size=16M",
                "-B", f"memory={MEMORY_MIB[image]},vcpus=1",
                "--net", f"0:ip=none,mode=bridged,link={BRIDGE},mac={seat.mac}",
                "-n", _NODE, "--no-ip-check", "--no-name-check", "--no-wait-for-sync", seat.name,
            )
            # fmt: on

    def machine(self, number: int) -> Machine:
        """See Peer."""
        name = self._seats[number].name
        return Process(name, _RUN / "pid" / name, _RUN / "ctrl" / f"{name}.qga")

    def url(self, number: int) -> str:
        """See Peer."""
        return f"http://{self._seats[number].address}:{PORT}/"

    def reset(self, numbers: Sequence[int]) -> None:
        """Shut down at once, reinstalled, started."""
        names = [self._seats[number].name for number in numbers]
        several = ["--force-multiple"] if len(names) > 1 else []
        self._ganeti("gnt-instance", "shutdown", "--timeout=0", *several, *names)
        self._ganeti("gnt-instance", "reinstall", "-f", *several, *names)
        self._ganeti("gnt-instance", "startup", *several, *names)

    def shutdown_s(self, number: int, since_s: float) -> float:
        """It is ended."""
        return 0.0

    def remove(self) -> None:
        """See Peer. Its daemons end with the lab."""
        for seat in self._seats:
            self._ganeti("gnt-instance", "remove", "-f", "--shutdown-timeout=0", seat.name, check=False)
        self._seats = []

    def _cluster(self) -> None:
        host, own = self._stage.lab.host, self._stage.lab.root / "ganeti"
        own.mkdir()
        for place in _PRIVATE:
            private = own / place.strip("/").replace("/", "-")
            private.mkdir()
            if place == "/etc/ganeti":
                shutil.copytree(place, private, symlinks=True, dirs_exist_ok=True)
            host.run(["mount", "--bind", str(private), place])
        upper, work = own / "home", own / "work"  # Python may lie there, so it is not hidden.
        upper.mkdir()
        work.mkdir()
        host.run(
            ["mount", "-t", "overlay", "-o", f"lowerdir=/root,upperdir={upper},workdir={work}", "peers", "/root"]
        )
        for ours in upper, work:
            ours.chmod(0o700)
        names = own / "hosts"
        seats = [self._stage.seat(self.tool, number) for number in range(EIGHT)]
        known = [("10.91.0.1", _NODE), (_CLUSTER, "cluster.peers"), *((seat.address, seat.name) for seat in seats)]
        names.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for address, name in known))
        names.chmod(0o644)
        host.run(["mount", "--bind", str(names), "/etc/hosts"])
        disks = own / "file"
        disks.mkdir(mode=0o750)
        Path("/etc/ganeti/file-storage-paths").write_text(f"{disks}\n")
        self._operating_system(Path("/srv/ganeti/os/peers"))
        Path("/root/.ssh").mkdir(mode=0o700, exist_ok=True)
        Path("/run/lock").mkdir(exist_ok=True)
        if not Path("/root/.ssh/id_rsa").exists():
            host.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", "/root/.ssh/id_rsa"])
        _UTS.touch()
        host.run(["unshare", f"--uts={_UTS}", "hostname", _NODE])
        # fmt: off
        self._ganeti(
            "gnt-cluster", "init", "--enabled-hypervisors=kvm", "--enabled-disk-templates=file",
            f"--file-storage-dir={disks}", "--no-ssh-init", "--no-etc-hosts", f"--master-netdev={BRIDGE}",
            f"--ipolicy-std-specs={_STANDARD}", f"--ipolicy-bounds-specs={_BOUNDS}",
            "-H", _HYPERVISOR, "--nic-parameters", f"mode=bridged,link={BRIDGE}", "cluster.peers",
        )
        # fmt: on
        self._clustered = True

    def _operating_system(self, place: Path) -> None:
        place.mkdir(parents=True)
        (place / "ganeti_api_version").write_text("20\n")
        (place / "variants.list").write_text("debian\nmicro\n")
        (place / "parameters.list").write_text("")
        (place / "create").write_text(_CREATE.format(pool=self._stage.pool))
        for name in ("import", "export", "rename", "verify"):
            (place / name).write_text("#!/bin/sh\nexit 0\n")
        for name in ("create", "import", "export", "rename", "verify"):
            (place / name).chmod(0o755)

    def _ganeti(self, *argv: str, check: bool = True) -> None:
        self._stage.lab.host.run(["nsenter", f"--uts={_UTS}", *argv], check=check, timeout_s=900.0)

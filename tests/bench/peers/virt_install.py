"""virt-install: the domain destroyed and undefined, a new overlay, and an installation that imports it."""

from __future__ import annotations

from typing import Final

from tests.bench.peers.hand import Hand
from tests.bench.peers.stage import CPU, MACHINE, MEMORY_MIB, NETWORK, Seat

_AGENT: Final = "unix,target.type=virtio,target.name=org.qemu.guest_agent.0"


class VirtInstall(Hand):
    """As by hand, but for who makes the domain."""

    tool = "virt-install"

    def version(self) -> str:
        """Of the tool."""
        return self._stage.run("virt-install", "--version").strip()

    def _start(self, seat: Seat) -> None:
        overlay = self._stage.pool / f"{seat.name}.qcow2"
        overlay.unlink(missing_ok=True)
        base = str(self._stage.base(self._image))
        self._stage.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, str(overlay))
        # Its own --cloud-init gives the answers as a SATA disc, which Debian's kernel for clouds has no driver for.
        # fmt: off
        self._stage.run(
            "/usr/bin/virt-install", "--connect", "qemu:///system", "--virt-type", "qemu",
            "--cpu", CPU, "--machine", MACHINE, "--name", seat.name,
            "--memory", str(MEMORY_MIB[self._image]), "--vcpus", "1", "--import", "--osinfo", "debian11",
            "--disk", f"path={overlay},format=qcow2,bus=virtio",
            "--disk", f"path={seat.seed},format=raw,bus=virtio",
            "--network", f"network={NETWORK},model=virtio,mac={seat.mac}",
            "--graphics", "none", "--noautoconsole", "--rng", "/dev/urandom", "--channel", _AGENT,
        )
        # fmt: on

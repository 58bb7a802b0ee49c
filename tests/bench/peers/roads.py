"""vmrole itself, by each of its roads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.model import Road
from tests.bench.peers import samples, stage
from tests.bench.peers.agents import Machine
from tests.bench.peers.stage import CPU, EIGHT, MEMORY_MIB, Stage
from tests.lab.harness.role import RoleDaemon

_SERVICE: Final = """service: {road}
vip: {vip}
roles:
  web:
    image: {image}
    instances: {instances}
    reimage: {road}
    size: {{vcpus: 1, memory: {memory_mib} MiB}}
    devices: {{cpuModel: {cpu}}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /}}}}
    setup: {{within: 30 min}}
    ready: {{{units}within: 20 min}}
"""
_VIPS: Final = {Road.COLD: "203.0.113.11", Road.PREPARED: "203.0.113.12", Road.WARM: "203.0.113.13"}


class Roads:
    """`vmrole reimage` of a service whose role takes one road."""

    images: Sequence[str] = ("debian", "micro")
    rests = False  # The daemon would heal them.
    address_is = "the VIP"

    def __init__(self, of: Stage, daemon: RoleDaemon, road: Road) -> None:
        self.tool = f"vmrole {road}"
        self._stage = of
        self._daemon = daemon
        self._road = road
        self._machines = 0

    def version(self) -> str:
        """Of the checkout."""
        return self._daemon.run("--version").stdout.strip()

    def set_up(self, image: str, machines: int) -> None:
        """See Peer."""
        text = _SERVICE.format(
            road=self._road,
            vip=_VIPS[self._road],
            instances=machines,
            image=image,
            memory_mib=MEMORY_MIB[image],
            cpu=CPU,
            units="units: [page.service], " if image == "debian" else "",
        )
        if image == "debian":
            lines = stage.answers(now=False).splitlines(keepends=True)
            text += "    answers:\n      userData: |\n" + "".join(f"        {line}" for line in lines)
        self._daemon.run("apply", "-f", "-", "--wait", text=text, timeout_s=3600.0)
        self._machines = machines

    def machine(self, number: int) -> Machine:
        """See Peer."""
        return self._stage.domain(f"web-{number}.{self._road}")

    def url(self, number: int) -> str:
        """Of the whole service."""
        return f"http://{_VIPS[self._road]}/"

    def reset(self, numbers: Sequence[int]) -> None:
        """Until all of them are in rotation again; it must have been this road."""
        if len(numbers) == 1:
            (number,) = numbers
            said = self._daemon.run("reimage", f"web-{number}.{self._road}", "--wait").stderr
        else:
            said = self._daemon.run("reimage", str(self._road), "--together", str(EIGHT), "--wait").stderr
        if self._road is not Road.COLD:
            assert said.count(f": {self._road}, ") == len(numbers), said

    def shutdown_s(self, number: int, since_s: float) -> float:
        """By the ledger; on the warmer roads it is ended, which is not the guest's time."""
        if self._road is not Road.COLD:
            return 0.0
        return samples.shutdown_s(self._daemon.json("events", f"web-{number}.{self._road}"), since_s)

    def remove(self) -> None:
        """See Peer."""
        if self._machines:
            self._daemon.run("delete", "service", str(self._road), "--wait")
            self._machines = 0

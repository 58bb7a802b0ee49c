"""The warm road by hand: a VM's disk and memory kept with virsh save, and gone on from with virsh restore.

The same chain of disks as the product's, and nothing recorded, digested, guarded or balanced.
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.floor import Floor
from tests.lab.harness.lab import Lab

SERVES_WITHIN_S = 60.0
LOOK_S = 0.02
_CHAIN = re.compile(r"<backingStore.*</backingStore>|<backingStore/>", re.DOTALL)


class Kept:
    """VMs of a Floor that have been kept; the floor's end removes them and their files."""

    def __init__(self, lab: Lab, floor: Floor) -> None:
        self._lab = lab
        self._floor = floor
        self._generations = 0
        self._described: dict[str, str] = {}

    def keep(self, name: str) -> None:
        """Saves the VM, which ends it; its overlay is the layer from then on."""
        memory = self._memory(name)
        self._lab.virsh("save", name, str(memory))
        self._described[name] = self._lab.virsh("save-image-dumpxml", str(memory), "--security-info")
        self._floor.overlay(name).rename(self._layer(name))

    def go_on(self, name: str) -> None:
        """Throws away what runs, and goes on from what was kept until its web server answers with the time set."""
        self._lab.host.run(["virsh", "destroy", name], check=False)
        self._generations += 1
        overlay = self._floor.overlay(f"{name}.{self._generations}")
        backing = ["-b", str(self._layer(name)), "-F", "qcow2"]
        self._lab.host.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(overlay)])
        described = _CHAIN.sub("", self._described[name])
        definition = overlay.with_suffix(".xml")
        definition.write_text(described.replace(str(self._floor.overlay(name)), str(overlay)))
        self._lab.virsh("restore", str(self._memory(name)), "--xml", str(definition), "--running")
        self._floor.agent(name, "guest-set-time", {"time": time.time_ns()})
        end = time.monotonic() + SERVES_WITHIN_S
        while self._lab.host.run(["curl", "-sf", "-m", "1", self._floor.url(name)], check=False).returncode:
            assert time.monotonic() < end, f"{name} does not serve within {SERVES_WITHIN_S:.0f} s"
            time.sleep(LOOK_S)

    def all_go_on(self, names: list[str]) -> None:
        """All of them at once."""
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(self.go_on, names))

    def _memory(self, name: str) -> Path:
        return self._floor.overlay(name).with_suffix(".memory")

    def _layer(self, name: str) -> Path:
        return self._floor.overlay(name).with_suffix(".layer")


def pauses_s(events: str) -> list[float]:
    """From the ledger's JSON: for how long each checkpoint kept its instance from its way on (seconds)."""
    told = json.loads(events)
    began, pauses = dict[str, float](), list[float]()
    for event in told:
        of, phase = event["subject"], event["phase"]
        if phase == "saving":
            began.setdefault(of, event["at_s"])
        elif event["message"].startswith("restoring ->") and of in began:
            pauses.append(event["at_s"] - began.pop(of))
        elif phase not in ("", "restoring"):  # Nothing was kept of it.
            began.pop(of, None)
    return pauses

"""Resets the same machine by each tool, in turns, and writes build/bench-peers.json: `make bench-peers`.

python -m tests.bench.peers [--rounds N] [--together-rounds N] [TOOL...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import libvirt
import vmrole_images

from orchestrator.model import Road
from tests.bench.peers import table, watch
from tests.bench.peers.agents import AgentError
from tests.bench.peers.ganeti import Ganeti
from tests.bench.peers.hand import Hand
from tests.bench.peers.kcli import Kcli
from tests.bench.peers.roads import Roads
from tests.bench.peers.samples import Sample
from tests.bench.peers.stage import CPU, EIGHT, MEMORY_MIB, Peer, Stage
from tests.bench.peers.vagrant import Vagrant
from tests.bench.peers.virt_install import VirtInstall
from tests.lab.harness import enter
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CommandError

OUT: Final = enter.REPOSITORY / "build" / "bench-peers.json"
IMAGES: Final = ("debian", "micro")
MADE_WITHIN_S: Final = 3600.0


# What a tool that does not run as it should ends in.
_FAULTS: Final = (
    CommandError,
    AssertionError,
    AgentError,
    OSError,
    ValueError,
    subprocess.TimeoutExpired,
    libvirt.libvirtError,
)


class Run:
    """The tools of one run, what was measured of each, and why some are not in it."""

    def __init__(self, stage: Stage, peers: Sequence[Peer]) -> None:
        self._stage = stage
        self._peers = list(peers)
        self.samples: list[Sample] = []
        self.versions: dict[str, str] = {}
        self.absent: dict[str, str] = {}

    def look(self) -> None:
        """Which of them are there, and in which version."""
        for peer in list(self._peers):
            self._try(peer, "is not installed", partial(self._look, peer))

    def alone(self, rounds: int) -> None:
        """One debian of each, reset in turns; in the last round under load, until it serves."""
        image = "debian"
        self._make(image)
        for number in range(rounds):
            for peer in list(self._peers):
                print(f"round {number + 1} of {rounds}: {peer.tool}", flush=True)
                under_load = number == rounds - 1
                self._try(peer, "resets nothing", partial(self._reset, peer, image, under_load))
        for peer in self._peers:
            peer.remove()

    def together(self, rounds: int) -> None:
        """Eight micro of each at once, in turns; those of one at a time, for their memory."""
        image = "micro"
        for number in range(rounds):
            for peer in [peer for peer in self._peers if image in peer.images]:
                print(f"eight, round {number + 1} of {rounds}: {peer.tool}", flush=True)
                self._try(peer, "resets no eight", partial(self._eight, peer, image))
                peer.remove()

    def _look(self, peer: Peer) -> None:
        self.versions[peer.tool] = peer.version()
        print(f"{peer.tool}: {self.versions[peer.tool]}", flush=True)

    def _make(self, image: str) -> None:
        """One machine of each: who waits until his serves does so beside the others."""
        peers = list(self._peers)
        with ThreadPoolExecutor(max(1, len(peers))) as pool:
            made = [(peer, pool.submit(self._set_up, peer, image, 1)) for peer in peers]
        for peer, each in made:
            if not self._try(peer, "makes no machine", each.result):
                continue
            self._rest(peer)

    def _rest(self, peer: Peer) -> None:
        if peer.rests:
            peer.machine(0).rest()

    def _set_up(self, peer: Peer, image: str, machines: int) -> None:
        peer.set_up(image, machines)
        for number in range(machines):
            watch.serving(self._place(peer), peer.url(number), MADE_WITHIN_S)

    def _eight(self, peer: Peer, image: str) -> None:
        self._set_up(peer, image, EIGHT)
        self._keep(watch.reset(peer, image, range(EIGHT), None, self._stage.pool))

    def _reset(self, peer: Peer, image: str, under_load: bool) -> None:
        place = self._place(peer) if under_load else None
        self._keep(watch.reset(peer, image, [0], place, self._stage.pool))
        self._rest(peer)

    def _keep(self, samples: list[Sample]) -> None:
        for sample in samples:
            print(f"  {sample.written()}", flush=True)
        self.samples += samples
        self.keep()

    def keep(self) -> None:
        """Writes what there is by now: whoever ends it early has what was measured."""
        OUT.parent.mkdir(exist_ok=True)
        OUT.write_text(json.dumps(self.written(), indent=1) + "\n")

    def _place(self, peer: Peer) -> Any:
        lab = self._stage.lab
        return lab.client if peer.address_is == "the VIP" else lab.host

    def _try(self, peer: Peer, words: str, do: Callable[[], None]) -> bool:
        """Whether it ran: a tool that does not is named with what it said, and the others go on."""
        try:
            do()
        except _FAULTS as error:
            traceback.print_exc()
            self.absent[peer.tool] = f"{words}: {' '.join(str(error).split())[-240:]}"
            self._peers.remove(peer)
            peer.remove()
            return False
        return True

    def written(self) -> dict[str, Any]:
        """As it is kept in JSON."""
        return {
            "machine": machine(),
            "guest": {"cpu": CPU, "memory_mib": MEMORY_MIB},
            "versions": self.versions,
            "absent": self.absent,
            "samples": [sample.written() for sample in self.samples],
        }


def machine() -> dict[str, Any]:
    """What it ran on."""
    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "processor": model.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "qemu": qemu.split()[3],
        "accelerator": "TCG",
        "load": round(os.getloadavg()[2], 1),
    }


def main(arguments: Sequence[str]) -> int:
    """Returns 0 when something was measured of every tool and vmrole is as far ahead as it shall be."""
    parser = argparse.ArgumentParser(description="Resets the same machine by each tool.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--together-rounds", type=int, default=1)
    parser.add_argument("tools", nargs="*")
    options = parser.parse_args(arguments)
    images = {name: vmrole_images.ensure(name, enter.REPOSITORY / "build" / "images").path for name in IMAGES}
    with Lab() as lab, Stage(lab, images) as stage:
        daemon = lab.daemon(lab.root / "vmrole")
        daemon.start()
        for name, path in images.items():
            daemon.run("image", "add", str(path), "--name", name)
        peers = [
            *(Roads(stage, daemon, road) for road in Road),
            *(kind(stage) for kind in (Hand, VirtInstall, Kcli, Vagrant, Ganeti)),
        ]
        run = Run(stage, [peer for peer in peers if not options.tools or peer.tool in options.tools])
        run.look()
        run.alone(options.rounds)
        run.together(options.together_rounds)
        daemon.stop()
        run.keep()
        found = run.written()
    print(table.markdown(found))
    verdicts = table.verdicts(found)
    print("\n".join(str(verdict) for verdict in verdicts))
    return 0 if verdicts and all(verdict.met for verdict in verdicts) and not run.absent else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

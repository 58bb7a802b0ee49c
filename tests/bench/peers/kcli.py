"""kcli: `delete vm` and `create vm`, with its command from PyPI in an environment of its own."""

from __future__ import annotations

from typing import Final

from tests.bench.peers.hand import Hand
from tests.bench.peers.stage import CPU, MACHINE, MEMORY_MIB, NETWORK, Seat
from tests.lab.harness.enter import REPOSITORY

_KCLI: Final = str(REPOSITORY / "build" / "peers" / "kcli" / "bin" / "kcli")


class Kcli(Hand):
    """Its machines lie in the pool; it finds the answers on a disk of theirs that is there already."""

    tool = "kcli"

    def version(self) -> str:
        """Of the package: its command asks a server in the internet for what is newest."""
        python = _KCLI.replace("bin/kcli", "bin/python")
        return self._stage.run(python, "-c", "from importlib.metadata import version; print(version('kcli'))").strip()

    def remove(self) -> None:
        """See Peer."""
        for seat in self._seats:
            self._kcli("delete", "vm", "-y", seat.name, check=False)
        super().remove()

    def _reset(self, seat: Seat) -> None:
        self._kcli("delete", "vm", "-y", seat.name)
        self._start(seat)

    def _start(self, seat: Seat) -> None:
        # It takes lists as Python writes them, and deletes disks whose names have NAME.img or NAME_ in them.
        # Its own answers are on a SATA disc, which Debian's kernel for clouds has no driver for.
        parameters = {
            "virttype": "qemu",
            "cpumodel": CPU,
            "machine": MACHINE,
            "memory": MEMORY_MIB[self._image],
            "numcpus": 1,
            "nested": "false",
            "tpm": "false",
            "rng": "true",
            "guestagent": "true",
            "vnc": "false",
            "disks": [3, {"name": seat.seed.name, "thin": False}],
            "nets": [{"name": NETWORK, "mac": seat.mac}],
        }
        given = [f"{name}={value}" for name, value in parameters.items()]
        options = [word for one in given for word in ("-P", one)]
        self._kcli("create", "vm", "-i", self._stage.base(self._image).name, *options, seat.name)

    def _kcli(self, *words: str, check: bool = True) -> None:
        home = f"HOME={self._stage.pool}"  # so that nothing of the user's is seen
        self._stage.lab.host.run(["env", home, _KCLI, *words], check=check, timeout_s=600.0)

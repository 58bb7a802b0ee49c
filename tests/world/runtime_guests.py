"""Processes that bring a runtime channel as a QEMU does, each with a guest behind it, and who hears them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.control import records
from orchestrator.control.guest_blobs import GuestBlobs
from orchestrator.control.guest_peers import GuestPeers
from orchestrator.control.present import Present
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.disks.blobs import BlobDirectory
from orchestrator.drivers.fake import FakeStore
from orchestrator.drivers.guest.runtime_channel import RuntimeChannel
from orchestrator.drivers.hypervisor.qmp_watch import listening
from orchestrator.drivers.tools.event_loop import event_loop_thread
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import NotFound
from orchestrator.model import Instance, InstanceName
from orchestrator.model.blob import BlobOwner, Of
from orchestrator.ports import BlobDesk, BlobFiles
from tests.world.waiting import until

ANSWER_S = 60.0  # on a busy machine
# Copies what it gets on its standard input to the socket, and what comes from there to its standard output.
QEMU = """
import os, socket, sys, threading
made = socket.socket(socket.AF_UNIX)
made.connect(sys.argv[1])
def out():
    try:
        while data := made.recv(65536):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    finally:
        os._exit(0)
threading.Thread(target=out, daemon=True).start()
while data := os.read(0, 65536):
    made.sendall(data)
"""


class Speaker:
    """A QEMU with a guest."""

    def __init__(self, path: Path) -> None:
        argv = [sys.executable, "-c", QEMU, str(path)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def send(self, data: bytes) -> None:
        """Bytes from its guest."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, method: str, request_id: int | str = 1, **params: object) -> dict[str, Any]:
        """A request, and the next line that comes back."""
        self.request(method, request_id, **params)
        return self.heard()

    def request(self, method: str, request_id: int | str = 1, **params: object) -> None:
        """A request whose answer is not waited for."""
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        self.send(json.dumps(message).encode() + b"\n")

    def heard(self) -> dict[str, Any]:
        """The next line that comes back."""
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


class Records:
    """A desk with a register, and the peers of a deployment that a test keeps."""

    def __init__(self, blobs: BlobDesk) -> None:
        self.lines: list[tuple[InstanceName, str]] = []
        self.blobs = blobs
        store = FakeStore()
        self.peers = GuestPeers(present := Present(store), store, SystemClock())
        self.present = present

    def keep(self, *instances: Instance) -> None:
        """These are recorded as they are now, whatever they were."""
        for one in instances:
            before = self.present.find(Instance, one.name)
            at = replace(one, wish_revision=before.wish_revision if before else 0)
            at = replace(at, state_revision=before.state_revision if before else 0)
            self.present.commit(
                [*self.present.unstored([at.goal.role, at.role]), records.put_wish(at), records.put_state(at)]
            )

    def who(self, name: InstanceName) -> Mapping[str, object] | None:
        """See ports.Desk."""
        return {"instance": name}

    def log(self, name: InstanceName, line: str) -> None:
        """See ports.Desk."""
        if line == "refuse":
            raise NotFound("no such instance")
        self.lines.append((name, line))


class RoleBlobs(GuestBlobs):
    """Of instances that are all there, and of one role."""

    def __init__(self, files: BlobFiles) -> None:
        self._files = files

    def _owner(self, name: InstanceName, of: Of) -> BlobOwner:
        return BlobOwner(of, name if of is Of.INSTANCE else "web.shop")


class Server:
    """The runtime channel of a host, whose QEMUs are these."""

    def __init__(self, place: Path) -> None:
        self.path = place / "guest.sock"
        self.layout = Layout(place / "state", place / "run")
        self.layout.state.mkdir()
        self.files = BlobDirectory(self.layout, SystemClock())
        self.desk = Records(RoleBlobs(self.files))
        self.woken: list[InstanceName] = []
        self.known: dict[int, InstanceName] = {}
        self._stack = contextlib.ExitStack()
        self._speakers = contextlib.ExitStack()
        self.start()

    def start(self) -> None:
        """A daemon begins to listen."""
        listener: socket.socket = self._stack.enter_context(listening(self.path))
        loop = self._stack.enter_context(event_loop_thread())
        self.channel = RuntimeChannel(
            loop, listener, self.known.get, lambda name, _: self.woken.append(name), self.desk, SystemClock()
        )
        self._stack.callback(self.channel.close)

    def stop(self) -> None:
        """It ends."""
        self._stack.close()

    def speaker(self, name: InstanceName | None) -> Speaker:
        """A new QEMU of that VM; of None: of no VM of ours."""
        made = Speaker(self.path)
        self._speakers.callback(made.close)
        if name is not None:
            self.known[made.pid] = name
        return made

    def close(self) -> None:
        """Everything ends."""
        self._speakers.close()
        self.stop()

    def threads(self) -> int:
        """How many the process has."""
        return threading.active_count()

    def until_woken(self, times: int = 1) -> None:
        """Waits until so many words were heard."""
        until(lambda: len(self.woken) >= times, ANSWER_S, what="a word")


@contextlib.contextmanager
def server(place: Path) -> Iterator[Server]:
    """A server, which ends with the context."""
    made = Server(place)
    try:
        yield made
    finally:
        made.close()


def memory_kib() -> int:
    """What this process holds."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

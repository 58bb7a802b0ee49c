"""An image that is booted by hand, without a daemon."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.world.waiting import comes_true

T = TypeVar("T")


_AGENT_S = 1.0


SCRIPT_S = 120.0


_PAUSE_S = 0.2


MIB = 1 << 20


class NoAnswer(Exception):
    """The agent did not answer in time, or said no."""


class Guest:
    """One qemu process on an overlay of a base image, reachable through its agent, its console log and loopback."""

    def __init__(self, place: Path, *, memory_mib: int = 128) -> None:
        self.place = place
        self.overlay = place / "system.qcow2"
        self.local = place / "local.raw"
        self.console = place / "console.log"
        self.port = _free_port()
        self.memory_mib = memory_mib
        self._asked = 1000
        self._process: subprocess.Popen[bytes] | None = None

    def lay(self, base: Path) -> None:
        """A fresh system disk above the base; the local disk stays if there is one."""
        self.overlay.unlink(missing_ok=True)
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(self.overlay)]
        subprocess.run(create, check=True, timeout=120)
        if not self.local.exists():
            with self.local.open("wb") as stream:
                stream.truncate(64 * MIB)

    @contextlib.contextmanager
    def running(self, disc: Path | None) -> Iterator[None]:
        """Power on; at the end of the block power off without ceremony if it still runs."""
        for stale in (self.place / "agent", self.place / "monitor"):
            stale.unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command(disc), stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            self._process.kill()
            self._process.wait(timeout=120)

    def _command(self, disc: Path | None) -> list[str]:
        # A large translation cache makes a guest's restart slower: the boot writes over pages that hold stale code.
        net = f"user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:8080"
        # fmt: off
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-machine", "pc", "-accel", "tcg,tb-size=64", "-cpu", "max", "-m", str(self.memory_mib),
            "-serial", f"file:{self.console}",
            "-qmp", f"unix:{self.place}/monitor,server=on,wait=off",
            "-drive", f"if=none,id=d0,file={self.overlay},format=qcow2", "-device", "virtio-blk-pci,drive=d0",
            "-drive", f"if=none,id=d1,file={self.local},format=raw",
            "-device", "virtio-blk-pci,drive=d1,serial=ls-cache",
            "-netdev", net, "-device", "virtio-net-pci,netdev=n0,romfile=",
            "-device", "virtio-serial-pci", "-device", "virtio-scsi-pci", "-device", "virtio-rng-pci",
            "-device", "pvpanic",
            "-chardev", f"socket,id=a,path={self.place}/agent,server=on,wait=off",
            "-device", "virtserialport,chardev=a,name=org.qemu.guest_agent.0",
        ]
        # fmt: on
        if disc is not None:
            command += ["-drive", f"if=none,id=c0,file={disc},format=raw,readonly=on", "-device", "scsi-cd,drive=c0"]
        return command

    def ask(self, command: str, **arguments: Any) -> Any:
        """One request to the real agent, on a connection of its own; raises NoAnswer."""
        request = {"execute": command, "arguments": arguments}
        self._asked += 1  # Answers to requests that we gave up on may still come; the number tells them apart.
        sync = {"execute": "guest-sync-delimited", "arguments": {"id": self._asked}}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_AGENT_S)
            try:
                connection.connect(str(self.place / "agent"))
                connection.sendall(b"\xff" + json.dumps(sync).encode() + b"\n")
                stream = connection.makefile("rb")
                while b'"return": %d}' % self._asked not in (line := stream.readline()):
                    if not line:
                        raise NoAnswer("the agent hung up")
                connection.sendall(json.dumps(request).encode() + b"\n")
                answer = json.loads(stream.readline())
            except (OSError, ValueError) as error:
                raise NoAnswer(str(error)) from error
        if "error" in answer:
            raise NoAnswer(answer["error"]["desc"])
        return answer["return"]

    def read(self, name: str) -> str:
        """A file of the guest, through guest-file-*; raises NoAnswer when there is none."""
        handle = self.ask("guest-file-open", path=name, mode="r")
        try:
            content = base64.b64decode(self.ask("guest-file-read", handle=handle, count=65536)["buf-b64"])
        finally:
            self.ask("guest-file-close", handle=handle)
        return content.decode().strip()

    def sh(self, script: str) -> str:
        """What a shell script in the guest prints."""
        pid = self.ask("guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})["pid"]
        status = answer_of(lambda: _exited(self.ask("guest-exec-status", pid=pid)), SCRIPT_S, self)
        return base64.b64decode(status.get("out-data", "")).decode().strip()

    def ready(self) -> str | None:
        """The boot id, if this boot of the guest says that it is ready."""
        boot = self.read("/proc/sys/kernel/random/boot_id")
        return boot if self.read("/run/vmrole/ready") == boot else None

    def http(self, path: str) -> str:
        """What the HTTP service answers, through a port on loopback."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def press_power_button(self) -> None:
        """What a host does to a guest whose agent does not answer: ACPI's power button."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SCRIPT_S)
            connection.connect(str(self.place / "monitor"))
            stream = connection.makefile("rwb", buffering=0)
            for command in ("qmp_capabilities", "system_powerdown"):
                stream.write(json.dumps({"execute": command}).encode() + b"\n")
            while b'"POWERDOWN"' not in (line := stream.readline()):
                assert line, "the monitor hung up"

    def ended(self) -> bool | None:
        """True when the machine has gone off by itself."""
        return True if self._process is not None and self._process.poll() is not None else None


def _exited(status: dict[str, Any]) -> dict[str, Any] | None:
    return status if status["exited"] else None


def answer_of(look: Callable[[], T | None], within_s: float, guest: Guest) -> T:
    """What `look` returns as soon as that is not None; while the agent is silent it looks again."""
    answers: list[T] = []

    def answered() -> bool:
        with contextlib.suppress(NoAnswer):
            if (answer := look()) is not None:
                answers.append(answer)
        return bool(answers)

    came = comes_true(answered, within_s, look_s=_PAUSE_S)
    assert came, f"not within {within_s} s; the console's end:\n{guest.console.read_text(errors='replace')[-2000:]}"
    return answers[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def guest(tmp_path: Path, micro_image: Path) -> Guest:
    """A micro guest that has never run."""
    guest = Guest(tmp_path)
    guest.lay(micro_image)
    return guest

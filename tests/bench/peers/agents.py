"""A machine as the bench looks at it: the process of its QEMU, and its agent; by libvirt, or by its own socket."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import libvirt
import libvirt_qemu

from tests.world.waiting import comes_true

_MARKER = "/written-before"
_GONE = "No such file"
_TICKS = os.sysconf("SC_CLK_TCK")
ANSWER_S = 5


class AgentError(Exception):
    """The agent did not answer, or said no; the text is what it said."""


class Machine(Protocol):
    """One machine of a tool's."""

    name: str

    def pid(self) -> int | None:
        """The process of its QEMU; None while there is none."""

    def ask(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """What the agent answers. Raises AgentError."""

    def rest(self) -> None:
        """Takes no processor time until `go_on`: others are measured."""

    def go_on(self) -> None:
        """See rest."""


class Domain:
    """A machine that libvirt runs."""

    def __init__(self, name: str, connection: libvirt.virConnect) -> None:
        self.name = name
        self._connection = connection

    def pid(self) -> int | None:
        """As libvirt wrote it down."""
        return pid_in(Path(f"/run/libvirt/qemu/{self.name}.pid"))

    def ask(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """See Machine."""
        call = json.dumps({"execute": command, "arguments": dict(arguments)})
        try:
            domain = self._connection.lookupByName(self.name)
            return json.loads(libvirt_qemu.qemuAgentCommand(domain, call, ANSWER_S, 0))["return"]
        except libvirt.libvirtError as error:
            raise AgentError(str(error)) from error

    def rest(self) -> None:
        """See Machine."""
        self._connection.lookupByName(self.name).suspend()

    def go_on(self) -> None:
        """See Machine."""
        domain = self._connection.lookupByName(self.name)
        if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()


class Process:
    """A machine whose tool starts QEMU by itself, with a socket for the agent."""

    def __init__(self, name: str, pid_file: Path, agent: Path) -> None:
        self.name = name
        self._pid_file = pid_file
        self._agent = agent

    def pid(self) -> int | None:
        """As its tool wrote it down."""
        return pid_in(self._pid_file)

    def ask(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """See Machine. An answer to an earlier question is passed over."""
        number = os.getpid()
        sync = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
        asked = {"execute": command, "arguments": dict(arguments)}
        try:
            with socket.socket(socket.AF_UNIX) as talk:
                talk.settimeout(ANSWER_S)
                talk.connect(str(self._agent))
                talk.sendall(b"\xff" + json.dumps(sync).encode() + b"\n")
                with talk.makefile("rb") as lines:
                    while json.loads(lines.readline().rpartition(b"\xff")[2] or b"{}").get("return") != number:
                        continue
                    talk.sendall(json.dumps(asked).encode() + b"\n")
                    answer = json.loads(lines.readline() or b"{}")
        except (OSError, ValueError) as error:
            raise AgentError(str(error)) from error
        if "return" not in answer:
            raise AgentError(str(answer.get("error", "no answer")))
        return answer["return"]

    def rest(self) -> None:
        """See Machine."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """See Machine."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if pid := self.pid():
            os.kill(pid, number)


def pid_in(file: Path) -> int | None:
    """The process that a file names, while it lives."""
    try:
        pid = int(file.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def started_s(pid: int) -> float:
    """When a process started, by CLOCK_BOOTTIME (proc(5), stat field 22, in hundredths of a second)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / _TICKS


def answers(machine: Machine) -> bool:
    """Whether its agent does."""
    try:
        machine.ask("guest-ping", {})
    except AgentError:
        return False
    return True


def run(machine: Machine, script: str, within_s: float = 120.0) -> str:
    """What a script prints in the guest; AgentError when it fails or does not end."""
    words = {"path": "/bin/sh", "arg": ["-c", script], "capture-output": True}
    pid = machine.ask("guest-exec", words)["pid"]
    status: dict[str, Any] = {}

    def ended() -> bool:
        status.update(machine.ask("guest-exec-status", {"pid": pid}))
        return bool(status["exited"])

    if not comes_true(ended, within_s, look_s=0.2) or status.get("exitcode") != 0:
        raise AgentError(f"{machine.name}: {script}: {status}")
    return base64.b64decode(status.get("out-data", "")).decode(errors="replace")


def mark(machine: Machine) -> None:
    """Writes to its system disk what must be gone after a reset."""
    run(machine, f"echo used > {_MARKER} && sync")


def is_clean(machine: Machine) -> bool:
    """Whether what `mark` wrote is gone. Raises AgentError when the agent cannot tell."""
    try:
        handle = machine.ask("guest-file-open", {"path": _MARKER, "mode": "r"})
    except AgentError as error:
        if _GONE in str(error):
            return True
        raise
    machine.ask("guest-file-close", {"handle": handle})
    return False

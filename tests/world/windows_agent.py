"""A Windows guest's agent whose answers a test has written, and an instance to ask it about."""

from __future__ import annotations

import base64
import dataclasses
import time
from typing import Any

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.evidence import Transcript
from orchestrator.drivers.guest import windows_guest, windows_setup
from orchestrator.drivers.guest.guest_agent import LibvirtGuest
from orchestrator.drivers.tools.agent_channel import AgentForbids, AgentRefused, AgentSilent
from orchestrator.model import AnswerFormat, Identity, Instance, InstanceName, Os, Phase, Ready
from tests.world.instances import instance

FIRST = "20261122023000.123456+000"
SECOND = "20261122023500.123456+000"
FILES = ("guest-file-open", "guest-file-read", "guest-file-close", "guest-file-seek")
EXEC = ("guest-exec", "guest-exec-status")
SETUP_DIR = "C:\\Windows\\Setup\\vmrole\\"


def status(**changes: str) -> dict[str, str]:
    """A guest that has finished its setup in its second boot."""
    plain = {
        "boot": SECOND,
        "setup-boot": FIRST,
        "image-state": "IMAGE_STATE_COMPLETE",
        "system-setup": "0",
        "oobe": "0",
        "computer": "WEB-0",
        "instance": "web-0.shop",
        "generation": "1",
        "answer-file": r"D:\unattend.xml",
        "cached": "no",
    }
    return plain | {key.replace("_", "-"): value for key, value in changes.items()}


SPECIALIZE = status(boot=FIRST, image_state="IMAGE_STATE_UNDEPLOYABLE", system_setup="1", computer="WIN-ABC")
OOBE = status(image_state="IMAGE_STATE_UNDEPLOYABLE", system_setup="1", oobe="1")


class WindowsAgent:
    """An agent in a Windows: it knows our scripts by their first line, and the files that a test has written."""

    def __init__(self, said: dict[str, str] | None = None, services: str = "end=0\r\n") -> None:
        self.status = status() if said is None else said
        self.services = services
        self.files: dict[str, bytes] = {}
        self.host_name: object = "web-0"
        self.forbidden: tuple[str, ...] = ()
        self.silent = ""
        self.running_for_s = 0.0
        self.has_powershell = True
        self.without_powershell = ""
        self.garbage: str | None = None
        self.started: list[str] = []
        self.resets_seen = 0
        self.system: object = {"id": "mswindows", "kernel-version": "10.0", "kernel-release": "20348"}
        self.clock_off_s = 0.0
        self.sets_clock = True
        self.flush_code = 0  # what the script ends in that has it write to its disk
        self._running: dict[int, tuple[float, str]] = {}
        self._places: dict[int, int] = {}  # in files that are open

    def resets(self, name: InstanceName, vm_uuid: str) -> int:
        """Stands in for the monitor."""
        return self.resets_seen

    def call(self, name: InstanceName, command: str, **arguments: Any) -> Any:
        """One call, as qemu-ga answers it."""
        if self.silent:
            raise AgentSilent(self.silent)
        if command in self.forbidden:
            raise AgentForbids(f"Command {command} has been disabled")
        match command:
            case "guest-ping" | "guest-file-close":
                return {}
            case "guest-get-osinfo":
                return self.system
            case "guest-get-time":
                return int((time.time() + self.clock_off_s) * 1e9)
            case "guest-set-time" if self.sets_clock:
                self.clock_off_s = arguments["time"] / 1e9 - time.time()
                return {}
            case "guest-set-time":
                raise AgentRefused("Failed to set the time: A required privilege is not held by the client.")
            case "guest-get-host-name":
                return {"host-name": self.host_name}
            case "guest-file-open":
                if arguments["path"] not in self.files:
                    raise AgentRefused("failed to open file: The system cannot find the file specified.")
                return list(self.files).index(arguments["path"])
            case "guest-file-seek":
                end = len(list(self.files.values())[arguments["handle"]])
                if arguments["whence"] != "end" or end + arguments["offset"] < 0:
                    raise AgentRefused("failed to seek file")
                self._places[arguments["handle"]] = end + arguments["offset"]
                return {"position": end + arguments["offset"], "eof": False}
            case "guest-file-read":
                place = self._places.pop(arguments["handle"], 0)
                content = list(self.files.values())[arguments["handle"]][place : place + arguments["count"]]
                return {"count": len(content), "buf-b64": base64.b64encode(content).decode(), "eof": True}
            case "guest-exec":
                return {"pid": self._exec(arguments["path"], arguments["arg"])}
            case "guest-exec-status":
                started_at_s, output = self._running[arguments["pid"]]
                if time.monotonic() < started_at_s + self.running_for_s:
                    return {"exited": False}
                code = self.flush_code if self.started[arguments["pid"] - 1] == "# vmrole flush 1" else 0
                return {"exited": True, "exitcode": code, "out-data": base64.b64encode(output.encode()).decode()}
            case _:
                raise AssertionError(command)

    def _exec(self, path: str, arguments: list[str]) -> int:
        if path == "powershell.exe":
            if not self.has_powershell:
                raise AgentRefused("Failed to execute child process (No such file or directory)")
            what = base64.b64decode(arguments[-1]).decode("utf-16-le").partition("\n")[0]
            said = "".join(f"{key}={value}\r\n" for key, value in self.status.items())
            output = said if what.startswith("# vmrole status 1") else self.services
        else:
            what, output = " ".join([path, *arguments]), self.without_powershell
        self.started.append(what)
        self._running[len(self.started)] = (
            time.monotonic(),
            output if self.garbage is None else self.garbage,
        )
        return len(self.started)


def of_windows(**changes: object) -> Instance:
    """web-0.shop on a Windows image, in setup."""
    plain = instance(phase=Phase.SETUP, **changes)
    role = dataclasses.replace(plain.role, os=Os.WINDOWS, answers=AnswerFormat.UNATTEND)
    return dataclasses.replace(plain, role=role, goal=dataclasses.replace(plain.goal, role=role))


WEB = of_windows()
IN_FIRST, IN_SECOND = (windows_setup.boot_id(WEB, windows_setup.moment(boot)) for boot in (FIRST, SECOND))
STARTING = of_windows(boot_id=IN_SECOND)


def guest(agent: WindowsAgent) -> LibvirtGuest:
    return LibvirtGuest(agent, agent, Transcript(SystemClock()), SystemClock())


def identified(agent: WindowsAgent, of: Instance = WEB) -> Identity:
    """What the first look says."""
    found = guest(agent).identity(of)
    assert isinstance(found, Identity)
    return found


def without_exec(state: str = "IMAGE_STATE_COMPLETE", encoding: str = "ascii") -> WindowsAgent:
    """An agent that shows files and runs nothing."""
    agent = WindowsAgent()
    agent.forbidden = EXEC
    agent.files = {
        windows_guest.STATE_INI: f"[State]\r\nImageState={state}\r\n".encode(encoding),
        f"{SETUP_DIR}setup-boot": f"{FIRST}\r\n".encode(),
        f"{SETUP_DIR}instance": b"web-0.shop\r\n",
        f"{SETUP_DIR}generation": b"1\r\n",
    }
    return agent


def with_ready(ready: Ready) -> Instance:
    """An instance in its second boot whose role has these conditions."""
    role = dataclasses.replace(STARTING.goal.role, ready=ready)
    return dataclasses.replace(STARTING, goal=dataclasses.replace(STARTING.goal, role=role))

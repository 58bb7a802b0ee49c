"""An agent of a Linux guest as a test has written it: what is in its files, and what its commands print."""

from __future__ import annotations

import base64
import time
from typing import Any

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.evidence import Transcript
from orchestrator.drivers.guest.guest_agent import LibvirtGuest
from orchestrator.drivers.tools.agent_channel import (
    FROZEN_WORDS,
    AgentDenied,
    AgentForbids,
    AgentFrozen,
    AgentRefused,
    AgentSilent,
)
from orchestrator.model import InstanceName

BOOT = "0f8fad5b-d9cb-469f-a165-70867728950e"
SETUP_BOOT = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
FILES = ("guest-file-open", "guest-file-read", "guest-file-close")
EXEC = ("guest-exec", "guest-exec-status")


class Agent:
    """An agent whose files and command results a test has written; `turns` status questions go by before it ends."""

    def __init__(self, files: dict[str, str] | None = None, output: str = "", *, status: int = 0) -> None:
        self.files = files or {}
        self.output, self.status = output, status
        self.forbidden: tuple[str, ...] = ()
        self.running_for_s = 0.0
        self.started: list[list[str]] = []
        self.silent = ""
        self.frozen = False
        self.denied: tuple[
            str, ...
        ] = ()  # paths that its own system does not let it read; "exec" stands for programs
        self.trouble = ""  # what a failing system says when a file is opened
        self.answers: dict[str, Any] = {}
        self.resets_seen = 0
        self._started_at_s = 0.0

    def resets(self, name: InstanceName, vm_uuid: str) -> int:
        """Stands in for the monitor."""
        return self.resets_seen

    def call(self, name: InstanceName, command: str, **arguments: Any) -> Any:
        """One call, as qemu-ga answers it."""
        if self.silent:
            raise AgentSilent(self.silent)
        if self.frozen and command not in ("guest-ping", "guest-info", "guest-fsfreeze-status"):
            raise AgentFrozen(FROZEN_WORDS)
        if command in self.forbidden:
            raise AgentForbids(f"Command {command} has been disabled")
        if command in self.answers:
            return self.answers[command]
        match command:
            case "guest-ping" | "guest-file-close":
                return {}
            case "guest-fsfreeze-status":
                return "frozen" if self.frozen else "thawed"
            case "guest-info":
                return {
                    "version": "10.0.0",
                    "supported_commands": [{"name": "guest-exec", "enabled": not self.frozen}],
                }
            case "guest-get-osinfo" | "guest-get-host-name":
                return {}
            case "guest-file-open":
                if any(arguments["path"].startswith(place) for place in self.denied):
                    raise AgentDenied(f"failed to open file '{arguments['path']}' (mode: 'r'): Permission denied")
                if self.trouble:
                    raise AgentRefused(f"failed to open file '{arguments['path']}' (mode: 'r'): {self.trouble}")
                if arguments["path"] not in self.files:
                    raise AgentRefused(f"Failed to open file '{arguments['path']}': No such file or directory")
                return list(self.files).index(arguments["path"])
            case "guest-file-seek":
                raise AgentRefused("failed to seek file: Invalid argument")
            case "guest-file-read":
                text = list(self.files.values())[arguments["handle"]].encode()[: arguments["count"]]
                return {"count": len(text), "buf-b64": base64.b64encode(text).decode(), "eof": True}
            case "guest-exec" if "exec" in self.denied:
                raise AgentDenied("Failed to execute child process “/bin/sh” (Permission denied)")
            case "guest-exec":
                self.started.append([arguments["path"], *arguments["arg"]])
                self._started_at_s = time.monotonic()
                return {"pid": 77}
            case "guest-exec-status":
                if time.monotonic() < self._started_at_s + self.running_for_s:
                    return {"exited": False}
                return {
                    "exited": True,
                    "exitcode": self.status,
                    "out-data": base64.b64encode(self.output.encode()).decode(),
                }
            case _:
                raise AssertionError(command)


def guest(agent: Agent) -> LibvirtGuest:
    """The driver that asks it."""
    return LibvirtGuest(agent, agent, Transcript(SystemClock()), SystemClock())

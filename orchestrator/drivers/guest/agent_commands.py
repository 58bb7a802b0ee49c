"""Files read and commands run in a guest through its agent. What they say is for the guest's own driver to judge.

Nothing here knows an operating system, and nothing waits: a command that has not ended is taken up again by the next
look. It is known by what it is for, so that a guest never runs the same question twice at a time.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

from orchestrator.drivers.tools.agent_channel import AgentBroken, AgentDenied, AgentForbids, AgentRefused, AgentSilent
from orchestrator.model import Instance, InstanceName
from orchestrator.ports import Clock

RUN_FORGOTTEN_S = 60.0  # A command that took longer is started anew, unless it may take its time.
LEFT_ALONE_MAX_S = 5.0  # A guest that took longer to answer is asked again after this.
COMMANDS_MAX = 8  # of one guest, remembered at a time; the oldest is forgotten, and runs to its end unheard
FILE_BYTES = 4096
OUTPUT_BYTES = 64 * 1024
# What a system says when it cannot open a file that may well be there: strerror(3) of EMFILE, ENFILE, EIO, EAGAIN,
# EINTR, ENOMEM, ESTALE, ETIMEDOUT; a Windows when another program has locked the file.
_FOR_NOW: Final = re.compile(
    r"too many open files|input/output error|temporarily unavailable|interrupted system call|cannot allocate memory"
    r"|stale file handle|timed out|used by another process",
    re.IGNORECASE,
)


class Agents(Protocol):
    """What asks the agents; `agent_channel.AgentChannel`, whose errors are expected here."""

    def call(self, name: InstanceName, command: str, **arguments: object) -> Any:  # noqa: ANN401 - it is JSON
        """What the agent of that instance returned."""


class Resets(Protocol):
    """Who counts resets; `qmp_watch.Monitors`."""

    def resets(self, name: InstanceName, vm_uuid: str) -> int:
        """Resets of that VM that were seen by this process."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended, and what it printed."""

    status: int  # exit status; -1 when a signal ended it
    output: bytes
    took_s: float

    @property
    def text(self) -> str:
        """What it printed, as UTF-8."""
        return self.output.decode(errors="replace")


@dataclasses.dataclass(frozen=True, slots=True)
class _Command:
    """A command that runs in the guest: its pid means something in that boot only."""

    boot_id: str
    pid: int
    since_s: float


class AgentCommands:
    """All guests of this host. Thread-safe, also for who asks a guest beside its instance's turn, as long as nobody
    else asks it for the same thing meanwhile.
    """

    def __init__(self, channel: Agents, clock: Clock) -> None:
        self._clock = clock
        self._channel = channel
        self._running: dict[InstanceName, dict[str, _Command]] = {}

        self._unheard: dict[InstanceName, str] = {}  # the boot in which it did not say how a command ends

    def forget(self, name: InstanceName) -> None:
        """The guest is gone for good."""
        self._running.pop(name, None)
        self._unheard.pop(name, None)

    def runs(self, instance: Instance, what: str = "") -> bool:
        """Whether a command of ours (or that one) runs in the guest, in the boot that the record knows."""
        commands = self._running.get(instance.name, {})
        return any(each.boot_id == instance.boot_id for key, each in [*commands.items()] if what in ("", key))

    def call(self, name: InstanceName, command: str, **arguments: object) -> Any:  # noqa: ANN401 - it is JSON
        """One plain call; raises AgentSilent, AgentRefused or AgentForbids."""
        return self._channel.call(name, command, **arguments)

    def read(self, name: InstanceName, path: str, size_bytes: int = FILE_BYTES, *, tail: bool = False) -> bytes:
        """The first (or last) `size_bytes` of a file; nothing when there is no such file.

        Raises AgentForbids when the agent opens no files at all, AgentDenied when it may not read this one, and
        AgentSilent when it cannot open one for now.
        """
        try:
            handle = self._channel.call(name, "guest-file-open", path=path, mode="r")
        except (AgentForbids, AgentDenied):
            raise
        except AgentRefused as refused:
            if _FOR_NOW.search(str(refused)):
                raise AgentSilent(f"the agent cannot read {path} for now: {refused}") from refused
            return b""
        if not isinstance(handle, int):
            raise AgentBroken("the agent sent a file handle that is none")
        try:
            if tail:
                with contextlib.suppress(AgentRefused):  # It is shorter than that: reading begins where it begins.
                    self._channel.call(name, "guest-file-seek", handle=handle, offset=-size_bytes, whence="end")
            read = self._channel.call(name, "guest-file-read", handle=handle, count=size_bytes)
        finally:
            with contextlib.suppress(AgentSilent, AgentRefused):
                self._channel.call(name, "guest-file-close", handle=handle)
        return decoded(read.get("buf-b64", "") if isinstance(read, dict) else None, size_bytes)

    def exists(self, name: InstanceName, path: str) -> bool:
        """Whether there is such a file, as far as the agent may see."""
        try:
            handle = self._channel.call(name, "guest-file-open", path=path, mode="r")
        except AgentRefused:
            return False
        with contextlib.suppress(AgentSilent, AgentRefused):
            self._channel.call(name, "guest-file-close", handle=handle)
        return True

    def shown(self, name: InstanceName, path: str, *, tail: bool = False) -> str | None:
        """The file's text, "" when there is none; None when the agent does not show it."""
        try:
            return self.read(name, path, tail=tail).decode(errors="replace").strip()
        except (AgentForbids, AgentDenied):
            return None

    def run(
        self,
        instance: Instance,
        what: str,
        argv: Sequence[str],
        *,
        output_bytes: int = OUTPUT_BYTES,
        forgotten_s: float = RUN_FORGOTTEN_S,
    ) -> Ended | None:
        """Runs `argv` in the guest; None while it still runs: the next call asks on instead of starting anew.

        Of a longer output the first `output_bytes` are told; a command that has not ended after `forgotten_s` seconds
        is started once more. Raises AgentForbids when the agent runs none, or does not say how they end.
        """
        name, now_s = instance.name, self._clock.monotonic_s()
        if self._unheard.get(name) == instance.boot_id:
            raise AgentForbids("the agent does not say how a command ends")
        running = self._running.setdefault(name, {})
        command = running.get(what)
        if command is None or command.boot_id != instance.boot_id or now_s - command.since_s > forgotten_s:
            pid = self._start(name, argv)
            running.pop(what, None)  # It goes to the end of the line.
            command = running[what] = _Command(instance.boot_id, pid, now_s)
            for old in [*running][:-COMMANDS_MAX]:
                running.pop(old, None)  # Somebody else may have heard its end meanwhile.
        try:
            said = self._channel.call(name, "guest-exec-status", pid=command.pid)
        except AgentForbids:
            running.pop(what, None)
            self._unheard[name] = instance.boot_id  # Else each look would start another process in the guest.
            raise
        except AgentRefused:
            running.pop(what, None)  # The agent restarted and knows it no more.
            return None
        if isinstance(said, dict) and not said.get("exited"):
            return None
        running.pop(what, None)
        return _ended(said, self._clock.monotonic_s() - command.since_s, output_bytes)

    def _start(self, name: InstanceName, argv: Sequence[str]) -> int:
        options: dict[str, Any] = {"capture-output": True}  # A boolean in every version; the enum came with 8.1.
        said = self._channel.call(name, "guest-exec", path=argv[0], arg=list(argv[1:]), **options)
        pid = said.get("pid") if isinstance(said, dict) else None
        if not isinstance(pid, int):
            raise AgentBroken("the agent sent a process id that is none")
        return pid


def _ended(said: object, took_s: float, output_bytes: int) -> Ended:
    status = said.get("exitcode") if isinstance(said, dict) else None
    output = decoded(said.get("out-data", "") if isinstance(said, dict) else "", output_bytes)
    return Ended(status if isinstance(status, int) else -1, output, took_s)


def decoded(encoded: object, size_bytes: int) -> bytes:
    """The first `size_bytes` of a base64 text; raises AgentBroken when it is none."""
    if not isinstance(encoded, str):
        raise AgentBroken("the agent sent something else than was asked for")
    try:
        return base64.b64decode(encoded[: (size_bytes + 2) // 3 * 4], validate=True)[:size_bytes]
    except ValueError as error:
        raise AgentBroken("the agent sent something else than was asked for") from error

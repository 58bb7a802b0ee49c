"""The Inside port through the agent: what people have done in their guests. Every answer is checked and cut.

Nothing here is remembered of a guest but how its last commands ended, because an agent tells that only once.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from orchestrator.drivers.guest.agent_commands import Agents
from orchestrator.drivers.tools.agent_channel import AgentAbsent, AgentBroken, AgentForbids, AgentRefused, AgentSilent
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.errors import Conflict, NotFound, Permanent, Transient, Unreachable, Whose
from orchestrator.model import Instance, InstanceName, Ran

OUTPUT_BYTES: Final = 1 << 20  # of each of the two streams
PIECE_BYTES: Final = 16 * 1024  # of a file in a call: an emulated guest on a busy host is in time with it
REASON_CHARS: Final = 250
FORBIDDEN_HINT: Final = "docs/images-needs.md says what an agent has to allow; or use: vmrole ssh"
ENDED_MAX: Final = 8  # commands whose end is remembered, over all guests
_NO_FILE: Final = "write paths in full, as the guest has them"
_NO_PROGRAM: Final = (
    "the first word is a program of the guest, and no shell reads the line: /bin/sh -c 'LINE' runs one"
)
_NOT_THERE: Final = re.compile(r"no such file or directory|cannot find the (?:file|path)", re.IGNORECASE)


_Process: TypeAlias = tuple[str, str, int]


def _process(instance: Instance, pid: int) -> _Process:
    """What a number means: in one boot of one VM alone. Of the boot it is the guest that tells, or nobody."""
    return instance.vm_uuid, instance.boot_id, pid


class AgentInside:
    """See ports.Inside. Thread-safe."""

    def __init__(self, channel: Agents) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._ended: collections.OrderedDict[_Process, Ran] = collections.OrderedDict()

    def begin(self, instance: Instance, argv: Sequence[str], given: bytes) -> int:
        """See ports.Inside."""
        options: dict[str, Any] = {"capture-output": True}
        if given:
            options["input-data"] = base64.b64encode(given).decode()
        with _asking(instance.name):
            self._channel.call(instance.name, "guest-ping")  # Silent, it has begun nothing: ask again.
        with _asking(instance.name, if_absent=_NO_PROGRAM), _beginning(instance.name):
            told = self._channel.call(instance.name, "guest-exec", path=argv[0], arg=list(argv[1:]), **options)
            pid = told.get("pid") if isinstance(told, dict) else None
            if not isinstance(pid, int):
                raise AgentBroken("the agent sent a process id that is none")
        with self._lock:
            self._ended.pop(_process(instance, pid), None)  # The number is a new process's.
        return pid

    def ended(self, instance: Instance, pid: int) -> Ran | None:
        """See ports.Inside."""
        key = _process(instance, pid)
        with self._lock:
            if key in self._ended:
                return self._ended[key]
        with _asking(instance.name), _looking(instance.name):
            told = self._channel.call(instance.name, "guest-exec-status", pid=pid)
            if not isinstance(told, dict):
                raise AgentBroken("the agent sent something else than was asked for")
            if not told.get("exited"):
                return None
            ran = _ran(told)
        with self._lock:
            self._ended[key] = ran
            while len(self._ended) > ENDED_MAX:
                self._ended.popitem(last=False)
        return ran

    def read(self, instance: Instance, path: str, offset: int, size_bytes: int) -> bytes:
        """See ports.Inside."""
        name, parts, left = instance.name, list[bytes](), size_bytes
        with _asking(name), self._opened(name, path, "rb") as handle:
            if offset:
                self._seek(name, handle, offset)
            while left:
                told = self._channel.call(name, "guest-file-read", handle=handle, count=min(left, PIECE_BYTES))
                piece = _bytes(told.get("buf-b64") if isinstance(told, dict) else None, min(left, PIECE_BYTES))[0]
                if not piece:
                    break
                parts.append(piece)
                left -= len(piece)
        return b"".join(parts)

    def write(self, instance: Instance, path: str, offset: int, data: bytes) -> None:
        """See ports.Inside."""
        name = instance.name
        with _asking(name), self._opened(name, path, "rb+" if offset else "wb") as handle:
            if offset:
                self._seek(name, handle, offset)
            at = 0
            while at < len(data):
                piece = base64.b64encode(data[at : at + PIECE_BYTES]).decode()
                told = self._channel.call(name, "guest-file-write", handle=handle, **{"buf-b64": piece})
                count = told.get("count") if isinstance(told, dict) else None
                if not isinstance(count, int) or not 0 < count <= PIECE_BYTES:
                    raise AgentBroken("the agent wrote a number of bytes that it was not given")
                at += count
            self._channel.call(name, "guest-file-flush", handle=handle)  # A full disk is told here, or never.

    @contextlib.contextmanager
    def _opened(self, name: InstanceName, path: str, mode: str) -> Iterator[int]:
        handle = self._channel.call(name, "guest-file-open", path=path, mode=mode)
        if not isinstance(handle, int):
            raise AgentBroken("the agent sent a file handle that is none")
        try:
            yield handle
        finally:
            with contextlib.suppress(AgentSilent, AgentRefused):
                self._channel.call(name, "guest-file-close", handle=handle)

    def _seek(self, name: InstanceName, handle: int, offset: int) -> None:
        told = self._channel.call(name, "guest-file-seek", handle=handle, offset=offset, whence="set")
        if not isinstance(told, dict) or told.get("position") != offset:
            raise AgentBroken("the agent went to another place in the file")


@contextlib.contextmanager
def _asking(name: InstanceName, *, if_absent: str = _NO_FILE) -> Iterator[None]:
    """What an agent answers, as errors of ours: its words are cut and made harmless."""
    try:
        yield
    except AgentForbids as forbidden:
        told = f"the agent of {name} does not allow that: {harmless(str(forbidden), REASON_CHARS)}"
        raise Conflict(told, hint=FORBIDDEN_HINT) from forbidden
    except AgentRefused as refused:
        words = harmless(str(refused), REASON_CHARS)
        if _NOT_THERE.search(words):
            raise NotFound(f"{name}: {words}", hint=if_absent) from refused
        raise Conflict(f"{name}: {words}", hint=f"look into the guest: vmrole console {name}") from refused
    except AgentSilent as silent:
        told = f"the agent of {name} is silent: {harmless(str(silent), REASON_CHARS)}"
        raise Transient(told, hint="try again when it is up", whose=Whose.GUEST) from silent


@contextlib.contextmanager
def _beginning(name: InstanceName) -> Iterator[None]:
    """A silence in which a command may have begun: whoever asks again might have it run twice."""
    try:
        yield
    except AgentAbsent:
        raise
    except (AgentSilent, Unreachable) as silent:
        told = f"the agent of {name} has not said whether it began: {harmless(str(silent), REASON_CHARS)}"
        hint = "look into the guest before you try again: it may run"
        raise Permanent(told, hint=hint, whose=Whose.GUEST) from silent


@contextlib.contextmanager
def _looking(name: InstanceName) -> Iterator[None]:
    """An agent tells how a command ended once: where that did not arrive, it knows of no such process any more."""
    try:
        yield
    except AgentForbids:
        raise
    except AgentRefused as refused:
        told = f"the agent of {name} does not say any more how it ended: {harmless(str(refused), REASON_CHARS)}"
        raise Permanent(told, hint="look into the guest for what it has done", whose=Whose.GUEST) from refused


def _ran(told: dict[str, Any]) -> Ran:
    status = told.get("exitcode")
    out, out_is_whole = _bytes(told.get("out-data", ""), OUTPUT_BYTES)
    err, err_is_whole = _bytes(told.get("err-data", ""), OUTPUT_BYTES)
    cut = bool(told.get("out-truncated") or told.get("err-truncated"))
    return Ran(
        status=status if isinstance(status, int) else -1,
        output=out,
        errors=err,
        whole=out_is_whole and err_is_whole and not cut,
    )


def _bytes(encoded: object, most: int) -> tuple[bytes, bool]:
    """The first `most` bytes of a base64 text, and whether those are all; raises AgentBroken when it is none."""
    if not isinstance(encoded, str):
        raise AgentBroken("the agent sent something else than was asked for")
    try:
        decoded = base64.b64decode(encoded[: (most + 2) // 3 * 4 + 4], validate=True)
    except ValueError as error:
        raise AgentBroken("the agent sent something else than was asked for") from error
    return decoded[:most], len(decoded) <= most

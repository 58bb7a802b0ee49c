"""The QEMU guest agent's protocol as Windows' agent speaks it: one JSON object a line, in and out. Pure.

Source: qapi-schema.json of QEMU's guest agent, and what its Windows part answers. Only the commands in COMMANDS are
there; guest-exec runs nothing (see `scripts`), and guest-file-* sees C: only.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vmrole_images.setup_simulator.guest import scripts
from vmrole_images.setup_simulator.guest.drive import locate
from vmrole_images.setup_simulator.guest.scripts import CannotRun
from vmrole_images.setup_simulator.guest.world import World

VERSION = "107.0.1"  # of the agent in a virtio-win release
EXEC_S = 0.3  # PowerShell is not there at once.
READ_DEFAULT_BYTES, READ_MAX_BYTES = 4096, 48 << 20
FIRST_NUMBER = 1000
TICK_NS = 1_000_000  # SetSystemTime takes milliseconds.
Json = Mapping[str, Any]


class _Refused(Exception):
    """An error answer of class GenericError."""


class Clock(Protocol):
    """The machine's own, in nanoseconds since 1970."""

    def now_ns(self) -> int:
        """What time it is by it."""

    def set_ns(self, at_ns: int) -> None:
        """Sets it."""


class Agent:
    """One agent: its handles and processes are its own, and forgotten when it ends.

    `power` gets "powerdown", "halt" or "reboot" and returns at once; `interfaces` gives (name, MAC, IPv4/prefix).
    """

    def __init__(
        self,
        world: World,
        power: Callable[[str], None],
        interfaces: Callable[[], list[tuple[str, str, str]]],
        clock: Clock,
    ) -> None:
        self._world = world
        self._power = power
        self._interfaces = interfaces
        self._clock = clock
        self._number = FIRST_NUMBER
        self._files: dict[int, _File] = {}
        self._ended: dict[int, tuple[float, str]] = {}
        self._commands: dict[str, Callable[[Json], Any]] = {
            "guest-sync": lambda asked: asked["id"],
            "guest-sync-delimited": lambda asked: asked["id"],
            "guest-ping": lambda _asked: {},
            "guest-info": self._info,
            "guest-get-osinfo": lambda _asked: OS_INFO,
            "guest-get-time": lambda _asked: clock.now_ns(),
            "guest-set-time": self._set_time,
            "guest-get-host-name": lambda _asked: {"host-name": world.computer()},
            "guest-network-get-interfaces": self._network,
            "guest-file-open": self._open,
            "guest-file-read": self._read,
            "guest-file-write": self._write,
            "guest-file-seek": self._seek,
            "guest-file-flush": self._flush,
            "guest-file-close": self._close,
            "guest-exec": self._exec,
            "guest-exec-status": self._exec_status,
            "guest-shutdown": self._shutdown,
        }

    def answer(self, line: bytes) -> bytes:
        """The answer to one line; b"" where a command has none. A byte 0xFF makes what stands before it void."""
        request = line.rpartition(b"\xff")[2].strip()
        if not request:
            return b""
        try:
            asked = json.loads(request)
            name, arguments = asked["execute"], asked.get("arguments") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return _error("GenericError", "Invalid JSON syntax")
        command = self._commands.get(name) if isinstance(name, str) else None
        if command is None:
            return _error("CommandNotFound", f"The command {name} has not been found")
        if self._forbidden(name):
            return _error("CommandNotFound", f"Command {name} has been disabled")
        try:
            said = command(arguments)
        except _Refused as error:
            return _error("GenericError", str(error))
        except (KeyError, TypeError, AttributeError):
            return _error("GenericError", f"Invalid parameters of {name}")
        if name == "guest-shutdown":
            return b""
        delimiter = b"\xff" if name == "guest-sync-delimited" else b""
        return delimiter + json.dumps({"return": said}).encode() + b"\n"

    def _forbidden(self, name: str) -> bool:
        options = self._world.options
        return (options.no_exec and name.startswith("guest-exec")) or (
            options.no_files and name.startswith("guest-file-")
        )

    def _info(self, _asked: Json) -> object:
        commands = [
            {"name": name, "enabled": not self._forbidden(name), "success-response": name != "guest-shutdown"}
            for name in sorted(self._commands)
        ]
        return {"version": VERSION, "supported_commands": commands}

    def _network(self, _asked: Json) -> object:
        answer = []
        for name, mac, address in self._interfaces():
            ip, _, prefix = address.partition("/")
            addresses = [{"ip-address-type": "ipv4", "ip-address": ip, "prefix": int(prefix)}] if prefix else []
            answer.append({"name": name, "hardware-address": mac, "ip-addresses": addresses})
        return answer

    def _set_time(self, asked: Json) -> object:
        at_ns = asked.get("time")
        if not isinstance(at_ns, int) or at_ns < 0:  # Without one it is w32time that is asked: there is none here.
            raise _Refused("Failed to set the time")
        self._clock.set_ns(at_ns // TICK_NS * TICK_NS)
        return {}

    def _next(self) -> int:
        self._number += 1
        return self._number

    # Files ------------------------------------------------------------------------------------------------------

    def _open(self, asked: Json) -> int:
        path, mode = asked["path"], asked.get("mode", "r")
        place = locate(path, self._world.drives[:1])
        if place is None:
            raise _Refused(f"failed to open file '{path}': The system cannot find the path specified.")
        drive, inner = place
        content = drive.read(inner)
        if mode.startswith("r") and content is None:
            raise _Refused(f"failed to open file '{path}': The system cannot find the file specified.")
        handle = self._next()
        match mode[:1]:
            case "r":
                self._files[handle] = _File(inner, content or b"", 0, dirty=False)
            case "w":
                self._files[handle] = _File(inner, b"", 0, dirty=True)
            case "a":
                self._files[handle] = _File(inner, content or b"", len(content or b""), dirty=True)
            case _:
                raise _Refused(f"invalid file open mode '{mode}'")
        return handle

    def _read(self, asked: Json) -> object:
        file = self._file(asked)
        count = asked.get("count", READ_DEFAULT_BYTES)
        if not 0 <= count <= READ_MAX_BYTES:
            raise _Refused(f"value '{count}' is invalid for argument count")
        data = file.content[file.at : file.at + count]
        file.at += len(data)
        return {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": len(data) < count}

    def _write(self, asked: Json) -> object:
        file = self._file(asked)
        if not file.dirty:
            raise _Refused("failed to write to file: Access is denied.")
        try:
            data = base64.b64decode(asked["buf-b64"], validate=True)
        except binascii.Error as error:
            raise _Refused("failed to decode: the data is not base64") from error
        file.content = file.content[: file.at] + data + file.content[file.at + len(data) :]
        file.at += len(data)
        return {"count": len(data), "eof": False}

    def _seek(self, asked: Json) -> object:
        file = self._file(asked)
        base = {"set": 0, 0: 0, "cur": file.at, 1: file.at, "end": len(file.content), 2: len(file.content)}
        at = base[asked["whence"]] + asked["offset"]
        if at < 0:
            raise _Refused("failed to seek file: An attempt was made to move the file pointer before the beginning.")
        file.at = at
        return {"position": at, "eof": False}

    def _flush(self, asked: Json) -> object:
        file = self._file(asked)
        if file.dirty:
            self._world.system.write(file.path, file.content)
        return {}

    def _close(self, asked: Json) -> object:
        self._flush(asked)
        del self._files[asked["handle"]]
        return {}

    def _file(self, asked: Json) -> _File:
        handle = asked["handle"]
        if handle not in self._files:
            raise _Refused(f"handle '{handle}' has not been found")
        return self._files[handle]

    # Processes --------------------------------------------------------------------------------------------------

    def _exec(self, asked: Json) -> object:
        path, arguments = asked["path"], asked.get("arg", [])
        try:
            printed = scripts.run(self._world, path, arguments)
        except CannotRun as error:
            raise _Refused(f"Guest agent command failed, error was: 'Failed to execute {path} ({error})'") from error
        pid = self._next()
        self._ended[pid] = (self._world.clock() + EXEC_S, printed if asked.get("capture-output") else "")
        return {"pid": pid}

    def _exec_status(self, asked: Json) -> object:
        pid = asked["pid"]
        if pid not in self._ended:
            raise _Refused("Invalid parameter 'pid'")
        at_s, printed = self._ended[pid]
        if self._world.clock() < at_s:
            return {"exited": False}
        del self._ended[pid]  # Told once, and forgotten.
        answer: dict[str, Any] = {"exited": True, "exitcode": 0}
        if printed:
            answer["out-data"] = base64.b64encode(printed.encode()).decode()
        return answer

    def _shutdown(self, asked: Json) -> None:
        mode = asked.get("mode", "powerdown")
        if mode not in ("powerdown", "halt", "reboot"):
            raise _Refused("Invalid parameter 'mode': halt, powerdown or reboot")
        self._power(mode)


class _File:
    """An open file: what it holds, and where the next byte is read or written."""

    __slots__ = ("at", "content", "dirty", "path")

    def __init__(self, path: str, content: bytes, at: int, *, dirty: bool) -> None:
        self.path = path
        self.content = content
        self.at = at
        self.dirty = dirty


# What the agent says on Windows Server 2022: the variant and the release come from a table of its own, the names from
# the registry.
OS_INFO = {
    "id": "mswindows",
    "name": "Microsoft Windows",
    "pretty-name": "Windows Server 2022 Standard (a simulator, not Windows)",
    "version": "Microsoft Windows Server 2022",
    "version-id": "2022",
    "variant": "server",
    "variant-id": "server",
    "kernel-release": "20348",
    "kernel-version": "10.0",
    "machine": "x86_64",
}


def _error(kind: str, text: str) -> bytes:
    return json.dumps({"error": {"class": kind, "desc": text}}).encode() + b"\n"

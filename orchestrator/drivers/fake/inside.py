"""The inside of fake guests: a few programs and files, for who tries what people do there."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from orchestrator.drivers.fake.machines import FakeGuest
from orchestrator.drivers.fake.world import World
from orchestrator.errors import Conflict, NotFound, Permanent, Transient
from orchestrator.model import Instance, Ran, Silence

Files = dict[str, bytes]


class FakeInside:
    """See ports.Inside. What is in a generation is gone with it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._guest = FakeGuest(world)
        self._files: dict[str, Files] = {}
        self._modes: dict[tuple[str, str], str] = {}
        self._begun: dict[tuple[str, int], tuple[float, Ran]] = {}
        self.forbids: set[str] = set()  # "exec", "files": what the agents do not allow

    def _asked(self, instance: Instance, what: str) -> Files:
        said = self._guest.identity(instance)
        if isinstance(said, Silence):
            raise Transient(f"the agent of {instance.name} is silent: {said.reason}", hint="try again when it is up")
        if what in self.forbids:
            raise Conflict(f"the agent of {instance.name} does not allow that", hint="or: vmrole ssh")
        return self._files.setdefault(instance.vm_uuid, {})

    def begin(self, instance: Instance, argv: Sequence[str], given: bytes) -> int:
        """See ports.Inside. Known are cat, echo, true, false, sleep, stat, mv and the like, and sh -c with those."""
        files = self._asked(instance, "exec")
        pid = len(self._begun) + 1
        takes_s = float(argv[1]) if argv[0] == "sleep" else 0.0
        program = PurePosixPath(argv[0]).name
        if program == "sh":
            ran = self._script(instance, files, argv[2], given)
        else:
            ran = self._program(instance, files, program, argv[1:], given)
        self._begun[instance.vm_uuid, pid] = (self._world.monotonic_s() + takes_s, ran)
        return pid

    def ended(self, instance: Instance, pid: int) -> Ran | None:
        """See ports.Inside."""
        self._asked(instance, "exec")
        if (instance.vm_uuid, pid) not in self._begun:
            raise Permanent(f"{instance.name}: PID {pid} does not exist")
        at_s, ran = self._begun[instance.vm_uuid, pid]
        return ran if self._world.monotonic_s() >= at_s else None

    def read(self, instance: Instance, path: str, offset: int, size_bytes: int) -> bytes:
        """See ports.Inside."""
        files = self._asked(instance, "files")
        if path not in files:
            raise NotFound(f"{instance.name}: failed to open file '{path}': No such file or directory")
        return files[path][offset : offset + size_bytes]

    def write(self, instance: Instance, path: str, offset: int, data: bytes) -> None:
        """See ports.Inside."""
        files = self._asked(instance, "files")
        if offset and path not in files:
            raise NotFound(f"{instance.name}: failed to open file '{path}': No such file or directory")
        before = files.get(path, b"") if offset else b""
        files[path] = before[:offset].ljust(offset, b"\0") + data + before[offset + len(data) :]

    def files_of(self, instance: Instance) -> list[str]:
        """The paths of its files."""
        return sorted(self._files.get(instance.vm_uuid, {}))

    def _script(self, instance: Instance, files: Files, script: str, given: bytes) -> Ran:
        ran = Ran(status=0)
        for line in filter(None, map(str.strip, script.split(";"))):
            words = shlex.split(line)
            if words[0] == "exit":
                return Ran(status=int(words[1]), output=ran.output, errors=ran.errors)
            aside = words[-1] == ">&2"
            part = self._program(instance, files, words[0], words[1:-1] if aside else words[1:], given)
            out, err = (b"", part.output) if aside else (part.output, part.errors)
            ran = Ran(status=part.status, output=ran.output + out, errors=ran.errors + err)
        return ran

    def _program(self, instance: Instance, files: Files, name: str, words: Sequence[str], given: bytes) -> Ran:
        match name, words:
            case "echo", _:
                return Ran(status=0, output=" ".join(words).encode() + b"\n")
            case "cat", []:
                return Ran(status=0, output=given)
            case "true" | "sleep", _:
                return Ran(status=0)
            case "false", _:
                return Ran(status=1)
            case "stat" | "readlink" | "chmod" | "chown" | "mv" | "rm" | "cmd.exe", _:
                return self._of_files(instance, files, name, words)
            case _:
                told = f"Failed to execute child process '{name}' (No such file or directory)"
                raise NotFound(f"{instance.name}: {told}")

    def _of_files(self, instance: Instance, files: Files, name: str, words: Sequence[str]) -> Ran:
        """A program that tells of files, or changes them."""
        path, missing = words[-1], Ran(status=1, errors=f"{name}: cannot stat '{words[-1]}'\n".encode())
        match name, words:
            case "stat", [*_, form, _] if path in files:
                facts = {"%a": self._modes.get((instance.vm_uuid, path), "644"), "%s": str(len(files[path]))}
                for sign, value in {**facts, "%F": "regular file", "%u": "0", "%g": "0"}.items():
                    form = form.replace(sign, value)
                return Ran(status=0, output=f"{form}\n".encode())
            case "readlink", _ if path in files:
                return Ran(status=0, output=f"{path}\n".encode())
            case "chmod", [mode, _] if path in files:
                self._modes[instance.vm_uuid, path] = mode
            case "chown", _ if path in files:
                pass
            case "mv", [*_, before, _] if before in files:
                files[path] = files.pop(before)
                self._modes[instance.vm_uuid, path] = self._modes.pop((instance.vm_uuid, before), "644")
            case "rm" | "cmd.exe", _:
                files.pop(path, None)
            case _:
                return missing
        return Ran(status=0)

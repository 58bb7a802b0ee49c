"""A service of this host as plain libvirt domains with disks that stand alone: the way out of vmrole.

Nothing of the daemon's is changed. The disks of a VM that is off are read by qemu-img. Those of one that runs are
written by QEMU itself, as they were at one moment, at which the guest's file systems stand still where its agent can
do that. All of it is made in a directory beside the one that is asked for, which takes its name when it is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from orchestrator.client import clock
from orchestrator.errors import CommandFailed, Conflict, InvalidInput, NoSpace, RequestError, Transient
from orchestrator.host.plain_domain import Described, backup_xml, describe, plain, plain_network

ABOUT: Final = """\
Service {service}, as vmrole had it on {date}: a libvirt domain for each instance, its disks, and their network.

    virsh net-define network.xml && virsh net-start {network}
    virsh define NAME.xml && virsh start NAME

Names, UUIDs, hardware addresses and addresses are those that the instances had: delete the service first
(vmrole delete service {service}), or define them on another host. The files say where the disks lie; when you move
them, change the paths. QEMU's user has to reach the directory: chmod 711 this one, and each above it.

The disks are of this moment:
{moments}

Here is: each system disk {layers}, local storage, the variables of UEFI, and service.yaml, the file
that vmrole applied; what its `kept:` names has to be put in again.

Not here: the virtual address, its balancer and the firewall around the instances; the answer disc, which setup has
read and which is gone; the state of a TPM; user-data and other texts that may hold secrets; SSH host keys that vmrole
kept.
"""
WHOLE: Final = "with its image in it"
LAYERS: Final = "above base-*.qcow2, its image, which stays beside it, unchanged"
MOMENTS: Final = {
    "off": "it was off",
    "frozen": "it ran; its file systems stood still at that moment",
    "running": "it ran; as after a power cut, because its agent could not hold its file systems still",
}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]*")
_COMMAND_S: Final = 60
_COPY_S: Final = 24 * 3600
_LOOK_S: Final = 0.5
_FROM_MARGIN: Final = 1.1  # what runs goes on growing
# In a session of its own, because what it begins it has to end: a guest that is frozen is not left so, whatever
# becomes of who asked. An agent that is late with the freeze answers the thaw when it is done.
_BEGIN: Final = """
timeout 20 virsh --connect "$1" domfsfreeze "$2" >/dev/null 2>&1 && echo frozen
timeout 20 virsh --connect "$1" backup-begin "$2" "$3" >&2; status=$?
tries=0
until timeout 20 virsh --connect "$1" domfsthaw "$2" >/dev/null 2>&1 || [ $tries -ge "$4" ]; do
  tries=$((tries + 1)); sleep 1
done
exit $status
"""
_THAW_TRIES: Final = 20
Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """An instance that is taken out: its name, and whether it runs."""

    name: str
    runs: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is taken out: of which hypervisor, of which service, and whether each disk keeps its image beneath it."""

    uri: str
    service: str
    members: tuple[Member, ...]
    file: str  # of the service
    layers: bool = False


def export(wish: Wish, directory: Path, told: Progress) -> list[Path]:
    """Writes the service to a new directory; returns what is in it. `told` hears what grows, and to how many bytes.

    Raises InvalidInput for a directory that is there or that QEMU cannot write to, Conflict for an instance that does
    not last so long, NoSpace. Whatever it raises, and when it is interrupted, nothing is left.
    """
    directory = directory.absolute()
    for member in wish.members:
        if not _NAME.fullmatch(member.name):
            raise InvalidInput(f"{member.name!r} is no name of an instance")
    described = {
        member.name: describe(_virsh(wish.uri, "dumpxml", "--inactive", member.name)) for member in wish.members
    }
    with _made(directory, any(member.runs for member in wish.members)) as place:
        _look_for_room(place, wish, described)
        _Export(wish, directory, place, told).write(described)
    return sorted(directory.iterdir())


@contextlib.contextmanager
def _made(directory: Path, qemu_writes: bool) -> Iterator[Path]:
    """A new directory beside it, which takes its name in the end."""
    place = directory.with_name(f".{directory.name}.{secrets.token_hex(6)}")
    if directory.is_symlink() or (directory.exists() and (not directory.is_dir() or any(directory.iterdir()))):
        raise InvalidInput(f"{directory} is there, and is left alone", hint="name a new directory")
    closed = next((each for each in directory.parents if each.exists() and not each.stat().st_mode & 0o001), None)
    if qemu_writes and closed is not None:
        hint = "name a directory elsewhere, such as below /var/backups; or stop the service first"
        raise InvalidInput(
            f"{closed} lets QEMU's user not through, and QEMU writes the disks of what runs", hint=hint
        )
    try:
        place.mkdir(mode=0o711)
        place.chmod(0o711 if qemu_writes else 0o700)
    except OSError as error:
        raise InvalidInput(f"{directory}: {error.strerror}", hint="name one in a directory that there is") from error
    try:
        yield place
        for path in place.iterdir():
            os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
            path.chmod(0o600)
        place.chmod(0o700)
        try:
            place.rename(directory)
        except OSError as error:
            raise InvalidInput(f"{directory}: {error.strerror}", hint="name a new directory") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _look_for_room(place: Path, wish: Wish, described: Mapping[str, Described]) -> None:
    """Raises NoSpace where the copies would fill the file system."""
    needed = 0
    for member in wish.members:
        for disk in described[member.name].disks:
            needed += int(_size(disk.file, disk.form) * (_FROM_MARGIN if member.runs else 1))
    free = shutil.disk_usage(place).free
    if needed > free:
        told = f"{place.parent} has {free >> 20} MiB free, and the disks need up to {needed >> 20} MiB"
        raise NoSpace(told, hint="make room, or name a directory elsewhere")


def _size(file: Path, form: str) -> int:
    """How many bytes it takes at most to have the disk in a file of its own."""
    words = ["qemu-img", "measure", "-U", "-O", "qcow2", "--output=json", "-f", form, str(file)]
    required: int = json.loads(_run(words))["required"]
    return required


class _Export:
    """One that is being made in `place`."""

    def __init__(self, wish: Wish, directory: Path, place: Path, told: Progress) -> None:
        self._wish = wish
        self._directory = directory
        self._place = place
        self._told = told
        self._network = wish.service
        self._bases: dict[Path, str] = {}

    def write(self, described: Mapping[str, Described]) -> None:
        """Writes everything."""
        moments = []
        for member in self._wish.members:
            vm = described[member.name]
            copies = {disk.target: f"{member.name}.{disk.target}.qcow2" for disk in vm.disks}
            moment = self._copy_running(member, vm, copies) if member.runs else self._copy_off(vm, copies)
            moments.append(f"    {member.name}: {MOMENTS[moment]}")
            variables = self._take_variables(member.name, vm)
            there = {target: self._directory / name for target, name in copies.items()}
            self._new(f"{member.name}.xml", plain(vm, there, variables, self._network))
        self._write_network(described)
        self._new("service.yaml", self._wish.file)
        about = ABOUT.format(
            service=self._wish.service,
            network=self._network,
            date=datetime.datetime.fromtimestamp(clock.now_s(), datetime.UTC).date(),
            moments="\n".join(moments),
            layers=LAYERS if self._bases else WHOLE,
        )
        self._new("README.txt", about)

    def _copy_off(self, vm: Described, copies: Mapping[str, str]) -> str:
        for disk in vm.disks:
            target, under = self._place / copies[disk.target], list[str]()
            base = _base(disk.file, disk.form) if self._wish.layers else None
            if base is not None:
                under = ["-B", self._base(*base), "-F", "qcow2"]
            words = ["convert", "-q", "-f", disk.form, "-O", "qcow2", *under, str(disk.file), str(target)]
            with _running(["qemu-img", *words], self._place) as done:
                self._until(done, target, total=_size(disk.file, disk.form))
        return "off"

    def _base(self, file: Path, form: str) -> str:
        """The copy of what lies beneath disks, made once."""
        if file not in self._bases:
            name = f"base-{len(self._bases)}.qcow2"
            words = ["convert", "-q", "-f", form, "-O", "qcow2", str(file), name]
            with _running(["qemu-img", *words], self._place) as done:
                self._until(done, self._place / name, total=_size(file, form))
            self._bases[file] = name
        return self._bases[file]

    def _copy_running(self, member: Member, vm: Described, copies: Mapping[str, str]) -> str:
        """QEMU writes all disks, as they are at one moment."""
        uri, name = self._wish.uri, member.name
        job = self._place / f"{name}.job"
        job.write_text(backup_xml(vm, {target: self._place / copy for target, copy in copies.items()}))
        total = sum(_size(disk.file, disk.form) for disk in vm.disks)
        try:
            begun = _to_its_end(["sh", "-c", _BEGIN, "sh", uri, name, str(job), str(_THAW_TRIES)])
            self._until(
                lambda: not re.search(r"^Job type:\s+(?!None)\S", _virsh(uri, "domjobinfo", name), re.MULTILINE),
                *(self._place / copy for copy in copies.values()),
                total=total,
            )
            told = _virsh(uri, "domjobinfo", name, "--completed")
            if not re.search(r"^Job type:\s+Completed", told, re.MULTILINE):
                raise Conflict(f"{name} did not run until its disks were copied", hint=f"ask: vmrole why {name}")
        except CommandFailed as error:
            told_why = f"the disks of {name} cannot be copied while it runs: {error}"
            raise Conflict(told_why, hint=f"vmrole stop {name} --wait, and try again") from error
        except BaseException:
            with contextlib.suppress(CommandFailed, Transient):
                _virsh(uri, "domjobabort", name)
            raise
        job.unlink()
        return "frozen" if begun.strip() == "frozen" else "running"

    def _take_variables(self, name: str, vm: Described) -> Path | None:
        """Copies what UEFI remembers; returns where it will lie."""
        if vm.variables is None:
            return None
        copy = f"{name}.nvram.fd"
        try:
            shutil.copyfile(vm.variables, self._place / copy)
        except OSError as error:
            raise RequestError(f"{vm.variables}: {error.strerror}", hint="be root, on its host") from error
        return self._directory / copy

    def _write_network(self, described: Mapping[str, Described]) -> None:
        for network in sorted({vm.network for vm in described.values()} - {""})[:1]:
            text = _virsh(self._wish.uri, "net-dumpxml", "--inactive", network)
            self._new("network.xml", plain_network(text, self._network))

    def _new(self, name: str, text: str) -> None:
        (self._place / name).write_text(text, encoding="utf-8")

    def _until(self, done: Callable[[], bool], *files: Path, total: int) -> None:
        """Waits for it, and tells how large they have become."""
        until_s = clock.monotonic_s() + _COPY_S
        label = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
        while True:
            ended = done()
            self._told(label, sum(_used(file) for file in files), total)
            if ended:
                return
            if clock.monotonic_s() > until_s:
                raise Transient(f"{label} is not there after {_COPY_S // 3600} h", hint="look at the disks")
            clock.pause(_LOOK_S)


def _base(file: Path, form: str) -> tuple[Path, str] | None:
    """What lies beneath a disk, and in what form; None for nothing."""
    told = json.loads(_run(["qemu-img", "info", "-U", "--output=json", "-f", form, str(file)]))
    name = told.get("full-backing-filename")
    return (Path(name), told.get("backing-filename-format", "raw")) if name else None


def _used(file: Path) -> int:
    try:
        return file.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _running(argv: Sequence[str], place: Path) -> Iterator[Callable[[], bool]]:
    """A program, whose end the caller asks for; it is ended with the block. Raises CommandFailed."""
    process = subprocess.Popen(
        [*argv], cwd=place, env=_environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )

    def done() -> bool:
        if process.poll() is None:
            return False
        if process.returncode:
            assert process.stderr is not None
            raise CommandFailed(tuple(argv), process.returncode, process.stderr.read())
        return True

    try:
        with process:
            try:
                yield done
            finally:
                if process.poll() is None:
                    process.kill()
    except FileNotFoundError as error:
        raise RequestError(f"{argv[0]} is not installed", hint="vmrole export runs on the host itself") from error


def _virsh(uri: str, *words: str) -> str:
    return _run(["virsh", "--connect", uri, *words])


def _run(argv: Sequence[str]) -> str:
    """What the program prints; raises CommandFailed."""
    try:
        done = subprocess.run(
            [*argv],
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_S,
            env=_environment(),
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise RequestError(f"{argv[0]} is not installed", hint="vmrole export runs on the host itself") from error
    except subprocess.TimeoutExpired as error:
        raise Transient(f"{argv[0]} does not answer", hint="vmrole doctor") from error
    if done.returncode:
        raise CommandFailed(tuple(argv), done.returncode, done.stderr)
    return done.stdout


def _to_its_end(argv: Sequence[str]) -> str:
    """What the program prints, which is waited for also by who is interrupted: it has an end of its own."""
    process = subprocess.Popen(
        [*argv],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate()
    except BaseException:
        process.communicate()
        raise
    if process.returncode:
        raise CommandFailed((*argv[:1], "domfsfreeze", "backup-begin"), process.returncode, err)
    return out


def _environment() -> dict[str, str]:
    return {"LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)}

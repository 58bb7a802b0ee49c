"""`drives:` of a role: disks of the user's own that its instances have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from orchestrator.errors import InvalidInput, Problem
from orchestrator.model import AnswerFormat, Image, LocalStorage, Os, Role
from orchestrator.model.drive import INDEX, RoleDrive, drive_name
from orchestrator.servicefile.fields import Answer, shaped, text
from orchestrator.servicefile.reader import Reader

NAME_MAX: Final = 16  # as that of local storage, which a guest finds it as
_PATH: Final = "^(/[A-Za-z0-9_][A-Za-z0-9._-]{0,63}){1,8}$"
# What no link may stand in the place of, and below what no path is the role's.
_WHOLE: Final = frozenset({"/usr", "/var", "/root", "/tmp", "/home"})  # noqa: S108 - it is refused
_BELOW: Final = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "local", "proc", "run", "sbin", "sys")


def read_drive(reader: Reader, name: str, node: object, at: str) -> RoleDrive:
    """A drive of a role; faults are noted."""
    if len(name) > NAME_MAX:
        reader.fault(at, f"{name!r} is too long", f"use at most {NAME_MAX} characters")
    node = reader.keys(node, at, ("drive", "mount"), ("drive",))
    return RoleDrive(
        name=name,
        drive=reader.take(node, at, "drive", _drive, ""),
        mount=reader.take(node, at, "mount", mount_path, ""),
    )


def check_drives(
    reader: Reader, at: str, drives: Sequence[RoleDrive], storage: Sequence[LocalStorage], instances: int
) -> None:
    """Notes drives that two instances of the role would have, and what would be in each other's place."""
    stored, mounts = {one.name for one in storage}, dict[str, str]()
    wanted: dict[str, str] = {}
    for one in drives:
        key = f"{at}.drives.{one.name}"
        if one.name in stored:
            reader.fault(key, "local storage is called so as well", "a guest finds both by name: choose another")
        if instances > 1 and one.drive and INDEX not in one.drive:
            told = f"{instances} instances cannot have the one drive {one.drive}"
            reader.fault(f"{key}.drive", told, f"write {INDEX} where each has its own number: {one.drive}-{INDEX}")
        if one.drive and one.drive in wanted:
            reader.fault(f"{key}.drive", f"{wanted[one.drive]} is that drive as well", "each drive once")
        wanted[one.drive] = one.name
        for other, mount in mounts.items() if one.mount else ():
            if f"{one.mount}/".startswith(f"{mount}/") or f"{mount}/".startswith(f"{one.mount}/"):
                reader.fault(f"{key}.mount", f"{one.mount} is in the place of {other}, at {mount}", "choose another")
        if one.mount:
            mounts[one.name] = one.mount


def check_once(reader: Reader, roles: Sequence[Role]) -> None:
    """Notes drives that two instances of the service would have, or one of them twice."""
    first: dict[str, tuple[str, str, str]] = {}
    for role in roles:
        for one in role.drives:
            key = f"roles.{role.name}.drives.{one.name}.drive"
            for index in range(role.instances) if one.drive else ():
                other, held_by, said = first.setdefault(one.of(index), (key, f"{role.name}-{index}", one.drive))
                if other == key or (said == one.drive and held_by.rpartition("-")[0] == role.name):
                    continue  # what a role says twice is told by itself
                told = f"{role.name}-{index} cannot have drive {one.of(index)}: {held_by} has it, by {other}"
                reader.fault(key, told, "each drive has one instance at a time: name another")
                break


def check_mounts(
    reader: Reader, at: str, drives: Sequence[RoleDrive], image: Image | None, reads: AnswerFormat
) -> None:
    """Notes paths that nobody would make in a guest of the image."""
    for one in drives:
        key = f"{at}.drives.{one.name}.mount"
        if not one.mount or image is None:
            continue
        if image.os is Os.WINDOWS:
            reader.fault(key, "a Windows has no such path", f"leave it out: the drive is C:\\local\\{one.name}")
        elif reads is not AnswerFormat.NOCLOUD:
            told = "nobody tells the guest of it: its image reads no answers"
            reader.fault(key, told, f"leave it out, and have the image take the disk with the serial ls-{one.name}")


@shaped(type="string", minLength=1)
def _drive(node: object) -> Answer[str]:
    said = text(node)
    if isinstance(said, Problem):
        return said
    try:
        drive_name(said.replace(INDEX, "99"))
    except InvalidInput as error:
        return Problem(str(error).replace("99", INDEX), hint=f"{error.hint}; {INDEX} is the instance's number")
    return said


@shaped(type="string", pattern=_PATH)
def mount_path(node: object) -> Answer[str]:
    """A path of a guest's at which something is mounted, or that leads to it."""
    said = text(node)
    if isinstance(said, Problem):
        return said
    if not re.fullmatch(_PATH, said):
        hint = "an absolute one without '..', of letters, digits, '.', '_' and '-', such as /data or /srv/orders"
        return Problem(f"{said[:60]!r} is no path in a guest", hint=hint)
    if said in _WHOLE or said.split("/")[1] in _BELOW:
        return Problem(f"{said[:60]} is the system's own", hint="such as /data or /srv/orders")
    return said

"""`shares:` of a role: directories of the host that its guests read."""

from __future__ import annotations

import functools
import re

from orchestrator.errors import Problem
from orchestrator.model import AnswerFormat, Image, Os
from orchestrator.model.share import SHARES_MOST, SOURCE, Share
from orchestrator.servicefile.drives import NAME_MAX, mount_path
from orchestrator.servicefile.fields import Answer, shaped, text
from orchestrator.servicefile.reader import Reader
from orchestrator.servicefile.tree import Map


def read_shares(reader: Reader, node: Map, at: str) -> tuple[Share, ...]:
    """What stands below `shares` of the role `node`; faults are noted."""
    shares: list[Share] = reader.members(node, at, "shares", functools.partial(_share, reader))
    if len(shares) > SHARES_MOST:
        reader.fault(
            f"{at}.shares", f"{len(shares)} shares; a role may have {SHARES_MOST}", "share what is above them"
        )
    return tuple(shares)


def check_shares(reader: Reader, at: str, shares: tuple[Share, ...], mounts: dict[str, str]) -> None:
    """Notes those that would be in the place of each other, or of what is mounted at `mounts`, each with its name."""
    taken = dict(mounts)
    for one in shares:
        for other, mount in taken.items() if one.mount else ():
            if f"{one.mount}/".startswith(f"{mount}/") or f"{mount}/".startswith(f"{one.mount}/"):
                told = f"{one.mount} is in the place of {other}, at {mount}"
                reader.fault(f"{at}.shares.{one.name}.mount", told, "choose another")
        if one.mount:
            taken[one.name] = one.mount


def check_mounted(
    reader: Reader, at: str, shares: tuple[Share, ...], image: Image | None, reads: AnswerFormat
) -> None:
    """Notes shares that no guest of the image would have."""
    if not shares or image is None:
        return
    if image.os is Os.WINDOWS:
        hint = "leave them out: a Windows has no driver for them, and reads a share of your network's as others do"
        reader.fault(f"{at}.shares", "a Windows cannot have shares", hint)
    for one in shares if reads is not AnswerFormat.NOCLOUD else ():
        if one.mount and image.os is Os.LINUX:
            told = "nobody tells the guest of it: its image reads no answers"
            hint = f"leave it out, and have the image run: mount -t virtiofs {one.name} PLACE"
            reader.fault(f"{at}.shares.{one.name}.mount", told, hint)


def _share(reader: Reader, name: str, node: object, at: str) -> Share:
    if len(name) > NAME_MAX:
        reader.fault(at, f"{name!r} is too long", f"use at most {NAME_MAX} characters")
    node = reader.keys(node, at, ("source", "mount"), ("source",))
    return Share(
        name=name,
        source=reader.take(node, at, "source", _source, ""),
        mount=reader.take(node, at, "mount", mount_path, ""),
    )


@shaped(type="string", pattern=SOURCE)
def _source(node: object) -> Answer[str]:
    said = text(node)
    if isinstance(said, Problem):
        return said
    if not re.fullmatch(SOURCE, said):
        hint = "an absolute one without '..', of letters, digits, '.', '_' and '-', such as /srv/data"
        return Problem(f"{said[:60]!r} is no path of a directory", hint=hint)
    return said

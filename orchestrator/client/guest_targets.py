"""The place in a guest that a file shall have: it is there whole or not at all, as far as the guest can be asked.

The file is written beside its place under a name of ours, and then takes the place. Each program that is run for it
may be run twice: an agent does not always say whether it has begun one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import posixpath
import re
import secrets
from collections.abc import Callable, Sequence
from typing import BinaryIO

from orchestrator.client.client import Client
from orchestrator.client.commands import Ended, run_again
from orchestrator.client.guest_files import ASKED_S, MODE_BITS, Progress, bring
from orchestrator.errors import Conflict, NotFound, VmroleError, WaitedTooLong

Warn = Callable[[str], None]
CLEARED_S = 10.0  # how long the guest may take to remove what is unfinished
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]")
_OF_CMD = re.compile(r'[&|<>^%!"]')  # what its command processor would take for its own


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where a file is written: at `path`, which is the place itself or, where programs can be run, `unfinished`."""

    path: str
    unfinished: str = ""
    owner: str = ""  # of what has the place, as 0:0; "" when nothing has
    mode: int | None = None

    @property
    def written(self) -> str:
        return self.unfinished or self.path


def put(
    client: Client, name: str, source: BinaryIO, path: str, *, mode: int | None, told: Progress, warn: Warn
) -> int:
    """Puts all of `source` into a guest's file; returns how many bytes that were.

    What had the name is replaced, and leaves its owner; `mode` is what the file shall have, None for that of what is
    replaced. Raises Conflict for a directory. When it is cut off, all is as before, or `warn` hears what is left.
    """
    place = _place(client, name, path)
    try:
        count = bring(client, name, source, place.written, told)
        if place.owner:
            _give(client, name, place, ["chown", place.owner], warn)
        bits = mode if mode is not None else place.mode
        if bits is not None:
            _give(client, name, place, ["chmod", f"{bits & MODE_BITS:o}"], warn)
        _move(client, name, place, count)
    except BaseException as error:
        _clear(client, name, place, error, warn)
        raise
    return count


def _place(client: Client, name: str, path: str) -> _Place:
    """Asks the guest what is there, as far as it may be asked."""
    if _WINDOWS.match(path):
        return _Place(path)
    try:
        facts = _surely(client, name, ["stat", "-L", "-c", "%u:%g %a %F", path])
        words = facts.output.decode(errors="replace").split(maxsplit=2)
        if facts.status != 0 or len(words) != 3:
            return _Place(path, _beside(path))
        owner, mode, kind = words
        if kind.startswith("directory"):
            raise IsADirectoryError(path)
        if not kind.startswith("regular") or not re.fullmatch(r"\d+:\d+ [0-7]{1,4}", f"{owner} {mode}"):
            return _Place(path)  # A device or a pipe is written to, and not replaced.
        followed = _surely(client, name, ["readlink", "-f", path])
    except (Conflict, NotFound, WaitedTooLong):  # It forbids commands, or has not got those.
        return _Place(path)
    except IsADirectoryError:
        raise Conflict(f"{name}:{path} is a directory", hint=f"into it: {name}:{path}/") from None
    real = followed.output.decode(errors="replace").rstrip("\n")
    if followed.status != 0 or not real.startswith("/") or "\n" in real or "\ufffd" in real:
        return _Place(path)
    return _Place(real, _beside(real), owner, int(mode, 8))


def _beside(path: str) -> str:
    return posixpath.join(posixpath.dirname(path), f".vmrole-{secrets.token_hex(6)}.part")


def _give(client: Client, name: str, place: _Place, words: Sequence[str], warn: Warn) -> None:
    """Runs what gives the file an owner or a mode; says why it has not got that."""
    try:
        done = _surely(client, name, [*words, place.written])
    except (Conflict, NotFound, WaitedTooLong) as error:
        why = str(error)
    else:
        why = _words(done) if done.status else ""
    if why:
        what = {"chmod": "mode", "chown": "owner"}[words[0]]
        warn(f"{name}:{place.path} keeps the {what} of the guest's own: {why}")


def _words(done: Ended) -> str:
    return done.errors.decode(errors="replace").strip()[:200]


def _move(client: Client, name: str, place: _Place, size_bytes: int) -> None:
    """Gives the file its place. Raises Conflict where the guest does not let it."""
    if not place.unfinished:
        return
    done = _surely(client, name, ["mv", "-f", place.unfinished, place.path])
    if done.status == 0:
        return
    facts = _surely(client, name, ["stat", "-c", "%s", place.path])  # It may have been moved by one not heard of.
    left = _surely(client, name, ["stat", "-c", "%s", place.unfinished])
    if left.status == 0 or facts.output.strip() != str(size_bytes).encode():
        raise Conflict(
            f"{name}:{place.path} cannot be replaced: {_words(done)}", hint="name another place in the guest"
        )


def _clear(client: Client, name: str, place: _Place, error: BaseException, warn: Warn) -> None:
    """Takes away what is unfinished; says what cannot be."""
    if not place.unfinished and isinstance(error, NotFound):
        return  # There is no such directory.
    words = ["rm", "-f", place.unfinished]
    if _WINDOWS.match(place.path) and not _OF_CMD.search(place.path):
        words = ["cmd.exe", "/d", "/c", "del", "/f", "/q", place.path.replace("/", "\\")]
    if words[-1]:
        with contextlib.suppress(VmroleError):
            if run_again(client, name, words, within_s=CLEARED_S, silent_s=CLEARED_S).status == 0:
                return
    warn(f"{name}:{place.written} may be there in part")


def _surely(client: Client, name: str, words: Sequence[str]) -> Ended:
    return run_again(client, name, words, within_s=ASKED_S)

"""Blobs: small named states that a guest puts by, and finds again after whatever becomes of its VM."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Sequence
from typing import Final

from orchestrator.errors import Conflict, InvalidInput, NotFound, StaleRevision
from orchestrator.model.naming import is_sha256

MIB: Final = 1024 * 1024
IDLE_S: Final = 120.0  # how long the next part of a put is waited for
NONE: Final = "none"  # the version of a blob that is not there
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PUT: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_VERSION: Final = re.compile(r"[0-9a-f]{16}")


class Of(enum.StrEnum):
    """Whose a store is."""

    INSTANCE = "instance"  # one instance's, as long as it is in its service
    ROLE = "role"  # that of all instances of a role, as long as that is


@dataclasses.dataclass(frozen=True, slots=True)
class BlobOwner:
    """Who has a store: an instance by its name ("web-0.shop"), or a role of a deployment ("web.shop")."""

    of: Of
    name: str

    def __str__(self) -> str:
        return self.name if self.of is Of.INSTANCE else f"role {self.name}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A blob as it lies there. Its version is another after each put, even of the same bytes, and never comes back.

    "" is the version of what is no whole blob: somebody has changed its file.
    """

    name: str
    version: str
    size_bytes: int
    sha256: str
    put_at_s: float  # seconds since the epoch
    put_id: str = ""  # how whoever put it called that put

    def is_of(self, put: BlobPut) -> bool:
        """Whether that put has been made already."""
        return (self.put_id, self.sha256, self.size_bytes) == (put.put_id, put.sha256, put.size_bytes)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlobPut:
    """What somebody wants to put. `put_id` is its own: a part that is sent again is known by it."""

    name: str
    put_id: str
    size_bytes: int
    sha256: str
    if_version: str | None = None  # which version it takes the place of; NONE: it is to be the first; None: of any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlobCaps:
    """How much a store holds."""

    blob_mib: int = 16
    store_mib: int = 256
    most: int = 1000  # blobs of one store
    puts_each: int = 8  # that are begun and not ended, of one that has several at a time (see `BlobFiles.part`)
    puts_most: int = 64  # ... of all such together


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlobStore:
    """A store as it lies on the host."""

    owner: BlobOwner
    blobs: int
    used_bytes: int
    damaged: tuple[str, ...] = ()  # names of what lies there and is no whole blob


def blob_name(text: str) -> str:
    """`text` when it can name a blob; raises InvalidInput."""
    if not _NAME.fullmatch(text) or ".." in text:
        shown = text[:80]
        raise InvalidInput(
            f"blob name {shown if shown.isprintable() else ascii(shown)!r} cannot be used",
            hint="use 1 to 100 letters, digits, '.', '_' and '-', the first a letter or digit, and no '..'",
        )
    return text


def check_version(text: str) -> str:
    """`text` when it can be a version, or NONE; raises InvalidInput."""
    if text != NONE and not _VERSION.fullmatch(text):
        hint = f"give the version that ls or get has told, or {NONE!r} for a blob that is not there yet"
        raise InvalidInput(f"{text[:40]!a} is no version of a blob", hint=hint)
    return text


def check_put(put: BlobPut, caps: BlobCaps) -> BlobPut:
    """`put` when it can be meant; raises InvalidInput."""
    blob_name(put.name)
    if not _PUT.fullmatch(put.put_id):
        raise InvalidInput(f"{put.put_id[:40]!a} names no put", hint="use 1 to 64 letters, digits and '-'")
    if not is_sha256(put.sha256):
        raise InvalidInput("a put says its digest", hint="sha256: 64 lower-case hexadecimal digits")
    if not 0 <= put.size_bytes <= caps.blob_mib * MIB:
        told = f"blob {put.name} has {put.size_bytes} bytes; a blob may have {caps.blob_mib} MiB"
        raise InvalidInput(told, hint="split it, or keep it elsewhere; the host's owner sets blob_mib")
    if put.if_version is not None:
        check_version(put.if_version)
    return put


def no_blob(owner: BlobOwner, name: str) -> NotFound:
    """What is said where there is none of that name."""
    return NotFound(f"{owner} has no blob {name}", hint="list what there is: ls")


def refuse_version(there: Blob | None, name: str, if_version: str | None) -> None:
    """Raises StaleRevision when the blob is not of the version that somebody believes it to be."""
    is_now = NONE if there is None else there.version
    if if_version is not None and if_version != is_now:
        said = "it is not there" if there is None else f"its version is {is_now}"
        raise StaleRevision(f"blob {name}: {said}", hint="get it again, and put what follows from that")


def refuse_begun(among: str, begun: Sequence[str], caps: BlobCaps) -> None:
    """Raises Conflict when one of `among` can begin no other put beside those of which a part is there: whose each of
    them is, "" for nobody's, as `among`. Whoever has one put at a time is bounded by that.
    """
    theirs = [one for one in begun if one]
    if not among or (theirs.count(among) < caps.puts_each and len(theirs) < caps.puts_most):
        return
    told = f"{theirs.count(among)} puts of {among}, and {len(theirs)} in all, are begun and not ended"
    hint = f"end them, or wait: what nobody goes on with for {IDLE_S:.0f} s is given up"
    raise Conflict(f"{told}; there may be {caps.puts_each}, and {caps.puts_most}", hint=hint)


def refuse_more(put: BlobPut, there: dict[str, int], begun_bytes: int, caps: BlobCaps) -> None:
    """Raises Conflict when a store that holds these blobs (sizes by name), and is to hold others of which parts are
    there (`begun_bytes`), has no room for this one in place of the former of its name.
    """
    if put.name not in there and len(there) >= caps.most:
        raise Conflict(f"the store has {caps.most} blobs", hint="remove those that nobody needs")
    used = sum(there.values()) - there.get(put.name, 0) + begun_bytes
    if used + put.size_bytes > caps.store_mib * MIB:
        told = f"the store holds {used} bytes and may hold {caps.store_mib} MiB: {put.size_bytes} more do not fit"
        raise Conflict(told, hint="remove what nobody needs; the host's owner sets blobs_mib")

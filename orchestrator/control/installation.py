"""Which vmrole this is: an id that lies in the store, and goes where its records go.

What this daemon makes on a host carries the id, so that another one on the same host, or the same one on a state
directory whose file system was not mounted, never takes it for a stray of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import uuid
from typing import Final

from orchestrator.errors import Conflict
from orchestrator.ports import Store, Write

_KIND: Final = "installation"
_KEY: Final = "this"


def ipv6_prefix(installation: str) -> str:
    """The /48 of unique local addresses (RFC 4193) that its networks are cut from: its id is as random as that has
    to be, and lies where the records lie.
    """
    start = b"\xfd" + hashlib.sha256(f"vmrole ipv6 {installation}".encode()).digest()[:5]
    return str(ipaddress.IPv6Network((start + bytes(10), 48)))


def installation_id(store: Store) -> str:
    """A UUID, made when the store is asked for the first time. Raises what the store raises."""
    document = store.get(_KIND, _KEY)
    if document is None:
        with contextlib.suppress(Conflict):  # Another was quicker; its id is as good.
            store.commit([Write(_KIND, _KEY, {"id": str(uuid.uuid4())}, 0)])
        document = store.get(_KIND, _KEY)
    assert document is not None, "a store keeps what was committed"
    return str(document.body["id"])

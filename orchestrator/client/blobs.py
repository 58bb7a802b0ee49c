"""Requests about blobs. As in `transport`, nothing is imported that a success does not need."""

from __future__ import annotations

import hashlib
import secrets

from orchestrator.client import transport
from orchestrator.client.asking import Asking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.client import wire

PART_BYTES = 512 * 1024


class Blobs(Asking):
    """What a client can ask of them. `of` is "instance" or "role"."""

    def blobs(self, of: str, owner: str) -> list[wire.BlobView]:
        """What an instance ("web-0.shop") or a role ("web.shop") has put by, by name."""
        found: list[wire.BlobView] = self.call("GET", _path(of, owner))
        return found

    def blob(self, of: str, owner: str, name: str, version: str, size_bytes: int) -> Iterator[bytes]:
        """The parts of a blob as it was listed; raises StaleRevision when it is of another version by now."""
        at = 0
        while at < size_bytes:
            query = {"offset": at, "version": version}
            part: bytes = self.call("GET", f"{_path(of, owner)}/{transport.part(name)}", query, raw=True)
            at += len(part)
            yield part

    def put_blob(self, of: str, owner: str, name: str, data: bytes, if_version: str | None = None) -> wire.BlobView:
        """Puts the bytes, all or none of them."""
        path = f"{_path(of, owner)}/{transport.part(name)}"
        query: dict[str, object] = {
            "put_id": secrets.token_hex(16),
            "size_bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        if if_version is not None:
            query["if_version"] = if_version
        headers, at = {"content-type": "application/octet-stream"}, 0
        while True:
            part = data[at : at + PART_BYTES]
            found: wire.BlobTaken = self.call("PUT", path, query | {"offset": at}, body=part, headers=headers)
            if found["blob"] is not None:
                return found["blob"]
            at = found["taken"]

    def remove_blob(self, of: str, owner: str, name: str, if_version: str | None = None) -> wire.BlobView:
        """Removes a blob, and returns what it was."""
        query = {} if if_version is None else {"if_version": if_version}
        found: wire.BlobView = self.call("DELETE", f"{_path(of, owner)}/{transport.part(name)}", query)
        return found


def _path(of: str, owner: str) -> str:
    return f"/v1/blobs/{of}/{transport.part(owner)}"

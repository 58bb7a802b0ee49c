"""Puts of blobs by the API: what is begun and never ended."""

from __future__ import annotations

import hashlib

import pytest

from orchestrator.client.client import Client
from orchestrator.errors import Conflict
from orchestrator.model.blob import BlobCaps
from tests.world.api_daemon import Daemon

SIZE = 64
PART = b"x" * (SIZE // 2)
DIGEST = hashlib.sha256(PART * 2).hexdigest()


def part(client: Client, number: int, offset: int = 0) -> int:
    """One half of the put of that number; how many bytes are there by then."""
    query = {"put_id": f"put-{number}", "size_bytes": SIZE, "sha256": DIGEST, "offset": offset}
    headers = {"content-type": "application/octet-stream"}
    path = f"/v1/blobs/instance/web-0.shop/blob-{number}"
    taken: int = client.call("PUT", path, query, body=PART, headers=headers)["taken"]
    return taken


def test_nobody_begins_puts_without_an_end(daemon: Daemon) -> None:
    """So many at a time, whatever he calls them; what is begun goes on, and who ends one begins another."""
    client, most = daemon.client(), BlobCaps().puts_each
    for number in range(most):
        assert part(client, number) == SIZE // 2
    for number in range(most, 3 * most):
        with pytest.raises(Conflict, match=f"{most} puts of uid .* are begun and not ended"):
            part(client, number)
    assert part(client, 0, SIZE // 2) == SIZE
    assert part(client, most) == SIZE // 2
    assert [one["name"] for one in client.blobs("instance", "web-0.shop")] == ["blob-0"]

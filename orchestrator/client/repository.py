"""Requests about the image repository: what is made of instances, and what nobody uses. As in `transport`, nothing is
imported that a success does not need.
"""

from __future__ import annotations

from orchestrator.client import transport
from orchestrator.client.asking import Asking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator.client import wire

CAPTURE_WITHIN_S = 13 * 3600.0  # as long as the daemon gives a conversion, and the checks after it


class Repository(Asking):
    """What a client can ask for."""

    def capture_image(self, instance: str, name: str) -> wire.Image:
        """Has an image made of the disk of an instance that is off; returns when it is there."""
        path = f"/v1/instances/{transport.part(instance)}/image"
        found: wire.Image = self.call("POST", path, {"called": name}, within_s=CAPTURE_WITHIN_S)
        return found

    def unused_images(self, *, older_than_s: float = 0.0) -> list[wire.Image]:
        """Images that no service refers to."""
        found: list[wire.Image] = self.call("GET", "/v1/unused-images", {"older_than_s": older_than_s})
        return found

    def prune_images(self, *, older_than_s: float = 0.0) -> list[wire.Image]:
        """Removes them; returns what they were."""
        found: list[wire.Image] = self.call("DELETE", "/v1/unused-images", {"older_than_s": older_than_s})
        return found

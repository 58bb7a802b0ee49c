"""Requests about what is kept of failures. As in `transport`, nothing is imported that a success does not need."""

from __future__ import annotations

from orchestrator.client import transport
from orchestrator.client.asking import Asking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from orchestrator.client import wire


class Evidence(Asking):
    """What a client can ask of it."""

    def evidence(self, instance: str = "") -> list[wire.Capsule]:
        """What is kept of failures, of one instance or of all, the oldest first."""
        found: list[wire.Capsule] = self.call("GET", "/v1/evidence", {"instance": instance} if instance else {})
        return found

    def save_evidence(self, name: str, mark: str, target: BinaryIO) -> None:
        """Writes all files of one failure to `target`, as a .tar.zst; raises Unreachable when it ends early."""
        path = f"/v1/evidence/{transport.part(name)}/{transport.part(mark)}"
        self._taken("GET", path, {}, lambda answer: transport.save(answer, target))

    def remove_evidence(self, name: str, mark: str) -> wire.Capsule:
        """Removes what is kept of one failure."""
        found: wire.Capsule = self.call("DELETE", f"/v1/evidence/{transport.part(name)}/{transport.part(mark)}")
        return found

"""Requests about drives. As in `transport`, nothing is imported that a success does not need."""

from __future__ import annotations

import json

from orchestrator.client import transport
from orchestrator.client.asking import Asking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.client import wire

ATTACHED_WITHIN_S = 300.0  # A guest is asked, and a daemon that is busy takes its time.
COPY_WITHIN_S = 6 * 3600.0  # as long as the daemon itself lets a copy take


class Drives(Asking):
    """What a client can ask of them."""

    def drives(self) -> list[wire.DriveView]:
        """All drives, by name."""
        found: list[wire.DriveView] = self.call("GET", "/v1/drives")
        return found

    def create_drive(self, name: str, size_mib: int) -> wire.DriveView:
        """Makes a drive of zeros."""
        return self._drive("POST", "/v1/drives", {"name": name, "size_mib": size_mib})

    def grow_drive(self, name: str, size_mib: int) -> wire.DriveView:
        """Makes a drive larger."""
        return self._drive("PUT", f"/v1/drives/{transport.part(name)}/size", {"size_mib": size_mib})

    def take_snapshot(self, name: str, snapshot: str = "") -> wire.DriveView:
        """Keeps a drive as it is now; "": the daemon names it by the time."""
        return self._drive("POST", f"/v1/drives/{transport.part(name)}/snapshots", {"name": snapshot})

    def restore_drive(self, name: str, snapshot: str) -> wire.DriveView:
        """Makes a drive what a snapshot has kept."""
        return self._drive("POST", f"/v1/drives/{transport.part(name)}/restore", {"snapshot": snapshot})

    def remove_snapshot(self, name: str, snapshot: str) -> wire.DriveView:
        """Removes a snapshot."""
        return self._drive("DELETE", f"/v1/drives/{transport.part(name)}/snapshots/{transport.part(snapshot)}")

    def attach_drive(self, name: str, instance: str, *, called: str = "", mounted: bool = False) -> wire.AttachedView:
        """Gives a drive to an instance, whose guest finds it by what it is `called`, "" by its own name."""
        wish = {"instance": instance, "name": called, "mounted": mounted}
        found: wire.AttachedView = self.call(
            "PUT",
            f"/v1/drives/{transport.part(name)}/attachment",
            body=json.dumps(wish).encode(),
            headers={"content-type": "application/json"},
            within_s=ATTACHED_WITHIN_S,
        )
        return found

    def detach_drive(self, name: str, *, force: bool = False) -> wire.DriveView:
        """Takes a drive from the instance that it was attached to; `force`: though its guest uses it."""
        query = "?force=true" if force else ""
        return self._drive("DELETE", f"/v1/drives/{transport.part(name)}/attachment{query}")

    def remove_drive(self, name: str) -> wire.DriveView:
        """Removes a drive with its snapshots; returns what it was."""
        return self._drive("DELETE", f"/v1/drives/{transport.part(name)}")

    def _drive(self, method: str, path: str, wish: Mapping[str, object] | None = None) -> wire.DriveView:
        headers = {} if wish is None else {"content-type": "application/json"}
        body = b"" if wish is None else json.dumps(wish).encode()
        found: wire.DriveView = self.call(method, path, body=body, headers=headers, within_s=COPY_WITHIN_S)
        return found

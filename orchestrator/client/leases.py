"""Requests about leases. As in `transport`, nothing is imported that a success does not need."""

from __future__ import annotations

import json

from orchestrator.client import transport
from orchestrator.client.asking import Asking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator.client import wire

ATTEND_WITHIN_S = 10.0  # who holds a lease has other things to look at


class Leases(Asking):
    """What a client can ask of them."""

    def lend(self, service: str, role: str, for_s: float) -> wire.LeaseView:
        """Asks for an instance of a role, "" for the only one, for so many seconds from when it is given."""
        wish: wire.LeaseWish = {"service": service, "role": role, "for_s": for_s}
        found: wire.LeaseView = self._json("POST", "/v1/leases", wish, {})
        return found

    def attend(self, lease: str, *, on: bool = True) -> wire.LeaseView:
        """Says that its client is there, or with `on` False that he leaves it to its time."""
        wish: wire.Attends = {"attended": on}
        path, headers = f"/v1/leases/{transport.part(lease)}", {"content-type": "application/json"}
        body = json.dumps(wish).encode()
        found: wire.LeaseView = self.call("PUT", path, body=body, headers=headers, within_s=ATTEND_WITHIN_S)
        return found

    def end_lease(self, lease: str) -> wire.LeaseView:
        """Ends it; the instance is made anew."""
        found: wire.LeaseView = self.call("DELETE", f"/v1/leases/{transport.part(lease)}")
        return found

    def leases(self, service: str = "") -> list[wire.LeaseView]:
        """Those of a service, or all, that have not ended."""
        found: list[wire.LeaseView] = self.call("GET", "/v1/leases", {"service": service} if service else {})
        return found

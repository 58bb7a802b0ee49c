"""Which right each request needs: THE table, for all doors of the daemon.

What is not in it needs the right of an admin, so that a new route is closed to all others until somebody opens it
here; a test compares the table with the routes of the app.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.model.right import Right

# A viewer sees nothing with a secret in it: a console shows what a guest prints. An operator changes what runs, with
# the files, images and old revisions that an admin has brought; what he asks for can name no secret of the host.
NEEDS: Final[Mapping[str, Right]] = {
    "GET /healthz": Right.VIEWER,
    "GET /openapi.json": Right.VIEWER,
    "GET /v1/verify": Right.VIEWER,
    "GET /v1/restore": Right.VIEWER,
    "GET /v1/services": Right.VIEWER,
    "GET /v1/services/*": Right.VIEWER,
    "GET /v1/services/*/endpoints": Right.VIEWER,
    "GET /v1/services/*/revisions": Right.VIEWER,
    "GET /v1/services/*/rollout": Right.VIEWER,
    "GET /v1/services/*/file": Right.VIEWER,
    "GET /v1/instances": Right.VIEWER,
    "GET /v1/instances/watch": Right.VIEWER,
    "GET /v1/instances/*": Right.VIEWER,
    "GET /v1/instances/*/why": Right.VIEWER,
    "GET /v1/instances/*/agent": Right.VIEWER,
    "GET /v1/instances/*/host-keys": Right.VIEWER,  # public; of the guest three files of ours to name are asked
    "GET /v1/operations": Right.VIEWER,
    "GET /v1/operations/*": Right.VIEWER,
    "GET /v1/operations/*/watch": Right.VIEWER,
    "GET /v1/events": Right.VIEWER,
    "GET /v1/events/watch": Right.VIEWER,
    "GET /v1/images": Right.VIEWER,
    "GET /v1/images/*": Right.VIEWER,
    "GET /v1/incoming": Right.VIEWER,
    "GET /v1/unused-images": Right.VIEWER,
    "GET /v1/automation": Right.VIEWER,
    "GET /v1/leases": Right.VIEWER,
    "GET /v1/leases/*": Right.VIEWER,
    "GET /v1/instances/*/console": Right.OPERATOR,
    "GET /v1/evidence": Right.VIEWER,
    "GET /v1/evidence/*/*": Right.OPERATOR,  # as its console
    "DELETE /v1/evidence/*/*": Right.OPERATOR,
    "POST /v1/operations": Right.OPERATOR,
    "PUT /v1/protection": Right.OPERATOR,
    "POST /v1/leases": Right.OPERATOR,
    "PUT /v1/leases/*": Right.OPERATOR,
    "DELETE /v1/leases/*": Right.OPERATOR,
    "PUT /v1/automation": Right.OPERATOR,
    "PUT /v1/services/*/instances": Right.OPERATOR,
    "PUT /v1/services/*/rollout": Right.OPERATOR,
    "POST /v1/services/*/rollout/next": Right.OPERATOR,
    "POST /v1/services/*/rollout/undo": Right.OPERATOR,
    "POST /v1/services/*/swap": Right.OPERATOR,
    "POST /v1/instances/*/commands": Right.ADMIN,  # whoever is root in a guest sees what it was told
    "GET /v1/instances/*/commands/*": Right.ADMIN,
    "GET /v1/instances/*/file": Right.ADMIN,
    "PUT /v1/instances/*/file": Right.ADMIN,
    "POST /v1/services": Right.ADMIN,
    "POST /v1/services/check": Right.ADMIN,
    "DELETE /v1/services/*": Right.ADMIN,
    "POST /v1/images": Right.ADMIN,
    "POST /v1/instances/*/image": Right.ADMIN,  # as its disk
    "POST /v1/images/*/verify": Right.ADMIN,
    "POST /v1/images/*/trust": Right.ADMIN,
    "PUT /v1/images/*/suggested": Right.ADMIN,
    "PUT /v1/images/*/tried": Right.ADMIN,
    "PUT /v1/images/*/names/*": Right.ADMIN,
    "DELETE /v1/images/*": Right.ADMIN,
    "DELETE /v1/unused-images": Right.ADMIN,
    "GET /v1/blobs/*/*": Right.VIEWER,
    "GET /v1/blobs/*/*/*": Right.ADMIN,  # as a guest's files
    "PUT /v1/blobs/*/*/*": Right.ADMIN,
    "DELETE /v1/blobs/*/*/*": Right.ADMIN,
    "GET /v1/drives": Right.VIEWER,
    "POST /v1/drives": Right.ADMIN,
    "PUT /v1/drives/*/size": Right.ADMIN,
    "POST /v1/drives/*/snapshots": Right.ADMIN,
    "DELETE /v1/drives/*/snapshots/*": Right.ADMIN,
    "POST /v1/drives/*/restore": Right.ADMIN,
    "PUT /v1/drives/*/attachment": Right.ADMIN,
    "DELETE /v1/drives/*/attachment": Right.ADMIN,
    "DELETE /v1/drives/*": Right.ADMIN,
    "POST /v1/verify/repair": Right.ADMIN,
    "POST /v1/backup": Right.ADMIN,
    "POST /v1/restore": Right.ADMIN,
    "GET /v1/tokens": Right.ADMIN,
    "POST /v1/tokens": Right.ADMIN,
    "DELETE /v1/tokens/*": Right.ADMIN,
}
# Of nobody from the network, whatever his right: a token that was stolen could make another that outlives it.
LOCAL: Final = ("POST /v1/tokens",)
# Of the owner of the records alone, who could put them in their place by hand as well: a record is believed, and one
# that somebody else has written could have a file of the host given to a guest.
OF_THE_OWNER: Final = ("POST /v1/restore",)


def needed(method: str, path: str) -> Right:
    """The right that a request needs; where several lines of the table mean it, the highest of theirs."""
    asked = "GET" if method == "HEAD" else method
    rights = [right for line, right in NEEDS.items() if _means(line, asked, path)]
    return max(rights, key=list(Right).index, default=Right.ADMIN)


def is_known(path: str) -> bool:
    """Whether a line of the table is about the path, whatever the method: nothing else may get to the routes, which
    take some spellings for one of theirs that the table does not (a line break at the end).
    """
    return any(_means(line, line.partition(" ")[0], path) for line in NEEDS)


def is_local(method: str, path: str) -> bool:
    """Whether a request may come by the host's own socket alone."""
    return any(_means(line, method, path) for line in LOCAL)


def is_of_the_owner(method: str, path: str) -> bool:
    """Whether a request is for root, or for the user that the daemon runs as, and for nobody else."""
    return any(_means(line, method, path) for line in OF_THE_OWNER)


def _means(line: str, method: str, path: str) -> bool:
    """Whether a line of the table means the request: `*` is one part of a path, whatever it is, but not none."""
    of, _, pattern = line.partition(" ")
    parts, wanted = path.split("/"), pattern.split("/")
    return (
        of == method
        and len(parts) == len(wanted)
        and all(want in (part, "*") and part for part, want in zip(parts[1:], wanted[1:], strict=True))
    )

"""What somebody may do with a daemon: three rights, each of which holds those before it."""

from __future__ import annotations

import enum


class Right(enum.StrEnum):
    """A right. `api.rights` says which one each request needs."""

    VIEWER = "viewer"  # looks at what holds no secret
    OPERATOR = "operator"  # and has instances restarted, scaled, rolled out: with what there is
    ADMIN = "admin"  # and says what there is: services, images, tokens, records

    def holds(self, needed: Right) -> bool:
        """Whether who has this right may do what needs that one."""
        order = list(Right)
        return order.index(self) >= order.index(needed)

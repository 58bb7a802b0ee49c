"""That what vmrole does by itself stands still: of a service, or of all of them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """Somebody has paused automation: no healing, no step of a rollout, no other try, until it is resumed."""

    service: str = ""  # with both its slots; "": all there are, and all that come
    since_s: float  # seconds since the epoch
    by: int | None = None  # uid; None: not known
    revision: int = 0  # of the record

    @property
    def key(self) -> str:
        """Under which key it is recorded."""
        return key_of(self.service)

    @property
    def whose(self) -> str:
        """In a sentence."""
        return f"service {self.service}" if self.service else "this host"

    @property
    def says(self) -> str:
        """That it is so: everybody who tells it says this."""
        return f"automation of {self.whose} is paused"

    @property
    def until(self) -> str:
        """What that means, and what ends it."""
        return f"nothing is healed and no rollout goes on until: {self.end}"

    @property
    def end(self) -> str:
        """The command that ends it."""
        return f"vmrole resume {self.service}".rstrip()


def key_of(service: str = "") -> str:
    """Under which key the standstill of a service, or of the host, is recorded."""
    return f"service/{service}" if service else "host"

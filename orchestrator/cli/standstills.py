"""What is said of automation that is paused. As in `client`, nothing is imported that `get` does not need."""

from __future__ import annotations

from orchestrator.cli.render import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.client import wire
    from orchestrator.client.client import Client


def whose(service: str) -> str:
    """Of what, in a sentence."""
    return f"service {service}" if service else "this host"


def told(found: Sequence[wire.StandstillView], *, but: str | None = None) -> Iterator[str]:
    """A line for each standstill, except the one that was just asked for."""
    for one in found:
        if one["service"] != but:
            of, end = whose(one["service"]), f"vmrole resume {one['service']}".rstrip()
            yield f"automation of {of} is paused since {clock(one['since_s'])}: nothing is healed until: {end}"


def noted(client: Client) -> list[str]:
    """What every list says of it; nothing of a daemon that is too old to know, or that went away behind the list."""
    try:
        return list(told(client.standstills()))
    except Exception as error:
        from orchestrator.errors import VmroleError

        if not isinstance(error, VmroleError):
            raise
        return []

"""What is said of automation that is paused. As in `client`, nothing is imported that `get` does not need."""

from __future__ import annotations

from orchestrator.cli.render import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.client import wire
    from orchestrator.client.client import Client


def told(found: Sequence[wire.StandstillView], *, but: str | None = None) -> Iterator[str]:
    """A line for each standstill, except the one that was just asked for."""
    for one in found:
        if one["service"] != but:
            yield f"{one['says']} since {clock(one['since_s'])}: {one['until']}"


def noted(client: Client, *, unasked: bool = True) -> list[str]:
    """What every list says of it, behind its own answer, which tells whether there is anything to say; nothing of a
    daemon that went away behind the list. Not `unasked`: where no answer has come yet.
    """
    if unasked and not client.is_paused:
        return []
    try:
        return list(told(client.standstills()))
    except Exception as error:
        from orchestrator.errors import VmroleError

        if not isinstance(error, VmroleError):
            raise
        return []

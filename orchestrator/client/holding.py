"""A lease, from the first word of its client to the last: he waits, says that he is there, and gives it back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from orchestrator.client import clock
from orchestrator.client.client import Client
from orchestrator.errors import NotFound, Transient, WaitedTooLong

if TYPE_CHECKING:
    from orchestrator.client import wire

BEAT_S = 5.0  # between two words of a client who is there; the daemon waits for six times as long
NEXT_S = 0.2  # between two looks of who is next
LATER_S = 1.0  # ... and of who is not
END_WITHIN_S = 20.0  # A daemon that is started again is back by then, or the lease ends without a word.


def until_given(
    client: Client, lease: wire.LeaseView, until: float | None, tell: Callable[[wire.LeaseView], None]
) -> wire.LeaseView:
    """Waits until it is given, over restarts of the daemon, and calls `tell` with each answer before that.

    Raises NotFound when it has ended instead, WaitedTooLong at `until` of the monotonic clock.
    """
    while not lease["given"]:
        tell(lease)
        if until is not None and clock.monotonic_s() >= until:
            told = f"the time was over: {lease['waiting'] or 'it was not given'}"
            raise WaitedTooLong(told, hint=f"who has them: vmrole lease ls {lease['service']}")
        clock.pause(NEXT_S if lease["place"] <= 1 else LATER_S)
        with contextlib.suppress(Transient):
            lease = client.attend(lease["id"])
    return lease


class Held:
    """A lease that was given, while its client is there. `over` says why it is his no more; "" while it is."""

    def __init__(self, client: Client, lease: wire.LeaseView) -> None:
        self._client = client
        self._lease = lease["id"]
        self._until = clock.monotonic_s() + lease["left_s"]
        self._beat = clock.monotonic_s() + BEAT_S
        self.over = ""

    def look(self) -> str:
        """Says that its client is there, when that is due; returns `over`."""
        now = clock.monotonic_s()
        if not self.over and now >= self._until:
            self.over = "its time is over"
        if not self.over and now >= self._beat:
            self._beat = now + BEAT_S
            try:
                self._until = min(self._until, now + self._client.attend(self._lease)["left_s"])
            except NotFound:
                self.over = "it was ended"
            except Transient:
                self._beat = now + LATER_S
        return self.over


def end_surely(client: Client, lease: str) -> bool:
    """Ends it, whatever has become of it; False when the daemon does not answer: it ends by itself then."""
    until = clock.monotonic_s() + END_WITHIN_S
    while clock.monotonic_s() <= until:
        try:
            client.end_lease(lease)
        except NotFound:
            return True
        except Transient:
            clock.pause(LATER_S)
        else:
            return True
    return False


@contextlib.contextmanager
def ended_after(client: Client, lease: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Ends the lease however the block does."""
    try:
        yield
    finally:
        if not end_surely(client, lease):
            tell(f"{lease}: the daemon does not answer; it ends within half a minute after it is back")

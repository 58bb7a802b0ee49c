"""How often a member is asked, and how long one that is well is left alone, so that one that hangs is seen in time.

An endpoint that says `interval` and `fall` has one that answers nothing out of its pool within `fall` intervals and a
second: by then it has been left alone once, has let `fall` checks wait for as long as they may, and has been left
alone for a moment between them. Neither that moment nor how long an answer may take is ours to shorten: a guest that
is slow is not one that hangs. What is left to shorten is how long it is left alone while it is well. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.model import (
    PROBE_FALL,
    PROBE_INTERVAL_S,
    PROBE_RISE,
    PROBE_TIMEOUT_S,
    EndpointProbe,
    TcpProbe,
)

AGAIN_SHARE: Final = 0.25  # of an interval: so soon one whose check has failed is asked again
SEEN_WITHIN_S: Final = 0.8  # of the second: the rest is for a host that is busy
REST_SHARE: Final = 0.4  # of an interval at least: whose answers may take nearly all of it is not asked all the time
CONNECT_S: Final = 2.0  # HAProxy's for anybody


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a member is asked, how long its answer may take, and how many in a row change what is thought."""

    interval_s: float = PROBE_INTERVAL_S
    timeout_s: float = PROBE_TIMEOUT_S
    rise: int = PROBE_RISE
    fall: int = PROBE_FALL
    initial_delay_s: float = 0.0  # before the first
    rest_s: float | None = None  # after one that passes, of who is well; None: an interval


USUAL: Final = Pace()


def pace_of(probe: EndpointProbe | None) -> Pace:
    """As the service file says, or as usual."""
    probe = probe or TcpProbe()
    fall, timeout_s = probe.fall or PROBE_FALL, probe.timeout()
    return Pace(
        interval_s=probe.interval(),
        timeout_s=timeout_s,
        rise=probe.rise or PROBE_RISE,
        fall=fall,
        initial_delay_s=probe.initial_delay_s or 0.0,
        rest_s=rest_s(probe.interval_s, fall, timeout_s) if probe.interval_s else None,
    )


def again_s(interval_s: float, took_s: float) -> float:
    """After a check that has failed and took so long: sooner than ever, and at once where it took an interval."""
    return max(0.0, min(interval_s * AGAIN_SHARE, interval_s - took_s))


def rest_s(interval_s: float, fall: int, timeout_s: float) -> float:
    """For checks that may take so long each, whatever they wait for. Never longer than the interval."""
    waits_s = fall * timeout_s + (fall - 1) * again_s(interval_s, timeout_s)
    return min(interval_s, max(interval_s * REST_SHARE, fall * interval_s + SEEN_WITHIN_S - waits_s))


def haproxy_rest_s(interval_s: float, fall: int) -> float:
    """The same for HAProxy, in which it is also how long a connection may take, up to CONNECT_S."""
    left_s = fall * interval_s + SEEN_WITHIN_S - (fall - 1) * interval_s * AGAIN_SHARE
    if left_s < (fall + 1) * CONNECT_S:
        return min(interval_s, left_s / (fall + 1))
    return min(interval_s, left_s - fall * CONNECT_S)

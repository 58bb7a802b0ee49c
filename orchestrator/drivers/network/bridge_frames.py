"""Frames that a bridge would keep to itself."""

from __future__ import annotations

from typing import Final

from orchestrator.drivers.network import links

_ALL_GROUPS: Final = 0xFFF8  # all but the three that the kernel refuses, BR_GROUPFWD_RESTRICTED


def guard_all(bridge: str) -> None:
    """Sends frames for the bridge's own group addresses (01:80:c2:00:00:03 to :0f) through our guard as well.

    The kernel otherwise learns the sender of an LLDP frame without asking netfilter (br_handle_frame), and a guest
    could draw its neighbour's traffic to itself. Frames to :00 and :02 do pass our chains.
    """
    mask = links.NET / bridge / "bridge" / "group_fwd_mask"
    if int(mask.read_text(), 16) != _ALL_GROUPS:
        mask.write_text(hex(_ALL_GROUPS))

"""Tells at once when links, addresses or routing of the host change in a way that may have broken what we laid.

The kernel tells them to netlink groups, rtnetlink(7). Many changes are our own or libvirt's; whether one matters is
found out by looking at what is there, so a reason is a reason to look and no more.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Final

from orchestrator.drivers.tools import netlink

# linux/rtnetlink.h: RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_NETCONF
_GROUPS: Final = 1 << (1 - 1) | 1 << (5 - 1) | 1 << (9 - 1) | 1 << (24 - 1)
_NEW_LINK, _DEL_LINK, _DEL_ADDRESS, _NEW_NETCONF = 16, 17, 21, 80
_LINK_BYTES: Final = 16  # ifinfomsg
_LINK_NAME: Final = 3  # IFLA_IFNAME


def link_watch(
    concerns: Callable[[str], bool], wake: Callable[[str], None]
) -> contextlib.AbstractContextManager[None]:
    """Calls `wake` with the reason on a thread of its own until the context ends; see `netlink.watch`.

    `concerns` says by its name whether a link is looked after.
    """
    return netlink.watch(
        socket.NETLINK_ROUTE,
        _GROUPS,
        what="changed links and addresses",
        read=lambda data: changed(data, concerns),
        wake=wake,
    )


def changed(messages: bytes, concerns: Callable[[str], bool]) -> str:
    """What the messages say that may concern us, as a reason; "" when nothing."""
    for kind, body in netlink.messages(messages):
        match kind:
            case _ if kind in (_NEW_LINK, _DEL_LINK):
                name = netlink.text(body[_LINK_BYTES:], _LINK_NAME)
                if concerns(name):
                    return f"link {name} changed"
            case _ if kind == _DEL_ADDRESS:
                return "an address was removed"
            case _ if kind == _NEW_NETCONF:
                return "forwarding was changed"
    return ""

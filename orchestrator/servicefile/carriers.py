"""Who carries an endpoint that does not say it, and what of one only one of the balancers keeps: that is refused, and
not silently left undone. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.model import Carrier, Endpoint, Mode
from orchestrator.servicefile.tree import Map

LIMITS = ("maxConnections", "maxConnectionsPerClient")
OF_HAPROXY = ("timeout", "tls", "proxyProtocol", "memberConnections")
AFFINITY = ("affinity", "affinityTime")
COUNTED_CONNECTIONS_MOST = 10_000  # of one limit of nftables: the kernel looks at each when another is begun


def usual_carrier(end: Endpoint) -> Carrier:
    """Whose an endpoint is that names no balancer: nftables', but for what only HAProxy knows or keeps."""
    if end.mode is Mode.UDP:
        return Carrier.NFTABLES
    kept = (end.tls, end.timeout_s, end.proxy_protocol, end.member_connections)
    counted = max(end.max_connections or 0, end.max_connections_per_client or 0)
    if end.mode is Mode.HTTP or any(one is not None for one in kept) or counted > COUNTED_CONNECTIONS_MOST:
        return Carrier.HAPROXY
    return Carrier.NFTABLES


def carrier_faults(endpoint: Map, mode: Mode, carrier: Carrier) -> Iterator[tuple[str, str, str]]:
    """Key, fault and remedy of what the endpoint's balancer cannot."""
    if carrier is Carrier.HAPROXY and mode is Mode.UDP:
        yield "balancer", "HAProxy carries no udp", "leave it out, or say nftables"
    if carrier is Carrier.NFTABLES and mode is Mode.HTTP:
        yield "balancer", "nftables knows no http", "leave it out, or say protocol: tcp"
    for key in OF_HAPROXY if carrier is Carrier.NFTABLES else ():
        if endpoint.get(key) not in (None, False):
            hint = "leave it out" if mode is Mode.UDP else "leave it out, or say balancer: haproxy"
            yield key, "only haproxy keeps that", hint
    if endpoint.get("affinity") == "cookie" and mode is not Mode.HTTP:
        yield "affinity", f"{mode} has no cookies", "say source, or protocol: http"
    elif "affinityTime" in endpoint and endpoint.get("affinity") != "source":
        yield "affinityTime", "there is no affinity that it could end", "say affinity: source"
    for key in LIMITS if carrier is Carrier.NFTABLES else ():
        number = endpoint.get(key)
        if isinstance(number, int) and number > COUNTED_CONNECTIONS_MOST:
            told = f"{number} is more than nftables counts: {COUNTED_CONNECTIONS_MOST}"
            yield key, told, "leave it out" if mode is Mode.UDP else "leave it out, or say balancer: haproxy"

"""What of an endpoint only one of the balancers keeps: it is refused, and not silently left undone. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.model import Carrier, Mode
from orchestrator.servicefile.tree import Map

LIMITS = ("maxConnections", "maxConnectionsPerClient")
OF_HAPROXY = ("timeout", "tls", "proxyProtocol", "memberConnections")
AFFINITY = ("affinity", "affinityTime")
COUNTED_CONNECTIONS_MOST = 10_000  # of one limit of nftables: the kernel looks at each when another is begun


def carrier_faults(endpoint: Map, mode: Mode, carrier: Carrier) -> Iterator[tuple[str, str, str]]:
    """Key, fault and remedy of what the endpoint's balancer cannot."""
    if carrier is Carrier.HAPROXY and mode is Mode.UDP:
        yield "balancer", "HAProxy carries no udp", "leave it out, or say nftables"
    if carrier is Carrier.NFTABLES and mode is Mode.HTTP:
        yield "balancer", "nftables knows no http", "leave it out, or say protocol: tcp"
    for key in OF_HAPROXY if carrier is Carrier.NFTABLES else ():
        if key in endpoint:
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

"""`endpoints:` of a role, and the probes of endpoints and of `ready:`."""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import Any, Final

from orchestrator.model import Carrier, CommandProbe, Endpoint, EndpointProbe, HttpProbe, Mode, Ports, Probe, TcpProbe
from orchestrator.servicefile.carriers import AFFINITY, LIMITS, OF_HAPROXY, carrier_faults, usual_carrier
from orchestrator.servicefile.fields import (
    PORT_LAST,
    argv,
    boolean,
    choice,
    duration_s,
    integer,
    networks,
    port,
    port_range,
    statuses,
    url_path,
)
from orchestrator.servicefile.reader import Reader
from orchestrator.servicefile.tls import read_tls
from orchestrator.servicefile.tree import SEE, Map

AFFINITY_S: Final = 3 * 3600.0
TIMES: Final = ("interval", "timeout", "rise", "fall", "initialDelay")
PROBE_TIME_MOST_S: Final = 3600.0
PROBE_RUN_MOST: Final = 100
NETWORKS_MOST: Final = 256
ENDPOINT_CONNECTIONS_MOST: Final = 200_000  # of an endpoint at a time
PORTS_MOST: Final = 1000  # of the VIP, of one endpoint: each is opened by itself


class Affinity(enum.StrEnum):
    """By what a client is known again."""

    COOKIE = "cookie"
    SOURCE = "source"


def read_input_endpoint(reader: Reader, name: str, node: object, at: str) -> Endpoint:
    """One endpoint that clients reach at the VIP, whichever member answers; faults are noted."""
    known = (
        "type",
        "port",
        "ports",
        "target",
        "protocol",
        "probe",
        "balancer",
        "allow",
        *LIMITS,
        *OF_HAPROXY,
        *AFFINITY,
    )
    node = reader.keys(node, at, known)
    outside, several = read_ports(reader, node, at)
    mode = reader.take(node, at, "protocol", choice(Mode), Mode.TCP)
    probe = _probe(reader, node, at)
    most = reader.take(node, at, "maxConnections", integer(1, ENDPOINT_CONNECTIONS_MOST), None)
    of_a_client = reader.take(node, at, "maxConnectionsPerClient", integer(1, ENDPOINT_CONNECTIONS_MOST), None)
    if most is not None and of_a_client is not None and of_a_client > most:
        told = f"one client may have {of_a_client} connections, and all together {most}"
        reader.fault(f"{at}.maxConnectionsPerClient", told, "not more than maxConnections")
    affinity = reader.take(node, at, "affinity", choice(Affinity), None)
    affinity_s = reader.take(node, at, "affinityTime", duration_s(1, 7 * 24 * 3600), AFFINITY_S)
    endpoint = Endpoint(
        name=name,
        port=outside,
        target=_target(reader, node, at, outside, several),
        range=several,
        mode=mode,
        probe=probe,
        timeout_s=reader.take(node, at, "timeout", duration_s(1, 24 * 3600), None),
        max_connections=most,
        max_connections_per_client=of_a_client,
        balancer=reader.take(node, at, "balancer", choice(Carrier), None),
        affinity_s=affinity_s if affinity is Affinity.SOURCE else None,
        kept_by="cookie" if affinity is Affinity.COOKIE else None,
        tls=read_tls(reader, node, at, mode),
        allow=reader.take(node, at, "allow", networks(NETWORKS_MOST), ()),
        proxy_protocol=reader.take(node, at, "proxyProtocol", boolean, False) or None,
        member_connections=reader.take(node, at, "memberConnections", integer(1, ENDPOINT_CONNECTIONS_MOST), None),
    )
    if endpoint.balancer is None and mode is Mode.TCP:  # Recorded: what is usual may change, and move nobody.
        endpoint = replace(endpoint, balancer=usual_carrier(endpoint))
    for key, told, hint in carrier_faults(node, mode, endpoint.carrier):
        reader.fault(f"{at}.{key}", told, hint)
    return endpoint


def read_ports(reader: Reader, node: Map, at: str) -> tuple[int, Ports | None]:
    """The first port of an endpoint, and all where it says several; faults are noted."""
    several: Ports | None = reader.take(node, at, "ports", port_range(PORTS_MOST), None)
    first: int = reader.take(node, at, "port", port, several.first if several else 0)
    if "port" in node and "ports" in node:
        reader.fault(f"{at}.ports", "there is a port already", "say port for one, or ports for several")
    if "port" not in node and "ports" not in node:
        reader.fault(f"{at}.port", "is missing", SEE)
    return first, several


def _target(reader: Reader, node: Map, at: str, outside: int, several: Ports | None) -> int:
    first: int = reader.take(node, at, "target", port, outside)
    if several is not None and first + several.number - 1 > PORT_LAST:
        told = f"of {several.number} ports from {first} on the last is beyond {PORT_LAST}"
        reader.fault(f"{at}.target", told, f"{PORT_LAST - several.number + 1} or less")
    return first


def _probe(reader: Reader, node: Map, at: str) -> EndpointProbe | None:
    """How a member's health is asked, by a command as well; faults are noted."""
    said = node.get("probe")
    if not isinstance(said, Map) or "command" not in said:
        return read_probe(reader, node, at, (*TIMES, "command"))
    at = f"{at}.probe"
    probe = reader.keys(said, at, ("command", "path", "port", "status", *TIMES))
    for key in ("path", "port", "status"):
        if key in probe:
            reader.fault(f"{at}.{key}", "a command that runs in the guest has none", f"drop {key} or command")
    return CommandProbe(command=reader.take(probe, at, "command", argv, ()), **_times(reader, probe, at))


def read_probe(reader: Reader, node: Map, at: str, times: tuple[str, ...] = ()) -> Probe | None:
    """What stands below `probe` of `node`, if anything; faults are noted. `times`: what it may say of them."""
    if "probe" not in node:
        return None
    at = f"{at}.probe"
    probe = reader.keys(node["probe"], at, ("path", "port", "status", *times))
    common: dict[str, Any] = {"port": reader.take(probe, at, "port", port, None)}
    if times:
        common |= _times(reader, probe, at)
    status = reader.take(probe, at, "status", statuses, None)
    if "path" not in probe:
        if "status" in probe:
            reader.fault(f"{at}.status", "a TCP connection has no status", "give the probe a path, or leave it out")
        return TcpProbe(**common)
    return HttpProbe(path=reader.take(probe, at, "path", url_path, "/"), status=status, **common)


def _times(reader: Reader, probe: Map, at: str) -> dict[str, Any]:
    """How often a member is asked, and how many answers count."""
    interval_s = reader.take(probe, at, "interval", duration_s(0.1, PROBE_TIME_MOST_S), None)
    timeout_s = reader.take(probe, at, "timeout", duration_s(0.1, PROBE_TIME_MOST_S), None)
    if interval_s is not None and timeout_s is not None and timeout_s > interval_s:
        told = f"an answer may take {timeout_s:g} s, and the next check is due after {interval_s:g} s"
        reader.fault(f"{at}.timeout", told, "not more than the interval")
    return {
        "interval_s": interval_s,
        "timeout_s": timeout_s,
        "rise": reader.take(probe, at, "rise", integer(1, PROBE_RUN_MOST), None),
        "fall": reader.take(probe, at, "fall", integer(1, PROBE_RUN_MOST), None),
        "initial_delay_s": reader.take(probe, at, "initialDelay", duration_s(0, PROBE_TIME_MOST_S), None),
    }

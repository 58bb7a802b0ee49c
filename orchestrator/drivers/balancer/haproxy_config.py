"""HAProxy's configuration as text: pure, and made only of names and numbers that were checked before.

HAProxy's runtime socket splits its input at ';' and line ends and wraps port numbers, and its configuration is split
at blanks: nothing reaches either without having passed `checked_name` and `checked_port`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from orchestrator.drivers.balancer import haproxy_leads, places
from orchestrator.drivers.balancer.desired import Shape
from orchestrator.drivers.balancer.haproxy_host import Surroundings, connections_with
from orchestrator.drivers.balancer.pace import AGAIN_SHARE, haproxy_rest_s
from orchestrator.errors import Permanent
from orchestrator.model import (
    PROBE_FALL,
    PROBE_INTERVAL_S,
    PROBE_RISE,
    PROBE_STATUS,
    CommandProbe,
    Frontend,
    HttpProbe,
    Member,
    Mode,
    PoolName,
    Probe,
    TcpProbe,
    ip,
)

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,150}[a-z0-9])?")
_PATH = re.compile(r"/[!-~]{0,200}")
_STATUSES = re.compile(r"[0-9]{3}(-[0-9]{3})?(,[0-9]{3}(-[0-9]{3})?){0,9}")

# A dynamic server takes nothing from `default-server`, so both kinds are told the same in full. Two failed checks
# take a member out within a second; idle connections go quickly, because a member with one cannot be removed.
SERVER_OPTIONS = (
    "check inter {every} fastinter {again} downinter {down} rise {rise} fall {fall} "
    "on-marked-down shutdown-sessions pool-purge-delay 200ms"
)
# The kernel remembers each check for two minutes: of so many members a check a second each is 24,000 connections.
MEMBERS_EACH_SECOND = 200
CHECK_EVERY_MOST_S = 5.0
AGAIN_S = 0.25  # after an answer that contradicts what is thought of a member

OLD_WORKERS_MAX = 16  # of 7 to 9 MiB each; a connection that has outlived as many reloads is cut by the next
CLIENTS_KNOWN: Final = 100_000  # addresses that an endpoint's affinity remembers

HTTPS_PORT: Final = 443
SHARE_LEAST = 200  # connections of an endpoint, however many endpoints there are

_HEAD = """# Written by vmrole; changes are lost. Members come and go through the runtime socket and are kept here as
# well, so that a restart or reload begins with those that are in rotation. A VIP that is not on the host must not
# keep the others from being served (transparent), and a port is never shared with another program (noreuseport).
global
    stats socket {socket} mode 600 level admin expose-fd listeners
    stats timeout 10s
    hard-stop-after 24h
    mworker-max-reloads {old_workers}
    maxconn {connections}
    max-spread-checks {first_check}
    noreuseport
{user}
defaults
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 30s
    timeout queue 5s
    timeout tunnel 1h
    timeout check 2s
    option clitcpka
    option srvtcpka
    clitcpka-idle 60s
    clitcpka-intvl 15s
    clitcpka-cnt 4
    srvtcpka-idle 60s
    srvtcpka-intvl 15s
    srvtcpka-cnt 4
    option redispatch 1
    retries 3
"""

_GENERATION = "    description "

# What a client says of where he comes from is his word alone; members get ours, and none of his. Servers that hand
# headers on as environment variables cannot tell `X_Forwarded_For` from `X-Forwarded-For`, nor `Proxy` from one of
# their own.
_HIS_WORD = (
    r"^(x[-_](forward(ed)?|original|rewrite|envoy|proxyuser|host|scheme|http[-_]host[-_]override)([-_].*)?"
    r"|forwarded([-_]for)?|([a-z0-9]+[-_])*(client|remote|real|connecting|originating)[-_](ip|ipv6|addr|host)|proxy)$"
)
_HTTP_RULES = (
    # What no standard allows is understood by each reader in his own way: it goes no further.
    r"http-request deny deny_status 400 if { req.hdrs -m reg '[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]' }",
    "http-request deny deny_status 400 if { req.ver 1.1 } ! { req.hdr_cnt(host) 1 }",
    f"http-request del-header '{_HIS_WORD}' -m reg",
    "http-request set-header X-Forwarded-For %[src]",
)


def checked_name(name: str) -> str:
    """`name` when it is labels joined by dots; Permanent otherwise."""
    if not _NAME.fullmatch(name):
        raise Permanent(f"{name[:80]!r} cannot be given to HAProxy as a name")
    return name


def checked_port(port: int) -> int:
    """`port` when it is one; HAProxy would silently take 99999 for 34463."""
    if not 1 <= port <= 65535:
        raise Permanent(f"{port} is not a port")
    return port


def server_address(member: Member, port: int, frontend: Frontend | None = None) -> str:
    """ADDRESS:PORT as HAProxy takes it; behind several ports ADDRESS:+DISTANCE, from the client's port to ours."""
    address = ipaddress.IPv4Address(member.address)
    checked_port(port)
    if frontend is None or frontend.range is None:
        return f"{address}:{port}"
    checked_port(port + frontend.range.number - 1)
    return f"{address}:{port - frontend.port:+d}"


def server_addresses(member: Member, frontends: Mapping[PoolName, Frontend]) -> dict[PoolName, str]:
    """The same in each of its pools; of one that is not set up yet by its port alone."""
    return {pool: server_address(member, port, frontends.get(pool)) for pool, port in member.pools}


def render(
    shape: Shape,
    socket: Path,
    host: Surroundings,
    certificates: Mapping[PoolName, Sequence[Path]] | None = None,
    *,
    leads: Path | None = None,
) -> str:
    """The whole configuration. `certificates`: files of those endpoints that have any. `leads`: the map that says to
    which pool an endpoint leads; beside the socket unless it is said.
    """
    leads = leads or socket.with_name(haproxy_leads.FILE)
    connections = connections_with(host, len(shape.members))
    share = max(SHARE_LEAST, connections // max(2, sum(one.vip != "" for one in shape.frontends)))
    user = f"    user {host.user}\n    group {host.group}\n" if host.user else ""
    jail = f"    chroot {host.jail}\n" if host.jail else ""
    head = _HEAD.format(
        socket=socket,
        old_workers=OLD_WORKERS_MAX,
        connections=connections,
        first_check=_ms(CHECK_EVERY_MOST_S),  # for which a new member waits as long, or for an interval
        user=user + jail,
    )
    reached = [one for one in shape.frontends if one.vip]
    parts = [head]
    for frontend in sorted(reached, key=haproxy_leads.place):
        files = (certificates or {}).get(frontend.pool, ())
        parts.append(_frontend(frontend, share, files, leads))
    servers = _servers(shape)
    for frontend in sorted(shape.frontends, key=lambda one: one.pool):
        if frontend.redirect_to is None:
            parts.append("\n".join([*_backend(frontend), *servers[frontend.pool]]) + "\n")
    return "\n".join(parts)


def frame(text: str) -> str:
    """A configuration without its members, which come and go while HAProxy runs, and without its generation."""
    return "\n".join(line for line in text.splitlines() if not line.startswith(("    server ", _GENERATION)))


def stamped(text: str, generation: str) -> str:
    """The configuration with a word of its own, which the worker that has it says in `show info`."""
    return text.replace("global\n", f"global\n{_GENERATION}{generation}\n", 1)


def generation(text: str) -> str:
    """The word of a configuration; "" when it has none."""
    words = [line.removeprefix(_GENERATION) for line in text.splitlines() if line.startswith(_GENERATION)]
    return words[0] if words else ""


def _frontend(frontend: Frontend, share: int, certificates: Sequence[Path], leads: Path) -> str:
    """`share` is how many connections the endpoint may have, unless the service file says it. To which pool it leads
    is the map's to say.
    """
    place = haproxy_leads.place(frontend)
    most = frontend.connections_max or share
    of_a_client = frontend.client_connections_max or max(1, most // 2)
    lines = [
        f"frontend {place}",
        f"    mode {frontend.mode}",
        *(
            f"    bind {places.at(_vip(frontend), checked_port(port))} transparent{_tls(frontend, certificates)}"
            for port in frontend.ports
        ),
        f"    maxconn {most}",
        *_allowed(frontend),
        f"    stick-table type {_client(frontend)} size 100k expire 60s store conn_cur",
        # Who has one address of IPv6 has all of its network's.
        "    tcp-request connection track-sc0 src" + (",ipmask(32,64)" if _is_ipv6(frontend) else ""),
        f"    tcp-request connection reject if {{ sc0_conn_cur gt {of_a_client} }}",
    ]
    if frontend.redirect_to is None:
        lines.append(f"    tcp-request connection set-var(sess.pool) str({place}),map({leads})")
        lines.append("    use_backend %[var(sess.pool)]")
    if frontend.timeout_s is not None:
        lines.append(f"    timeout client {_ms(frontend.timeout_s)}")
    if frontend.mode is Mode.HTTP:
        lines.append("    option disable-h2-upgrade")
        # A reload must not end a connection on which the next request is on its way: that gets its answer first.
        lines.append("    option idle-close-on-response")
        lines += [f"    {rule}" for rule in _HTTP_RULES]
        if frontend.certificates:
            lines.append("    http-request set-header X-Forwarded-Proto https")
    if frontend.redirect_to is not None:
        port = "" if frontend.redirect_to == HTTPS_PORT else f":{checked_port(frontend.redirect_to)}"
        # By the name that the client asked for, without its port. 308: a POST stays one.
        to = f"https://%[req.hdr(host),regsub(:[0-9]*$,,)]{port}%[pathq]"
        lines.append("    http-request deny deny_status 400 unless { req.hdr(host) -m found }")
        lines.append(f"    http-request redirect code 308 location {to}")
    return "\n".join(lines) + "\n"


def _is_ipv6(frontend: Frontend) -> bool:
    return ":" in frontend.vip


def _vip(frontend: Frontend) -> str:
    return str(ip.address(frontend.vip))


def _client(frontend: Frontend) -> str:
    """What kind of address HAProxy remembers clients by."""
    return "ipv6" if _is_ipv6(frontend) else "ip"


def _allowed(frontend: Frontend) -> list[str]:
    """Who comes from elsewhere is refused before anything of him is read or counted."""
    if not frontend.allow:
        return []
    networks = [f"    acl allowed src {ip.network(network)}" for network in frontend.allow]
    return [*networks, "    tcp-request connection reject unless allowed"]


def _tls(frontend: Frontend, certificates: Sequence[Path]) -> str:
    """The rest of the line that binds. HTTP/2 where a client says it; the first certificate is the default."""
    if not frontend.certificates:
        return ""
    assert certificates, frontend.pool
    files = " ".join(f"crt {path}" for path in certificates)
    return f" ssl ssl-min-ver TLSv1.2 {files}" + (" alpn h2,http/1.1" if frontend.mode is Mode.HTTP else "")


def _checked_statuses(text: str) -> str:
    if not _STATUSES.fullmatch(text):
        raise Permanent(f"{text[:80]!r} cannot be given to HAProxy as statuses")
    return text


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def _servers(shape: Shape) -> Mapping[PoolName, Sequence[str]]:
    """The line of each member in each of its pools, for all of them at once."""
    frontends = {frontend.pool: frontend for frontend in shape.frontends if frontend.redirect_to is None}
    lines: dict[PoolName, list[str]] = {pool: [] for pool in frontends}
    count = len(shape.members)
    for name, member in sorted(shape.members.items()):
        state = " weight 0" if name in shape.draining else ""
        state += " disabled" if name in shape.unwell else ""
        for pool, port in member.pools:
            if (frontend := frontends.get(pool)) is not None:
                options = server_options(frontend, count, member)
                address = server_address(member, port, frontend)
                lines[pool].append(f"    server {checked_name(name)} {address} {options}{state}")
    return lines


def _backend(frontend: Frontend) -> list[str]:
    """All of it but its members."""
    pool = checked_name(frontend.pool)
    lines = [f"backend {pool}", f"    mode {frontend.mode}", *_affinity(frontend)]
    if frontend.mode is Mode.HTTP:
        # A request that a dying member never answered is asked elsewhere, if asking twice does no harm: once, and
        # where a third member is up. It may be the request that kills them.
        lines.append("    retry-on conn-failure empty-response")
        lines.append("    retries 1")
        lines.append("    http-request disable-l7-retry if ! { method GET HEAD OPTIONS } or { nbsrv lt 3 }")
    if frontend.timeout_s is not None:
        lines.append(f"    timeout server {_ms(frontend.timeout_s)}")
        lines.append(f"    timeout tunnel {_ms(frontend.timeout_s)}")
    if (own := own_probe(frontend)) is not None:
        lines.append(f"    timeout check {_ms(own.timeout())}")
    if isinstance(frontend.probe, HttpProbe):
        if not _PATH.fullmatch(frontend.probe.path):
            raise Permanent(f"{frontend.probe.path[:80]!r} cannot be probed")
        path = frontend.probe.path.replace("\\", "\\\\").replace('"', '\\"').replace("#", "\\#")
        path = path.replace("'", "\\'")
        lines.append("    option httpchk")
        lines.append(f"    http-check send meth GET uri {path}")
        lines.append(f"    http-check expect status {_checked_statuses(frontend.probe.status or PROBE_STATUS)}")
    return lines


def _affinity(frontend: Frontend) -> list[str]:
    """How a client's member is chosen, and found again. One that drains (weight 0) keeps those whom it has."""
    if frontend.affinity_s is not None:
        # By the address, too, where nothing is remembered: a new worker says the same before it is taught the rest.
        return [
            "    balance source",
            "    hash-type consistent",
            f"    stick-table type {_client(frontend)} size {CLIENTS_KNOWN} expire {_ms(frontend.affinity_s)}",
            "    stick on src",
        ]
    if not frontend.affinity_cookie:
        return ["    balance roundrobin"]
    # HAProxy 2.6 gives members that come at run time no cookie of its own. One for each pool: a browser sends a
    # cookie to all ports of a host.
    name = f"vmrole-{checked_name(frontend.pool)}"
    cookie = f"{name}=%[srv_name]; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if frontend.certificates else "")
    other = "! { srv_name,strcmp(txn.seat) eq 0 }"
    return [
        "    balance roundrobin",
        f"    http-request set-var(txn.seat) req.cook({name})",
        "    use-server %[var(txn.seat)] if { var(txn.seat) -m found }",
        f"    http-response add-header Cache-Control private if {other}",
        f'    http-response add-header Set-Cookie "{cookie}" if {other}',
    ]


def own_probe(frontend: Frontend) -> Probe | None:
    """What HAProxy asks itself: where a command in the guest decides, besides, whether the port is open, as usual."""
    return None if isinstance(frontend.probe, CommandProbe) else frontend.probe


def _usual_interval_s(members: int) -> float:
    return min(CHECK_EVERY_MOST_S, max(PROBE_INTERVAL_S, members / MEMBERS_EACH_SECOND))


def server_options(frontend: Frontend, members: int, member: Member) -> str:
    """How a member of this endpoint is checked, one of so many, and known again."""
    probe = own_probe(frontend) or TcpProbe()
    every_s = probe.interval() if probe.interval_s or probe.timeout_s else _usual_interval_s(members)
    fall = probe.fall or PROBE_FALL
    options = SERVER_OPTIONS.format(
        every=_ms(haproxy_rest_s(every_s, fall) if probe.interval_s else every_s),
        again=_ms(every_s * AGAIN_SHARE if probe.interval_s else AGAIN_S),
        down=_ms(every_s if probe.interval_s else every_s / 4),  # a new member's first check waits as long
        rise=probe.rise or PROBE_RISE,
        fall=fall,
    )
    if frontend.affinity_s is not None:  # The same after a reload: clients are spread by it.
        options += f" id {int(ipaddress.IPv4Address(member.address)) & 0x7FFFFFFF}"
    if frontend.proxy_protocol:
        options += " send-proxy-v2" + (" check-send-proxy" if frontend.probed_by_proxy else "")
    if frontend.member_connections is not None:
        options += f" maxconn {frontend.member_connections}"
    asked = probe.port
    if asked is None and frontend.range is not None:  # A distance is no port that could be asked.
        asked = next(port for pool, port in member.pools if pool == frontend.pool)
    return f"{options} port {checked_port(asked)}" if asked is not None else options

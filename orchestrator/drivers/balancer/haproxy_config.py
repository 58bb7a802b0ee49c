"""HAProxy's configuration as text: pure, and made only of names and numbers that were checked before.

HAProxy's runtime socket splits its input at ';' and line ends and wraps port numbers, and its configuration is split
at blanks: nothing reaches either without having passed `checked_name` and `checked_port`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import Permanent
from orchestrator.model import Frontend, HttpProbe, Member, Mode

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,150}[a-z0-9])?")
_PATH = re.compile(r"/[!-~]{0,200}")

# A dynamic server takes nothing from `default-server`, so both kinds are told the same in full. Two failed checks
# take a member out within a second; idle connections go quickly, because a member with one cannot be removed.
SERVER_OPTIONS = (
    "check inter 1s fastinter 250ms downinter 500ms rise 1 fall 2 "
    "on-marked-down shutdown-sessions pool-purge-delay 200ms"
)

_HEAD = """# Written by vmrole; changes are lost. Members come and go through the runtime socket and are kept here as
# well, so that a restart or reload begins with those that are in rotation. A VIP that is not on the host must not
# keep the others from being served (transparent), and a port is never shared with another program (noreuseport).
global
    stats socket {socket} mode 600 level admin expose-fd listeners
    stats timeout 10s
    hard-stop-after 24h
    maxconn 4000
    noreuseport

defaults
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 30s
    timeout queue 5s
    timeout tunnel 1h
    timeout check 2s
    option redispatch 1
    retries 3
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What HAProxy shall be: its endpoints, its members, and which of these are draining."""

    frontends: tuple[Frontend, ...] = ()
    members: Mapping[str, Member] = dataclasses.field(default_factory=dict)
    draining: frozenset[str] = frozenset()


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


def server_address(member: Member, port: int) -> str:
    """ADDRESS:PORT as HAProxy takes it."""
    return f"{ipaddress.IPv4Address(member.address)}:{checked_port(port)}"


def render(shape: Shape, socket: Path) -> str:
    """The whole configuration."""
    parts = [_HEAD.format(socket=socket)]
    for frontend in sorted(shape.frontends, key=lambda one: one.pool):
        parts.append(_frontend(frontend))
        parts.append(_backend(frontend, shape))
    return "\n".join(parts)


def _frontend(frontend: Frontend) -> str:
    pool = checked_name(frontend.pool)
    lines = [
        f"frontend {pool}",
        f"    mode {frontend.mode}",
        f"    bind {ipaddress.IPv4Address(frontend.vip)}:{checked_port(frontend.port)} transparent",
        f"    default_backend {pool}",
    ]
    return "\n".join(lines) + "\n"


def _backend(frontend: Frontend, shape: Shape) -> str:
    pool = checked_name(frontend.pool)
    lines = [f"backend {pool}", f"    mode {frontend.mode}", "    balance roundrobin"]
    if frontend.mode is Mode.HTTP:
        # A request that a dying member never answered is asked elsewhere, if asking twice does no harm.
        lines.append("    retry-on conn-failure empty-response")
        lines.append("    http-request disable-l7-retry if ! { method GET HEAD OPTIONS }")
        lines.append("    option forwardfor")
    if isinstance(frontend.probe, HttpProbe):
        if not _PATH.fullmatch(frontend.probe.path):
            raise Permanent(f"{frontend.probe.path[:80]!r} cannot be probed")
        path = frontend.probe.path.replace("\\", "\\\\").replace('"', '\\"').replace("#", "\\#")
        path = path.replace("'", "\\'")
        lines.append("    option httpchk")
        lines.append(f"    http-check send meth GET uri {path}")
        lines.append("    http-check expect rstatus ^[23]")
    for name, member in sorted(shape.members.items()):
        for of, port in member.pools:
            if of == frontend.pool:
                weight = " weight 0" if name in shape.draining else ""
                options = server_options(frontend)
                lines.append(f"    server {checked_name(name)} {server_address(member, port)} {options}{weight}")
    return "\n".join(lines) + "\n"


def server_options(frontend: Frontend) -> str:
    """How a member of this endpoint is checked."""
    probe = frontend.probe
    if probe is not None and probe.port is not None:
        return f"{SERVER_OPTIONS} port {checked_port(probe.port)}"
    return SERVER_OPTIONS

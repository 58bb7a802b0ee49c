"""Whether clients will believe what the daemon proves itself with to the network."""

from __future__ import annotations

import ipaddress
import socket
import time
from pathlib import Path
from typing import Final

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.tools import certificates
from orchestrator.drivers.tools.server_tls import ServerTls, examined
from orchestrator.host.config import Config
from orchestrator.host.config_keys import address_and_port
from orchestrator.host.doctor.check import Check, fail, ok, warn

NAME: Final = "certificate"
_DAY_S: Final = 24 * 3600
_SOON_S: Final = 14 * _DAY_S


def certificate(settings: Config) -> Check:
    """The listener's: that its key fits, that it is good for some time yet, and for whom. Raises ConfigError."""
    if not settings.api_listen:
        return ok(NAME, "none is needed: the daemon does not listen to the network (api_listen)")
    if not settings.api_certificate:
        return fail(NAME, "api_listen is set, and no certificate", "set api_certificate; docs/remote.md makes one")
    file = Path(settings.api_certificate)
    key, ca = (Path(name) if name else None for name in (settings.api_key, settings.api_client_ca))
    bundle = examined(file, key)
    if bundle.trouble is not None:
        return fail(NAME, f"{file}: {bundle.trouble}", certificates.REMEDY[bundle.trouble])
    ServerTls(file, key, ca)
    facts = certificates.facts(bundle)
    address, _ = address_and_port(settings.api_listen)
    return judge(facts, file, address, {socket.gethostname(), socket.getfqdn()}, SystemClock().now_s())


def judge(facts: certificates.Facts, file: Path, address: str, hosts: set[str], now_s: float) -> Check:
    """The verdict on one that fits its key: of the daemon at that address, on a host of these names."""
    if not facts.names:
        told = f"{file} names nobody (subjectAltName): clients refuse it, whatever its subject says"
        return fail(NAME, told, "make one with the name or the address by which clients ask; docs/remote.md")
    good = f"{file} is for {', '.join(facts.names)} until {time.strftime('%Y-%m-%d', time.gmtime(facts.until_s))}"
    if facts.until_s - now_s < _SOON_S:
        days = max(0, int((facts.until_s - now_s) // _DAY_S))
        return warn(NAME, f"{good}: in {days} days nobody can come in", "renew it; it is read anew when it changes")
    if not any(_covers(name, who) for name in facts.names for who in {address, *hosts}):
        told = f"{good}, and neither for {address} nor for this host ({', '.join(sorted(hosts))})"
        return warn(NAME, told, "ask for it by a name that it has, or make one with that of the host")
    return ok(NAME, good)


def _covers(name: str, who: str) -> bool:
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(who)
    except ValueError:
        pass
    name, who = name.lower(), who.lower()
    return name == who or (name.startswith("*.") and who.partition(".")[2] == name[2:])

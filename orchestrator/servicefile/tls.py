"""`tls:` of an endpoint: by which certificates it proves who it is, and which port sends clients on to it."""

from __future__ import annotations

from typing import Final

from orchestrator.model import Certificate, Mode, Tls
from orchestrator.servicefile.answers import secret_reference
from orchestrator.servicefile.fields import port
from orchestrator.servicefile.reader import Reader, shown
from orchestrator.servicefile.tree import Map

_CERTIFICATE: Final = ("certificate", "key")


def read_tls(reader: Reader, endpoint: Map, at: str, mode: Mode) -> Tls | None:
    """What stands below `tls` of an endpoint, if anything; faults are noted, and no secret is looked for."""
    if "tls" not in endpoint:
        return None
    at = f"{at}.tls"
    node = reader.keys(endpoint["tls"], at, (*_CERTIFICATE, "more", "redirectFrom"), ("certificate",))
    redirect_from = reader.take(node, at, "redirectFrom", port, None)
    if redirect_from is not None and mode is not Mode.HTTP:
        told = f"who speaks {mode} cannot be sent on"
        reader.fault(f"{at}.redirectFrom", told, "leave it out, or say protocol: http")
    first = _certificate(reader, node, at)
    more = [one for one in _more(reader, node, f"{at}.more") if one is not None]
    if first is None:
        return None
    return Tls(certificate=first.certificate, key=first.key, more=tuple(more), redirect_from=redirect_from)


def _more(reader: Reader, tls: Map, at: str) -> list[Certificate | None]:
    nodes = tls.get("more", [])
    if not isinstance(nodes, list):
        reader.fault(at, f"{shown(nodes)} is not a list", "write `- certificate: {secret: NAME}` for each")
        return []
    places = [f"{at}.{number}" for number in range(len(nodes))]
    return [
        _certificate(reader, reader.keys(node, place, _CERTIFICATE, ("certificate",)), place)
        for node, place in zip(nodes, places, strict=True)
    ]


def _certificate(reader: Reader, node: Map, at: str) -> Certificate | None:
    """One with its key; None where something is wrong with it, which is noted."""
    named = reader.take(node, at, "certificate", secret_reference, None)
    key = reader.take(node, at, "key", secret_reference, None)
    if named is None or (key is None and "key" in node):
        return None
    return Certificate(certificate=named, key=key)

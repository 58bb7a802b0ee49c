"""Endpoints of a role and the probes of the balancer. Pure.

Source: "Definition LoadBalancerProbe Schema" and the endpoint elements of the role schemas of Cloud Services.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import Problem
from orchestrator.servicefile.azure.definition import Element, plain
from orchestrator.servicefile.azure.ledger import Ledger, title
from orchestrator.servicefile.azure.naming import Names
from orchestrator.servicefile.endpoints import PORTS_MOST, PROBE_RUN_MOST, PROBE_TIME_MOST_S

_NO_PORT = 0  # of one that is refused
_INTERVAL_S, _TIMEOUT_S = 15, 31  # what Azure takes where only the other one is said
_MODES = {"http": "http", "https": "tcp", "tcp": "tcp", "udp": "udp"}  # TLS ends in the instance, as on Azure
_INNER_MODES = {"http": "tcp", "tcp": "tcp", "udp": "udp", "any": "any"}
_ANY_PORT = (None, "", "*")  # Azure chooses one


@dataclasses.dataclass(slots=True, kw_only=True)
class Probe:
    """A LoadBalancerProbe as the service file says it; `used` once an endpoint has asked for it."""

    element: Element
    said: dict[str, Any]
    used: bool = False


def probes(definition: Element, ledger: Ledger, faults: list[Problem]) -> dict[str, Probe]:
    """The probes of the service by name."""
    found: dict[str, Probe] = {}
    for group in definition.all("LoadBalancerProbes"):
        ledger.use(group)
    for one in definition.all("LoadBalancerProbes", "LoadBalancerProbe"):
        name = one.get("name") or ""
        if not name or name in found:
            faults.append(Problem(f"{one.place}: the name of a probe is missing or taken", hint="name it"))
        found[name] = Probe(element=one, said=_probe(one, faults))
    return found


def _probe(one: Element, faults: list[Problem]) -> dict[str, Any]:
    protocol, path = one.get("protocol"), one.get("path") or "/"
    said: dict[str, Any] = {}
    if protocol == "http":
        said["path"] = path if path.startswith("/") else f"/{path}"
        if not re.fullmatch(r"/[!-~]{0,200}", said["path"]):
            hint = "at most 200 characters, without spaces; write others as %20"
            faults.append(Problem(f"{one.place}: {plain(path)!r} is not a path that can be asked for", hint=hint))
    elif protocol != "tcp":
        message = f"{one.place}: protocol {plain(protocol or '')!r} of a probe is not known"
        faults.append(Problem(message, hint="http or tcp"))
    if one.get("port") is not None:
        said["port"] = _port(one, "port", faults)
    if one.get("intervalInSeconds") is not None or one.get("timeoutInSeconds") is not None:
        interval_s = _seconds(one, "intervalInSeconds", 5, _INTERVAL_S, faults)
        timeout_s = _seconds(one, "timeoutInSeconds", 11, _TIMEOUT_S, faults)
        said["interval"] = f"{interval_s} s"
        said["fall"] = min(max(timeout_s // interval_s, 1), PROBE_RUN_MOST)  # whole probes that fit into the timeout
    return said


def unused(found: dict[str, Probe], ledger: Ledger) -> None:
    """Lists what no endpoint asked for, and how often the others asked."""
    for probe in found.values():
        one = probe.element
        if not probe.used:
            ledger.drop(one, "no endpoint asks for it")
            continue
        ledger.use(one, "name", "protocol", "port")
        if "path" in probe.said:
            ledger.use(one, "path")
        else:
            ledger.drop_attribute(one, "path", "a tcp probe asks for no path")
        ledger.use(one, "intervalInSeconds", "timeoutInSeconds")
        if "fall" in probe.said:
            what = f"has interval {probe.said['interval']} and fall {probe.said['fall']}"
            ledger.change(one, what, "so many whole probes fit into the time after which Azure took an instance out")


class Endpoints:
    """Reads the endpoints of the roles of one service; a port of its address is given once."""

    def __init__(self, found: dict[str, Probe], ledger: Ledger, faults: list[Problem]) -> None:
        self._probes = found
        self._ledger = ledger
        self._faults = faults
        self._ports: dict[int, Element] = {}
        self.inner: dict[tuple[str, str], dict[str, Any]] = {}  # see traffic.Inner

    def read(self, role: Element, instances: int) -> dict[str, Any]:
        """The endpoints of a role as the service file says them."""
        names, found = Names(self._ledger, self._faults), dict[str, Any]()
        for group in role.all("Endpoints"):
            self._ledger.use(group)
        for one in role.all("Endpoints", "InputEndpoint"):
            mode = self._mode(one, _MODES)
            self._add(found, names, one, self._endpoint(one, mode))
        for one in role.all("Endpoints", "InstanceInputEndpoint"):
            self._add(found, names, one, self._of_instances(one, instances))
        for one in role.all("Endpoints", "InternalEndpoint"):
            said = self._internal(one)
            self.inner[role.get("name") or "", one.get("name") or ""] = said
            self._add(found, names, one, said)
        return found

    def _add(self, found: dict[str, Any], names: Names, one: Element, said: dict[str, Any]) -> None:
        label = names.label(one, 40)
        if label in found and label != "nameless":
            message = f"{one.place}: two endpoints of the role are both {label!r} here"
            self._faults.append(Problem(message, hint="rename one of them"))
        found[label] = said

    def _mode(self, one: Element, modes: Mapping[str, str]) -> str:
        protocol = one.get("protocol") or ""
        if protocol not in modes:
            message = f"{one.place}: protocol {plain(protocol)!r} of an endpoint is not known"
            self._faults.append(Problem(message, hint=f"one of: {', '.join(modes)}"))
        return modes.get(protocol, "tcp")

    def _take(self, one: Element, ports: range) -> None:
        """Ports of the service's address: each is given once."""
        for port in ports:
            if port != _NO_PORT and (other := self._ports.setdefault(port, one)) is not one:
                message = f"{one.place}: port {port} is taken by line {other.line}"
                self._faults.append(Problem(message, hint="give each port of the service's address once"))
                return

    def _of_instances(self, one: Element, instances: int) -> dict[str, Any]:
        """A port of the address for each instance."""
        self._ledger.use(one, "name", "protocol", "localPort")
        for group in one.all("AllocatePublicPortFrom"):
            self._ledger.use(group)
        outside = self._range(one.all("AllocatePublicPortFrom", "FixedPortRange"))
        if outside is None:
            message = f"{one.place}: {title(one)} says no ports of the address"
            hint = 'add <AllocatePublicPortFrom><FixedPortRange min="…" max="…"/></AllocatePublicPortFrom>'
            self._faults.append(Problem(message, hint=hint))
            outside = range(1)
        elif len(outside) > PORTS_MOST:
            message = f"{one.place}: {title(one)} has {len(outside)} ports"
            self._faults.append(Problem(message, hint=f"at most {PORTS_MOST}; each instance needs one"))
        elif len(outside) < instances:
            message = f"{one.place}: {title(one)} has ports for {len(outside)} of {instances} instances"
            self._faults.append(Problem(message, hint="give its FixedPortRange one for each, or lower the count"))
        self._take(one, outside)
        mode = self._mode(one, {"tcp": "tcp", "udp": "udp"})
        said = {"type": "instance", "ports": _spelt(outside), "target": _port(one, "localPort", self._faults)}
        return said | {"protocol": mode}

    def _internal(self, one: Element) -> dict[str, Any]:
        """What other roles reach: a port, several, or all where Azure was to choose one."""
        ledger, mode = self._ledger, self._mode(one, _INNER_MODES)
        ledger.use(one, "name", "protocol")
        fixed, inside = one.all("FixedPort"), self._range(one.all("FixedPortRange"))
        said: dict[str, Any] = {"type": "internal"}
        if inside is not None:
            said |= {"ports": _spelt(inside), "protocol": mode}
            ledger.drop_attribute(one, "port", "the range says which ports")
        elif fixed:
            ledger.use(fixed[0], "port")
            said |= {"port": _port(fixed[0], "port", self._faults), "protocol": mode}
            ledger.drop_attribute(one, "port", "its FixedPort says which")
        elif one.get("port") not in _ANY_PORT:
            ledger.use(one, "port")
            said |= {"port": _port(one, "port", self._faults), "protocol": mode}
        else:
            ledger.use(one, "port")
            why = "the file leaves the port to Azure, and instances here are told of none; say a port to narrow it"
            ledger.change(one, "opens all ports", why)
        return said

    def _range(self, found: list[Element]) -> range | None:
        """The ports of the first FixedPortRange, if there is one."""
        if not found:
            return None
        self._ledger.use(found[0], "min", "max")
        first, last = (_port(found[0], name, self._faults) for name in ("min", "max"))
        if first > last != _NO_PORT:
            message = f"{found[0].place}: a range from {first} to {last} holds no port"
            self._faults.append(Problem(message, hint="the smaller one is its min"))
        return range(min(first, last), max(first, last) + 1)

    def _endpoint(self, one: Element, mode: str) -> dict[str, Any]:
        ledger = self._ledger
        ledger.use(one, "name", "protocol", "port")
        said: dict[str, Any] = {"port": _port(one, "port", self._faults)}
        self._take(one, range(said["port"], said["port"] + 1))
        if one.get("localPort") in _ANY_PORT:
            said["target"] = said["port"]
            what = f"has target {said['port']}"
            ledger.drop_attribute(one, "localPort", "Azure chooses a port; here it is the outer one")
            ledger.change(one, what, "the file leaves the inner port to Azure; vmrole takes the outer one")
        else:
            said["target"] = _port(one, "localPort", self._faults)
            ledger.use(one, "localPort")
        said["protocol"] = mode
        ledger.drop_attribute(one, "certificate", "TLS ends in the instance; its image or answers bring the key")
        if one.get("protocol") == "https":
            ledger.change(one, "has protocol tcp", "the balancer hands TLS on unread, as Azure's did")
        if one.get("ignoreRoleInstanceStatus") == "false":
            ledger.use(one, "ignoreRoleInstanceStatus")
        else:
            ledger.drop_attribute(one, "ignoreRoleInstanceStatus", "only ready instances are in rotation")
        self._add_probe(one, said)
        return said

    def _add_probe(self, one: Element, said: dict[str, Any]) -> None:
        name = one.get("loadBalancerProbe")
        if name is None:
            return
        if (probe := self._probes.get(name)) is None:
            message = f"{one.place}: there is no LoadBalancerProbe {plain(name)!r}"
            self._faults.append(Problem(message, hint=f"there are: {', '.join(map(plain, self._probes)) or 'none'}"))
            return
        probe.used = True
        self._ledger.use(one, "loadBalancerProbe")
        said["probe"] = dict(probe.said)


def _spelt(ports: range) -> str | int:
    return f"{ports[0]}-{ports[-1]}" if len(ports) > 1 else ports[0]


def _seconds(one: Element, attribute: str, least: int, default: int, faults: list[Problem]) -> int:
    text = one.get(attribute)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and least <= int(text) <= PROBE_TIME_MOST_S):
        message = f"{one.place}: {title(one)} has {attribute} {plain(text)!r}, which is no time of a probe"
        faults.append(Problem(message, hint=f"whole seconds, {least} to {PROBE_TIME_MOST_S:g}"))
        return default
    return int(text)


def _port(one: Element, attribute: str, faults: list[Problem]) -> int:
    text = one.get(attribute) or ""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        wrong = f"has {attribute} {plain(text)!r}, which is not a port" if text else f"has no {attribute}"
        faults.append(Problem(f"{one.place}: {title(one)} {wrong}", hint=f'write {attribute}="…", 1 to 65535'))
        return _NO_PORT
    return int(text)

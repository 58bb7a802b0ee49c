"""The service file: YAML text in, ServiceSpec out, or every fault at once with its line, key and what would be right.

YAML 1.2, so that a MAC address stays a string and `no` is a word. Nothing in the file is trusted: its size, depth
and expanded size are bounded before it is looked at.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import re
from collections.abc import Callable
from typing import Any

from orchestrator import manifest_tree
from orchestrator.errors import InvalidInput, Problem
from orchestrator.manifest_fields import (
    Answer,
    boolean,
    choice,
    duration_s,
    integer,
    port,
    size_mib,
    text,
    words,
)
from orchestrator.manifest_tree import SEE, Map
from orchestrator.model import (
    INSTANCES_MAX,
    DiskFormat,
    Endpoint,
    HttpProbe,
    Image,
    LocalStorage,
    Mode,
    Os,
    Probe,
    Ready,
    Role,
    ServiceSpec,
    Setup,
    Size,
    TcpProbe,
    image_name,
    is_sha256,
    label,
)
from unattend import AnswersInvalid, nocloud

STORAGE_NAME_MAX = 16  # The guest finds the disk by its serial, which virtio-blk cuts after 20 bytes: "ls-" + name.
USER_DATA_BYTES_MAX = 256 * 1024


def parse(source: str, find_image: Callable[[str], Image | None]) -> ServiceSpec:
    """The service that the file describes. Raises InvalidInput with all problems found."""
    tree, faults = manifest_tree.read(source)
    reader = _Reader(tree, find_image)
    reader.problems.extend(faults)
    spec = reader.service()
    if reader.problems or spec is None:
        found = tuple(sorted(reader.problems, key=lambda one: one.line or 0))
        count = f"{len(found)} faults" if len(found) > 1 else "1 fault"
        raise InvalidInput(f"the service file has {count}", problems=found)
    return spec


def line_of(source: str, key: str) -> int | None:
    """The line (1-based) on which `key` ("roles.web.size") or its nearest parent stands; None when unreadable."""
    try:
        return manifest_tree.line_of(manifest_tree.read(source)[0], key)
    except InvalidInput:
        return None


class _Reader:
    """Reads the tree field by field and collects what is wrong instead of stopping at the first fault."""

    def __init__(self, tree: Map, find_image: Callable[[str], Image | None]) -> None:
        self._tree = tree
        self._find_image = find_image
        self.problems: list[Problem] = []

    def service(self) -> ServiceSpec | None:
        top = self._keys(self._tree, "", ("service", "vip", "roles"), ("service", "vip", "roles"))
        name = self._take(top, "", "service", _name)
        vip = self._take(top, "", "vip", _address)
        roles = self._members(top, "", "roles", self._role)
        if "roles" in top and isinstance(top["roles"], Map) and not top["roles"]:
            self._fault("roles", "a service has at least one role", SEE)
        self._unique_ports(roles)
        if self.problems or name is None or vip is None:
            return None
        return ServiceSpec(name=name, vip=vip, roles=tuple(roles))

    def _role(self, name: str, node: object, at: str) -> Role:
        keys = ("image", "instances", "size", "endpoints", "localStorage", "answers", "setup", "ready", "drain")
        node = self._keys(node, at, keys, ("image",))
        image = self._take(node, at, "image", self._image)
        size = self._keys(node.get("size", Map()), f"{at}.size", ("vcpus", "memory"))
        endpoints = tuple(self._members(node, at, "endpoints", self._endpoint))
        return Role(
            name=name,
            image=str(node.get("image", "")),
            image_sha256=image.sha256 if image else "",
            image_format=image.format if image else DiskFormat.QCOW2,
            os=image.os if image else Os.LINUX,
            instances=self._take(node, at, "instances", integer(0, INSTANCES_MAX), 1),
            size=Size(
                vcpus=self._take(size, f"{at}.size", "vcpus", integer(1, 64), Size().vcpus),
                memory_mib=self._take(size, f"{at}.size", "memory", size_mib(64, 1024 * 1024), Size().memory_mib),
            ),
            endpoints=endpoints,
            local_storage=tuple(self._members(node, at, "localStorage", self._storage)),
            user_data=self._user_data(node, at),
            setup=self._setup(node, at),
            ready=self._ready(node, at, endpoints),
            drain_s=self._take(node, at, "drain", duration_s(0, 3600), 30.0),
        )

    def _image(self, node: object) -> Answer[Image]:
        reference = text(node)
        if isinstance(reference, Problem):
            return reference
        name, _, digest = reference.partition("@sha256:")
        try:
            if not is_sha256(reference):
                image_name(name)
        except InvalidInput as error:
            return Problem(str(error), hint=error.hint)
        if digest and not is_sha256(digest):
            return Problem(f"{digest[:80]!r} is not a digest", hint="64 lower-case hexadecimal digits")
        image = self._find_image(reference)
        if image is None:
            return Problem(f"there is no image {reference!r}", hint="run: vmrole image ls, or vmrole image add")
        return image

    def _endpoint(self, name: str, node: object, at: str) -> Endpoint:
        node = self._keys(node, at, ("port", "target", "protocol", "probe"), ("port",))
        outside = self._take(node, at, "port", port, 0)
        mode = self._take(node, at, "protocol", choice(Mode), Mode.TCP)
        probe = self._probe(node, at)
        return Endpoint(
            name=name, port=outside, target=self._take(node, at, "target", port, outside), mode=mode, probe=probe
        )

    def _probe(self, node: Map, at: str) -> Probe | None:
        if "probe" not in node:
            return None
        at = f"{at}.probe"
        probe = self._keys(node["probe"], at, ("path", "port"))
        where = self._take(probe, at, "port", port, None)
        if "path" not in probe:
            return TcpProbe(port=where)
        return HttpProbe(path=self._take(probe, at, "path", _path, "/"), port=where)

    def _storage(self, name: str, node: object, at: str) -> LocalStorage:
        if len(name) > STORAGE_NAME_MAX:
            self._fault(at, f"{name!r} is too long", f"use at most {STORAGE_NAME_MAX} characters")
        node = self._keys(node, at, ("size",), ("size",))
        return LocalStorage(name=name, size_mib=self._take(node, at, "size", size_mib(1, 64 * 1024 * 1024), 1))

    def _user_data(self, node: Map, at: str) -> str:
        at = f"{at}.answers"
        answers = self._keys(node.get("answers", Map()), at, ("userData",))
        said: str = self._take(answers, at, "userData", text, "")
        if len(said.encode()) > USER_DATA_BYTES_MAX:
            limit = f"use at most {USER_DATA_BYTES_MAX // 1024} KiB; put large data into the image"
            self._fault(f"{at}.userData", "too long", limit)
            return said
        try:
            nocloud.check_user_data(said)
        except AnswersInvalid as refused:
            self._fault(f"{at}.userData", str(refused), refused.hint)
        return said

    def _setup(self, node: Map, at: str) -> Setup:
        at = f"{at}.setup"
        setup = self._keys(node.get("setup", Map()), at, ("restart", "within"))
        return Setup(
            restart=self._take(setup, at, "restart", boolean, Setup().restart),
            within_s=self._take(setup, at, "within", duration_s(1, 24 * 3600), Setup().within_s),
        )

    def _ready(self, node: Map, at: str, endpoints: tuple[Endpoint, ...]) -> Ready:
        at = f"{at}.ready"
        ready = self._keys(node.get("ready", Map()), at, ("units", "ignore", "command", "probe", "within"))
        probe = self._probe(ready, at)
        if probe is not None and probe.port is None:
            if not endpoints:
                self._fault(f"{at}.probe", "which port?", "say `port:`; the role has no endpoint to take it from")
            else:
                probe = dataclasses.replace(probe, port=endpoints[0].target)
        return Ready(
            units=self._take(ready, at, "units", words, ()),
            ignore=self._take(ready, at, "ignore", words, ()),
            command=self._take(ready, at, "command", words, ()),
            probe=probe,
            within_s=self._take(ready, at, "within", duration_s(1, 24 * 3600), Ready().within_s),
        )

    def _unique_ports(self, roles: list[Role]) -> None:
        seen: dict[int, str] = {}
        for role in roles:
            for end in role.endpoints:
                key = f"roles.{role.name}.endpoints.{end.name}.port"
                if end.port and end.port in seen:
                    self._fault(key, f"port {end.port} is taken by {seen[end.port]}", "each port of the VIP once")
                seen.setdefault(end.port, key)

    # Reading one thing

    def _fault(self, key: str, message: str, hint: str) -> None:
        self.problems.append(Problem(message, key=key, line=manifest_tree.line_of(self._tree, key), hint=hint))

    def _keys(self, node: object, at: str, allowed: tuple[str, ...], required: tuple[str, ...] = ()) -> Map:
        """The node as a mapping with only known keys; what is wrong is noted, and an empty one takes its place."""
        if not isinstance(node, Map):
            self._fault(at, f"{_shown(node)} is not a mapping", f"keys are: {', '.join(allowed)}")
            return Map()
        for key in node:
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, 1)
                hint = f"did you mean {near[0]}?" if near else f"keys are: {', '.join(allowed)}"
                self._fault(_under(at, key), "there is no such key", hint)
        for key in required:
            if key not in node:
                self._fault(_under(at, key), "is missing", SEE)
        return node

    def _take(
        self,
        node: Map,
        at: str,
        key: str,
        read: Callable[[object], Answer[Any]],
        default: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        if key not in node:
            return default
        answer = read(node[key])
        if isinstance(answer, Problem):
            self._fault(_under(at, key), answer.message, answer.hint)
            return default
        return answer

    def _members(self, node: Map, at: str, key: str, read: Callable[[str, object, str], Any]) -> list[Any]:
        """What `read` makes of each named member of a mapping, in the file's order."""
        at = _under(at, key)
        if key not in node:
            return []
        members = node[key]
        if not isinstance(members, Map):
            self._fault(at, f"{_shown(members)} is not a mapping", "write NAME: and below it what belongs to it")
            return []
        found = []
        for name, member in members.items():
            try:
                label(name)
            except InvalidInput as error:
                self._fault(f"{at}.{name}", str(error), error.hint)
                continue
            found.append(read(name, member, f"{at}.{name}"))
        return found


def _under(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _shown(node: object) -> str:
    return "nothing" if node is None else repr(node)[:60]


def _name(node: object) -> Answer[str]:
    said = text(node)
    try:
        return said if isinstance(said, Problem) else label(said)
    except InvalidInput as error:
        return Problem(str(error), hint=error.hint)


def _address(node: object) -> Answer[str]:
    said = text(node)
    if isinstance(said, Problem):
        return said
    try:
        address = ipaddress.IPv4Address(said)
    except ValueError:
        return Problem(f"{said[:60]!r} is not an IPv4 address", hint="four numbers, such as 203.0.113.10")
    if address.is_multicast or address.is_unspecified or address.is_link_local or address.is_loopback:
        return Problem(f"{address} cannot be a VIP", hint="use an address that clients can reach")
    return str(address)


def _path(node: object) -> Answer[str]:
    said = text(node)
    if isinstance(said, Problem):
        return said
    if not re.fullmatch(r"/[!-~]{0,200}", said):
        return Problem(f"{said[:60]!r} is not a path", hint="begin with '/', no spaces, at most 200 characters")
    return said

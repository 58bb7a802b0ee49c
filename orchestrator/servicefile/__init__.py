"""The service file: YAML text in, ServiceSpec out, or every fault at once with its line, key and what would be right.

YAML 1.2, so that a MAC address stays a string and `no` is a word. Nothing in the file is trusted: its size, depth
and expanded size are bounded before it is looked at.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import ipaddress
from collections.abc import Callable, Iterator, Sequence

from vmrole_unattend import local_storage
from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.secret import SecretRef

from orchestrator.errors import InvalidInput, Problem
from orchestrator.model import (
    INSTANCES_MAX,
    AnswerFormat,
    DiskFormat,
    Endpoint,
    Hardware,
    Image,
    Labels,
    LocalStorage,
    Mode,
    Os,
    Ready,
    Restart,
    Role,
    ServiceSpec,
    Setup,
    Stop,
    image_name,
    is_sha256,
    label,
)
from orchestrator.servicefile.answers import NONE, Given, SecretFault, WhoseAnswers, computer_faults, read_answers
from orchestrator.servicefile.endpoints import read_endpoint, read_probe
from orchestrator.servicefile.fields import (
    Answer,
    boolean,
    choice,
    duration_s,
    integer,
    shaped,
    size_mib,
    text,
    words,
)
from orchestrator.servicefile.labels import read_labels
from orchestrator.servicefile.reader import LABEL, Reader
from orchestrator.servicefile.sizes import read_size
from orchestrator.servicefile.tree import SEE, Map, line_in, read_tree
from orchestrator.servicefile.upgrade import check_canary, read_upgrade


class HostKeys(enum.StrEnum):
    """What a reimage does to an instance's SSH host keys."""

    NEW = "new"  # each generation makes its own
    KEEP = "keep"


WINDOWS_SETUP_S = 45 * 60.0  # of a generalized image on an ordinary host: minutes; without KVM, most of an hour
STORAGE_NAME_MAX = 16  # The guest finds the disk by its serial, which virtio-blk cuts after 20 bytes: "ls-" + name.


RoleNow = Callable[[str, str], Role | None]
"""A role of a service as it is now, by both names; None when there is none."""


def _always(service: str, secret: SecretRef) -> str:  # noqa: ARG001 - it has the shape of a SecretFault
    return ""


def _unknown(service: str, role: str) -> Role | None:  # noqa: ARG001 - it has the shape of RoleNow
    return None


def parse(
    source: str,
    find_image: Callable[[str], Image | None],
    secret_fault: SecretFault = _always,
    role_now: RoleNow = _unknown,
) -> ServiceSpec:
    """The service that the file describes. Raises InvalidInput with all problems found.

    `secret_fault` says why a secret that the file names cannot be had; unless given, none is looked for. `role_now`
    knows what the file says to keep.
    """
    tree, faults = read_tree(source)
    reader = FileReader(tree, find_image, secret_fault, role_now)
    reader.problems.extend(faults)
    spec = reader.service()
    if reader.problems or spec is None:
        found = tuple(sorted(reader.problems, key=lambda one: one.line or 0))
        count = f"{len(found)} faults" if len(found) > 1 else "1 fault"
        raise InvalidInput(f"the service file has {count}", problems=found)
    return spec


def role_faults(roles: Sequence[Role]) -> Iterator[Problem]:
    """Roles that are called like an instance of another: `web-0.shop` would mean both."""
    names = {role.name for role in roles}
    for name in sorted(names):
        other, _, number = name.rpartition("-")
        if other in names and number.isdigit():
            told = f"would be an instance of the role {other}, too"
            yield Problem(told, key=f"roles.{name}", hint="choose a name that does not end in a number")


def line_of(source: str, key: str) -> int | None:
    """The line (1-based) on which `key` ("roles.web.size") or its nearest parent stands; None when unreadable."""
    try:
        return line_in(read_tree(source)[0], key)
    except InvalidInput:
        return None


_MIB = 1024 * 1024


class FileReader(Reader):
    """Reads the tree field by field and collects what is wrong instead of stopping at the first fault."""

    def __init__(
        self,
        tree: Map,
        find_image: Callable[[str], Image | None],
        secret_fault: SecretFault,
        role_now: RoleNow = _unknown,
    ) -> None:
        super().__init__(tree)
        self._role_now = role_now
        self._find_image = find_image
        self._secret_fault = secret_fault
        self._service = ""
        self._labels: Labels = ()

    def service(self) -> ServiceSpec | None:
        """The service; None when something is wrong with it, which `problems` then tells."""
        top = self.keys(self._tree, "", ("service", "vip", "labels", "upgrade", "roles"), ("service", "roles"))
        name = self.take(top, "", "service", _name)
        vip: str = self.take(top, "", "vip", _address, "")
        self._service = name or ""
        self._labels = read_labels(self, top, "")
        upgrade = read_upgrade(self, top)
        roles = self.members(top, "", "roles", self._role)
        if "roles" in top and isinstance(top["roles"], Map) and not top["roles"]:
            self.fault("roles", "a service has at least one role", SEE)
        self._unique_ports(roles)
        if "vip" not in top and any(role.endpoints for role in roles):
            self.fault("vip", "is missing", "endpoints need an address; a service without endpoints needs none")
        if not self.problems:
            for one in (*role_faults(roles), *computer_faults(self._service, roles)):
                self.fault(one.key, one.message, one.hint)
            check_canary(self, upgrade, roles)
        if self.problems or name is None:
            return None
        return ServiceSpec(name=name, vip=vip, roles=tuple(roles), labels=self._labels, upgrade=upgrade)

    def _role(self, name: str, node: object, at: str) -> Role:
        keys = ("image", "instances", "size", "endpoints", "localStorage", "answers", "setup", "ready")
        node = self.keys(node, at, (*keys, "drain", "stop", "restart", "identity", "labels"), ("image",))
        image = self.take(node, at, "image", self._image)
        size, limits = read_size(self, node, at, image)
        endpoints = tuple(self.members(node, at, "endpoints", functools.partial(read_endpoint, self)))
        instances = self.take(node, at, "instances", integer(0, INSTANCES_MAX), 1)
        reads = self._reads(node, image)
        given = self._answers(node, at, name, image, instances)
        labels = dict(self._labels) | dict(read_labels(self, node, at))
        return Role(
            name=name,
            labels=tuple(sorted(labels.items())),
            image=str(node.get("image", "")),
            image_sha256=image.sha256 if image else "",
            image_format=image.format if image else DiskFormat.QCOW2,
            image_mib=image.virtual_size_bytes // _MIB if image else 0,
            os=image.os if image else Os.LINUX,
            answers=reads,
            hardware=image.hardware if image else Hardware(),
            instances=instances,
            size=size,
            limits=limits,
            endpoints=endpoints,
            local_storage=tuple(self.members(node, at, "localStorage", functools.partial(self._storage, image))),
            user_data=given.user_data,
            user_data_from=given.user_data_from,
            vendor_data=given.vendor_data,
            admin_password=given.admin_password,
            public_keys=given.public_keys,
            unattend=given.unattend,
            install_agent=given.install_agent,
            keep_ssh_host_keys=self._identity(node, at, reads),
            setup=self._setup(node, at, image),
            ready=self._ready(node, at, endpoints, image),
            drain_s=self.take(node, at, "drain", duration_s(0, 3600), 30.0),
            stop=Stop(within_s=self._within(node, at, "stop")),
            restart=Restart(within_s=self._within(node, at, "restart")),
        )

    def _within(self, node: Map, at: str, key: str) -> float | None:
        inner = self.keys(node.get(key, Map()), f"{at}.{key}", ("within",))
        within_s: float | None = self.take(inner, f"{at}.{key}", "within", duration_s(1, 24 * 3600), None)
        return within_s

    @shaped(type="string", minLength=1)
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

    def _storage(self, image: Image | None, name: str, node: object, at: str) -> LocalStorage:
        if len(name) > STORAGE_NAME_MAX:
            self.fault(at, f"{name!r} is too long", f"use at most {STORAGE_NAME_MAX} characters")
        node = self.keys(node, at, ("size",), ("size",))
        storage = LocalStorage(name=name, size_mib=self.take(node, at, "size", size_mib(1, 64 * 1024 * 1024), 1))
        if _is_windows(image):
            try:
                local_storage.check(name, storage.size_mib)
            except AnswersInvalid as error:
                self.fault(at, error.message, error.hint)
        return storage

    def _answers(self, node: Map, at: str, role: str, image: Image | None, instances: int) -> Given:
        if image is None:  # What it would read is not known; that there is no such image is said already.
            return Given()
        whose = WhoseAnswers(
            service=self._service,
            role=role,
            instances=instances,
            secret_fault=self._secret_fault,
            now=functools.partial(self._role_now, self._service, role),
        )
        return read_answers(self, node, at, self._reads(node, image), whose)

    def _reads(self, node: Map, image: Image | None) -> AnswerFormat:
        """What the role's image reads; a role may say that it reads nothing."""
        if image is None:
            return AnswerFormat.NOCLOUD
        without = node.get("answers") == NONE and image.os is Os.LINUX  # Windows asks a person what nobody answers.
        return AnswerFormat.NONE if without else image.answers

    def _identity(self, node: Map, at: str, reads: AnswerFormat) -> bool:
        """Whether each instance keeps its SSH host keys."""
        at = f"{at}.identity"
        identity = self.keys(node.get("identity", Map()), at, ("sshHostKeys",))
        keeps = bool(self.take(identity, at, "sshHostKeys", choice(HostKeys), HostKeys.NEW) is HostKeys.KEEP)
        if keeps and reads is not AnswerFormat.NOCLOUD:
            self.fault(f"{at}.sshHostKeys", "only cloud-init is given host keys", "leave it out for this image")
        return keeps

    def _setup(self, node: Map, at: str, image: Image | None) -> Setup:
        without = image is not None and self._reads(node, image) is AnswerFormat.NONE
        at = f"{at}.setup"
        setup = self.keys(node.get("setup", Map()), at, ("restart", "within"))
        restart: bool = self.take(setup, at, "restart", boolean, Setup().restart and not without)
        if without and restart:
            self.fault(f"{at}.restart", "without answers there is no setup that restarts", "leave it out")
        if without and "within" in setup:
            self.fault(f"{at}.within", "without answers there is no setup to wait for", "leave it out")
        within_s = WINDOWS_SETUP_S if _is_windows(image) else Setup().within_s
        if image and image.suggested:
            within_s = image.suggested.setup_s
        if _is_windows(image) and not restart:
            self.fault(f"{at}.restart", "Windows Setup always restarts", "leave it out")
        return Setup(restart=restart, within_s=self.take(setup, at, "within", duration_s(1, 24 * 3600), within_s))

    def _ready(self, node: Map, at: str, endpoints: tuple[Endpoint, ...], image: Image | None) -> Ready:
        at = f"{at}.ready"
        units = ("services", "delayed") if _is_windows(image) else ("units",)
        keys = (*units, "ignore", "command", "probe", "within", "silence", "agent")
        ready = self.keys(node.get("ready", Map()), at, keys)
        agent: bool = self.take(ready, at, "agent", boolean, True)
        if not agent:
            self._without_agent(node, ready, at, image)
        probe = read_probe(self, ready, at)
        if probe is not None and probe.port is None:
            if not endpoints:
                self.fault(f"{at}.probe", "which port?", "say `port:`; the role has no endpoint to take it from")
            else:
                probe = dataclasses.replace(probe, port=endpoints[0].target)
        within_s = image.suggested.ready_s if image and image.suggested else Ready().within_s
        return Ready(
            units=self.take(ready, at, units[0], words, ()),
            ignore=self.take(ready, at, "ignore", words, ()),
            delayed=self.take(ready, at, "delayed", boolean, False),
            command=self.take(ready, at, "command", words, ()),
            probe=probe,
            within_s=self.take(ready, at, "within", duration_s(1, 24 * 3600), within_s),
            silence_s=self.take(ready, at, "silence", duration_s(60, 24 * 3600), Ready().silence_s),
            agent=agent,
        )

    def _without_agent(self, node: Map, ready: Map, at: str, image: Image | None) -> None:
        """What makes no sense for a guest that has no agent."""
        if _is_windows(image):
            self.fault(f"{at}.agent", "Windows Setup is watched through the agent", "leave it out")
        if "probe" not in ready:
            hint = "give ready.probe a port, and a path for HTTP: without an agent nothing else tells"
            self.fault(f"{at}.agent", "who tells when it is ready?", hint)
        for key in ("units", "services", "delayed", "ignore", "command", "silence"):
            if key in ready:
                self.fault(f"{at}.{key}", "needs the agent that ready.agent: false rules out", "drop one of the two")
        answers = node.get("answers")
        if isinstance(answers, Map) and answers.get("installAgent") is True:
            key = f"{at.removesuffix('.ready')}.answers.installAgent"
            self.fault(key, "installs the agent that ready.agent: false rules out", "drop one of the two")

    def _unique_ports(self, roles: list[Role]) -> None:
        seen: dict[tuple[int, bool], str] = {}
        for role in roles:
            for end in role.endpoints:
                key = f"roles.{role.name}.endpoints.{end.name}.port"
                place = end.port, end.mode is Mode.UDP
                if end.port and place in seen:
                    self.fault(key, f"port {end.port} is taken by {seen[place]}", "each port of the VIP once")
                seen.setdefault(place, key)


def _is_windows(image: Image | None) -> bool:
    return image is not None and image.os is Os.WINDOWS


@shaped(type="string", pattern=LABEL)
def _name(node: object) -> Answer[str]:
    said = text(node)
    try:
        return said if isinstance(said, Problem) else label(said)
    except InvalidInput as error:
        return Problem(str(error), hint=error.hint)


@shaped(type="string", pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$")
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

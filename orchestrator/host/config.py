"""The configuration: a TOML file, every key with a default, laid over by the environment. Standard library only.

state_dir = "/var/lib/vmrole"        # images, overlays, local storage, records
run_dir = "/run/vmrole"              # sockets, answer discs; may be lost with a reboot of the host
socket = "/run/vmrole/vmrole.sock"   # default: RUN_DIR/vmrole.sock
socket_group = "vmrole"              # members may use the socket; ignored where there is no such group
readers_group = "vmrole-read"        # members may only look, at vmrole-read.sock beside it; ignored likewise
secrets_dir = "/etc/vmrole/secrets"  # {secret: NAME} of a service file is a file in it, or in SERVICE/ of it
secrets_env = []                     # variables of the daemon that a service file may name as {env: NAME}
libvirt_uri = "qemu:///system"
vip_interface = "eth0"               # where VIPs are added; needed as soon as a service is applied
vip_pool = "203.0.113.0/28"          # networks that VIPs are taken from, by blanks; default: those of vip_interface
network_pool = "10.90.0.0/16"        # private networks are cut from it, a /24 for each service
egress_deny = ["10.0.0.0/8", …]      # networks that guests do not reach; default: private and special ones
egress_allow = []                    # exceptions, e.g. "192.168.1.5/32"; the longest prefix decides
forwarding = "auto"                  # "auto": the host forwards for others what it did before; "all": whatever comes
accelerator = "auto"                 # "auto" boots a guest to find out; "kvm"; "tcg"
haproxy = "haproxy"                  # the program
image_virtual_size_max_gib = 2048
memory_reserve_mib = 1024            # kept for the host itself
disk_reserve_mib = 1024              # kept free under state_dir, of a small file system a twentieth
vcpu_overcommit = 16                 # all vCPUs are at most so many times the host's CPUs
disk_overcommit = 4                  # all disks, as large as they may become, are at most so many times the room
workers = 16                         # turns at the same time
log_style = "auto"                   # "auto", "text", "json"
log_level = "info"                   # "debug", "info", "warning", "error"
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError, Problem

DEFAULT_FILE = Path("/etc/vmrole/vmrole.toml")
DEFAULT_SOCKET = Path("/run/vmrole/vmrole.sock")
_CHOICES = {
    "accelerator": ("auto", "kvm", "tcg"),
    "forwarding": ("auto", "all"),
    "log_style": ("auto", "text", "json"),
    "log_level": ("debug", "info", "warning", "error"),
}
_BOUNDS = {
    "image_virtual_size_max_gib": (1, 2**20),
    "memory_reserve_mib": (0, 2**30),
    "disk_reserve_mib": (0, 2**40),
    "vcpu_overcommit": (1, 10_000),
    "disk_overcommit": (1, 10_000),
    "workers": (1, 1024),
}
_NOBODY_S = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")  # RFC 6890: addresses of no one machine
# What a guest has no business in: RFC 6890's networks that are no part of the Internet, and 168.63.129.16, at which
# Azure's hosts hand out what a VM is to know.
EGRESS_DENY = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "240.0.0.0/4",
)
_NETWORKS = ("egress_deny", "egress_allow")
_FROM_ENVIRONMENT = {
    "VMROLE_STATE_DIR": "state_dir",
    "VMROLE_RUN_DIR": "run_dir",
    "VMROLE_SOCKET": "socket",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the file, the environment and the defaults came to. See the module's docstring for each key."""

    state_dir: Path = Path("/var/lib/vmrole")
    run_dir: Path = Path("/run/vmrole")
    socket: Path = DEFAULT_SOCKET
    socket_group: str = "vmrole"
    readers_group: str = "vmrole-read"
    secrets_dir: Path = Path("/etc/vmrole/secrets")
    secrets_env: tuple[str, ...] = ()
    libvirt_uri: str = "qemu:///system"
    vip_interface: str = ""
    vip_pool: str = ""
    network_pool: str = "10.90.0.0/16"
    egress_deny: tuple[str, ...] = EGRESS_DENY
    egress_allow: tuple[str, ...] = ()
    forwarding: str = "auto"
    accelerator: str = "auto"
    haproxy: str = "haproxy"
    image_virtual_size_max_gib: int = 2048
    memory_reserve_mib: int = 1024
    disk_reserve_mib: int = 1024
    vcpu_overcommit: int = 16
    disk_overcommit: int = 4
    workers: int = 16
    log_style: str = "auto"
    log_level: str = "info"


def load(file: Path | None = None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration; without `file`, VMROLE_CONFIG or the default file, if that exists.

    Raises ConfigError, which tells every fault, each on a line of its own.
    """
    named = file or (Path(environment["VMROLE_CONFIG"]) if "VMROLE_CONFIG" in environment else None)
    text = _text(named or DEFAULT_FILE, may_be_absent=named is None)
    reader = _Reader(named or DEFAULT_FILE, text)
    values = reader.parsed()
    laid_over = {key: environment[name] for name, key in _FROM_ENVIRONMENT.items() if environment.get(name)}
    values |= laid_over
    if "socket" not in values and isinstance(values.get("run_dir"), str):
        values["socket"] = str(Path(values["run_dir"]) / "vmrole.sock")
    return reader.read(values)


def _text(file: Path, *, may_be_absent: bool) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if may_be_absent:
            return ""
        raise ConfigError(f"there is no file {file}", hint="name a file that can be read") from error
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", hint="name a file that can be read") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not TOML: it is not UTF-8", hint="save it as UTF-8") from error


class _Reader:
    """Reads the values one by one; what is wrong with one is noted, and its default stands in for it."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._text = text
        self._problems: list[Problem] = []

    def parsed(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self._text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"{self._file}: not TOML: {error}", hint="write: KEY = VALUE") from error

    def read(self, values: Mapping[str, Any]) -> Config:
        """The configuration of these values; raises ConfigError."""
        defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Config)}
        settled: dict[str, Any] = {}
        for key, value in values.items():
            fault = _fault(key, value, defaults)
            if fault is not None:
                self._note(key, *fault)
            elif isinstance(defaults[key], Path | tuple):
                settled[key] = type(defaults[key])(value)
            else:
                settled[key] = value
        config = Config(**settled)
        for key, message, hint in _network_faults(config):
            self._note(key, message, hint)
        if self._problems:
            raise self._error()
        return config

    def _note(self, key: str, message: str, hint: str) -> None:
        self._problems.append(Problem(message, key=key, line=self._line_of(key), hint=hint))

    def _line_of(self, key: str) -> int | None:
        """Where the key stands in the file; None when the environment says it."""
        quoted = re.escape(key)
        stands = re.compile(rf"""[ \t]*\[{{0,2}}[ \t]*(?:{quoted}|"{quoted}"|'{quoted}')[ \t]*[].=]""")
        lines = enumerate(self._text.splitlines(), 1)
        return next((number for number, line in lines if stands.match(line)), None)

    def _error(self) -> ConfigError:
        ordered = sorted(self._problems, key=lambda problem: problem.line or 0)
        told = [
            f"{self._file}{f':{problem.line}' if problem.line else ''}: {problem.key}: {problem.message}"
            for problem in ordered
        ]
        if len(told) == 1:
            return ConfigError(told[0], hint=ordered[0].hint)
        return ConfigError("\n".join(f"{line} ({one.hint})" for line, one in zip(told, ordered, strict=True)))


def _fault(key: str, value: object, defaults: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong with the value by itself, and what would be right; None when nothing is."""
    if key not in defaults:
        near = difflib.get_close_matches(key, defaults, 1)
        return "there is no such key", f"did you mean {near[0]}?" if near else f"keys are: {', '.join(defaults)}"
    default, shown = defaults[key], repr(value)[:80]
    if isinstance(default, tuple):
        names = isinstance(value, list) and all(isinstance(word, str) and word for word in value)
        what, example = ("networks", "192.168.1.0/24") if key in _NETWORKS else ("names", "NAME")
        return None if names else (f"{shown} is not a list of {what}", f'write {key} = ["{example}"]')
    if isinstance(default, int):
        least, most = _BOUNDS[key]
        if not isinstance(value, int) or isinstance(value, bool):
            return f"{shown} is not a number", f"use {least} to {most}"
        return None if least <= value <= most else (shown, f"use {least} to {most}")
    if not isinstance(value, str):
        return f"{shown} is not a string", f'write {key} = "…"'
    if "\0" in value or (str(default) and not value):
        return shown, f"leave it out for {str(default)!r}"
    if value not in _CHOICES.get(key, (value,)):
        return shown, f"use one of: {', '.join(_CHOICES[key])}"
    if isinstance(default, Path) and not Path(value).is_absolute():
        return shown, "use an absolute path"
    return None


def _network_faults(config: Config) -> Iterator[tuple[str, str, str]]:
    """Key, fault and remedy for networks that cannot be used."""
    for one in config.vip_pool.split():
        try:
            ipaddress.IPv4Network(one)
        except ValueError as error:
            yield "vip_pool", str(error), "IPv4 networks, with a blank between them, such as 203.0.113.0/28"
    for key in _NETWORKS:
        for one in getattr(config, key):
            if fault := _no_network(one):
                yield key, *fault
    try:
        pool = ipaddress.IPv4Network(config.network_pool)
    except ValueError as error:
        yield "network_pool", str(error), "an IPv4 network such as 10.90.0.0/16"
        return
    if pool.prefixlen > 24:
        yield "network_pool", f"{pool} is too small", "each service takes a /24 of it"
    if any(pool.overlaps(ipaddress.IPv4Network(one)) for one in _NOBODY_S):
        hint = "an IPv4 network for machines, such as 10.90.0.0/16"
        yield "network_pool", f"no machine can have every address of {pool}", hint


def _no_network(text: str) -> tuple[str, str] | None:
    """Why the text is no IPv4 network, and what would be; None when it is."""
    try:
        ipaddress.IPv4Network(text)
    except ValueError as error:
        try:
            meant = ipaddress.IPv4Network(text, strict=False)
        except ValueError:
            return f"{text[:80]!r} is not an IPv4 network", "write ADDRESS/LENGTH, such as 192.168.1.0/24"
        return str(error), f"{meant} for the whole network, or {text.partition('/')[0]}/32"
    return None

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
accelerator = "auto"                 # "auto" boots a guest to find out; "kvm"; "tcg"
haproxy = "haproxy"                  # the program
image_virtual_size_max_gib = 2048
memory_reserve_mib = 1024            # kept for the host itself
disk_reserve_mib = 1024              # kept free under state_dir, of a small file system a twentieth
workers = 16                         # turns at the same time
log_style = "auto"                   # "auto", "text", "json"
log_level = "info"                   # "debug", "info", "warning", "error"
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError

DEFAULT_FILE = Path("/etc/vmrole/vmrole.toml")
DEFAULT_SOCKET = Path("/run/vmrole/vmrole.sock")
_CHOICES = {
    "accelerator": ("auto", "kvm", "tcg"),
    "log_style": ("auto", "text", "json"),
    "log_level": ("debug", "info", "warning", "error"),
}
_BOUNDS = {
    "image_virtual_size_max_gib": (1, 2**20),
    "memory_reserve_mib": (0, 2**30),
    "disk_reserve_mib": (0, 2**40),
    "workers": (1, 1024),
}
_NOBODY_S = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")  # RFC 6890: addresses of no one machine
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
    accelerator: str = "auto"
    haproxy: str = "haproxy"
    image_virtual_size_max_gib: int = 2048
    memory_reserve_mib: int = 1024
    disk_reserve_mib: int = 1024
    workers: int = 16
    log_style: str = "auto"
    log_level: str = "info"


def load(file: Path | None = None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration; without `file`, VMROLE_CONFIG or the default file, if that exists. Raises ConfigError."""
    named = file or (Path(environment["VMROLE_CONFIG"]) if "VMROLE_CONFIG" in environment else None)
    values: dict[str, Any] = {}
    if named is not None or DEFAULT_FILE.exists():
        values = _read(named or DEFAULT_FILE)
    values |= {key: environment[name] for name, key in _FROM_ENVIRONMENT.items() if environment.get(name)}
    if "socket" not in values and "run_dir" in values:
        values["socket"] = str(Path(values["run_dir"]) / "vmrole.sock")
    return _checked(values, str(named or DEFAULT_FILE))


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", hint="name a file that can be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error


def _checked(values: Mapping[str, Any], file: str) -> Config:
    fields: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Config)}
    settled: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"did you mean {near[0]}?" if near else f"keys are: {', '.join(fields)}"
            raise ConfigError(f"{file}: {key}: there is no such key", hint=hint)
        kind = type(fields[key])
        if kind is tuple:
            if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
                raise ConfigError(f"{file}: {key}: {value!r} is not a list of names", hint=f'{key} = ["NAME"]')
            settled[key] = tuple(value)
            continue
        wanted = str if isinstance(fields[key], Path) else kind
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ConfigError(f"{file}: {key}: {value!r} is not a {'number' if wanted is int else 'string'}")
        if value not in _CHOICES.get(key, (value,)):
            raise ConfigError(f"{file}: {key}: {value!r}", hint=f"use one of: {', '.join(_CHOICES[key])}")
        if isinstance(value, int):
            least, most = _BOUNDS[key]
            if not least <= value <= most:
                raise ConfigError(f"{file}: {key}: {value}", hint=f"use {least} to {most}")
        if issubclass(kind, Path) and not Path(value).is_absolute():
            raise ConfigError(f"{file}: {key}: {value!r}", hint="use an absolute path")
        if isinstance(value, str) and ("\0" in value or (fields[key] and not value)):
            raise ConfigError(f"{file}: {key}: {value!r}", hint=f"leave it out for {str(fields[key])!r}")
        settled[key] = Path(value) if issubclass(kind, Path) else value
    config = Config(**settled)
    for one in config.vip_pool.split():
        try:
            ipaddress.IPv4Network(one)
        except ValueError as error:
            hint = "IPv4 networks, with a blank between them, such as 203.0.113.0/28"
            raise ConfigError(f"{file}: vip_pool: {error}", hint=hint) from error
    try:
        pool = ipaddress.IPv4Network(config.network_pool)
    except ValueError as error:
        raise ConfigError(f"{file}: network_pool: {error}", hint="an IPv4 network such as 10.90.0.0/16") from error
    if pool.prefixlen > 24:
        raise ConfigError(f"{file}: network_pool: {pool} is too small", hint="each service takes a /24 of it")
    if any(pool.overlaps(ipaddress.IPv4Network(one)) for one in _NOBODY_S):
        hint = "an IPv4 network for machines, such as 10.90.0.0/16"
        raise ConfigError(f"{file}: network_pool: no machine can have every address of {pool}", hint=hint)
    return config

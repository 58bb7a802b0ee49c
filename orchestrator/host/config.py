"""The configuration: a TOML file, those of conf.d beside it, the environment; every key has a default.

What comes later wins, key by key: /etc/vmrole/vmrole.toml, /etc/vmrole/conf.d/*.toml by name, VMROLE_STATE_DIR and
its like. Each value is known with where it came from. `config_keys` has the keys. Standard library only.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import ConfigError, Problem
from orchestrator.host.config_keys import (
    KEYS,
    NETWORK_LISTS,
    PCI_NAMED,
    PCI_NAMES,
    api_fault,
    network_fault,
    shares_fault,
)

DEFAULT_FILE = Path("/etc/vmrole/vmrole.toml")
DEFAULT_SOCKET = Path("/run/vmrole/vmrole.sock")
PARTS: Final = "conf.d"  # the directory of further files, beside the file
NAMED_BY: Final = "VMROLE_CONFIG"  # the variable that names the file
DEFAULT: Final = "default"
_INTERFACE = re.compile(r"(?!\.{1,2}$)[^\s/:]{1,15}")  # IFNAMSIZ, and dev_valid_name of the kernel
_DIRECTORY: Final = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._-]{0,63}){1,16}")  # as a service file names it
_PASSWORD = re.compile(r"(?<=://)([^/?#@:]*):[^/?#]*(?=@)")  # RFC 3986 3.2.1: user:password of a URI
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the file, the environment and the defaults came to. `config_keys.KEYS` says what each means."""

    state_dir: Path = Path("/var/lib/vmrole")
    run_dir: Path = Path("/run/vmrole")
    checkpoint_memory_dir: Path = Path("/dev/shm")  # noqa: S108 - what is made there is looked at, see disks.memory_place
    socket: Path = DEFAULT_SOCKET
    socket_group: str = "vmrole"
    readers_group: str = "vmrole-read"
    api_listen: str = ""
    api_certificate: str = ""
    api_key: str = ""
    api_client_ca: str = ""
    secrets_dir: Path = Path("/etc/vmrole/secrets")
    secrets_env: tuple[str, ...] = ()
    libvirt_uri: str = "qemu:///system"
    vip_interface: str = ""
    vip_pool: str = ""
    network_pool: str = "10.90.0.0/16"
    egress_deny: tuple[str, ...] = EGRESS_DENY
    egress_allow: tuple[str, ...] = ()
    bridges: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    pci: tuple[str, ...] = ()
    forwarding: str = "auto"
    accelerator: str = "auto"
    haproxy: str = "haproxy"
    image_virtual_size_max_gib: int = 2048
    memory_reserve_mib: int = 1024
    disk_reserve_mib: int = 1024
    memory_overcommit_percent: int = 100
    vcpu_overcommit: int = 16
    disk_overcommit: int = 4
    service_reimages_per_hour: int = 20
    host_reimages_per_hour: int = 60
    evidence_most: int = 500
    evidence_mib: int = 512
    evidence_days: int = 30
    evidence_disks_mib: int = 20 * 1024
    evidence_disk_hours: int = 24
    blob_mib: int = 16
    blobs_mib: int = 256
    boot_together: int = 0
    workers: int = 16
    log_style: str = "auto"
    log_level: str = "info"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The configuration, and where each value came from: FILE:LINE, "environment NAME", or what it follows from."""

    config: Config
    origins: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class _Layer:
    """What one file, or the environment, says."""

    values: Mapping[str, Any]
    file: Path | None = None
    text: str = ""

    def origin(self, key: str) -> str:
        """Where it says the key."""
        if self.file is None:
            return f"environment {KEYS[key].environment}"
        line = _line_of(key, self.text)
        return f"{self.file}:{line}" if line else str(self.file)


def load(file: Path | None = None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration; without `file`, VMROLE_CONFIG or the default file, if that exists.

    Raises ConfigError, which tells every fault, each on a line of its own.
    """
    return settle(file, environment).config


def settle(file: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settled:
    """As `load`, with where each value came from."""
    named = file or (Path(environment[NAMED_BY]) if NAMED_BY in environment else None)
    main = named or DEFAULT_FILE
    faults: list[tuple[str, Problem]] = []
    layers = [_read(main, may_be_absent=named is None, faults=faults)]
    layers += [_read(part, may_be_absent=False, faults=faults) for part in _parts(main)]
    laid_over = {key: environment[one.environment] for key, one in KEYS.items() if environment.get(one.environment)}
    layers.append(_Layer(laid_over))
    settled, origins = _merged(layers, faults)
    if faults:
        raise _error(faults, [str(layer.file) for layer in layers])
    if "socket" not in settled and "run_dir" in settled:
        settled["socket"] = settled["run_dir"] / DEFAULT_SOCKET.name
        origins["socket"] = f"run_dir ({origins['run_dir']})"
    found = Config(**settled)
    own = (found.state_dir, found.run_dir, found.secrets_dir, found.checkpoint_memory_dir)
    if told := shares_fault(found.shares, own):
        raise ConfigError(f"{origins['shares']}: shares: {told}", hint="share a directory that holds nothing else")
    return Settled(config=found, origins={key: origins.get(key, DEFAULT) for key in KEYS})


def written(value: object) -> str:
    """A value of a configuration as TOML; passwords in URIs are not shown."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(written(each) for each in value)}]"
    if isinstance(value, int):
        return str(value)
    return json.dumps(masked(str(value)), ensure_ascii=False)


def masked(text: str) -> str:
    """The text without passwords that stand in URIs."""
    return _PASSWORD.sub(r"\1:***", text)


def defaults() -> dict[str, Any]:
    """Each key with what holds when nobody says it."""
    return {field.name: field.default for field in dataclasses.fields(Config)}


def fault(key: str, value: object) -> tuple[str, str] | None:
    """What is wrong with a value, and what would be right; None when nothing is."""
    return _fault(key, value, defaults())


def _parts(main: Path) -> Iterator[Path]:
    """The further files, by name; hidden ones are an editor's."""
    place = main.parent / PARTS
    try:
        names = sorted(part.name for part in place.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        hint = "it is a directory of files *.toml; make it one that can be read, or take it away"
        raise ConfigError(f"{place}: {error.strerror}", hint=hint) from error
    yield from (place / name for name in names if name.endswith(".toml") and not name.startswith("."))


def _read(file: Path, *, may_be_absent: bool, faults: list[tuple[str, Problem]]) -> _Layer:
    """One file; that it is not TOML is added to the faults. Raises ConfigError where there is nothing to read."""
    text = _text(file, may_be_absent=may_be_absent)
    try:
        return _Layer(tomllib.loads(text), file, text)
    except (ValueError, RecursionError) as error:  # A number of thousands of digits is no TOMLDecodeError.
        faults.append((str(file), Problem(f"not TOML: {error}", hint="write: KEY = VALUE")))
        return _Layer({}, file, text)


def _text(file: Path, *, may_be_absent: bool) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if may_be_absent:
            return ""
        raise ConfigError(f"there is no file {_shown(file)}", hint="name a file that can be read") from error
    except OSError as error:
        raise ConfigError(f"{_shown(file)}: {error.strerror}", hint="name a file that can be read") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{_shown(file)}: not TOML: it is not UTF-8", hint="save it as UTF-8") from error


def _merged(layers: list[_Layer], faults: list[tuple[str, Problem]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and origins of what any layer says, the last one's; what is wrong with one is added to the faults, also
    where a later one stands in for it: a line that nobody minds today is a trap.
    """
    settled: dict[str, Any] = {}
    origins: dict[str, str] = {}
    unsaid = defaults()
    for layer in layers:
        for key, value in layer.values.items():
            fault = _fault(key, value, unsaid)
            if fault is None:
                shape = type(unsaid[key])
                settled[key] = shape(value) if isinstance(unsaid[key], Path | tuple) else value
                origins[key] = layer.origin(key)
                continue
            line = _line_of(key, layer.text)
            place = str(layer.file) if layer.file else layer.origin(key)
            faults.append((place, Problem(fault[0], key=key, line=line, hint=fault[1])))
    return settled, origins


def _line_of(key: str, text: str) -> int | None:
    """Where the key stands in the text of a file, from 1."""
    quoted = re.escape(key)
    stands = re.compile(rf"""[ \t]*\[{{0,2}}[ \t]*(?:{quoted}|"{quoted}"|'{quoted}')[ \t]*[].=]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if stands.match(line)), None)


def _error(faults: list[tuple[str, Problem]], files: list[str]) -> ConfigError:
    """All of them: file after file as they are read, each from top to bottom, and last the environment."""

    def place_in_order(fault: tuple[str, Problem]) -> tuple[int, int]:
        return files.index(fault[0]) if fault[0] in files else len(files), fault[1].line or 0

    ordered = sorted(faults, key=place_in_order)
    lines = [
        f"{_shown(place)}{f':{problem.line}' if problem.line else ''}: "
        f"{f'{_shown(problem.key)}: ' if problem.key else ''}{problem.message}"
        for place, problem in ordered
    ]
    if len(lines) == 1:
        return ConfigError(lines[0], hint=ordered[0][1].hint)
    hinted = [f"{line} ({problem.hint})" for line, (_, problem) in zip(lines, ordered, strict=True)]
    return ConfigError("\n".join(hinted))


def _shown(name: object) -> str:
    """A name of a file or key in a line of its own: what no line can have is written as an escape."""
    return str(name) if str(name).isprintable() else ascii(str(name))


def _fault(key: str, value: object, unsaid: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong with the value, and what would be right; None when nothing is."""
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, 1)
        return "there is no such key", f"did you mean {near[0]}?" if near else f"keys are: {', '.join(KEYS)}"
    default, shown = unsaid[key], masked(repr(value))[:80]
    if isinstance(default, tuple):
        if not (isinstance(value, list) and all(isinstance(word, str) and word for word in value)):
            what, sample = ("networks", "192.168.1.0/24") if key in NETWORK_LISTS else ("names", "NAME")
            return f"{shown} is not a list of {what}", f'write {key} = ["{sample}"]'
        if not all(word.isprintable() for word in value):
            return f"{shown} holds a character that nobody sees", "type it anew"
        if key == "bridges" and not all(_INTERFACE.fullmatch(name) for name in value):
            return f"{shown} can be no bridges", "ip -brief link show type bridge lists them"
        if key == "shares" and (named := next((name for name in value if not _DIRECTORY.fullmatch(name)), None)):
            return f"{named!r} is no path of a directory", "an absolute one without '..', such as /srv/data"
        if key == "pci" and (named := next((name for name in value if not re.fullmatch(PCI_NAMES, name)), None)):
            return f"{named!r} names no PCI device", f"such as {PCI_NAMED}"
        return network_fault(key, value)
    if bounds := KEYS[key].bounds:
        least, most = bounds
        if not isinstance(value, int) or isinstance(value, bool):
            return f"{shown} is not a number", f"use {least} to {most}"
        return None if least <= value <= most else (shown, f"use {least} to {most}")
    if not isinstance(value, str):
        return f"{shown} is not a string", f'write {key} = "…"'
    if not value.isprintable():
        otherwise = f", or leave it out for {str(default)!r}" if str(default) else ""
        return f"{shown} holds a character that nobody sees", f"type it anew{otherwise}"
    if str(default) and not value:
        return shown, f"leave it out for {str(default)!r}"
    if key == "vip_interface" and value and not _INTERFACE.fullmatch(value):
        return f"{shown} can be no interface", "ip -brief link lists them"
    if value not in (KEYS[key].choices or (value,)):
        return shown, f"use one of: {', '.join(KEYS[key].choices)}"
    if isinstance(default, Path) and not Path(value).is_absolute():
        return shown, "use an absolute path"
    return network_fault(key, value) or api_fault(key, value)

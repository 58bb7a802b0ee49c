"""What a simulator is told to do wrong: kept in C:\\simulator.json, set by a variant of the image or by a command.

A role sets them in its answers with a command at specialize: `simulate slow-service=30`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from vmrole_images.setup_simulator.guest.drive import Drive

FILE: Final = "simulator.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """Wishes by their names; the names on a command line have `-` for `_`. All values are text there."""

    slow_service: float = 0.0  # seconds that a service more stays Start Pending, in each boot
    failed_service: str = ""  # the name of a service more that stops with 1067, in each boot
    stuck: bool = False  # Setup never leaves specialize
    no_exec: bool = False  # the agent forbids guest-exec
    no_files: bool = False  # the agent forbids guest-file-*
    no_powershell: bool = False  # there is no powershell.exe
    pass_seconds: float = 1.0  # how long a pass takes


class OptionError(ValueError):
    """No such wish, or no such value."""


def read(system: Drive) -> Options:
    """The wishes on this disk; OptionError when the file is not as it should be."""
    content = system.read(FILE)
    if content is None:
        return Options()
    try:
        said = json.loads(content)
    except ValueError as error:
        raise OptionError(f"C:\\{FILE} is not JSON") from error
    if not isinstance(said, dict):
        raise OptionError(f"C:\\{FILE} is no object")
    return changed(Options(), {str(key): str(value) for key, value in said.items()})


def write(system: Drive, options: Options) -> None:
    """Keeps the wishes on this disk."""
    system.write(FILE, (json.dumps(dataclasses.asdict(options), indent=1) + "\n").encode())


def changed(options: Options, changes: Mapping[str, str]) -> Options:
    """The options with these changes; OptionError for what there is not."""
    values: dict[str, Any] = dataclasses.asdict(options)
    for key, value in changes.items():
        name = key.replace("-", "_")
        if name not in values:
            raise OptionError(f"there is no wish {key}; there are {', '.join(values).replace('_', '-')}")
        values[name] = _like(values[name], key, value)
    return Options(**values)


def _like(present: bool | float | str, key: str, value: str) -> bool | float | str:
    match present:
        case bool():
            if value.lower() not in ("true", "false"):
                raise OptionError(f"{key} is true or false, not {value!r}")
            return value.lower() == "true"
        case float():
            try:
                return float(value)
            except ValueError as error:
                raise OptionError(f"{key} is a number of seconds, not {value!r}") from error
        case str():
            return value

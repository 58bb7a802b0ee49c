"""Which UEFI this host has: the descriptions that its distribution ships, as libvirt reads them.

Format: docs/interop/firmware.json of QEMU.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

DESCRIPTIONS: Final = (Path("/etc/qemu/firmware"), Path("/usr/share/qemu/firmware"))  # the administrator's first
KEYS: Final = "enrolled-keys"  # Microsoft's: only what they have signed is run
SECURE: Final = "secure-boot"  # it can keep to keys, whether it has any or not


def features(places: Sequence[Path] | None = None) -> list[frozenset[str]]:
    """Of each UEFI for our machine whose file is there; a description that cannot be read is left out."""
    return [frozenset(found["features"]) for found in _described(DESCRIPTIONS if places is None else places)]


def keyless_is_secure(places: Sequence[Path] | None = None) -> bool:
    """Whether a UEFI that runs whatever it is given is one that could keep to keys: the host has no plainer one."""
    keyless = [one for one in features(places) if KEYS not in one]
    return bool(keyless) and all(SECURE in one for one in keyless)


def _described(places: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for directory in places:
        for path in sorted(directory.glob("*.json")):
            try:
                found = json.loads(path.read_text())
                fits = any(
                    target["architecture"] == "x86_64" and any("q35" in machine for machine in target["machines"])
                    for target in found["targets"]
                )
                there = Path(found["mapping"]["executable"]["filename"]).is_file()
                if "uefi" in found["interface-types"] and fits and there and isinstance(found["features"], list):
                    yield found
            except (OSError, ValueError, KeyError, TypeError):
                continue

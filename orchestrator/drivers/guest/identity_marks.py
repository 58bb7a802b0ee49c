"""What every system is to have of its own, by its digest: the machine-id, and the public halves of its SSH host keys.

Two generations that share a mark have it from their image. Only digests leave this file, and no private key is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

from orchestrator.drivers.tools.agent_channel import AgentRefused
from orchestrator.model import Os

MACHINE_ID: Final = "machine-id"
HOST_KEY: Final = "SSH host key"
_KINDS: Final = ("dsa", "ecdsa", "ed25519", "rsa")
_KEYS: Final = {Os.LINUX: "/etc/ssh", Os.WINDOWS: "C:\\ProgramData\\ssh"}
_MACHINE_IDS: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")  # the second: guests without systemd
_UNMADE: Final = ("", "uninitialized")  # machine-id(5): what a sealed image holds
_DIGITS: Final = 16


def ask(shown: Callable[[str], str | None], system: Os) -> Mapping[str, str]:
    """Marks by name; `shown` gives the text of a file, "" when there is none, None when the agent shows it not."""
    marks: dict[str, str] = {}
    for path in _MACHINE_IDS if system is Os.LINUX else ():
        machine_id = _shown(shown, path)
        if machine_id not in _UNMADE:
            marks.setdefault(MACHINE_ID, _digest(machine_id))
    for kind in _KINDS:
        separator = "\\" if system is Os.WINDOWS else "/"
        key = _shown(shown, f"{_KEYS[system]}{separator}ssh_host_{kind}_key.pub").split()
        if len(key) > 1:  # The rest of the line is a comment.
            marks[f"{HOST_KEY} ({kind})"] = _digest(key[1])
    return marks


def _shown(shown: Callable[[str], str | None], path: str) -> str:
    try:
        return shown(path) or ""
    except AgentRefused:
        return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

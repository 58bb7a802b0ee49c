"""What helps where no agent answers in a guest: the package, and the line that brings it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.model import Os
from orchestrator.model.cause import Kind

_QUESTION: Final = "has the image an agent?"
HINT: Final = {
    Os.LINUX: (
        f"{_QUESTION} Put the package qemu-guest-agent into it (apt-get, dnf or apk), or have cloud-init install it: "
        "answers: {installAgent: true}; for an appliance: ready: {agent: false, probe: …}"
    ),
    Os.WINDOWS: f"{_QUESTION} Run guest-agent\\qemu-ga-x86_64.msi of the virtio-win disc in it, before sysprep",
}


def is_asked(row: Mapping[str, Any]) -> bool:
    """Whether an instance, as the API shows it, waits with that question."""
    cause = row["cause"]
    return cause is not None and bool(cause["kind"] == Kind.NO_AGENT)

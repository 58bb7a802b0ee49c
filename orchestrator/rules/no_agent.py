"""What helps where no agent answers in a guest: the package, and the line that brings it. Pure."""

from __future__ import annotations

from typing import Final

from orchestrator.model import Os

_QUESTION: Final = "has the image an agent?"
HINT: Final = {
    Os.LINUX: (
        f"{_QUESTION} Put the package qemu-guest-agent into it (apt-get, dnf or apk), or have cloud-init install it: "
        "answers: {installAgent: true}; for an appliance: ready: {agent: false, probe: …}"
    ),
    Os.WINDOWS: f"{_QUESTION} Run guest-agent\\qemu-ga-x86_64.msi of the virtio-win disc in it, before sysprep",
}

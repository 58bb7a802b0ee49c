"""A reimage of a whole Debian: four boots of it, which are too long for every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.debian_guests import SERVICE
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply, instance, mark, markers

SSH_KEY = "ssh-keyscan -T 60 -t ed25519 127.0.0.1 2>/dev/null | cut -d ' ' -f 3"


def host_key(lab: Lab, domain: str = "web-0.shop") -> str:
    """The key by which the guest's SSH server is known, as a client gets it."""
    key = lab.guest(domain, ["/bin/sh", "-c", SSH_KEY]).strip()
    assert key.startswith("AAAA"), key
    return key


@pytest.mark.timeout(4500)  # Four starts, each a minute of both cores without KVM.
def test_a_reimage_is_another_system(lab: Lab, daemon: RoleDaemon, debian_image: Path) -> None:
    """It is set up anew, with SSH host keys of its own, and keeps local storage alone."""
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    apply(daemon, SERVICE)
    first = host_key(lab)
    mark(lab, "web-0.shop")

    daemon.run("reimage", "web-0", "--wait")
    assert (instance(daemon)["generation"], instance(daemon)["boot"]) == (2, 2)
    assert markers(lab, "web-0.shop").split() == ["gone", "kept"]
    assert host_key(lab) != first
    daemon.run("delete", "service", "shop", "--wait")
    daemon.run("image", "verify", "debian")

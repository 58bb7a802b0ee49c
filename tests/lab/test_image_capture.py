"""An image that is made of a real virtual machine, and machines that are made of it."""

from __future__ import annotations

from pathlib import Path

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.shop import WEB

GOLDEN = """service: gold
roles:
  app:
    image: golden
    instances: 1
    size: {vcpus: 1, memory: 128 MiB}
    setup: {within: 10 min}
    ready: {within: 10 min}
"""
OTHER = "app-0.gold"


def shell(lab: Lab, name: str, script: str) -> str:
    """What a script in the guest prints."""
    return lab.guest(name, ["/bin/sh", "-c", script])


def test_machines_are_made_of_what_a_machine_was(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """They have its files and are themselves, by a setup of their own; it is made anew of the image that it had."""
    shell(lab, WEB, "echo gold > /installed; echo here > /local/cache/marker; echo worn > /etc/machine-id; sync")
    ready.run("image", "capture", WEB, "--name", "golden", "--timeout", "10m")
    file = tmp_path / "gold.yaml"
    file.write_text(GOLDEN)
    ready.run("apply", "-f", str(file), "--wait", "--timeout", "10m")
    assert shell(lab, OTHER, "cat /installed; hostname; cat /etc/machine-id 2>/dev/null").split() == ["gold", "app-0"]
    assert shell(lab, OTHER, "cat /var/lib/vmrole/instance").strip() == OTHER
    ready.run("wait", WEB, "--timeout", "10m")
    ((first,), (second,)) = (ready.json("get", "instances", name) for name in (WEB, OTHER))
    assert (first["generation"], second["generation"]) == (2, 1)
    assert shell(lab, WEB, "ls /installed 2>/dev/null; cat /local/cache/marker").split() == ["here"]
    ready.run("image", "verify", "golden")
    ready.run("delete", "service", "gold", "--wait", "--timeout", "10m")
    ready.run("image", "rm", "golden")

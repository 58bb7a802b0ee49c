"""Blobs on real virtual machines: what a guest has put by outlives a reimage, and its role's is its sibling's."""

from __future__ import annotations

import json
from typing import Any

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply, instance, ready, service

__all__ = ["ready"]  # fixtures

WEB, SIBLING = "web-0.shop", "web-1.shop"
CLIENT = "/usr/local/bin/vmrole-guest"
WITHIN_S = 300.0  # so many processes of a guest under TCG


def sh(lab: Lab, domain: str, script: str) -> str:
    """What a script prints in the guest."""
    return lab.guest(domain, ["/bin/sh", "-c", script.replace("vmrole-guest", CLIENT)], WITHIN_S).strip()


def listed(lab: Lab, domain: str, *words: str) -> list[dict[str, Any]]:
    """What the guest's client lists."""
    found: list[dict[str, Any]] = json.loads(sh(lab, domain, f"vmrole-guest blob ls {' '.join(words)}"))["result"][
        "blobs"
    ]
    return found


def test_state_comes_back_after_a_reimage(lab: Lab, ready: RoleDaemon) -> None:
    """The same bytes, by a daemon that was killed meanwhile; the role's is the sibling's as well, one of two swaps,
    and nothing is left of what goes.
    """
    apply(ready, service(2))
    digest = sh(
        lab,
        WEB,
        "head -c 100000 /dev/urandom > /tmp/state && vmrole-guest blob put state /tmp/state >/dev/null &&"
        " sha256sum </tmp/state",
    )
    sh(lab, WEB, "echo 41 | vmrole-guest blob put --role --if-version none count")
    ready.kill()
    ready.start()
    ready.run("reimage", "web-0", "--wait")
    assert instance(ready)["generation"] == 2
    assert sh(lab, WEB, "ls /tmp/state 2>/dev/null; vmrole-guest blob get state | sha256sum") == digest
    (count,) = listed(lab, SIBLING, "--role")
    swap = f"echo 42 | vmrole-guest blob put --role --if-version {count['version']} count 2>&1; echo $?"
    assert sh(lab, SIBLING, swap).endswith("0")
    assert sh(lab, WEB, swap).endswith("5")
    assert sh(lab, WEB, "vmrole-guest blob get --role count") == "42"
    assert listed(lab, SIBLING) == []
    assert ready.json("verify") == []

    sh(lab, SIBLING, "echo x | vmrole-guest blob put state")
    ready.run("scale", "shop", "web=1", "--wait")
    places = ready.state / "lib" / "blobs"
    assert [path.name for path in (places / "instances").iterdir()] == [WEB]
    ready.run("delete", "service", "shop", "--wait")
    assert [path for path in places.rglob("*") if path.is_file()] == []

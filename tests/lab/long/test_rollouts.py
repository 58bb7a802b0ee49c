"""Rollouts by upgrade domain on real virtual machines: domains with a soak, a bad release, the way back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.lab.harness.role import RoleDaemon

SOAK_S = 5
SERVICE = f"""service: shop
upgrade: {{domains: 2, maxUnavailable: 2, soak: {SOAK_S} s, onFailure: undo}}
roles:
  web:
    image: micro
    instances: 3
    size: {{vcpus: 1, memory: 128 MiB}}
    setup: {{within: 10 min}}
    ready: {{within: 10 min, command: [/bin/test, -e, /good]}}
    answers:
      userData: |
        #!/bin/sh
        : > /RELEASE
        : > /good
"""
COMES_S = 900.0
HALTS_AFTER_S = 60  # a good one of these guests serves well before that once its VM runs; a bad one never does


def file(release: str, *, good: bool = True) -> str:
    """The service's file; a bad release never becomes ready."""
    text = SERVICE.replace("RELEASE", release)
    if good:
        return text
    return text.replace(": > /good", ": > /bad").replace("onFailure", f"within: {HALTS_AFTER_S} s, onFailure")


@pytest.fixture
def shop(daemon: RoleDaemon, micro_image: Path) -> RoleDaemon:
    """Three instances of the first release that serve."""
    daemon.run("image", "add", str(micro_image), "--name", "micro")
    daemon.run("apply", "-f", "-", "--wait", text=file("a"))
    return daemon


def instances(daemon: RoleDaemon) -> list[dict[str, object]]:
    """As the API shows them, by index."""
    rows: list[dict[str, object]] = daemon.json("get", "instances")
    return sorted(rows, key=lambda row: str(row["name"]))


def test_domains_and_a_soak(shop: RoleDaemon) -> None:
    """web-0 and web-2 are out together, web-1 only when both have served for their soak; the domain is shown."""
    assert [row["domain"] for row in instances(shop)] == [0, 1, 0]
    shop.run("apply", "-f", "-", text=file("b"))
    together, end = set(), time.monotonic() + COMES_S
    while (rows := instances(shop))[1]["phase"] == "serving" and rows[1]["wanted_generation"] == 1:
        assert time.monotonic() < end, shop.run("rollout", "status", "shop").stdout
        together |= {sum(row["phase"] != "serving" for row in rows)}
        time.sleep(0.2)
    assert max(together) == 2
    for row in (rows[0], rows[2]):
        assert (row["generation"], row["phase"]) == (2, "serving")
        assert time.time() - float(str(row["phase_since_s"])) >= SOAK_S
    shop.run("wait", "shop", "--timeout", str(COMES_S))
    assert [row["generation"] for row in instances(shop)] == [2, 2, 2]


def test_a_bad_release_goes_back_by_itself(shop: RoleDaemon) -> None:
    """The first domain alone is changed, and goes back; who was not changed has the VM that it had."""
    before = instances(shop)
    shop.run("apply", "-f", "-", text=file("b", good=False))
    end = time.monotonic() + COMES_S
    while "back to revision 1" not in shop.run("rollout", "history", "shop").stdout:
        assert time.monotonic() < end, shop.run("rollout", "status", "shop").stdout
        time.sleep(0.5)
    shop.run("wait", "shop", "--timeout", str(COMES_S))
    after = instances(shop)
    assert after[1]["vm_uuid"] == before[1]["vm_uuid"]
    assert [row["stale"] for row in after] == [False, False, False]
    assert [int(str(row["generation"])) > 1 for row in after] == [True, False, True]
    told = shop.run("events", "shop").stdout
    assert "reimage goes back: web-" in told
    assert f"it does not serve {HALTS_AFTER_S} s after it was begun" in told

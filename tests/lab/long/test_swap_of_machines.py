"""A swap of real virtual machines under load: nobody is restarted, nothing is lost, and back."""

from __future__ import annotations

import time
from pathlib import Path

from tests.lab.harness import answers
from tests.lab.harness.lab import Lab
from tests.lab.harness.load import Load
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import URL, apply, instance, ready, service

__all__ = ["ready"]  # a fixture

STAGING_VIP = "203.0.113.11"
STAGING_URL = f"http://{STAGING_VIP}/"
SWAPS = 6
COMES_S = 60.0
REST_S = 2.0  # of a hundred requests and more, before the next swap


def who(lab: Lab, url: str) -> set[str]:
    """Whose instance answers."""
    return set(answers.distinct(lab.client, url, 1, COMES_S))


def test_a_swap_of_machines_loses_nothing_and_restarts_nobody(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """Staging beside production, swaps under load, a daemon that dies after one, and staging deleted."""
    text = service(1).replace("\nroles:", f"\nstagingVip: {STAGING_VIP}\nroles:", 1)
    apply(ready, text)
    ready.run("apply", "-f", "-", "--slot", "staging", "--wait", text=text)
    assert (who(lab, URL), who(lab, STAGING_URL)) == ({"web-0.shop"}, {"web-0.shop--b"})
    before = {name: instance(ready, name) for name in ("web-0.shop", "web-0.shop--b")}
    with Load(lab.client, URL, 60.0, tmp_path / "load.json") as load:
        for number in range(SWAPS):
            ready.run("swap", "shop")
            if number == 2:
                ready.kill()
                ready.start()
            wanted = {"web-0.shop--b" if number % 2 == 0 else "web-0.shop"}
            end_s = time.monotonic() + COMES_S
            while who(lab, URL) != wanted:
                assert time.monotonic() < end_s, f"{wanted} does not come into production"
            time.sleep(REST_S)
        account = load.account()
    assert account["failed"] == 0, account
    assert int(str(account["ok"])) > 500, account
    after = {name: instance(ready, name) for name in before}
    for key in ("generation", "boot", "vm_uuid", "phase"):
        assert {name: row[key] for name, row in after.items()} == {name: row[key] for name, row in before.items()}
    assert ready.json("verify") == []
    ready.run("delete", "service", "shop", "--slot", "staging", "--wait")
    assert who(lab, URL) == {"web-0.shop"}
    ready.run("delete", "service", "shop", "--wait")
    assert [thing for thing in lab.leftovers() if "shop" in thing] == []

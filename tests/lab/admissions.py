"""What `image test` reports of an image."""

from __future__ import annotations

import json
from typing import Any

from tests.lab.harness.role import RoleDaemon

TEST_S = 900.0  # Two minutes on a quiet machine.


SIGNS = {
    "system": None,
    "agent calls": None,
    "name": True,
    "SSH host keys": None,
    "shutdown": True,
    "setup restart": True,
    "reimage": True,
    "image": True,
}


def report_of(daemon: RoleDaemon, *words: str, within_s: float = TEST_S) -> dict[str, Any]:
    """What the test of an image says."""
    said = daemon.run("image", "test", *words, "--within", "10 min", "-o", "json", timeout_s=within_s).stdout
    report: dict[str, Any] = json.loads(said)
    return report


def assert_good(report: dict[str, Any]) -> None:
    """Every question answered, none badly; three generations measured, and deadlines suggested."""
    found = {one["subject"]: one["good"] for one in report["findings"]}
    assert found.keys() - {"machine-id"} == SIGNS.keys()
    assert {subject: good for subject, good in found.items() if good is False} == {}
    assert {subject for subject, good in found.items() if good} >= {one for one, good in SIGNS.items() if good}
    assert [lap["generation"] for lap in report["generations"]] == [1, 2, 3]
    assert all(lap["phases_s"]["setup"] > 1.0 for lap in report["generations"])
    assert report["image"]["suggested"]["setup_s"] >= 60.0

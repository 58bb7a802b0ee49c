"""`vmrole image test` on real images, side by side: a good one for Linux, and the simulator for Windows."""

from __future__ import annotations

import concurrent.futures
import json
from pathlib import Path
from typing import Any

import images
from tests.lab.harness import enter
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon

TEST_S = 900.0  # Two minutes on a quiet machine.
SIGNS = {"system": None, "agent calls": None, "name": True, "setup restart": True, "reimage": True, "image": True}


def report_of(daemon: RoleDaemon, *words: str, within_s: float = TEST_S) -> dict[str, Any]:
    """What the test of an image says."""
    said = daemon.run("image", "test", *words, "--within", "10 min", "-o", "json", timeout_s=within_s).stdout
    report: dict[str, Any] = json.loads(said)
    return report


def assert_good(report: dict[str, Any]) -> None:
    """Every question answered, none badly; three generations measured, and deadlines suggested."""
    found = {one["subject"]: one["good"] for one in report["findings"]}
    assert found.keys() == SIGNS.keys()
    assert {subject: good for subject, good in found.items() if good is False} == {}
    assert {subject for subject, good in found.items() if good} >= {one for one, good in SIGNS.items() if good}
    assert [lap["generation"] for lap in report["generations"]] == [1, 2, 3]
    assert all(lap["phases_s"]["setup"] > 1.0 for lap in report["generations"])
    assert report["image"]["suggested"]["setup_s"] >= 60.0


def test_good_images_pass(lab: Lab, daemon: RoleDaemon, micro_image: Path, tmp_path: Path) -> None:
    """Named as asked, restarted by setup, the same in three generations, bytes unchanged; the times are kept, and
    nothing of a canary is left.
    """
    simulator = images.ensure("setup-simulator", enter.REPOSITORY / "build" / "images").path
    daemon.run("image", "add", str(micro_image), "--name", "micro")
    daemon.run("image", "add", str(simulator), "--name", "windows", "--os", "windows")
    daemon.give_secret("admin", "S3cret-of-a-canary")
    answers = tmp_path / "answers.yaml"
    answers.write_text("unattend:\n  administratorPassword: {secret: admin}\n")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        micro = pool.submit(report_of, daemon, "micro", "--memory", "128 MiB")
        windows = pool.submit(report_of, daemon, "windows", "--memory", "256 MiB", "--answers", str(answers))
        reports = [micro.result(), windows.result()]
    for report in reports:
        assert_good(report)
    assert daemon.json("get", "services") == []
    assert daemon.json("verify") == []

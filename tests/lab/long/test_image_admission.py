"""`vmrole image test` on real images, side by side: a good one for Linux, and the simulator for Windows."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

import vmrole_images

from tests.lab.admissions import assert_good, report_of
from tests.lab.harness import enter
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon

# What a hand-made image has of the machine that it was made on; every generation of the canary has it, too.
BAKED = """userData: |
  #!/bin/sh
  echo 0123456789abcdef0123456789abcdef >/etc/machine-id
  mkdir -p /etc/ssh
  echo "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB root@golden" >/etc/ssh/ssh_host_rsa_key.pub
"""


def test_good_images_pass(lab: Lab, daemon: RoleDaemon, micro_image: Path, tmp_path: Path) -> None:
    """Named as asked, restarted by setup, the same in three generations, bytes unchanged; the times are kept, and
    nothing of a canary is left. What generations share of their identity is warned of.
    """
    simulator = vmrole_images.ensure("setup-simulator", enter.REPOSITORY / "build" / "images").path
    daemon.run("image", "add", str(micro_image), "--name", "micro")
    daemon.run("image", "add", str(simulator), "--name", "windows", "--os", "windows")
    daemon.give_secret("admin", "S3cret-of-a-canary")
    baked, answers = tmp_path / "baked.yaml", tmp_path / "answers.yaml"
    baked.write_text(BAKED)
    answers.write_text("unattend:\n  administratorPassword: {secret: admin}\n")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        micro = pool.submit(report_of, daemon, "micro", "--warm", "--memory", "128 MiB", "--answers", str(baked))
        windows = pool.submit(report_of, daemon, "windows", "--memory", "256 MiB", "--answers", str(answers))
        reports = [micro.result(), windows.result()]
    roads = [one for one in reports[0]["findings"] if one["subject"].startswith("warm reimage")]
    assert [(one["subject"], one["good"], one["detail"]) for one in roads] == [
        ("warm reimage", True, "warm, from its checkpoint"),
        ("warm reimage, with local storage", True, "warm, from its checkpoint"),
    ]
    reports[0]["findings"] = [one for one in reports[0]["findings"] if one not in roads]
    for report in reports:
        assert_good(report)
    warned = {one["subject"]: one["detail"] for one in reports[0]["findings"] if one["advice"]}
    assert warned.keys() == {"machine-id", "SSH host keys"}
    assert all("the same in two generations" in detail for detail in warned.values())
    assert daemon.json("get", "services") == []
    assert daemon.json("verify") == []

"""What the documentation tells owners of images to copy does what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from ruamel.yaml import YAML
from vmrole_unattend import cloud_check

from orchestrator.drivers.guest.guest_services import READY_FILE
from tests.world.places import REPOSITORY

PAGE = REPOSITORY / "docs" / "images-needs.md"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def test_the_user_data_for_guests_without_systemd_writes_the_marker(tmp_path: Path) -> None:
    """cloud-init has nothing against it; its script, run, puts the boot's id where the agent is asked for it, and
    OpenRC is told to run it at each boot.
    """
    (user_data,) = re.findall(r"(?ms)^```yaml\n(#cloud-config\n.*?)^```", PAGE.read_text())
    assert cloud_check.check(user_data) == []
    said = YAML(typ="safe").load(user_data)
    (file,) = said["write_files"]
    assert file["path"].startswith("/etc/local.d/")
    assert file["path"].endswith(".start")
    assert file["permissions"] == "0755"
    assert READY_FILE in file["content"]
    script = tmp_path / "vmrole.start"
    script.write_text(file["content"].replace("/run/vmrole", str(tmp_path / "run")))
    subprocess.run(["/bin/sh", "-eu", script], check=True)
    assert (tmp_path / "run" / "ready").read_text() == BOOT_ID.read_text()
    assert "rc-update add local default" in said["runcmd"]

"""The action for GitHub, its scripts run as a runner runs them: what other people's projects get of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import VMROLE, kill_naming
from tests.world.ci_files import ACTION, read
from tests.world.places import REPOSITORY

LINK = "vmrole0"
NEEDS_NETWORK = "vagrant/provision.sh host"  # it has been run where this runs


def test_its_steps_bring_a_service_up(lab: Lab, micro_image: Path, tmp_path: Path) -> None:
    """Each script with its environment, in their order; then later steps find the command, the daemon, the guest."""
    shutil.copy(REPOSITORY / "docs" / "examples" / "nested.yaml", tmp_path)
    place = Path("/run/vmrole-ci")
    given = {"file": "nested.yaml", "images": f"micro={micro_image}", "timeout": "20m"}
    files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH")}
    settings = {**os.environ, **{name: str(path) for name, path in files.items()}, "VMROLE_PLACE": str(place)}
    settings["VMROLE_LINK"] = LINK
    try:
        for step in read(ACTION)["runs"]["steps"]:
            if step.get("run", NEEDS_NETWORK) == NEEDS_NETWORK:
                continue
            environment = {key: filled(value, given) for key, value in step.get("env", {}).items()}
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=filled(step.get("working-directory", str(tmp_path)), given),
                env={**settings, **environment},
                capture_output=True,
                text=True,
                check=False,
            )
            log = place.with_suffix(".log")
            assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")
        outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        [instance] = json.loads(outputs["instances"])
        assert (instance["name"], instance["phase"]) == ("web-0.nested", "serving")
        later = dict(line.split("=", 1) for line in files["GITHUB_ENV"].read_text().splitlines())
        assert files["GITHUB_PATH"].read_text().strip() == str(Path(VMROLE).parent)
        words = ["env", f"VMROLE_SOCKET={later['VMROLE_SOCKET']}", VMROLE, "exec", "web-0.nested", "hostname"]
        assert lab.host.run(words).stdout == "web-0\n"
        vip = json.loads(lab.host.run([*words[:3], "get", "services", "-o", "json"]).stdout)[0]["vip"]
        assert "web-0.nested" in lab.host.run(["curl", "-s", "-m", "10", f"http://{vip}/"]).stdout
    finally:
        kill_naming(str(place))
        lab.host.run(["ip", "link", "delete", LINK], check=False)
        shutil.rmtree(place, ignore_errors=True)


def filled(text: str, given: dict[str, str]) -> str:
    """A value with what GitHub puts in place of its expressions."""
    text = text.replace("${{ github.action_path }}", str(REPOSITORY))
    for name, value in given.items():
        text = text.replace(f"${{{{ inputs.{name} }}}}", value)
    assert "${{" not in text
    return text

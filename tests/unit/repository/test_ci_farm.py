"""docs/ci-farm.md's scripts, called as GitLab Runner and `vmrole lease` call them; ssh and gh are stand-ins."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world.api_daemon import Daemon
from tests.world.command_line import VMROLE
from tests.world.living import serving

EXAMPLES = Path(__file__).resolve().parents[3] / "docs/examples"
GITLAB, GITHUB = EXAMPLES / "gitlab-runner", EXAMPLES / "github-runner"
SCRIPTS = (*GITLAB.glob("*.sh"), *GITHUB.glob("*.sh"))
WITHIN_S = 300.0
BUILD_FAILED, SYSTEM_FAILED = 41, 42
TOKEN, CONFIG = "ghp-secret-4711", "configuration-of-one-job"
# What comes behind the address is run here, by the shell that a guest's sshd would give it to.
SSH = """#!/bin/sh
printf '%s\\n' "$*" >> "$TOLD/ssh"
while [ "$1" != -- ]; do shift; done
shift 2
exec /bin/sh -c "$*"
"""
GH = f"""#!/bin/sh
printf '%s\\n' "$*" >> "$TOLD/gh"
[ "$GH_TOKEN" = {TOKEN} ] || exit 4
echo {CONFIG}
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a service whose one instance serves."""
    with serving(tmp_path_factory.mktemp("farm")) as running:
        yield running


@pytest.fixture
def environment(daemon: Daemon, tmp_path: Path) -> dict[str, str]:
    """Of a runner on the daemon's host: programs by their names, and what it says of a job."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"ssh": SSH, "gh": GH, "vmrole": f'#!/bin/sh\nexec {shlex.join(VMROLE)} "$@"\n'}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TOLD": str(tmp_path),
        "PYTHONPATH": str(EXAMPLES.parents[1]),
        "VMROLE_SOCKET": str(daemon.socket),
        "VMROLE_CI_LEASES": str(tmp_path / "leases"),
        "CUSTOM_ENV_CI_JOB_ID": "7001",
        "CUSTOM_ENV_CI_JOB_TIMEOUT": "1800",
        "BUILD_FAILURE_EXIT_CODE": str(BUILD_FAILED),
        "SYSTEM_FAILURE_EXIT_CODE": str(SYSTEM_FAILED),
        "BUILD_EXIT_CODE_FILE": str(tmp_path / "status"),
    }


def call(environment: dict[str, str], *words: str | Path) -> tuple[int, str]:
    """Its exit status, and all that it prints."""
    done = subprocess.run(
        [str(word) for word in words],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=WITHIN_S,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_each_script_is_one(script: Path) -> None:
    """bash takes it, it may be run, and it ends at the first fault."""
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)
    assert "\nset -euo pipefail\n" in script.read_text()


def test_the_configuration_calls_what_there_is() -> None:
    """Each stage by its script, and with the words that it takes."""
    (runner,) = tomllib.loads((GITLAB / "config.toml").read_text())["runners"]
    custom = runner["custom"]
    assert runner["executor"] == "custom"
    assert {"builds_dir", "cache_dir"} <= runner.keys()
    for stage in ("prepare", "run", "cleanup"):
        path = Path(custom[f"{stage}_exec"])
        assert path.parent == Path("/usr/local/lib/vmrole-gitlab")
        assert (GITLAB / path.name).exists()
    assert (custom["prepare_args"], custom["run_args"]) == (["ci"], ["ci"])


def test_a_job_of_gitlab(daemon: Daemon, environment: dict[str, str], tmp_path: Path) -> None:
    """Prepared, run twice, the second in vain, cleaned up: its own machine, its exit status, and nothing left."""
    assert call(environment, GITLAB / "prepare.sh", "shop")[1].endswith("This job has web-0.shop\n")
    (lease,) = daemon.client().leases()
    assert (lease["instance"], lease["for_s"], lease["attended"]) == ("web-0.shop", 2100.0, False)
    script = tmp_path / "script"
    script.write_text("echo built by $0; exit 0\n")
    status, told = call(environment, GITLAB / "run.sh", "ci", script, "build_script")
    assert (status, "built by" in told) == (0, True), told
    assert "-l ci" in (tmp_path / "ssh").read_text()
    assert lease["address"] in (tmp_path / "ssh").read_text()
    script.write_text("exit 7\n")
    assert call(environment, GITLAB / "run.sh", "ci", script, "step_script")[0] == BUILD_FAILED
    assert (tmp_path / "status").read_text() == "7\n"
    script.write_text("exit 255\n")
    assert call(environment, GITLAB / "run.sh", "ci", script, "step_script")[0] == SYSTEM_FAILED
    assert call(environment, GITLAB / "cleanup.sh")[0] == 0
    assert daemon.client().leases() == []
    assert call(environment, GITLAB / "cleanup.sh")[0] == 0  # It may be called again.
    assert list((tmp_path / "leases").iterdir()) == []


def test_a_job_that_gets_no_machine_is_the_system_s_fault(environment: dict[str, str], tmp_path: Path) -> None:
    """And leaves nothing."""
    assert call(environment, GITLAB / "prepare.sh", "other")[0] == SYSTEM_FAILED
    assert call({**environment, "CUSTOM_ENV_CI_JOB_ID": "../7"}, GITLAB / "prepare.sh", "shop")[0] == SYSTEM_FAILED
    assert list((tmp_path / "leases").iterdir()) == []
    assert call(environment, GITLAB / "cleanup.sh")[0] == 0


def test_a_lease_that_is_over_before_its_job_is_cleaned_up_all_the_same(
    daemon: Daemon, environment: dict[str, str], tmp_path: Path
) -> None:
    """As after a job that took longer than it might."""
    assert call(environment, GITLAB / "prepare.sh", "shop")[0] == 0
    lease = json.loads((tmp_path / "leases/7001").read_text())
    daemon.client().end_lease(lease["id"])
    assert call(environment, GITLAB / "cleanup.sh")[0] == 0
    assert list((tmp_path / "leases").iterdir()) == []


def test_a_job_of_github(daemon: Daemon, environment: dict[str, str], tmp_path: Path) -> None:
    """Its runner gets what is good for one job, in no command line of the host's, and the token stays here."""
    runner = tmp_path / "actions-runner"
    runner.mkdir()
    (runner / "run.sh").write_text(f"#!/bin/sh\nenv > {tmp_path}/guest\nexit 5\n")
    (runner / "run.sh").chmod(0o755)
    (tmp_path / "token").write_text(TOKEN)
    job = (GITHUB / "one-job.sh", "acme/app", "ci", "vm")
    status, told = call(
        {**environment, "GITHUB_TOKEN_FILE": str(tmp_path / "token"), "PWD": str(tmp_path)},
        *("/bin/sh", "-c", f"cd {tmp_path} && vmrole lease shop --for 30m -- {shlex.join(map(str, job))}"),
    )
    assert status == 5, told
    guest = (tmp_path / "guest").read_text()
    assert f"ACTIONS_RUNNER_INPUT_JITCONFIG={CONFIG}\n" in guest
    assert TOKEN not in guest
    assert CONFIG not in (tmp_path / "ssh").read_text()
    asked = (tmp_path / "gh").read_text()
    assert "repos/acme/app/actions/runners/generate-jitconfig" in asked
    assert "labels[]=self-hosted" in asked
    assert "labels[]=vm" in asked
    assert TOKEN not in asked
    assert daemon.client().leases() == []

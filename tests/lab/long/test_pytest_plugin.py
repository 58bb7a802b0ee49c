"""The plugin of pytest on real virtual machines, as somebody else's project uses it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.harness.role import RoleDaemon
from tests.lab.services import ready
from tests.lab.shop import SERVICE
from tests.world.places import REPOSITORY

__all__ = ["ready"]  # fixtures

TESTS = """
def test_a_reimage_keeps_nothing_but_local_storage(vmrole_service):
    web = vmrole_service("nested.yaml")["web-0"]
    web.run("echo kept > /marker; echo kept > /local/cache/marker; sync")
    web.restart()
    assert web.run("cat /marker /local/cache/marker").stdout.split() == ["kept", "kept"]
    web.reimage()
    assert (web.generation, web.boot) == (2, 2)
    assert web.run("test -e /marker", check=False).status == 1
    assert web.run(["cat", "/local/cache/marker"]).stdout == "kept\\n"
    assert web.run("cat", stdin="to and fro").stdout == "to and fro"
    web.run("echo trouble >&2; exit 3")
"""


@pytest.mark.usefixtures("lab")
def test_fixtures_deploy_and_delete_real_guests(ready: RoleDaemon, tmp_path: Path) -> None:
    """A test of theirs deploys, runs commands, restarts and reimages; its last command fails, which is told whole."""
    (tmp_path / "nested.yaml").write_text(SERVICE.replace("shop", "nested"))
    (tmp_path / "test_nested.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    settings = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(REPOSITORY), **ready.environment}
    command = [sys.executable, "-m", "pytest", "-p", "orchestrator.testing.plugin"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"has exit status 3\nE +trouble", done.stdout), done.stdout
    assert "vmrole: web-0.nested-" in done.stdout
    assert "is serving (generation 2, boot 2)" in done.stdout
    assert ready.json("get", "services") == []

"""`vmrole config show`: each value, and where it came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.host.config_keys import KEYS
from tests.world.command_line import Run, runner


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, without a daemon."""
    for key in KEYS.values():
        monkeypatch.delenv(key.environment or "VMROLE_CONFIG", raising=False)
    return runner(capsys, "config", "show")


def test_each_value_is_shown_with_its_origin(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For people and as JSON; of a URI's password nothing is seen."""
    file = tmp_path / "vmrole.toml"
    file.write_text('# here\nlibvirt_uri = "qemu+ssh://me:hunter2@host/system"\n')
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "50-site.toml").write_text('vip_interface = "eth7"\n')
    monkeypatch.setenv("VMROLE_STATE_DIR", "/srv/vmrole")
    status, out, err = run("--config", file)
    rows = [line.split() for line in out.splitlines()]
    assert (status, err, rows[0]) == (0, "", ["KEY", "FROM", "VALUE"])
    assert ["vip_interface", f"{tmp_path}/conf.d/50-site.toml:1", '"eth7"'] in rows
    assert ["libvirt_uri", f"{file}:2", '"qemu+ssh://me:***@host/system"'] in rows
    assert ["state_dir", "environment", "VMROLE_STATE_DIR", '"/srv/vmrole"'] in rows
    assert ["workers", "default", "16"] in rows
    status, out, _ = run("--config", file, "-o", "json")
    assert [row["key"] for row in json.loads(out)] == list(KEYS)
    assert "hunter2" not in out


def test_a_faulty_configuration_is_told_with_every_fault(run: Run, tmp_path: Path) -> None:
    """Exit status 78, as the daemon's."""
    (tmp_path / "vmrole.toml").write_text('worker = 3\nlog_level = "loud"\n')
    status, out, err = run("--config", tmp_path / "vmrole.toml")
    assert (status, out) == (78, "")
    assert f"{tmp_path}/vmrole.toml:1: worker: there is no such key (did you mean workers?)" in err
    assert f"{tmp_path}/vmrole.toml:2: log_level: 'loud'" in err

"""`vmrole support-bundle`: everything that helps, whatever is away, and no secret."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from pathlib import Path

import pytest

from orchestrator import __version__
from orchestrator.cli.verbs import support_bundle
from orchestrator.control import records
from orchestrator.host.config_keys import KEYS
from orchestrator.model.cause import Cause, Kind
from tests.world.api_daemon import SECRET, SHOP, Daemon
from tests.world.command_line import Run

SESAME = "open-sesame-4711"
PARTS = {
    *("versions", "services", "instances", "images", "operations", "events", "verify", "configuration"),
}
FILES = {f"{part}.json" for part in PARTS} | {"why.txt", "doctor.txt", "daemon.log", "missing.txt"}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of a host that has secrets, a journal that repeats them, and no other program."""
    for name in {key.environment for key in KEYS.values()} - {"", "VMROLE_SOCKET"}:
        monkeypatch.delenv(name, raising=False)
    programs = tmp_path / "bin"
    programs.mkdir()
    journal = programs / "journalctl"
    journal.write_text(f"#!/bin/sh\necho started as qemu://me:hunter2@host, {SESAME}\n")
    journal.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    (tmp_path / "secrets" / "shop").mkdir(parents=True)
    (tmp_path / "secrets" / "shop" / "admin").write_text(f"{SESAME}\n")
    file = tmp_path / "vmrole.toml"
    places = [f'{key} = "{tmp_path / key}"' for key in ("state_dir", "run_dir")]
    file.write_text("\n".join((*places, f'secrets_dir = "{tmp_path}/secrets"', 'accelerator = "tcg"', "")))
    return file


def opened(file: Path) -> dict[str, str]:
    """The texts of a bundle by name."""
    texts = {}
    with tarfile.open(file) as bundle:
        for entry in bundle:
            folder, _, name = entry.name.partition("/")
            assert (folder, entry.mode, entry.isfile()) == ("vmrole-support", 0o600, True)
            content = bundle.extractfile(entry)
            assert content is not None
            texts[name] = content.read().decode()
    return texts


def test_it_has_what_helps_and_no_secret(run: Run, daemon: Daemon, config: Path, tmp_path: Path) -> None:
    """All parts, for the caller's eyes; what a service file, a guest or a log has of secrets is not among it."""
    daemon.control.apply(SHOP)
    first = daemon.control.instances("shop")[0]
    cause = Cause(Kind.FROZEN, detail=f"what printed {SESAME}")
    ill = dataclasses.replace(first, waits_for=cause)
    daemon.store.commit([records.put_state(ill)])
    file = tmp_path / "bundle.tar.gz"
    status, out, err = run("support-bundle", file, "--config", config)
    texts = opened(file)
    assert (status, set(texts), texts["missing.txt"]) == (0, FILES, "")
    assert f"{file}: {file.stat().st_size} bytes" in out
    assert "missing" not in err
    assert file.stat().st_mode & 0o7777 == 0o600
    assert [name for name, text in texts.items() if SECRET in text or SESAME in text or "hunter2" in text] == []
    assert json.loads(texts["versions.json"])["vmrole"] == json.loads(texts["versions.json"])["daemon"] == __version__
    told = {part: json.loads(texts[f"{part}.json"]) for part in PARTS}
    assert [each["name"] for each in told["instances"]] == ["web-0.shop", "web-1.shop", "web-2.shop"]
    assert "what printed ***" in texts["instances.json"]
    assert [each["name"] for each in told["services"]] == ["shop"]
    assert told["events"]
    assert told["verify"] == daemon.client().findings()
    assert told["configuration"]["accelerator"] == ['"tcg"', f"{config}:4"]
    assert "web-0.shop is requested" in texts["why.txt"]
    assert "what printed ***" in texts["why.txt"]
    assert "FAIL  haproxy" in texts["doctor.txt"]
    assert texts["daemon.log"] == "started as qemu://me:***@host, ***\n"


def test_what_is_away_is_named(run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a host without a daemon and a journal there is the rest."""
    monkeypatch.setenv("VMROLE_SOCKET", str(tmp_path / "nobody.sock"))
    (tmp_path / "bin" / "journalctl").unlink()
    file = tmp_path / "bundle.tar.gz"
    status, _, err = run("support-bundle", file, "--config", config)
    texts = opened(file)
    assert status == 0
    assert set(texts) == {"versions.json", "configuration.json", "doctor.txt", "missing.txt"}
    assert {line.partition(": ")[0] for line in texts["missing.txt"].splitlines()} == FILES - set(texts)
    assert all(f"missing: {line}\n" in err for line in texts["missing.txt"].splitlines())
    assert "no daemon answers" in json.loads(texts["versions.json"])["daemon"]


def test_a_faulty_configuration_is_no_end(run: Run, daemon: Daemon, config: Path, tmp_path: Path) -> None:
    """It may be why help is asked for: its faults are told."""
    config.write_text("accelerator = 7\n")
    file = tmp_path / "bundle.tar.gz"
    assert run("support-bundle", file, "--config", config)[0] == 0
    texts = opened(file)
    assert FILES - set(texts) == {"configuration.json", "doctor.txt"}
    assert "accelerator" in texts["missing.txt"]


def test_a_journal_that_refuses_is_told(run: Run, daemon: Daemon, config: Path, tmp_path: Path) -> None:
    """With its own words; an empty one is no log either."""
    for script, told in (
        ("echo no permission >&2; exit 1", "no permission"),
        ("exit 0", "nothing of the unit vmrole"),
    ):
        (tmp_path / "bin" / "journalctl").write_text(f"#!/bin/sh\n{script}\n")
        file = tmp_path / f"{len(script)}.tar.gz"
        assert run("support-bundle", file, "--config", config)[0] == 0
        assert told in opened(file)["missing.txt"]


def test_nothing_is_replaced_and_nothing_half_is_left(run: Run, config: Path, tmp_path: Path) -> None:
    """Exit status 5 for a file that is there, 2 for a place that is none."""
    mine = tmp_path / "mine"
    mine.write_text("mine")
    before = set(tmp_path.iterdir())
    assert run("support-bundle", mine, "--config", config)[0] == 5
    assert run("support-bundle", tmp_path / "nowhere" / "x", "--config", config)[0] == 2
    assert (mine.read_text(), set(tmp_path.iterdir())) == ("mine", before)


def test_no_part_of_a_secret_is_where_a_log_was_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known as a whole alone: of a line that does not fit nothing is told."""
    log = f"{SESAME}\nend\n".encode()
    for count in range(5, len(log)):
        monkeypatch.setattr(support_bundle, "_LOG_MAX_BYTES", count)
        assert support_bundle._end_of(log) == "end\n"
    monkeypatch.setattr(support_bundle, "_LOG_MAX_BYTES", len(log))
    assert support_bundle._end_of(log) == log.decode()

"""`vmrole evidence` against a daemon whose world stands still."""

from __future__ import annotations

import dataclasses
import json
import stat
import subprocess
from pathlib import Path

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.evidence import Evidence, Transcript
from orchestrator.drivers.kept_evidence import KeptEvidence
from orchestrator.model.cause import recorded
from tests.world.api_daemon import SHOP, Daemon
from tests.world.command_line import Run
from tests.world.instances import instance


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """It, with the service `shop`, whose web-0 has failed in two of its boots."""
    daemon.client().apply(SHOP)
    kept = KeptEvidence(daemon.layout, SystemClock())
    keeper = Evidence(daemon.layout, Transcript(SystemClock()), kept)
    for boot in (1, 2):
        keeper.keep(dataclasses.replace(instance(), boot=boot, failed_by=recorded(f"boot {boot} failed")))
    return daemon


def test_it_is_listed(run: Run, daemon: Daemon) -> None:
    """The oldest first, of all or of one, by its short name as well; of who has not failed nothing."""
    for words in ((), ("web-0.shop",), ("web-0",)):
        status, out, _ = run("evidence", "ls", *words)
        assert status == 0
        assert [line.split()[:2] for line in out.splitlines()[1:]] == [["web-0.shop", "1-1"], ["web-0.shop", "1-2"]]
        assert "boot 2 failed" in out
    assert "manifest.json" in run("evidence", "ls", "-o", "wide")[1]
    assert [one["mark"] for one in json.loads(run("evidence", "ls", "-o", "json")[1])] == ["1-1", "1-2"]
    assert run("evidence", "ls", "-o", "name")[1] == "web-0.shop 1-1\nweb-0.shop 1-2\n"
    assert json.loads(run("evidence", "ls", "web-1", "-o", "json")[1]) == []


def test_it_is_fetched(run: Run, daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one unless it is said which, readable by nobody else; a file that is there stays."""
    monkeypatch.chdir(tmp_path)
    assert run("evidence", "get", "web-0")[:2] == (0, "web-0.shop-1-2.tar.zst\n")
    assert run("evidence", "get", "web-0", "1-1", "--to", "first.tar.zst")[:2] == (0, "first.tar.zst\n")
    assert stat.S_IMODE(Path("first.tar.zst").stat().st_mode) == 0o600
    subprocess.run(["tar", "--zstd", "-xf", "first.tar.zst"], check=True)
    assert json.loads(Path("web-0.shop-1-1/manifest.json").read_bytes())["reason"] == "boot 1 failed"
    status, _, err = run("evidence", "get", "web-0", "--to", "first.tar.zst")
    assert (status, "first.tar.zst is there already" in err) == (2, True)


def test_it_is_removed(run: Run, daemon: Daemon) -> None:
    """One, or all of an instance."""
    assert run("evidence", "rm", "web-0", "1-1")[:2] == (0, "web-0.shop 1-1 removed\n")
    assert run("evidence", "rm", "web-0", "--all")[:2] == (0, "web-0.shop 1-2 removed\n")
    assert json.loads(run("evidence", "ls", "-o", "json")[1]) == []
    assert run("evidence", "rm", "web-0", "--all")[:2] == (0, "")


@pytest.mark.parametrize(
    ("words", "status", "hint"),
    [
        (("get", "nobody-0.shop"), 3, "vmrole get instances"),
        (("get", "web-1"), 3, "nothing is kept of web-1 yet: it has not failed"),
        (("get", "web-0", "9-9"), 3, "run: vmrole evidence ls"),
        (("get", "web-0", "../1-1"), 3, "run: vmrole evidence ls"),
        (("get", "web-0", "--to", "one.tar.gz"), 2, "--to FILE.tar.zst"),
        (("get", "web-0", "--to", "one.tgz"), 2, "--to FILE.tar.zst"),
        (("rm", "web-0"), 2, "--all"),
        (("rm", "web-0", "1-1", "--all"), 2, "--all"),
        (("rm", "web-0", "9-9"), 3, "run: vmrole evidence ls"),
        (("ls", "nobody-0.shop"), 3, "vmrole get instances"),
    ],
)
def test_bad_words(run: Run, daemon: Daemon, words: tuple[str, ...], status: int, hint: str) -> None:
    """Said, with what to do; nothing is lost."""
    found, out, err = run("evidence", *words)
    assert (found, out, hint in err) == (status, "", True), err
    assert len(daemon.client().evidence()) == 2

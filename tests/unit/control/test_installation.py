"""Whose things on a host are: the id of an installation, and one daemon at a time."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from orchestrator.control.installation import installation_id
from orchestrator.drivers.fake import FakeStore
from orchestrator.drivers.sole_daemon import sole_daemon
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.errors import ConfigError

URI = "qemu:///system"
_HOLDER = """
import sys
from pathlib import Path
from orchestrator.drivers.sole_daemon import sole_daemon
with sole_daemon(sys.argv[1], Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_an_installation_keeps_its_id(tmp_path: Path) -> None:
    """The id is made once and lies with the records; another store has another."""
    with SqliteStore(tmp_path / "one.db") as store:
        made = installation_id(store)
        assert installation_id(store) == made == str(uuid.UUID(made))
    with SqliteStore(tmp_path / "one.db") as store:
        assert installation_id(store) == made
    assert installation_id(FakeStore()) != made


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    """While a daemon lives, another one on the same libvirt does not start and names it; one that was killed holds
    nothing, and one on another libvirt is in nobody's way.
    """
    argv = [sys.executable, "-c", _HOLDER, URI, str(tmp_path)]
    first = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdin is not None
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match=f"process {first.pid}") as told, sole_daemon(URI, tmp_path):
        pass
    assert "libvirt_uri" in told.value.hint
    with sole_daemon("test:///default", tmp_path):
        pass
    with pytest.raises(ConfigError, match="another vmrole daemon"), sole_daemon("qemu+unix:///system", tmp_path):
        pass
    first.kill()
    first.wait()
    first.stdin.close()
    first.stdout.close()
    with sole_daemon(URI, tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_host_on_which_there_can_be_no_lock_is_not_begun_with(tmp_path: Path) -> None:
    """Whatever keeps the lock from being made is told with the remedy, and is no reason to go on without it."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="Not a directory") as told, sole_daemon(URI, tmp_path / "taken" / "locks"):
        pass
    assert "RuntimeDirectory=locks" in told.value.hint
    with sole_daemon(URI, tmp_path / "made" / "here"):
        assert len(list((tmp_path / "made" / "here").iterdir())) == 1

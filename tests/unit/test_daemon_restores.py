"""The daemon as a process restores a backup while it runs: it begins anew, and who asks meanwhile only waits."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.client.client import Client
from orchestrator.errors import Unreachable
from tests.world.api_daemon import SHOP, Daemon
from tests.world.daemons import UP_S, configured
from tests.world.waiting import comes_true

VMROLE = (sys.executable, "-m", "orchestrator.cli")
HAD, HAS = 3, 2  # instances: in the backup, and since


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name, for sockets lie in it; with records of a service."""
    with tempfile.TemporaryDirectory(prefix="vmr-") as made:
        with Daemon(Path(made)) as before:
            before.give_image()
            before.control.apply(SHOP)
        yield Path(made)


@contextlib.contextmanager
def started(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon on it, up; killed at the end unless it has ended."""
    argv = [*VMROLE, "daemon", "--config", str(configured(place))]
    with (place / "log").open("ab") as log, subprocess.Popen(argv, stderr=log) as daemon:
        try:
            up = comes_true(lambda: daemon.poll() is not None or answers(place), UP_S)
            assert (daemon.poll(), up) == (None, True), (place / "log").read_text()
            yield daemon
        finally:
            daemon.kill()


def client(place: Path) -> Client:
    """Of that daemon."""
    return Client(str(place / "run" / "vmrole.sock"), connect_within_s=0.0)


def answers(place: Path) -> bool:
    """Whether it is up."""
    with contextlib.suppress(Unreachable):
        return bool(client(place).health())
    return False


def instances(place: Path) -> int:
    """How many the role is to have."""
    (service,) = client(place).services()
    return int(service["roles"][0]["instances"])


def backed_up(place: Path) -> Path:
    """A backup, after which the service is scaled."""
    file = place / "made.backup"
    with file.open("wb") as target:
        client(place).backup(target)
    client(place).scale("shop", {"web": HAS})
    assert instances(place) == HAS
    return file


def restore(place: Path, file: Path) -> subprocess.CompletedProcess[str]:
    """By the command line."""
    argv = [*VMROLE, "--socket", str(place / "run" / "vmrole.sock"), "restore", str(file)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_who_asks_while_it_restores_gets_an_answer(place: Path) -> None:
    """The old records or the new ones, and nothing between; the process is the same one, and the socket as well."""
    with started(place) as daemon:
        file = backed_up(place)
        damaged = place / "damaged.backup"
        damaged.write_bytes(file.read_bytes()[:-1])
        refused = restore(place, damaged)
        assert (refused.returncode, instances(place)) == (2, HAS)
        assert f"{damaged}: the backup is damaged: " in refused.stderr
        assert "hint: nothing was changed" in refused.stderr
        inode = (place / "run" / "vmrole.sock").stat().st_ino
        over, seen = threading.Event(), [instances(place)]

        def ask() -> None:
            while not over.is_set():
                seen.append(instances(place))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            done = restore(place, file)
        finally:
            over.set()
            asking.join()
        assert done.returncode == 0, done.stderr + (place / "log").read_text()
        assert "1 service" in done.stdout
        former = place / "state" / "vmrole.db.former-1"
        assert f"the former records are kept: {former}" in done.stdout
        assert former.exists()
        assert (daemon.poll(), seen[0], seen[-1]) == (None, HAS, HAD), seen[-5:]
        assert sorted(seen) == seen
        assert (place / "run" / "vmrole.sock").stat().st_ino == inode
        assert "POST '/v1/restore' (restore) by uid" in (place / "log").read_text()
        client(place).scale("shop", {"web": HAS})  # Changes are taken again.
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.wait(UP_S) == 0
        assert not (place / "run" / "vmrole.sock").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_accepted_is_restored_however_the_daemon_ends(place: Path, how: signal.Signals) -> None:
    """At once after the answer; whoever asks it to end while it begins anew is not forgotten."""
    with started(place) as daemon:
        file = backed_up(place)
        with file.open("rb") as source:
            given = client(place).restore(source, file.stat().st_size)
        assert given["state"] == "pending"
        os.kill(daemon.pid, how)
        assert daemon.wait(UP_S) == (0 if how is signal.SIGTERM else -how), (place / "log").read_text()
    with started(place):
        last = client(place).last_restore()
        assert (last["state"], last["sha256"], instances(place)) == ("restored", given["sha256"], HAD)

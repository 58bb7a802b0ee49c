"""A full disk while an overlay is laid: told, waited out, nothing lost."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.model import Event
from orchestrator.ports import Write
from tests.lab.harness.lab import Lab
from tests.lab.services import apply, instance, service
from tests.world.waiting import until

STATE_MIB = 64


@pytest.fixture
def small_state(tmp_path: Path) -> Iterator[Path]:
    """A state directory on a file system of its own, with room for the image and little more."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STATE_MIB}m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(filler: Path) -> None:
    """Takes all that is left, to the last byte."""
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_stops_no_turn(small_state: Path) -> None:
    """Records are written again, lines are added and records go while others take every byte that is let go."""
    path, filler, body = small_state / "vmrole.db", small_state / "filler", {"text": "x" * 3000}
    with SqliteStore(path) as store:
        revisions = [store.commit([Write("state", f"web-{number}", body, 0)]) for number in range(50)]
    fill(filler)
    with SqliteStore(path) as store:
        for turn in range(500):
            number = turn % 50
            write = Write("state", f"web-{number}", {**body, "turn": turn}, revisions[number])
            line = Event(at_s=0.0, subject=f"web-{number}", message="m" * 100)
            revisions[number] = store.commit([write], [line])
            fill(filler)
        for number, revision in enumerate(revisions):
            line = Event(at_s=0.0, subject=f"web-{number}", message="gone")
            store.commit([Write("state", f"web-{number}", None, revision)], [line])
            fill(filler)
        assert store.all("state") == []


def test_a_full_disk_stops_neither_reading_nor_removal(lab: Lab, small_state: Path, micro_image: Path) -> None:
    """Whoever fills it, and however often the daemon begins on it: requests are kept, and what is to go goes."""
    daemon = lab.daemon(small_state / "vmrole", disk_reserve_mib=0, disk_overcommit=1000)
    daemon.start()
    try:
        daemon.run("image", "add", str(micro_image), "--name", "micro")
        apply(daemon, service(1))
        fill(small_state / "filler")
        daemon.stop()
        daemon.start()
        fill(small_state / "filler")
        assert instance(daemon)["phase"] == "serving"
        assert "serving" in daemon.run("why", "web-0.shop").stdout
        assert "restart" in daemon.run("restart", "web-0.shop").stdout
        daemon.run("delete", "service", "shop", "--wait")
        assert "shop" not in daemon.run("get", "services").stdout
    finally:
        daemon.kill_with_children()


def test_a_full_disk_is_told_and_waited_out(lab: Lab, small_state: Path, micro_image: Path) -> None:
    """The instance says that there is no room and goes on when there is; the service is accepted all the same."""
    daemon = lab.daemon(small_state / "vmrole", disk_reserve_mib=0, disk_overcommit=1000)  # nobody counts here
    daemon.start()
    try:
        daemon.run("image", "add", str(micro_image), "--name", "micro")
        filler = small_state / "filler"
        apply(daemon, service(0), wait=False)  # The network and the records need a little room themselves.
        fill(filler)
        filled = filler.stat().st_size
        with filler.open("r+b") as file:
            file.truncate(filled - 96 * 1024)  # Enough for the records, not for an overlay of 192 KiB.
        apply(daemon, service(1), wait=False)
        until(lambda: "no room for" in instance(daemon)["waiting"], 30.0, what="the reason")
        assert instance(daemon)["phase"] == "requested"
        assert daemon.run("image", "add", str(micro_image), "--name", "again", check=False).returncode != 0

        filler.unlink()
        daemon.run("wait", "shop", "--for=serving", "--timeout", "180")
        assert (instance(daemon)["generation"], instance(daemon)["strikes"]) == (1, 0)
        daemon.run("delete", "service", "shop", "--wait")
    finally:
        daemon.kill_with_children()

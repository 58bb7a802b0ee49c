"""The records of the first version that anybody could run, opened by the daemon of today.

`tests/golden/first-records.sql` is what that version itself wrote, in a fake world: two services, an instance that
was reimaged, one that was restarted, one that has failed, and a restart of a whole service cut in its middle.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.control.present import Present
from orchestrator.control.upgrade import upgrade
from orchestrator.drivers.fake import World, fake_host
from orchestrator.drivers.fake.world import FakeMachine
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.model import Image, Instance, Phase, Power, Service
from tests.world.api_daemon import SECRET, Daemon
from tests.world.places import GOLDEN_FILES
from tests.world.waiting import until

COMES_S = 120.0
ODD = "INSERT INTO documents VALUES ('instance', 'odd-0.shop', 1, '{\"phase\": \"serving\"}')"


def first_records(path: Path, *more: str) -> None:
    """A database as the first version left it, and what a test puts into it beside that."""
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript((GOLDEN_FILES / "first-records.sql").read_text())
        for statement in more:
            db.execute(statement)
        db.commit()


class Upgraded(Daemon):
    """The daemon of today on those records, and on the host as the first version left it."""

    def __init__(self, directory: Path, *more: str) -> None:
        super().__init__(directory, alive=True)
        first_records(self.layout.state / "vmrole.db", *more)
        with contextlib.closing(sqlite3.connect(self.layout.state / "vmrole.db")) as db:
            bodies = [
                json.loads(body) for (body,) in db.execute("SELECT body FROM documents WHERE kind = 'instance'")
            ]
        self.before = {body["name"]: body for body in bodies if "uid" in body}

    def __enter__(self) -> Upgraded:
        with SqliteStore(self.layout.state / "vmrole.db") as store:  # as the daemon does first
            self.brought = upgrade(store)
            self.again = upgrade(store)
            present = Present(store)
            for image in present.all(Image):
                self.world.images.add(image.sha256)
            _leave(self.world, present.all(Service), present.all(Instance))
        super().__enter__()
        return self


def _leave(world: World, services: list[Service], instances: list[Instance]) -> None:
    """The VMs of the instances run, set up, each in the boot that its record knows."""
    machine = fake_host(world).machine
    world.time_s = max(one.phase_since_s for one in instances) + 60.0
    for service in services:
        machine.network.lay(service, [one for one in instances if one.service == service.name])
    for instance in instances:
        machine.disks.lay_overlay(instance)
        machine.disks.lay_local_storage(instance)
        world.storage[instance.name]["cache"] = "kept"
        vm = FakeMachine(instance, power=Power.RUNNING, has_port=True, limits=instance.role.limits)
        vm.boots, vm.boot_id, vm.booted_at_s = instance.boot, instance.boot_id, world.time_s - 60.0
        vm.setup_boot_id = world.set_up[instance.name] = "as it was"
        vm.system_marker = "kept"
        world.machines[instance.name] = vm


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Upgraded]:
    """It, with one record among them that cannot be read."""
    with Upgraded(tmp_path, ODD) as running:
        yield running


def test_what_the_first_version_wrote_goes_on(daemon: Upgraded) -> None:
    """Everything is carried over, once; nothing is made anew, nothing is lost; the restart that was cut ends; what
    has failed is failed, and says why; what cannot be carried is told, and stops nothing.
    """
    assert (daemon.brought, daemon.again) == (6, 0)
    client = daemon.client()
    until(lambda: all(one["phase"] == "serving" for one in client.instances("shop")), COMES_S, what="shop")
    until(lambda: all(one["progress"] != "running" for one in client.operations()), COMES_S, what="the restart")

    [told] = client.findings()
    assert (told["code"], told["subject"]) == ("RECORD-UNREADABLE", "odd-0.shop")
    assert "of the first version" in told["message"]

    for name, before in daemon.before.items():
        now = daemon.control.instance(name)
        kept = (now.uid, now.nic.mac, now.nic.address, now.generation)
        assert kept == (before["uid"], before["nic"]["mac"], before["nic"]["address"], before["generation"]), name
        vm = daemon.world.machines[now.name]
        assert (vm.system_marker, daemon.world.storage[now.name]) == ("kept", {"cache": "kept"}), name
    assert [daemon.control.instance(f"web-{n}.shop").boot for n in range(3)] == [3, 3, 4]
    failed = daemon.control.instance("web-0.mall")
    assert failed.phase is Phase.FAILED
    assert "overdue while setup" in failed.failure
    ended = {(one["verb"], one["subject"]): one["progress"] for one in client.operations()}
    assert (ended["restart", "shop"], ended["reimage", "web-0.mall"]) == ("done", "failed")
    assert any("setup restart seen" in event["message"] for event in client.events("web-0.shop"))

    assert [image["names"] for image in client.images()] == [["micro"]]
    text = client.service_file("shop")
    assert SECRET not in text
    applied = client.apply(text)
    assert (applied["changes"], applied["operation"]) == ([], None)
    client.act("reimage", "web-0.mall")
    daemon.world.faults.setup_never_ends.clear()
    until(lambda: client.instance("web-0.mall")["phase"] == "serving", COMES_S, what="mall")
    assert daemon.world.storage[failed.name] == {"cache": "kept"}
    client.remove("shop")
    client.remove("mall")
    until(lambda: [one["name"] for one in client.services()] == ["shop"], COMES_S, what="all but what holds the rest")
    until(lambda: client.service("shop")["instances"] == 0, COMES_S, what="nobody who can be read")
    assert "odd-0.shop cannot be read" in client.service("shop")["held_up"]
    client.remove("shop", forgets=True)
    until(lambda: client.services() == [], COMES_S, what="nothing")

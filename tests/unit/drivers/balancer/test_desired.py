"""What a balancer shall be, in a file: small steps for small changes, and whatever a dying daemon leaves of them."""

from __future__ import annotations

import logging
import random
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer.desired import Desired, Shape
from orchestrator.errors import WorldError
from orchestrator.model import Frontend, HttpProbe, InstanceName, Member, Mode, PoolName, instance_name

MANY = 2_000
HTTP = Frontend(
    pool=PoolName("shop.web.http"), vip="203.0.113.9", port=80, mode=Mode.HTTP, probe=HttpProbe(path="/healthz")
)
ADMIN = replace(HTTP, pool=PoolName("shop.web.admin"), port=81)
ZERO = instance_name("shop", "web", 0)


def member(name: InstanceName, address: str = "10.0.0.2") -> Member:
    """In one pool."""
    return Member(name=name, address=address, pools=((HTTP.pool, 8080),))


def unreached(name: InstanceName) -> Member:
    """In none."""
    return replace(member(name), pools=())


def crowd() -> Shape:
    """Many behind one endpoint."""
    names = [instance_name("shop", "web", index) for index in range(MANY)]
    members = {name: member(name, f"10.0.{index // 250}.{index % 250}") for index, name in enumerate(names)}
    return Shape(frontends=(HTTP,), members=members)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where it is kept."""
    return tmp_path / "shape.json"


CHANGES: dict[str, Callable[[Shape], Shape]] = {
    "comes": lambda shape: shape.with_member(member(instance_name("shop", "db", 1))),
    "comes elsewhere": lambda shape: shape.with_member(member(ZERO, "10.0.9.9")),
    "drains": lambda shape: shape.with_draining(ZERO),
    "falls sick": lambda shape: shape.with_health(ZERO, well=False),
    "gets well": lambda shape: shape.with_health(ZERO, well=False).with_health(ZERO, well=True),
    "goes": lambda shape: shape.with_draining(ZERO).without(ZERO),
    "is reached": lambda shape: shape.with_reached(member(ZERO)),
    "is reached no more": lambda shape: shape.with_reached(member(ZERO)).with_reached(unreached(ZERO)),
    "all of it": lambda shape: shape.with_frontends((ADMIN, HTTP)).with_draining(ZERO),
    "nothing": lambda shape: shape,
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_next_daemon_reads_what_has_changed(file: Path, what: str) -> None:
    """Whether that was written as a change or as a whole."""
    desired = Desired(file)
    desired.keep(crowd())
    for _ in range(2):
        desired.keep(CHANGES[what](desired.shape))
        assert Desired(file).shape == desired.shape


@pytest.mark.parametrize("what", sorted(CHANGES.keys() - {"all of it"}))
def test_one_of_many_is_a_short_line(file: Path, what: str) -> None:
    """However many there are."""
    desired = Desired(file)
    desired.keep(crowd())
    before = file.stat()
    desired.keep(CHANGES[what](desired.shape))
    after = file.stat()
    assert after.st_ino == before.st_ino, "it was written anew"
    assert after.st_size - before.st_size < 200


def test_the_file_is_bounded(file: Path) -> None:
    """A line for each of them at most, and then the whole anew."""
    desired = Desired(file)
    desired.keep(crowd())
    least = file.stat().st_size
    for number in range(3 * MANY):
        desired.keep(desired.shape.with_member(member(ZERO, f"10.0.9.{number % 250}")))
        assert file.stat().st_size < 3 * least
    assert Desired(file).shape == desired.shape


@pytest.mark.parametrize("seed", range(20))
def test_daemons_that_come_and_go_read_one_after_the_other(file: Path, seed: int) -> None:
    """Any changes in any order; each daemon goes on where the one before has ended."""
    draw = random.Random(seed)
    desired = Desired(file)
    desired.keep(Shape(frontends=(HTTP,)))
    for _ in range(100):
        name = instance_name("shop", "web", draw.randrange(5))
        shape = desired.shape
        desired.keep(
            draw.choice(
                (
                    shape.with_member(member(name, f"10.0.0.{draw.randrange(3)}")),
                    shape.with_draining(name),
                    shape.with_health(name, well=draw.random() < 0.5),
                    shape.without(name),
                    shape.with_reached(member(name)),
                    shape.with_frontends(draw.choice(((HTTP,), (ADMIN, HTTP)))),
                )
            )
        )
        if draw.random() < 0.3:
            again = Desired(file)
            assert again.shape == desired.shape
            desired = again


def test_a_line_that_a_dying_daemon_began_was_not_noted(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At each byte: as before until the line is whole, and never a file that cannot be read."""
    desired = Desired(file)
    desired.keep(crowd())
    desired.keep(before := desired.shape.with_draining(ZERO))
    start = file.stat().st_size
    desired.keep(after := before.with_member(member(instance_name("shop", "db", 1))))
    whole = file.read_bytes()
    with caplog.at_level(logging.WARNING):
        for end in range(start, len(whole) + 1):
            file.write_bytes(whole[:end])
            again = Desired(file)
            assert again.shape == (after if end == len(whole) else before)
            again.keep(before.with_health(ZERO, well=False))
            assert Desired(file).shape == before.with_health(ZERO, well=False)
    assert not caplog.records


def test_a_disk_that_is_full_in_the_middle_of_a_line_is_told_and_harms_nothing(file: Path) -> None:
    """What comes next is written as a whole."""
    desired = Desired(file)
    desired.keep(crowd())
    before, limits = desired.shape, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(WorldError, match=r"space|large"):
            desired.keep(before.with_draining(ZERO))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Desired(file).shape == before
    desired.keep(desired.shape.with_health(ZERO, well=False))
    assert Desired(file).shape == desired.shape == before.with_draining(ZERO).with_health(ZERO, well=False)


def test_a_file_that_somebody_removed_is_written_whole(file: Path) -> None:
    """A change alone could not be read."""
    desired = Desired(file)
    desired.keep(crowd())
    file.unlink()
    desired.keep(desired.shape.with_draining(ZERO))
    assert Desired(file).shape == desired.shape


def test_what_a_former_version_has_left_is_read(file: Path) -> None:
    """One line without an end."""
    desired = Desired(file)
    desired.keep(crowd())
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    assert Desired(file).shape == crowd()


def test_what_cannot_be_read_is_told(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Members join again; the file is whole after that."""
    desired = Desired(file)
    desired.keep(crowd())
    desired.keep(desired.shape.with_draining(ZERO))
    file.write_bytes(file.read_bytes()[:-5] + b"\n{}\n")
    again = Desired(file)
    assert again.shape == Shape()
    assert "cannot be read, members join again" in caplog.text
    again.keep(crowd())
    assert Desired(file).shape == crowd()

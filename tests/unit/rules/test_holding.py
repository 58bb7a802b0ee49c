"""Who may have which drive: one instance at a time, of all services."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.errors import Conflict, InvalidInput
from orchestrator.model import Attachment, Instance, Phase, Road, Role, RoleDrive, ServiceSpec
from orchestrator.model.drive import ATTACHED_MAX
from orchestrator.rules import holding
from tests.world.fabric import web_role
from tests.world.instances import instance

DATA = RoleDrive(name="data", drive="db-{index}")
ALL = {"db-0", "db-1", "orders"}


def spec(*roles: Role, name: str = "shop") -> ServiceSpec:
    """A service with these roles."""
    return ServiceSpec(name=name, vip="", roles=roles)


def db(*drives: RoleDrive, instances: int = 1, name: str = "db") -> Role:
    """A role with these drives."""
    return web_role(name=name, instances=instances, drives=drives or (DATA,))


def test_each_instance_has_a_drive_of_its_own() -> None:
    """By its index, and no other service's is in the way."""
    wanted = spec(db(instances=2))
    assert [(drive, name) for drive, name, _ in holding.wanted(wanted)] == [
        ("db-0", "db-0.shop"),
        ("db-1", "db-1.shop"),
    ]
    other = holding.holders([spec(db(RoleDrive(name="data", drive="orders")), name="bank")], [])
    assert other == {"orders": "db-0.bank"}
    assert holding.fault(wanted, other, ALL, ()) is None


@pytest.mark.parametrize(
    ("roles", "held", "known", "busy", "told", "key"),
    [
        ((db(), db(name="old")), {}, ALL, (), "old-0.shop cannot have drive db-0: db-0.shop has it", "roles.old"),
        ((db(),), {"db-0": "db-0.bank"}, ALL, (), "db-0.shop cannot have drive db-0: db-0.bank has it", "roles.db"),
        ((db(),), {"db-0": "web-0.shop"}, ALL, (), "web-0.shop has it", "roles.db"),
        ((db(instances=3),), {}, ALL, (), "there is no drive db-2", "roles.db"),
        ((db(),), {}, ALL, {"db-0"}, "drive db-0 is being copied or changed", "roles.db"),
    ],
)
def test_who_cannot_have_one(
    roles: tuple[Role, ...], held: dict[str, str], known: set[str], busy: set[str], told: str, key: str
) -> None:
    """He is told who has it, or that there is none, at the line of his file that wants it."""
    fault = holding.fault(spec(*roles), held, known, busy)  # type: ignore[arg-type]
    assert fault is not None
    assert told in fault.message
    assert fault.key == f"{key}.drives.data.drive"
    assert fault.hint


def test_who_has_one_keeps_it() -> None:
    """Also while it grows; what he was built from and what he is to be built from are both his."""
    mine = {"db-0": "db-0.shop"}
    assert holding.fault(spec(db()), mine, ALL, {"db-0"}) is None  # type: ignore[arg-type]
    before, after = (db(RoleDrive(name="data", drive=name)) for name in ("orders", "db-1"))
    one = instance()
    one = dataclasses.replace(one, role=before, goal=dataclasses.replace(one.goal, role=after))
    assert holding.holders([], [one]) == {"orders": one.name, "db-1": one.name}


def serving(role: Role, *attached: Attachment) -> Instance:
    """One that serves, and has these by hand."""
    one = dataclasses.replace(instance(), phase=Phase.SERVING, boot=1, role=role)
    return dataclasses.replace(one, goal=dataclasses.replace(one.goal, role=role, attached=attached))


@pytest.mark.parametrize(
    ("drive", "name", "mounted", "told"),
    [
        ("a-very-long-name-of-a-drive", "", True, "--as data"),
        ("orders", "../x", True, "lower-case letters"),
        ("orders", "cache", True, "has a disk cache already"),
        ("orders", "logs", False, "has a disk logs already"),
    ],
)
def test_what_cannot_be_attached(drive: str, name: str, mounted: bool, told: str) -> None:
    """A guest finds each of its disks by another name, of at most 16 characters."""
    logs = Attachment(name="logs", drive="logs")
    one = serving(web_role(), logs)
    with pytest.raises((InvalidInput, Conflict)) as refused:
        holding.attachment(one, drive, name, mounted=mounted)
    assert told in f"{refused.value} {refused.value.hint}"
    made = holding.attachment(one, "orders", "", mounted=mounted)
    assert made.serial == ("ls-orders" if mounted else "dr-orders")


def test_no_more_than_so_many_are_attached() -> None:
    """However it is reimaged."""
    many = tuple(Attachment(name=f"d{number}", drive=f"d{number}") for number in range(ATTACHED_MAX))
    for road in Road:
        one = serving(web_role(reimage=road), *many)
        with pytest.raises(Conflict, match="by hand"):
            holding.attachment(one, "orders", "", mounted=False)

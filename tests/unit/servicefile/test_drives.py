"""`drives:` of a role: what the file says, what it must not say, and the way back."""

from __future__ import annotations

import pytest

from orchestrator import servicefile
from orchestrator.errors import InvalidInput
from orchestrator.model import RoleDrive
from orchestrator.servicefile import offline
from orchestrator.servicefile.difference import difference
from orchestrator.servicefile.write import written
from tests.world.service_files import find

FILE = """service: shop
roles:
  db:
    image: micro
    instances: 2
    localStorage:
      cache: {size: 64 MiB}
    drives:
      data: {drive: "db-{index}", mount: /data}
"""
DATA = '{drive: "db-{index}", mount: /data}'


def test_it_is_read_and_written() -> None:
    """Each instance has the one of its number; the file that is written says the same."""
    spec = servicefile.parse(FILE, find)
    assert spec.roles[0].drives == (RoleDrive(name="data", drive="db-{index}", mount="/data"),)
    assert [spec.roles[0].drives[0].of(index) for index in (0, 11)] == ["db-0", "db-11"]
    assert servicefile.parse(written(spec, find), find) == spec


def test_another_drive_is_another_vm() -> None:
    """The difference says so; a role without drives is what it was."""
    before = servicefile.parse(FILE, find)
    after = servicefile.parse(FILE.replace("db-{index}", "orders-{index}"), find)
    (change,) = difference(before, after)
    assert (change.key, change.before, change.after) == (
        "roles.db.drives.data.drive",
        "db-{index}",
        "orders-{index}",
    )
    assert "reimage" in change.effect


@pytest.mark.parametrize(
    ("said", "line", "key", "told"),
    [
        ("{drive: db}", 9, "data.drive", "2 instances cannot have the one drive db"),
        ('{drive: "../{index}"}', 9, "data.drive", "cannot be used"),
        ("{drive: ..}", 9, "data.drive", "cannot be used"),
        ('{drive: "DB-{index}"}', 9, "data.drive", "cannot be used"),
        ("{drive: 7}", 9, "data.drive", ""),
        ("{mount: /data}", 9, "data.drive", "is missing"),
        ('{drive: "db-{index}", size: 1 GiB}', 9, "data.size", "there is no such key"),
        ('{drive: "db-{index}", mount: data}', 9, "data.mount", "is no path"),
        ('{drive: "db-{index}", mount: /}', 9, "data.mount", "is no path"),
        ('{drive: "db-{index}", mount: /data/../etc}', 9, "data.mount", "is no path"),
        ('{drive: "db-{index}", mount: "/da ta"}', 9, "data.mount", "is no path"),
        ('{drive: "db-{index}", mount: "/$(id)"}', 9, "data.mount", "is no path"),
        ('{drive: "db-{index}", mount: /etc/x}', 9, "data.mount", "is the system's own"),
        ('{drive: "db-{index}", mount: /usr}', 9, "data.mount", "is the system's own"),
        (f"{DATA}\n      more: {DATA}", 10, "more.drive", "data is that drive as well"),
        (
            f'{DATA}\n      more: {{drive: "log-{{index}}", mount: /data/log}}',
            10,
            "more.mount",
            "in the place of data",
        ),
    ],
)
def test_what_cannot_be_meant(said: str, line: int, key: str, told: str) -> None:
    """Told with its line, its key, and what would be right."""
    with pytest.raises(InvalidInput) as refused:
        servicefile.parse(FILE.replace(DATA, said), find)
    fault = refused.value.problems[0]
    assert (fault.line, fault.key) == (line, f"roles.db.drives.{key}")
    assert told in fault.message
    assert fault.hint


@pytest.mark.parametrize(("name", "told"), [("cache", "local storage is called so"), ("a" * 17, "too long")])
def test_a_guest_finds_it_by_its_name(name: str, told: str) -> None:
    """Which is that of no local storage, and short enough for a serial number."""
    with pytest.raises(InvalidInput, match="1 fault") as refused:
        servicefile.parse(FILE.replace("data: {drive", f"{name}: {{drive"), find)
    assert told in refused.value.problems[0].message


TWO = """service: shop
roles:
  db:
    image: micro
    instances: 3
    drives:
      data: {{drive: "{db}"}}
  web:
    image: micro
    instances: {instances}
    drives:
      data: {{drive: "{web}"}}
"""


@pytest.mark.parametrize(
    ("db", "web", "instances", "told"),
    [
        ("x-{index}", "x-{index}", 1, "web-0 cannot have drive x-0: db-0 has it, by roles.db.drives.data.drive"),
        ("x-{index}", "x-2", 1, "web-0 cannot have drive x-2: db-2 has it, by roles.db.drives.data.drive"),
        ("x-{index}", "x-3", 1, ""),
        ("x-{index}", "y-{index}", 5, ""),
    ],
)
def test_two_roles_do_not_have_one_drive(db: str, web: str, instances: int, told: str) -> None:
    """With the line, the key and whose it is; also where no daemon is asked."""
    text = TWO.format(db=db, web=web, instances=instances)
    if not told:
        assert offline.check(text).name == "shop"
        return
    for read in (offline.check, lambda text: servicefile.parse(text, find)):
        with pytest.raises(InvalidInput, match="1 fault") as refused:
            read(text)
        (fault,) = refused.value.problems
        assert (fault.line, fault.key, fault.message) == (12, "roles.web.drives.data.drive", told)
        assert "name another" in fault.hint


def test_an_instance_does_not_have_one_drive_twice() -> None:
    """By two names for it, though each is a good one."""
    text = TWO.format(db="x-{index}", web="y-0", instances=1)
    twice = f'{text}      more: {{drive: "y-{{index}}"}}\n'
    with pytest.raises(InvalidInput, match="1 fault") as refused:
        offline.check(twice)
    told = "web-0 cannot have drive y-0: web-0 has it, by roles.web.drives.data.drive"
    assert [(one.line, one.message) for one in refused.value.problems] == [(13, told)]

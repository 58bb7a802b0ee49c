"""`after`: the order in which roles begin."""

from __future__ import annotations

import pytest

from orchestrator import servicefile
from orchestrator.errors import InvalidInput
from orchestrator.model import ServiceSpec
from orchestrator.servicefile.difference import difference
from tests.world.images import MICRO

FILE = """service: shop
roles:
  db: {{image: micro{db}}}
  web: {{image: micro{web}}}
  last:
    image: micro
    after: {last}
"""


def read(db: str = "", web: str = "", last: str = "[]") -> ServiceSpec:
    """The service of the file."""
    return servicefile.parse(FILE.format(db=db, web=web, last=last), lambda _: MICRO)


def test_it_is_a_list_of_roles() -> None:
    """Of the same service; several, or none."""
    assert [role.after for role in read(web=", after: [db]", last="[db, web]").roles] == [(), ("db",), ("db", "web")]


def test_another_order_makes_no_vm_anew() -> None:
    """It is told as a change of its key, and no instance is touched for it."""
    (change,) = difference(read(), read(last="[db]"))
    assert change.key.endswith("last.after")
    assert "rolling" not in change.effect


@pytest.mark.parametrize(
    ("changes", "key", "line", "message"),
    [
        ({"last": "[cache]"}, "roles.last.after", 7, "there is no role 'cache'"),
        ({"last": "[last]"}, "roles.last.after", 7, "last after last"),
        ({"db": ", after: [web]", "web": ", after: [db]"}, "roles.db.after", 3, "db after web after db"),
        ({"db": ", after: [last]", "web": ", after: [db]", "last": "[web]"}, "roles.db.after", 3, "after"),
        ({"last": "db"}, "roles.last.after", 7, "is not a list"),
        ({"last": '[""]'}, "roles.last.after", 7, "is not a list"),
    ],
)
def test_what_would_never_begin_is_refused(changes: dict[str, str], key: str, line: int, message: str) -> None:
    """With its line, its key, what is wrong and what to write."""
    with pytest.raises(InvalidInput) as refused:
        read(**changes)
    (problem,) = refused.value.problems
    assert (problem.key, problem.line) == (key, line)
    assert message in problem.message
    assert problem.hint

"""`shares:` of a role: what the file says, what it must not say, and the way back."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator import servicefile
from orchestrator.errors import InvalidInput
from orchestrator.model import AnswerFormat, Os
from orchestrator.model.share import SHARES_MOST, Share
from orchestrator.servicefile.difference import difference
from orchestrator.servicefile.write import written
from tests.world.service_files import MICRO, find

SAID = "{data: {source: /srv/data, mount: /data}, tools: {source: /opt/tools-1.2}}"
FILE = f"""service: shop
roles:
  web:
    image: micro
    drives: {{db: {{drive: orders, mount: /srv/orders}}}}
    shares: {SAID}
"""


def test_they_are_read_and_written() -> None:
    """With and without a place in the guest; the file that is written says the same."""
    spec = servicefile.parse(FILE, find)
    assert spec.roles[0].shares == (
        Share(name="data", source="/srv/data", mount="/data"),
        Share(name="tools", source="/opt/tools-1.2"),
    )
    assert servicefile.parse(written(spec, find), find) == spec


@pytest.mark.parametrize("other", ["{}", "{data: {source: /srv/other, mount: /data}}"])
def test_other_shares_are_another_vm(other: str) -> None:
    """The difference says so."""
    changes = difference(servicefile.parse(FILE, find), servicefile.parse(FILE.replace(SAID, other), find))
    assert changes
    for change in changes:
        assert change.key.startswith("roles.web.shares.")
        assert "rolling reimage" in change.effect


MANY = ", ".join(f"s{number}: {{source: /srv/s{number}}}" for number in range(SHARES_MOST + 1))


@pytest.mark.parametrize(
    ("shares", "key", "told"),
    [
        ("none", "", "is not a mapping"),
        ("{data: /srv/data}", ".data", "is not a mapping"),
        ("{data: {mount: /data}}", ".data.source", "is missing"),
        ("{data: {source: /srv/data, readOnly: false}}", ".data.readOnly", "there is no such key"),
        ("{data: {source: srv/data}}", ".data.source", "is no path of a directory"),
        ("{data: {source: /}}", ".data.source", "is no path of a directory"),
        ("{data: {source: /srv/../etc}}", ".data.source", "is no path of a directory"),
        ("{data: {source: /srv/./data}}", ".data.source", "is no path of a directory"),
        ('{data: {source: "/srv/data,modcaps=+sys_admin"}}', ".data.source", "is no path of a directory"),
        ('{data: {source: "/srv/a b"}}', ".data.source", "is no path of a directory"),
        ("{data: {source: [/srv/data]}}", ".data.source", "is not a string"),
        ("{data: {source: /srv/data, mount: data}}", ".data.mount", "is no path in a guest"),
        ("{data: {source: /srv/data, mount: /etc/ssl}}", ".data.mount", "is the system's own"),
        (
            "{data: {source: /srv/data, mount: /srv/orders/in}}",
            ".data.mount",
            "in the place of db, at /srv/orders",
        ),
        (
            "{a: {source: /srv/a, mount: /x}, b: {source: /srv/b, mount: /x/y}}",
            ".b.mount",
            "in the place of a, at /x",
        ),
        ("{a-name-much-too-long: {source: /srv/a}}", ".a-name-much-too-long", "is too long"),
        ("{" + MANY + "}", "", f"a role may have {SHARES_MOST}"),
    ],
)
def test_what_cannot_be_meant(shares: str, key: str, told: str) -> None:
    """With its line, its key, and what would be right."""
    with pytest.raises(InvalidInput) as refused:
        servicefile.parse(FILE.replace(SAID, shares), find)
    (problem,) = refused.value.problems
    assert (problem.key, problem.line, bool(problem.hint)) == (f"roles.web.shares{key}", 6, True)
    assert told in problem.message


@pytest.mark.parametrize(
    ("image", "key", "told"),
    [
        ({"os": Os.WINDOWS, "answers": AnswerFormat.CONFIG_DRIVE}, "", "a Windows cannot have shares"),
        ({"answers": AnswerFormat.NONE}, ".data.mount", "its image reads no answers"),
    ],
)
def test_guests_that_would_not_have_them(image: dict[str, Any], key: str, told: str) -> None:
    """One that nobody tells may have those that it mounts by itself."""
    file = FILE.replace(", mount: /srv/orders", "")
    of = dataclasses.replace(MICRO, **image)
    with pytest.raises(InvalidInput) as refused:
        servicefile.parse(file, lambda _: of)
    (problem,) = refused.value.problems
    assert (problem.key, told in problem.message, bool(problem.hint)) == (f"roles.web.shares{key}", True, True)
    if key:
        servicefile.parse(file.replace("data: {source: /srv/data, mount: /data}, ", ""), lambda _: of)

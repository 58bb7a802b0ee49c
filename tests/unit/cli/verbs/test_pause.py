"""`vmrole pause` and `resume` against a daemon whose world stands still."""

from __future__ import annotations

import json

import pytest

from orchestrator.client.client import Client
from orchestrator.errors import NotFound
from tests.world.api_daemon import SHOP, Daemon
from tests.world.command_line import Run

LISTS = ("services", "instances", "images", "operations", "events")


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """It, with the service `shop`."""
    daemon.client().apply(SHOP)
    return daemon


@pytest.mark.parametrize("service", ["shop", ""])
@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
def test_every_list_says_it(run: Run, daemon: Daemon, service: str, form: str) -> None:
    """Beside what it lists, so that a script reads what it ever did; until it is over."""
    before = [run("get", kind, "-o", form) for kind in LISTS]
    assert not any("automation" in err for _, _, err in before)
    assert run("pause", *filter(None, [service]))[0] == 0
    whose, end = (f"service {service}", f"vmrole resume {service}") if service else ("this host", "vmrole resume")
    for kind in (*LISTS[:4], "instance"):
        status, out, err = run("get", kind, "-o", form)
        assert status == 0
        assert "automation" not in out
        assert f"automation of {whose} is paused since " in err
        assert err.splitlines()[-1].endswith(f"until: {end}")
    assert "automation of" in run("describe", "shop")[2]
    assert "automation of" in run("describe", "web-0")[2]
    assert f"Automation of {whose} is paused" in run("why", "web-0")[1]
    assert run("resume", *filter(None, [service]))[0] == 0
    assert not any("automation" in run("get", kind)[2] for kind in LISTS)
    assert [one["service"] for one in daemon.client().standstills()] == []


def test_what_they_say(run: Run, daemon: Daemon) -> None:
    """What was done, and what is paused besides; asking again is no fault."""
    assert run("pause", "shop") == (0, "automation of service shop is paused\n", "")
    assert run("pause", "shop") == (0, "automation of service shop is paused\n", "")
    status, out, err = run("pause")
    assert (status, out) == (0, "automation of this host is paused\n")
    assert err.startswith("automation of service shop is paused since ")
    status, out, err = run("resume", "shop")
    assert (status, out) == (0, "automation of service shop goes on, but for what is paused still\n")
    assert err.startswith("automation of this host is paused since ")
    assert run("resume") == (0, "automation of this host goes on\n", "")
    assert run("resume") == (0, "automation of this host goes on\n", "")
    events = json.loads(run("get", "events", "host", "-o", "json")[1])
    assert [one["message"].partition(" is ")[0] for one in events[-2:]] == [
        "automation of this host",
        "automation of this host goes on",
    ]


@pytest.mark.parametrize(
    ("name", "status", "hint"),
    [
        ("nobody", 3, "vmrole get services"),
        ("web-0.shop", 3, "vmrole get services"),
        ("shop@staging", 2, "write: shop"),
    ],
)
def test_bad_names(run: Run, daemon: Daemon, name: str, status: int, hint: str) -> None:
    """Refused by both, with what to do."""
    for verb in ("pause", "resume"):
        found, out, err = run(verb, name)
        assert (found, out) == (status, "")
        assert f"hint: {hint}" in err or hint in err
    assert daemon.client().standstills() == []


def test_who_lists_asks_once(run: Run, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer itself says whether there is anything to say; where that is lost, the list is shown all the same."""
    asked = []

    def lost(self: Client) -> None:
        asked.append(self)
        raise NotFound("there is no such route")

    monkeypatch.setattr(Client, "standstills", lost)
    for kind in LISTS:
        assert run("get", kind)[0] == 0
    assert run("describe", "shop")[0] == 0
    assert asked == []
    daemon.client().stand_still("shop", on=True)
    status, out, err = run("get", "services")
    assert (status, err, len(asked)) == (0, "", 1)
    assert "shop" in out

"""The address that an instance has of IPv6, on the command line: shown where there is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.verbs.service_files import write
from tests.world.api_daemon import Daemon
from tests.world.command_line import Run

FILE = """service: shop
vip: 2001:db8::10
roles:
  web: {image: micro, endpoints: {tcp: {port: 80, balancer: nftables}}}
"""


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test stands in an empty directory."""
    monkeypatch.chdir(tmp_path)


def test_it_is_shown_where_there_is_one(run: Run, daemon: Daemon) -> None:
    """In `get`, wide and as JSON, and in `describe`; of a service that needs none, nothing."""
    write(six_yaml=FILE, four_yaml=FILE.replace("shop", "plain").replace("2001:db8::10", "203.0.113.10"))
    for name in ("six", "four"):
        assert run("apply", "-f", f"{name}.yaml")[0] == 0
    (address,) = {one.nic.address6 for one in daemon.control.instances() if one.service == "shop"}
    assert address.startswith("fd")
    shown = {row["name"]: row["address6"] for row in json.loads(run("get", "instances", "-o", "json")[1])}
    assert shown == {"web-0.shop": address, "web-0.plain": ""}
    assert address in run("get", "instances", "-o", "wide")[1]
    assert address in run("describe", "web-0.shop")[1]
    assert "IPv6" not in run("describe", "web-0.plain")[1]

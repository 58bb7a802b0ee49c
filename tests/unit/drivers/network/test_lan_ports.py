"""What sysfs shows of ports on a bridge of the host's."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.drivers.network import lan_ports, links
from orchestrator.drivers.tools import host_bridges
from orchestrator.model import Instance, RoleNetwork
from tests.world.fabric import web_role
from tests.world.instances import instance_of

ONE = instance_of(web_role(network=RoleNetwork(bridge="br0", addresses=("192.0.2.10/24",))))


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The port of an instance, guarded, on a bridge that is up."""
    assert ONE.lan is not None
    bridge, tap = tmp_path / "br0", tmp_path / ONE.lan.tap
    for place, files in (
        (bridge, {"flags": "0x1003", "mtu": "1500", "bridge/stp_state": "1"}),
        (tap, {"flags": "0x1003", "ifindex": "7", "brport/state": "3", "brport/learning": "0"}),
        (tap, {"brport/bpdu_guard": "1"}),
    ):
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(f"{text}\n")
    (tap / "master").symlink_to(bridge)
    monkeypatch.setattr(links, "NET", tmp_path)
    monkeypatch.setattr(host_bridges, "_NET", tmp_path)
    return tap


def said(instance: Instance = ONE) -> list[str]:
    """What is missing."""
    return [one.message for one in lan_ports.missing([instance])]


def test_a_port_as_it_is_to_be(port: Path) -> None:
    """Nothing is told."""
    del port
    assert said() == []


def test_a_port_that_its_guard_has_switched_off(port: Path) -> None:
    """The link is up and on its bridge all the same, and nothing passes."""
    (port / "brport" / "state").write_text("0\n")
    (told,) = said()
    assert told == f"its port {port.name} on bridge br0 is switched off: its guest has sent a spanning tree's word"


def test_a_port_without_its_guards(port: Path) -> None:
    """It learns."""
    (port / "brport" / "learning").write_text("1\n")
    assert said() == [f"its port {port.name} on bridge br0 is not guarded"]


def test_its_card_stays_where_it_is(port: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another port says: the bridge is told before its port stops to learn."""
    (port / "brport" / "learning").write_text("1\n")
    told: list[str] = []
    monkeypatch.setattr(lan_ports, "run", lambda command: told.append(" ".join(command)))
    assert [*lan_ports.LanPorts().mend([ONE])] == []
    assert ONE.lan is not None
    assert told == [f"bridge fdb replace {ONE.lan.mac} dev {port.name} master static sticky"]
    assert said() == []

"""What sysfs shows of a bridge of the host's, and which cards it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.drivers.tools import host_bridges


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with br0, which carries 1500 bytes."""
    (tmp_path / "br0" / "bridge").mkdir(parents=True)
    (tmp_path / "br0" / "mtu").write_text("1500\n")
    (tmp_path / "br0" / "flags").write_text("0x1003\n")
    monkeypatch.setattr(host_bridges, "_NET", tmp_path)
    return tmp_path


@pytest.mark.parametrize("mtu", [None, 1500])
def test_a_card_that_changes_nothing(net: Path, mtu: int | None) -> None:
    """It carries what the bridge carries."""
    del net
    assert host_bridges.unfit("br0", mtu) == ("", "")


def test_a_card_with_longer_packets(net: Path) -> None:
    """Nobody would carry them; also when it starts, for the bridge may have become another since."""
    del net
    for ask in (host_bridges.unfit, host_bridges.fault):
        assert ask("br0", 9000)[0] == "bridge br0 carries packets of 1500 bytes, and not of 9000"


def test_a_card_with_shorter_packets(net: Path) -> None:
    """The kernel makes a bridge's MTU the least of its ports': the host itself would send no longer ones there."""
    del net
    why, hint = host_bridges.unfit("br0", 1280)
    assert why == "with a card of 1280 bytes, bridge br0 would carry no longer packets; by now: 1500"
    assert hint == "leave mtu out, or give the bridge and its ports that MTU"
    assert host_bridges.fault("br0", 1280) == ("", ""), "what is there already is started"


def test_a_bridge_that_is_down(net: Path) -> None:
    """Told before anything of MTUs."""
    (net / "br0" / "flags").write_text("0x1002\n")
    assert host_bridges.unfit("br0", 1280)[0] == "bridge br0 of this host is down"


@pytest.mark.parametrize("bridge", ["br1", "nobridge0", "br0 ", ""])
def test_a_bridge_must_be_given(net: Path, bridge: str) -> None:
    """By the host's owner; of others it is not told whether they are there."""
    (net / "br1" / "bridge").mkdir(parents=True)
    why, hint = host_bridges.permitted(("br7", "br0"), bridge, None)
    assert why == f"this host's owner does not give bridge {bridge} to guests"
    assert hint.startswith("name one of: br0, br7; or have the owner add it to bridges in vmrole.toml")
    assert "br1" not in hint
    assert host_bridges.permitted((), "br0")[1].startswith("there is none that is given")
    assert host_bridges.permitted(("br0",), "br0", 1500) == ("", "")
    assert host_bridges.permitted(("br0",), "br0", 1280) == host_bridges.unfit("br0", 1280)

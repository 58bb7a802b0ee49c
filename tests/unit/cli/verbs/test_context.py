"""`vmrole token` and `vmrole context`: from the secret that is printed once to what it lets one do from elsewhere."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from tests.world.api_daemon import SHOP, Daemon
from tests.world.network_daemon import Door, door_of

VARIABLES = ("VMROLE_SERVER", "VMROLE_CONTEXT", "VMROLE_SOCKET", "VMROLE_TOKEN", "VMROLE_CA", "XDG_CONFIG_HOME")


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """Of a daemon with a service; and a user of whom nothing is known."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with Daemon(tmp_path) as daemon:
        daemon.give_image()
        daemon.control.apply(SHOP)
        with door_of(daemon, tmp_path / "door") as opened:
            yield opened


def test_from_a_token_to_a_request(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made on the host, given to a context by stdin, used, listed without its secret, taken away."""
    here = ["--socket", str(door.daemon.socket)]
    assert main([*here, "token", "create", "ci", "--role", "operator", "--expires", "30d"]) == 0
    out, told = capsys.readouterr()
    secret = out.strip()
    assert secret.startswith("vmrole_")
    assert "ci is operator until" in told
    assert secret not in told
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{secret}\n"))
    words = ["context", "add", "lab", "--server", door.url, "--ca", str(door.certificate), "--token-stdin"]
    assert main(words) == 0
    file = tmp_path / "home" / ".config" / "vmrole" / "contexts.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret in file.read_text()
    assert "lab: https://localhost" in capsys.readouterr().out
    # the quick way, and click's; by what was chosen, by its name, by an address
    assert main(["get", "services", "-o", "name"]) == 0
    assert main(["--context", "lab", "get", "services", "-o", "name"]) == 0
    monkeypatch.setenv("VMROLE_TOKEN", secret)
    monkeypatch.setenv("VMROLE_CA", str(door.certificate))
    assert main(["--server", door.url, "get", "services", "-o", "name"]) == 0
    monkeypatch.delenv("VMROLE_TOKEN")
    assert capsys.readouterr().out.split() == ["shop"] * 3
    assert main(["delete", "shop", "--yes"]) in (2, 6)
    assert main(["protect", "web-0.shop"]) == 0
    assert main(["context", "ls"]) == 0
    assert main(["token", "ls"]) == 6
    assert main([*here, "token", "ls"]) == 0
    out, told = capsys.readouterr()
    assert "*   lab" in out
    assert "operator   secret" in out
    assert secret not in out + told
    assert main([*here, "token", "rm", "ci"]) == 0
    assert main(["get", "services"]) == 6
    assert main(["context", "use", "--local"]) == 0
    monkeypatch.setenv("VMROLE_SOCKET", str(door.daemon.socket))
    assert main(["get", "services", "-o", "name"]) == 0
    assert main(["context", "rm", "lab"]) == 0
    assert secret not in file.read_text()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["context", "add", "x", "--server", "http://host"], 2, "plain HTTP"),
        (["context", "add", "a/b", "--server", "https://host"], 2, "no name of a context"),
        (["context", "add", "x", "--server", "https://host", "--ca", "/absent"], 2, "No such file"),
        (["context", "add", "x", "--server", "https://host", "--key", "/absent"], 2, "a key without its certificate"),
        (["context", "add", "x", "--server", "https://host", "--token-stdin"], 2, "no token"),
        (["context", "add", "x", "--server", "https://host", "--token", "vmrole_x"], 2, "No such option"),
        (["context", "use", "x"], 3, "no context 'x'"),
        (["context", "use"], 2, "--local"),
        (["context", "rm", "x"], 3, "no context 'x'"),
        (["--context", "x", "get", "services"], 3, "no context 'x'"),
        (["--server", "https://a", "--context", "x", "get", "services"], 2, "which of them is meant"),
        (["--server", "http://a", "get", "services"], 2, "plain HTTP"),
    ],
)
def test_a_slip_is_told(
    door: Door,
    words: list[str],
    status: int,
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With what would be right; nothing is kept of it."""
    monkeypatch.setattr("sys.stdin", io.StringIO(" \n"))
    assert main(words) == status
    assert told in capsys.readouterr().err
    assert main(["context", "ls"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_an_option_goes_before_a_variable(
    door: Door, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says, the command line is what somebody has just typed."""
    monkeypatch.setenv("VMROLE_SERVER", "https://nobody.invalid")
    assert main(["--socket", str(door.daemon.socket), "get", "services", "-o", "name", "--labels"]) == 2
    assert main(["--socket", str(door.daemon.socket), "describe", "shop"]) == 0
    assert "shop" in capsys.readouterr().out
    monkeypatch.delenv("VMROLE_SERVER")
    monkeypatch.setenv("VMROLE_SOCKET", "/run/nobody.sock")
    monkeypatch.setenv("VMROLE_TOKEN", door.daemon.tokens.all()[0].name if door.daemon.tokens.all() else "x")
    monkeypatch.setenv("VMROLE_CA", str(door.certificate))
    assert main(["--server", door.url, "get", "services"]) == 6


def test_what_is_of_another_host_is_not_taken_from_this_one(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup of the records that lie here, this host's log and configuration, a way to an address that is here."""
    monkeypatch.setenv("VMROLE_CA", str(door.certificate))
    monkeypatch.setenv("VMROLE_SERVER", "https://localhost:1")
    assert main(["backup", str(tmp_path / "copy")]) == 1
    assert "no daemon answers at https://localhost:1" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()
    from orchestrator.model.right import Right

    monkeypatch.setenv("VMROLE_TOKEN", door.secret(Right.VIEWER))
    monkeypatch.setenv("VMROLE_SERVER", door.url)
    assert main(["ssh-config", "web-0.shop"]) == 0
    assert "ProxyJump localhost" in capsys.readouterr().out
    assert main(["inventory"]) == 0
    assert "host_localhost" in capsys.readouterr().out
    assert main(["support-bundle", str(tmp_path / "bundle.tar.gz")]) == 0
    told = capsys.readouterr().err
    for name in ("configuration.json", "doctor.txt", "daemon.log"):
        assert f"missing: {name}: it is of this host, and the daemon is on localhost" in told

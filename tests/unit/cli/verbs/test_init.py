"""`vmrole init`: asks, looks at the answers as `doctor` does, and writes a file that was not there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.cli.verbs import init
from orchestrator.errors import Conflict
from orchestrator.host import config
from orchestrator.host.config_keys import KEYS
from tests.world.command_line import VMROLE, Run, runner

LINKS = [
    {"ifname": "lo", "flags": ["LOOPBACK", "UP"]},
    {"ifname": "enp3s0", "flags": ["UP"]},
    {"ifname": "wlan0", "flags": []},
]
ENDS_S = 120.0


@pytest.fixture(autouse=True)
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with these interfaces, of which nothing is configured."""
    for key in KEYS.values():
        monkeypatch.delenv(key.environment or "VMROLE_CONFIG", raising=False)
    program = tmp_path / "bin" / "ip"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{json.dumps(LINKS)}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to be, in a directory that is not there yet."""
    return tmp_path / "etc" / "vmrole.toml"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The verb, without a terminal."""
    return runner(capsys, "init")


def on_a_terminal(file: Path, *words: str, typed: str) -> tuple[int, str]:
    """Exit status and all that the terminal showed while somebody typed this."""
    ours, theirs = os.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as keyboard:
        try:
            command = [*VMROLE, "init", "--config", str(file), *words]
            process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
        finally:
            os.close(theirs)
        keyboard.write(f"{typed}\x04".encode())  # whoever asks on has no answer, and ends
        shown = b""
        while True:
            try:
                shown += keyboard.read(4096)
            except OSError:  # EIO: nobody has the terminal open any more.
                return process.wait(ENDS_S), shown.decode().replace("\r\n", "\n")


def test_options_are_written_and_everything_else_is_switched_off(run: Run, file: Path) -> None:
    """The file is read back as what was given, everybody may read it, and nothing else is left beside it."""
    status, out, err = run("--config", file, "--vip-interface", "enp3s0", "--vip-pool", "192.168.1.240/28")
    assert (status, err) == (0, "")
    assert out == f"{file} is written. Whether the host is fit: vmrole doctor --config {file}\n"
    settled = config.settle(file)
    assert {key for key, origin in settled.origins.items() if origin != config.DEFAULT} == {
        "vip_interface",
        "vip_pool",
    }
    assert (settled.config.vip_interface, settled.config.vip_pool) == ("enp3s0", "192.168.1.240/28")
    assert all(f"{key} = " in file.read_text() for key in KEYS)
    assert file.stat().st_mode & 0o7777 == 0o644
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_the_configuration_that_the_environment_names_is_written(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `doctor` reads it, which needs no option then."""
    monkeypatch.setenv("VMROLE_CONFIG", str(file))
    status, out, _ = run("--vip-interface", "enp3s0")
    assert (status, out) == (0, f"{file} is written. Whether the host is fit: vmrole doctor\n")
    assert config.load().vip_interface == "enp3s0"


@pytest.mark.parametrize("kind", ["file", "dangling link", "directory"])
def test_what_exists_is_not_replaced(run: Run, file: Path, kind: str) -> None:
    """Exit status 5 before anything is asked, with the two ways that there are."""
    file.parent.mkdir()
    match kind:
        case "file":
            file.write_text("# mine\n")
        case "directory":
            file.mkdir()
        case _:
            file.symlink_to("nowhere")
    status, out, err = run("--config", file)
    assert (status, out) == (5, "")
    assert f"{file} exists, and is not replaced" in err
    assert f"{file.parent}/conf.d/50-host.toml" in err
    assert "move it away" in err
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert kind != "file" or file.read_text() == "# mine\n"


@pytest.mark.parametrize("usual", [True, False])
def test_a_part_beside_a_file_that_is_there_is_written(
    run: Run, file: Path, usual: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a package brought the file, what is said comes after it; `doctor` is to read both, by the file's name."""
    if usual:
        monkeypatch.setattr(config, "DEFAULT_FILE", str(file))
    file.parent.mkdir()
    file.write_text('vip_interface = "eth9"\nworkers = 3\n')
    part = file.parent / "conf.d" / "50-host.toml"
    status, out, err = run("--config", part, "--vip-interface", "enp3s0")
    doctor = "vmrole doctor" if usual else f"vmrole doctor --config {file}"
    assert (status, out, err) == (0, f"{part} is written. Whether the host is fit: {doctor}\n", "")
    both = config.load(file)
    assert (both.vip_interface, both.workers) == ("enp3s0", 3)
    again, _, refused = run("--config", part, "--vip-interface", "enp3s0")
    assert again == 5
    assert "conf.d/conf.d" not in refused
    assert f"another name in {part.parent}" in refused


def test_a_file_that_comes_meanwhile_is_not_replaced(file: Path) -> None:
    """Somebody else was first while this one was being answered."""
    file.parent.mkdir()
    file.write_text("# mine\n")
    with pytest.raises(Conflict, match="is not replaced"):
        init._write(file, "# other\n")
    assert file.read_text() == "# mine\n"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("words", [(), ("--vip-pool", "192.0.2.0/24")])
def test_where_nobody_can_be_asked_the_options_are_named(run: Run, file: Path, words: tuple[str, ...]) -> None:
    """Exit status 2, with the interfaces that there are."""
    status, out, err = run("--config", file, *words)
    assert (status, out) == (2, "")
    assert "--vip-interface NAME, of: enp3s0, wlan0; --vip-pool, --state-dir and --socket-group have defaults" in err
    assert not file.parent.exists()


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--vip-interface", "enp3so", "vip_interface: there is no interface enp3so (did you mean enp3s0? "),
        ("--vip-interface", "", "vip_interface: none is configured"),
        ("--vip-pool", "192.0.2.1/24", "vip_pool: 192.0.2.1/24 has host bits set (networks"),
        ("--state-dir", "var/lib", "state_dir: 'var/lib' (use an absolute path)"),
        ("--state-dir", "/var/\x7f", "state_dir: '/var/\\x7f' cannot be written (use plain words)"),
        ("--state-dir", "/a://b:hunter2@c", "state_dir: '/a://b:***@c' cannot be written"),
        ("--socket-group", "", "socket_group: '' (leave it out for 'vmrole')"),
        ("--socket-group", "a\nb", "socket_group: 'a\\nb' cannot be written"),
    ],
)
def test_an_option_that_cannot_be_is_refused(run: Run, file: Path, option: str, value: str, told: str) -> None:
    """Exit status 2, with what would be right; nothing is written."""
    others = () if option == "--vip-interface" else ("--vip-interface", "enp3s0")
    status, out, err = run("--config", file, *others, option, value)
    assert (status, out) == (2, "")
    assert told in err
    assert not file.parent.exists()


def test_every_option_that_cannot_be_is_told(run: Run, file: Path) -> None:
    """Not the first alone."""
    _, _, err = run("--config", file, "--vip-interface", "eth9", "--vip-pool", "x", "--state-dir", "x")
    assert ("vip_interface: " in err, "vip_pool: " in err, "state_dir: " in err) == (True, True, True)


def test_a_drawback_is_told_and_written(run: Run, file: Path) -> None:
    """An interface that is down, and a group that is not there, with what to do."""
    status, _, err = run("--config", file, "--vip-interface", "wlan0", "--socket-group", "no-such-group")
    assert status == 0
    assert "vip_interface: wlan0 is down: nobody reaches a VIP on it (ip link set wlan0 up)" in err
    assert "(groupadd --system no-such-group)" in err
    assert config.load(file).socket_group == "no-such-group"


def test_the_hosts_own_interface_is_not_taken_without_a_word(run: Run, file: Path) -> None:
    """It may be meant, by who leads addresses to the host."""
    status, _, err = run("--config", file, "--vip-interface", "lo", "--vip-pool", "192.168.1.240/28")
    assert status == 0
    assert "vip_interface: nobody but this host reaches a VIP on lo" in err
    assert "to one of: enp3s0, wlan0" in err


def test_a_directory_that_cannot_be_made_is_told(run: Run, file: Path) -> None:
    """A file is in its place."""
    file.parent.write_text("")
    status, _, err = run("--config", file, "--vip-interface", "enp3s0")
    assert status == 1
    assert str(file.parent) in err
    assert "--config" in err


def test_a_terminal_is_asked_until_an_answer_can_be(file: Path) -> None:
    """A wrong interface is told with the nearest name and asked for again; nothing typed is the default."""
    typed = "enp3so\n enp3s0 \nx\n192.168.1.240/28\n\nno-such-group\n"
    status, shown = on_a_terminal(file, typed=typed)
    assert status == 0, shown
    assert "Interfaces of this host: enp3s0, wlan0" in shown
    assert "did you mean enp3s0?" in shown
    assert shown.count("Interface for the addresses of services") == 2
    assert "Directory for images and disks [/var/lib/vmrole]" in shown
    assert "Group whose members may use vmrole [vmrole]" in shown
    settled = config.settle(file)
    written = {key for key, origin in settled.origins.items() if origin != config.DEFAULT}
    assert written == {"vip_interface", "vip_pool", "socket_group"}
    assert (settled.config.vip_interface, settled.config.vip_pool) == ("enp3s0", "192.168.1.240/28")


def test_what_an_option_says_is_not_asked(file: Path) -> None:
    """With the interface nothing is; with another one the rest."""
    status, shown = on_a_terminal(file, "--vip-interface", "enp3s0", typed="")
    assert (status, "Interface for" in shown) == (0, False), shown
    file.unlink()
    status, shown = on_a_terminal(file, "--vip-pool", "192.0.2.0/24", "--socket-group", "root", typed="enp3s0\n\n")
    assert (status, "Networks that" in shown, "Group whose" in shown) == (0, False, False), shown
    assert config.load(file).vip_pool == "192.0.2.0/24"


def test_who_does_not_want_to_answer_leaves_nothing(file: Path) -> None:
    """The end of what is typed, as Ctrl-C, is the status of an interrupt."""
    status, _ = on_a_terminal(file, typed="enp3s0\n")
    assert status == 130
    assert not file.parent.exists()

"""The simulator's agent: the protocol, what Windows' agent answers, and vmrole's questions as they are asked."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from vmrole_images import setup_simulator
from vmrole_images.setup_simulator.guest import registry, web, world
from vmrole_images.setup_simulator.guest.agent import EXEC_S, Agent
from vmrole_images.setup_simulator.guest.drive import Drive, DriveType
from vmrole_images.setup_simulator.guest.search import CACHE
from vmrole_images.setup_simulator.guest.world import World

from orchestrator.drivers.guest import windows_scripts, windows_services

BOOT = "20261122023000.123456+000"


class Machine:
    """An agent on a sealed disk, with a clock that stands still until it is moved."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.now_s = 100.0
        self.system = Drive("C", root, DriveType.FIXED)
        setup_simulator.seal(self.system)
        self.world: World = world.power_on((self.system,), BOOT, lambda: self.now_s)
        self.power: list[str] = []
        self.flushes = 0
        self.world.flush = self._flush
        cards = [("Ethernet", "52:54:00:00:00:01", "10.90.0.2/24")]
        self.at_ns = 0
        self.agent = Agent(self.world, self.power.append, lambda: cards, self)

    def now_ns(self) -> int:
        """As its clock stands."""
        return self.at_ns

    def set_ns(self, at_ns: int) -> None:
        """Sets it."""
        self.at_ns = at_ns

    def _flush(self) -> None:
        self.flushes += 1

    def ask(self, command: str, **arguments: object) -> Any:
        """What the agent returns; the description of an error."""
        said = json.loads(self.agent.answer(json.dumps({"execute": command, "arguments": arguments}).encode()))
        return said["return"] if "return" in said else said["error"]["desc"]

    def run(self, argv: Sequence[str]) -> str:
        """What a command prints."""
        started = self.ask("guest-exec", path=argv[0], arg=list(argv[1:]), **{"capture-output": True})
        assert isinstance(started, dict), started
        self.now_s += EXEC_S
        status = self.ask("guest-exec-status", pid=started["pid"])
        assert (status["exited"], status["exitcode"]) == (True, 0)
        return base64.b64decode(status.get("out-data", "")).decode()

    def status(self) -> dict[str, str]:
        """vmrole's question how far Setup is."""
        return dict(line.split("=", 1) for line in self.run(windows_scripts.status()).splitlines())

    def services(self, *required: str) -> dict[str, list[str]]:
        """vmrole's question for services, by name."""
        *lines, end = self.run(windows_scripts.services(required)).splitlines()
        assert end == f"end={len(lines)}"
        return {
            line.removeprefix("service=").split("|")[0]: line.removeprefix("service=").split("|")[1:]
            for line in lines
        }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that has just been started."""
    return Machine(tmp_path / "c")


def test_the_protocol(machine: Machine) -> None:
    """Sync after garbage, delimited answers, errors with their classes, no answer to a shutdown that is obeyed."""
    answer = machine.agent.answer
    sync = b'{"execute": "guest-sync-delimited", "arguments": {"id": 7}}'
    assert answer(b'{"exec\xff' + sync) == b'\xff{"return": 7}\n'
    assert answer(b"") == b""
    assert json.loads(answer(b"{nonsense"))["error"]["class"] == "GenericError"
    assert json.loads(answer(b'{"execute": "guest-nothing"}'))["error"] == {
        "class": "CommandNotFound",
        "desc": "The command guest-nothing has not been found",
    }
    assert "Invalid parameters" in machine.ask("guest-file-open")
    assert "Invalid parameter 'mode'" in machine.ask("guest-shutdown", mode="away")
    assert answer(b'{"execute": "guest-shutdown", "arguments": {"mode": "reboot"}}') == b""
    assert machine.power == ["reboot"]


def test_it_says_what_windows_says(machine: Machine) -> None:
    """mswindows and a build number, the active computer name, its cards, and which commands are allowed."""
    system = machine.ask("guest-get-osinfo")
    assert (system["id"], system["kernel-release"], system["variant-id"]) == ("mswindows", "20348", "server")
    assert "not Windows" in system["pretty-name"]
    assert machine.ask("guest-get-host-name") == {"host-name": "WIN-GENERALIZED"}
    (card,) = machine.ask("guest-network-get-interfaces")
    assert card["ip-addresses"] == [{"ip-address-type": "ipv4", "ip-address": "10.90.0.2", "prefix": 24}]
    machine.world.wish({"no-exec": "true"})
    allowed = {one["name"] for one in machine.ask("guest-info")["supported_commands"] if one["enabled"]}
    assert {"guest-ping", "guest-file-read"} < allowed
    assert not {"guest-exec", "guest-exec-status"} & allowed
    assert machine.ask("guest-exec", path="powershell.exe") == "Command guest-exec has been disabled"


def test_its_clock_is_set_to_the_millisecond(machine: Machine) -> None:
    """As SetSystemTime does; without a time it would ask a server, and there is none."""
    assert machine.ask("guest-set-time", time=1_795_000_000_123_456_789) == {}
    assert machine.ask("guest-get-time") == machine.at_ns == 1_795_000_000_123_000_000
    assert machine.ask("guest-set-time") == "Failed to set the time"


def test_it_writes_what_it_held_back_when_it_is_asked_to(machine: Machine) -> None:
    """By vmrole's own question, which prints nothing."""
    assert machine.run(windows_scripts.flush()) == ""
    assert machine.flushes == 1


def test_files_are_those_of_its_drive(machine: Machine) -> None:
    """State.ini can be read without guest-exec; what is written lasts; nothing outside C: is there."""

    def read(path: str) -> str:
        handle = machine.ask("guest-file-open", path=path)
        got = machine.ask("guest-file-read", handle=handle, count=4096)
        assert got["eof"]
        machine.ask("guest-file-close", handle=handle)
        assert "has not been found" in machine.ask("guest-file-read", handle=handle)
        return base64.b64decode(got["buf-b64"]).decode()

    assert read(r"C:\windows\setup\state\State.ini").split() == ["[State]", f"ImageState={registry.GENERALIZED}"]
    handle = machine.ask("guest-file-open", path=r"C:\marker.txt", mode="w")
    machine.ask("guest-file-write", handle=handle, **{"buf-b64": base64.b64encode(b"kept").decode()})
    machine.ask("guest-file-close", handle=handle)
    assert read(r"c:\MARKER.txt") == "kept"
    handle = machine.ask("guest-file-open", path=r"C:\marker.txt")
    assert machine.ask("guest-file-seek", handle=handle, offset=-2, whence="end") == {"position": 2, "eof": False}
    assert machine.ask("guest-file-read", handle=handle)["buf-b64"] == base64.b64encode(b"pt").decode()
    assert "before the beginning" in machine.ask("guest-file-seek", handle=handle, offset=-5, whence="end")
    for path in ("/etc/passwd", r"C:\..\..\etc\passwd", r"D:\Unattend.xml", r"C:\none"):
        assert "The system cannot find" in machine.ask("guest-file-open", path=path)
    machine.world.wish({"no-files": "true"})
    assert machine.ask("guest-file-open", path=r"C:\marker.txt") == "Command guest-file-open has been disabled"


def test_a_command_is_asked_for_and_told_once(machine: Machine) -> None:
    """It takes a moment, its output comes at its end, and a second reading fails, as with the real agent."""
    argv = windows_scripts.status()
    pid = machine.ask("guest-exec", path=argv[0], arg=list(argv[1:]), **{"capture-output": True})["pid"]
    assert machine.ask("guest-exec-status", pid=pid) == {"exited": False}
    machine.now_s += EXEC_S
    assert machine.ask("guest-exec-status", pid=pid)["exited"]
    assert machine.ask("guest-exec-status", pid=pid) == "Invalid parameter 'pid'"
    for path in ("/bin/sh", "notepad.exe"):
        assert "Failed to execute" in machine.ask("guest-exec", path=path)
    unknown = base64.b64encode("Restart-Computer".encode("utf-16-le")).decode()
    assert "does not know this script" in machine.ask(
        "guest-exec", path="powershell", arg=["-EncodedCommand", unknown]
    )


def test_it_answers_how_far_setup_is(machine: Machine) -> None:
    """The keys of the contract, from the registry and the notes of the disc's own script."""
    assert machine.status() == {
        "boot": BOOT, "setup-boot": "", "image-state": registry.GENERALIZED, "system-setup": "1", "oobe": "1",
        "computer": "WIN-GENERALIZED", "instance": "", "generation": "", "answer-file": "", "cached": "no",
    }  # fmt: skip
    machine.system.write(CACHE, b"<!-- vmrole instance web-0.shop generation 3 id x -->")
    assert machine.status()["cached"] == "yes", "a cached file, and no notes of ours"
    machine.system.write(rf"{world.VMROLE}\instance", b"web-0.shop\r\n")
    machine.system.write(rf"{world.VMROLE}\generation", b"3\r\n")
    assert (machine.status()["cached"], machine.status()["answer-file"]) == ("no", r"C:\Windows\Panther\unattend.xml")
    machine.system.write(rf"{world.VMROLE}\generation", b"4\r\n")
    assert machine.status()["cached"] == "yes", "the file of an earlier generation"


def test_states_of_services_move(machine: Machine) -> None:
    """Never tried, pending, running; finished by themselves; waiting for a trigger; delayed; per user."""
    assert machine.services()["Spooler"] == ["Stopped", "1077", "0", "0", "0", "16"]
    machine.now_s = 101.0
    assert machine.services()["Spooler"][0] == "Start Pending"
    machine.now_s = 110.0
    left = machine.services("EventLog", "absent")
    assert left.pop("EventLog")[0] == "Running", "a named service is told whatever its state"
    assert left == {
        "gupdate": ["Stopped", "0", "0", "0", "0", "16"],
        "sppsvc": ["Stopped", "1077", "0", "1", "0", "16"],
        "MapsBroker": ["Stopped", "1077", "0", "1", "0", "32"],
        "RemoteRegistry": ["Stopped", "1077", "0", "0", "1", "32"],
        "CDPUserSvc": ["Stopped", "1077", "0", "0", "0", "96"],
    }
    machine.now_s = 230.0
    assert "sppsvc" not in machine.services()


def test_services_go_wrong_on_request(machine: Machine) -> None:
    """One stays pending for as long as it is told, one crashes."""
    machine.world.wish({"slow-service": "30", "failed-service": "Broken Service"})
    machine.now_s = 129.0
    assert machine.services()["SimulatedSlow"][0] == "Start Pending"
    assert machine.services()["Broken Service"][:2] == ["Stopped", "1067"]
    machine.now_s = 131.0
    assert "SimulatedSlow" not in machine.services()


def test_without_powershell_there_are_sc_and_reg(machine: Machine) -> None:
    """The same facts in the words of the old tools."""
    machine.world.wish({"no-powershell": "true"})
    argv = windows_scripts.status()
    assert "No such file" in machine.ask("guest-exec", path=argv[0], arg=list(argv[1:]))
    lines = machine.run(windows_scripts.WITHOUT_POWERSHELL).splitlines()
    at = lines.index("SERVICE_NAME: Spooler")
    assert "        STATE              : 1  STOPPED" in lines[at : at + 5]
    services = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services"
    assert lines[lines.index(rf"{services}\MapsBroker") + 1] == "    Start    REG_DWORD    0x2"
    assert rf"{services}\RemoteRegistry\TriggerInfo" in lines
    assert lines.count("    DelayedAutoStart    REG_DWORD    0x1") == 2


def test_the_driver_reads_the_same_in_both_ways(machine: Machine) -> None:
    """What PowerShell tells and what sc.exe and reg.exe tell is one list of services for vmrole."""
    machine.world.wish({"failed-service": "Broken"})
    machine.now_s = 101.2
    told = windows_services.parse(machine.run(windows_scripts.services(("QEMU-GA",))))
    machine.now_s = 101.2
    found = windows_services.parse_without_powershell(machine.run(windows_scripts.WITHOUT_POWERSHELL), ("QEMU-GA",))
    assert told
    assert found
    assert set(told) == set(found)
    assert {"QEMU-GA", "Broken", "Spooler", "CDPUserSvc"} < {one.name for one in told}


def test_the_page_is_micros() -> None:
    """/healthz and one JSON object; nothing but GET and HEAD."""
    assert web.response(b"GET /healthz HTTP/1.1\r\n\r\n", dict).endswith(b"\r\n\r\nok\n")
    assert web.response(b"GET / HTTP/1.1\r\n\r\n", lambda: {"boot": BOOT}).endswith(
        b'{"boot": "%s"}\n' % BOOT.encode()
    )
    assert web.response(b"HEAD / HTTP/1.1\r\n\r\n", dict).endswith(b"\r\n\r\n")
    assert web.response(b"POST / HTTP/1.1\r\n\r\n", dict).startswith(b"HTTP/1.1 405 ")

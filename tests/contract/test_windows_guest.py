"""The Windows driver against the setup simulator's agent, in this process: what one asks the other answers."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from vmrole_images import setup_simulator
from vmrole_images.setup_simulator.guest.agent import Agent
from vmrole_images.setup_simulator.guest.drive import Drive, DriveType
from vmrole_images.setup_simulator.guest.passes import Setup
from vmrole_images.setup_simulator.guest.scripts import LOG
from vmrole_images.setup_simulator.guest.search import CACHE
from vmrole_images.setup_simulator.guest.world import power_on
from vmrole_unattend.secret import Secret, SecretRef, SecretSource
from vmrole_unattend.windows import files
from vmrole_unattend.windows.answers import Answers

from orchestrator.drivers.guest import windows_guest
from orchestrator.drivers.guest.awakening import BY_KERNEL, CLOCK_OFF_S
from orchestrator.drivers.tools.agent_channel import AgentForbids, AgentRefused
from orchestrator.drivers.tools.windows_machine import windows_machine
from orchestrator.model import Identity, InstanceName, Ready, Services, Silence
from tests.world.windows_agent import STARTING, WEB, guest, with_ready

FIRST, SECOND = "20261122023000.123456+000", "20261122023500.123456+000"
ANSWERS = Answers(administrator_password=SecretRef(source=SecretSource.ENV, name="PASSWORD"))


def reveal(_wanted: SecretRef) -> Secret:
    """The one secret there is."""
    return Secret("geheim")


class Simulated:
    """A simulated Windows on a disk and a disc; it stands for the channel and for the monitor."""

    def __init__(self, place: Path, answers: Answers = ANSWERS, stale: bytes = b"") -> None:
        self.system = Drive("C", place / "c", DriveType.FIXED)
        self.disc = Drive("D", place / "d", DriveType.READ_ONLY)
        for drive in (self.system, self.disc):
            drive.root.mkdir()
        setup_simulator.seal(self.system)
        if stale:
            self.system.write(CACHE, stale)
        made = files.files(answers, windows_machine(WEB), reveal)
        for name, content in made.items():
            self.disc.write(name, content)
        self.boots = 0
        self.off_ns = 0  # of its clock
        self.flushes = 0
        self.wishes: dict[str, str] = {}

    def boot(self, *, setup: bool = True) -> None:
        """One boot, up to the end of Setup's part in it."""
        self.boots += 1
        self.clock_s = time.monotonic()
        self.world = power_on((self.system, self.disc), (FIRST, SECOND)[self.boots - 1], lambda: self.clock_s)
        self.world.flush = self._flush
        self.world.wish(self.wishes)
        self._agent = Agent(self.world, lambda _mode: None, list, self)
        if setup:
            self.set_up()

    def set_up(self) -> None:
        """Setup's part in this boot, with its log where Windows has it."""
        log = self.system.read(LOG) or b""
        lines: list[str] = []
        Setup(self.world, lines.append, lambda _seconds: None).run()
        self.system.write(LOG, log + "".join(f"{line}\r\n" for line in lines).encode())

    def resets(self, name: InstanceName, vm_uuid: str) -> int:
        """What the monitor has counted."""
        return self.boots - 1

    def now_ns(self) -> int:
        """As its clock stands."""
        return time.time_ns() + self.off_ns

    def set_ns(self, at_ns: int) -> None:
        """Sets it."""
        self.off_ns = at_ns - time.time_ns()

    def _flush(self) -> None:
        self.flushes += 1

    def call(self, name: InstanceName, command: str, **arguments: object) -> Any:
        """One call, with the errors that the channel makes of the agent's."""
        self.clock_s += 1.0
        said = json.loads(self._agent.answer(json.dumps({"execute": command, "arguments": arguments}).encode()))
        if "return" in said:
            return said["return"]
        words = said["error"]["desc"]
        raise AgentForbids(words) if "disabled" in words or "not been found" in words else AgentRefused(words)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two looks."""
    monkeypatch.setattr(windows_guest, "LEFT_ALONE_MAX_S", 0.0)


def looked(machine: Simulated, times: int = 2) -> Identity:
    """What the last of some looks says."""
    asked = guest(machine)
    *_, found = (asked.identity(WEB) for _ in range(times))
    assert isinstance(found, Identity), found
    return found


def started(machine: Simulated, ready: Sequence[str] = (), times: int = 2) -> Services:
    """What the last of some questions about services says."""
    asked, of = guest(machine), with_ready(Ready(units=tuple(ready)))
    *_, found = (asked.services(of) for _ in range(times))
    assert isinstance(found, Services), found
    return found


@pytest.mark.parametrize("wishes", [{}, {"no-exec": "true"}, {"no-powershell": "true"}])
def test_a_deployment_is_followed(tmp_path: Path, wishes: dict[str, str]) -> None:
    """From the sealed image over specialize and the restart to the end, by whatever the agent allows."""
    machine = Simulated(tmp_path)
    machine.wishes = wishes
    machine.boot(setup=False)
    assert "Windows Setup has not begun yet" in looked(machine).unfinished
    machine.set_up()
    specialized = looked(machine)
    assert "its restart comes next" in specialized.unfinished
    machine.boot()
    done = looked(machine)
    assert done.unfinished == ""
    if wishes:
        assert (done.boot_id, done.source) == ("", "ping")
    else:
        assert specialized.setup_boot_id == specialized.boot_id == done.setup_boot_id != done.boot_id


def test_a_stale_cache_is_explained(tmp_path: Path) -> None:
    """The answer file that an image kept beats the disc: the sentence says so, and what to do."""
    old = dataclasses.replace(ANSWERS, computer_name="old-9")
    kept = files.files(old, windows_machine(WEB), reveal)["Unattend.xml"].replace(b"web-0.shop", b"old-9.shop")
    machine = Simulated(tmp_path, stale=kept.replace(b"specialize.cmd", b"absent.cmd"))
    machine.boot()
    machine.boot()
    found = looked(machine)
    assert found.setup_boot_id == ""
    assert "the computer is called OLD-9, not WEB-0" in found.unfinished
    assert r"C:\Windows\Panther\unattend.xml cached in the image was used instead" in found.unfinished


@pytest.mark.parametrize("wishes", [{}, {"no-powershell": "true"}])
def test_services_are_followed(tmp_path: Path, wishes: dict[str, str]) -> None:
    """A slow service is waited for, a failed one is named with its code in words; both ways of asking agree."""
    machine = Simulated(tmp_path)
    machine.boot()
    machine.wishes = {**wishes, "failed-service": "Contoso", "slow-service": "3600"}
    machine.boot()
    machine.clock_s += 600
    found = started(machine, times=3)
    assert not found.started
    assert [one for one in found.failed if "Contoso: its process ended unexpectedly (1067)" in one], found
    assert found.pending
    machine.clock_s += 3600
    machine.world.wish({"failed-service": ""})
    assert started(machine, times=3).started


def test_logs_are_found(tmp_path: Path) -> None:
    """The logs of Setup are where the driver looks for them."""
    machine = Simulated(tmp_path)
    machine.boot()
    found = guest(machine).logs(STARTING)
    assert "Found usable unattend file for pass [specialize]" in found["unattendgc-setupact.log"]
    assert "geheim" not in str(found)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [({}, ""), ({"no-exec": "true"}, "its agent has nothing written"), ({"no-powershell": "true"}, "its agent has")],
)
def test_what_is_saved_has_been_written_and_what_is_restored_is_told_the_time(
    tmp_path: Path, wishes: dict[str, str], words: str
) -> None:
    """Where PowerShell can be run, it writes what it held back; the clock is its agent's to set, whatever else."""
    machine = Simulated(tmp_path)
    machine.wishes = wishes
    machine.boot()
    machine.boot()
    asked = guest(machine)
    assert asked.unfit(WEB) == ""
    while isinstance(written := asked.write_out(WEB), Silence):
        pass  # The simulator's clock goes on with each question.
    assert written.startswith(words)
    assert bool(written) is bool(words)
    assert machine.flushes == (0 if words else 1)
    machine.off_ns = -86_400_000_000_000
    assert asked.awaken(WEB) == ""
    assert abs(machine.off_ns) <= CLOCK_OFF_S * 1e9
    assert asked.randomness(WEB) == BY_KERNEL

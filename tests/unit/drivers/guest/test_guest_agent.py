"""The guest driver against agents that obey, forbid, lie or say nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.evidence import EXCHANGES, Transcript
from orchestrator.drivers.guest import agent_commands, guest_services, host_probe, linux_guest
from orchestrator.drivers.guest.linux_guest import BOOT_ID_FILE, SETUP_BOOT_COPY, SETUP_BOOT_FILE
from orchestrator.drivers.tools.agent_channel import (
    FROZEN_WORDS,
)
from orchestrator.drivers.tools.hostile_text import harmless, harmless_lines
from orchestrator.model import HttpProbe, Identity, Instance, InstanceName, Ready, Services, Setup, Silence, TcpProbe
from orchestrator.steps.hearing import unstarted
from tests.world.heard import heard
from tests.world.instances import instance
from tests.world.linux_agent import BOOT, EXEC, FILES, SETUP_BOOT, Agent, guest


def with_ready(ready: Ready, of: Instance | None = None) -> Instance:
    """An instance in boot BOOT whose role has these conditions."""
    of = of or instance(boot_id=BOOT)
    role = dataclasses.replace(of.goal.role, ready=ready)
    return dataclasses.replace(of, goal=dataclasses.replace(of.goal, role=role))


# Identity -----------------------------------------------------------------------------------------------------


def test_identity_is_read_from_files() -> None:
    """The boot id and the id of the setup boot come from two files."""
    agent = Agent({BOOT_ID_FILE: f"{BOOT}\n", SETUP_BOOT_FILE: f"{SETUP_BOOT}\n"})
    assert guest(agent).identity(instance()) == Identity(boot_id=BOOT, setup_boot_id=SETUP_BOOT, source="files")


def test_identity_before_setup_has_no_setup_boot() -> None:
    """A guest that has not applied its disc yet has no file, which is no error; later it has."""
    agent = Agent({BOOT_ID_FILE: BOOT})
    asked = guest(agent)
    assert asked.identity(instance()) == Identity(boot_id=BOOT)
    agent.files[SETUP_BOOT_FILE] = SETUP_BOOT
    assert asked.identity(instance()) == Identity(boot_id=BOOT, setup_boot_id=SETUP_BOOT)


def test_setup_that_goes_on_in_another_boot_is_seen() -> None:
    """User-data may restart the guest by itself: setup then goes on in that boot, and nothing was remembered."""
    agent = Agent({BOOT_ID_FILE: BOOT, SETUP_BOOT_FILE: SETUP_BOOT})
    asked = guest(agent)
    assert asked.identity(instance()) == Identity(boot_id=BOOT, setup_boot_id=SETUP_BOOT)
    agent.files[SETUP_BOOT_FILE] = BOOT
    assert asked.identity(instance()) == Identity(boot_id=BOOT, setup_boot_id=BOOT)


def test_identity_by_command_when_files_are_forbidden() -> None:
    """An agent that forbids files is asked by a command, and one that forbids both by a ping."""
    agent = Agent(output=f"{BOOT}\n\n{SETUP_BOOT}\n")
    agent.forbidden = FILES
    assert guest(agent).identity(instance()) == Identity(boot_id=BOOT, setup_boot_id=SETUP_BOOT, source="exec")
    agent.forbidden = FILES + EXEC
    assert guest(agent).identity(instance()) == Identity(boot_id="", source="ping")


@pytest.mark.parametrize("lie", ["", "x" * 64, BOOT.upper(), f"{BOOT}; reboot", "\x1b[31m", "../../etc/passwd"])
def test_no_lie_becomes_an_id(lie: str) -> None:
    """What is not a lower-case UUID is not an id."""
    agent = Agent({BOOT_ID_FILE: lie, SETUP_BOOT_FILE: lie})
    assert guest(agent).identity(instance()) == Identity(boot_id="", source="ping")
    agent = Agent({BOOT_ID_FILE: BOOT, SETUP_BOOT_FILE: lie})
    assert guest(agent).identity(instance()) == Identity(boot_id=BOOT)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("guest-file-open", {"handle": 1}),
        ("guest-file-open", "1"),
        ("guest-file-read", None),
        ("guest-file-read", {"buf-b64": 7}),
        ("guest-file-read", {"buf-b64": "\u00e9"}),
        ("guest-file-read", {"buf-b64": "abc"}),
    ],
)
def test_answers_of_a_wrong_shape_are_silence(command: str, answer: object) -> None:
    """An agent that answers something else than was asked for has said nothing."""
    agent = Agent({BOOT_ID_FILE: BOOT})
    agent.answers[command] = answer
    assert isinstance(guest(agent).identity(instance()), Silence)


def test_silence_tells_a_reboot_from_a_boot() -> None:
    """A silent agent is rebooting when the monitor saw a reset that came after its last answer."""
    agent = Agent({BOOT_ID_FILE: BOOT})
    asked = guest(agent)
    assert isinstance(asked.identity(instance()), Identity)
    agent.silent = "not connected"
    assert asked.identity(instance()) == Silence(reason="not connected", rebooting=False)
    agent.resets_seen = 1
    assert asked.identity(instance()) == Silence(reason="not connected", rebooting=True)
    agent.silent = ""
    assert isinstance(asked.identity(instance()), Identity)
    agent.silent = "hung"
    assert asked.identity(instance()) == Silence(reason="hung", rebooting=False)


OUR_FILES = ("/var/lib/vmrole", "/run/vmrole", "/run/cloud-init")


def test_a_confined_agent_is_told_as_that() -> None:
    """An agent that may not read our file has not said that there is none: the copy is read, else a program asks,
    else the ping and the monitor are all there is, and it says why and what helps.
    """
    agent = Agent({BOOT_ID_FILE: BOOT, SETUP_BOOT_FILE: SETUP_BOOT, SETUP_BOOT_COPY: SETUP_BOOT})
    agent.denied = ("/var/lib/vmrole",)
    both = Identity(boot_id=BOOT, setup_boot_id=SETUP_BOOT)
    assert guest(agent).identity(instance()) == both
    del agent.files[SETUP_BOOT_COPY]
    agent.output = f"{BOOT}\n{SETUP_BOOT}\n"
    assert guest(agent).identity(instance()) == dataclasses.replace(both, source="exec")
    for change in ({"output": f"{BOOT}\ndenied\n"}, {"forbidden": EXEC}, {"denied": ("/var/lib/vmrole", "exec")}):
        for name, value in change.items():
            setattr(agent, name, value)
        found = guest(agent).identity(instance())
        assert isinstance(found, Identity)
        assert (found.boot_id, found.setup_boot_id, found.source) == (BOOT, "", "ping")
        assert "virt_qemu_ga_read_nonsecurity_files" in found.confined
        assert "InaccessiblePaths" in found.confined


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that everybody may pass, unlike pytest's."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_the_question_for_ids_tells_a_denial_from_an_absence(open_place: Path) -> None:
    """The script, run by a real shell that is no longer root: "denied" for what it may not read, nothing for what is
    not there, and the copy where only that may be read.
    """
    (open_place / "closed").mkdir(mode=0o700)
    (open_place / "open").mkdir(mode=0o755)
    for file in ("closed/id", "open/id"):
        (open_place / file).write_text(f"{SETUP_BOOT}\n")

    def asked(first: str, second: str) -> str:
        script = linux_guest._IDS_SCRIPT.replace(SETUP_BOOT_FILE, str(open_place / first))
        script = script.replace(SETUP_BOOT_COPY, str(open_place / second))
        argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/bin/sh", "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, cwd="/")
        return done.stdout.splitlines()[-1]

    assert asked("open/id", "closed/id") == SETUP_BOOT
    assert asked("closed/id", "open/id") == SETUP_BOOT
    assert asked("closed/id", "open/absent") == "denied"
    assert asked("open/absent", "open/absent") == ""


@pytest.mark.parametrize(
    "trouble", ["Too many open files", "Input/output error", "Resource temporarily unavailable", "Stale file handle"]
)
def test_a_file_that_cannot_be_opened_for_now_is_not_absent(trouble: str) -> None:
    """A guest in trouble has not said that its setup has not run: its agent is silent, and says what is wrong."""
    agent = Agent({BOOT_ID_FILE: BOOT})
    agent.trouble = trouble
    found = guest(agent).identity(instance())
    assert isinstance(found, Silence)
    assert trouble in found.reason
    agent.trouble = "No such file or directory"
    assert guest(agent).identity(instance()) == Identity(boot_id="", source="ping")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ""),
        ({guest_services.CLOUD_INIT_DISABLED: ""}, "see /run/cloud-init/ds-identify.log"),
        (
            {
                guest_services.CLOUD_INIT_DISABLED: "",
                guest_services.DS_IDENTIFY_LOG: "No ds found [mode=search, notfound=disabled]. Disabled cloud-init",
            },
            "it found no data source when it looked: put the driver of the answer disc",
        ),
        (
            {guest_services.CLOUD_INIT_DISABLED: "", guest_services.CLOUD_INIT_SWITCHED_OFF: ""},
            "remove /etc/cloud/cloud-init.disabled",
        ),
    ],
)
def test_a_cloud_init_that_switched_itself_off_is_told(files: dict[str, str], expected: str) -> None:
    """While the disc has not been applied, the guest tells why it will not be, and what helps; afterwards it is of no
    interest, for later boots come without the disc.
    """
    agent = Agent({BOOT_ID_FILE: BOOT, **files})
    found = guest(agent).identity(instance())
    assert isinstance(found, Identity)
    assert expected in found.unfinished
    assert bool(expected) == bool(found.unfinished)
    assert guest(agent).identity(instance(set_up=True)) == Identity(boot_id=BOOT)
    agent.files[SETUP_BOOT_FILE] = SETUP_BOOT
    assert guest(agent).identity(instance()) == Identity(boot_id=BOOT, setup_boot_id=SETUP_BOOT)


def test_a_program_that_tells_the_boot_is_not_waited_for() -> None:
    """While a program that tells the boot runs, what was known stands, and no second one is started; after a reset
    nothing stands.
    """
    agent = Agent(output=f"{BOOT}\n\n{SETUP_BOOT}\n")
    agent.forbidden = FILES
    agent.running_for_s = math.inf
    asked = guest(agent)
    assert isinstance(asked.identity(instance()), Silence)
    agent.running_for_s = 0.0
    known = asked.identity(instance())
    assert isinstance(known, Identity)
    agent.running_for_s = math.inf
    for _ in range(3):
        assert asked.identity(instance()) == known
    assert len(agent.started) == 2
    agent.resets_seen = 1
    assert isinstance(asked.identity(instance()), Silence)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("guest-file-open", "5"),
        ("guest-file-open", {}),
        ("guest-file-read", []),
        ("guest-file-read", {"buf-b64": 5}),
        ("guest-file-read", {"buf-b64": "\xff\xfe!"}),
        ("guest-exec", {}),
        ("guest-exec", {"pid": "77"}),
        ("guest-exec-status", {"exited": True, "out-data": 5}),
    ],
)
def test_an_answer_of_a_wrong_shape_is_nonsense_and_not_silence(command: str, answer: object) -> None:
    """Somebody is there, and speaks, and it is no agent."""
    agent = Agent({BOOT_ID_FILE: BOOT, SETUP_BOOT_FILE: SETUP_BOOT})
    agent.answers[command] = answer
    if command in EXEC:
        agent.forbidden = FILES
    said = guest(agent).identity(instance())
    assert isinstance(said, Silence)
    assert said.broken
    agent.silent = "not connected"
    said = guest(agent).identity(instance())
    assert isinstance(said, Silence)
    assert not said.broken


FROZEN = Silence(reason=FROZEN_WORDS, frozen=True)


def test_a_frozen_guest_is_silent_in_every_question() -> None:
    """While a backup has frozen it, a guest is neither in an unknown boot nor serving, and its rights are not told;
    a command that runs in it is taken up again after the thaw.
    """
    agent = Agent({BOOT_ID_FILE: BOOT, SETUP_BOOT_FILE: SETUP_BOOT}, output="init=systemd\nstate=running\n")
    agent.frozen = True
    asked, of = guest(agent), instance(boot_id=BOOT)
    agent.resets_seen = 1
    assert (asked.identity(of), asked.services(of), asked.agent(of)) == (FROZEN, FROZEN, FROZEN)
    agent.frozen, agent.running_for_s = False, math.inf
    started = asked.services(of)
    assert isinstance(started, Services)
    assert not started.started
    agent.frozen = True
    assert asked.services(of) == FROZEN
    agent.frozen, agent.running_for_s = False, 0.0
    assert asked.services(of) == heard(started=True)
    assert len(agent.started) == 1
    told = asked.agent(of)
    assert not isinstance(told, Silence)
    assert told.allowed == ("guest-exec",)


RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB"


@pytest.mark.parametrize(
    ("files", "marks"),
    [
        ({"/etc/machine-id": "0123456789abcdef0123456789abcdef\n"}, {"machine-id"}),
        ({"/var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n"}, {"machine-id"}),
        ({"/etc/machine-id": "uninitialized\n"}, set()),
        ({"/etc/machine-id": ""}, set()),
        ({"/etc/ssh/ssh_host_rsa_key.pub": f"{RSA} root@web-0\n"}, {"SSH host key (rsa)"}),
        ({"/etc/ssh/ssh_host_ed25519_key.pub": "garbage"}, set()),
        ({"/etc/ssh/ssh_host_rsa_key": "PRIVATE"}, set()),
        ({}, set()),
    ],
)
def test_marks_of_a_system_are_digests_of_what_it_has_of_its_own(files: dict[str, str], marks: set[str]) -> None:
    """A machine-id that has been made, and public host keys without their comments; nothing else is told of them."""
    told = guest(Agent(files)).agent(instance(boot_id=BOOT))
    assert not isinstance(told, Silence)
    assert told.marks.keys() == marks
    assert all(text.strip() not in str(told) for text in files.values() if text.strip())
    files = {path: text.replace("root@web-0", "root@canary-0") for path, text in files.items()}
    assert guest(Agent(files)).agent(instance(boot_id=BOOT)) == told
    files = {path: text.replace("0123", "4567").replace("AAAAD", "AAAAE") for path, text in files.items()}
    other = guest(Agent(files)).agent(instance(boot_id=BOOT))
    assert (other == told) == (not marks)


def test_an_agent_that_shows_no_files_shows_no_marks() -> None:
    """Forbidden or denied, it is no error: what it says else is told."""
    agent = Agent({"/etc/machine-id": "ab"})
    for agent.forbidden, agent.denied, agent.trouble in ((FILES, (), ""), ((), ("/etc",), ""), ((), (), "EIO")):
        told = guest(agent).agent(instance(boot_id=BOOT))
        assert not isinstance(told, Silence)
        assert (told.marks, told.version) == ({}, "10.0.0")


# Services -----------------------------------------------------------------------------------------------------


def test_marker_of_this_boot_means_ready() -> None:
    """A guest without systemd is ready when its marker holds the id of the boot it is in, and in no other case."""
    agent = Agent({guest_services.READY_FILE: f"{BOOT}\n"}, output="init=other\n")
    assert guest(agent).services(instance(boot_id=BOOT)) == heard(started=True)
    assert not agent.started
    agent.files[guest_services.READY_FILE] = SETUP_BOOT
    found = guest(agent).services(instance(boot_id=BOOT))
    assert isinstance(found, Services)
    assert not found.started


def test_nothing_is_ready_before_the_setup_restart() -> None:
    """In the boot in which setup ran services may have started; they count only when no restart is to come."""
    agent = Agent({guest_services.READY_FILE: BOOT, SETUP_BOOT_FILE: BOOT})
    of = instance(boot_id=BOOT)
    assert guest(agent).services(of) == heard(started=False, pending=("the setup restart",))
    role = dataclasses.replace(of.role, setup=Setup(restart=False))
    assert guest(agent).services(dataclasses.replace(of, role=role)) == heard(started=True)


def test_guest_without_systemd_is_asked_by_script_once() -> None:
    """Once it is known that a guest has no systemd, its marker alone is read, in later boots of the VM as well."""
    agent = Agent({BOOT_ID_FILE: BOOT}, output="init=other\n")
    asked, of = guest(agent), instance(boot_id=BOOT)
    for _ in range(5):
        found = asked.services(of)
        assert isinstance(found, Services)
        assert not found.started
    assert len(agent.started) == 1
    agent.files[guest_services.READY_FILE] = BOOT
    assert asked.services(of) == heard(started=True)
    asked.services(dataclasses.replace(of, boot_id=SETUP_BOOT))
    assert len(agent.started) == 1
    asked.services(dataclasses.replace(of, boot_id=SETUP_BOOT, generation=of.generation + 1))
    assert len(agent.started) == 2, "a reimage may have brought another image"


def test_marker_is_not_asked_what_it_cannot_know() -> None:
    """A role that names units needs systemd: a marker does not answer for them."""
    agent = Agent({guest_services.READY_FILE: BOOT}, output="init=other\n")
    found = guest(agent).services(with_ready(Ready(units=("app.service",))))
    assert isinstance(found, Services)
    assert (found.started, found.failed) == (False, ("app.service: this guest has no systemd",))


@pytest.mark.parametrize(
    ("result", "started", "failed"),
    [
        ('{"v1": {"datasource": "DataSourceNoCloud", "errors": []}}', True, ()),
        (
            '{"v1": {"errors": ["(\'scripts_user\', \\u001b[31mboom)"]}}',
            False,
            ("cloud-init: ('scripts_user', [31mboom)",),
        ),
        ("[" * 3000, True, ()),
    ],
)
def test_without_commands_cloud_init_decides(result: str, started: bool, failed: tuple[str, ...]) -> None:
    """An agent that forbids guest-exec still shows cloud-init's result file."""
    agent = Agent({guest_services.CLOUD_INIT_RESULT: result})
    agent.forbidden = EXEC
    found = guest(agent).services(instance(boot_id=BOOT))
    assert isinstance(found, Services)
    assert (found.started, found.failed) == (started, failed)
    assert "forbids guest-exec" in found.note


@pytest.mark.parametrize(
    ("said", "ready", "checked", "expected"),
    [
        ("", Ready(), True, "still"),
        ("cloud-init=running\n", Ready(), True, "still"),
        ("cloud-init=disabled\n", Ready(), True, "started"),
        ('cloud-init-result={"v1": {"errors": []}}\n', Ready(), True, "started"),
        ('cloud-init-result={"v1": {"errors": []}}\n', Ready(), False, "docs/images-needs.md"),
        ('tells=itself\ncloud-init-result={"v1": {"errors": []}}\n', Ready(), True, "/run/vmrole/ready"),
        ('tells=itself\nready=BOOT\ncloud-init-result={"v1": {"errors": []}}\n', Ready(), False, "started"),
        ('cloud-init-result={"v1": {"errors": ["boom"]}}\n', Ready(), True, "cloud-init: boom"),
        ('cloud-init-result={"v1": {"errors": ["boom"]}}\n', Ready(ignore=("cloud-init",)), True, "started"),
        ('cloud-init-result={"v1": {"errors": []}}\nsetup-result={"problems": ["x"]}\n', Ready(), True, "setup: x"),
        ("cloud-init-result=half\n", Ready(), True, "still"),
        ('cloud-init-result={"v1": {"errors": []}}\n', Ready(units=("a.service",)), True, "no systemd"),
    ],
)
def test_what_a_guest_without_systemd_says(said: str, ready: Ready, checked: bool, expected: str) -> None:
    """cloud-init's end is enough where the role's own check has to pass as well; a guest that says itself when it has
    started is waited for; else it is told what is missing.
    """
    found = guest_services.judge(f"init=other\n{said.replace('BOOT', BOOT)}", ready, BOOT, checked=checked)
    assert found is not None
    assert found.started is (expected == "started")
    if expected not in ("started", "still"):
        assert expected in " ".join((found.note, *found.failed))


def test_a_guest_without_systemd_serves_by_cloud_init_and_the_role_s_check() -> None:
    """OpenRC or sysvinit with cloud-init and an agent: nothing of ours has to be in the image."""
    agent = Agent({BOOT_ID_FILE: BOOT}, output="init=other\ncloud-init=running\n")
    asked, of = guest(agent), with_ready(Ready(probe=TcpProbe(port=22)))
    for _ in range(5):
        found = asked.services(of)
        assert isinstance(found, Services)
        assert not found.started
    assert len(agent.started) == 1, "its files are read until cloud-init has ended: that starts no process"
    agent.files[guest_services.CLOUD_INIT_RESULT] = '{"v1": {"errors": []}}'
    agent.output = 'init=other\ncloud-init-result={"v1": {"errors": []}}\n'
    found = asked.services(of)
    while not found.started:  # It is left alone for as long as its first answer took.
        found = asked.services(of)
        assert isinstance(found, Services)
    assert "no systemd" in found.note


CONFINED_SYSTEMD = "init=systemd\nbus=denied\n"


@pytest.mark.parametrize(
    ("said", "ready", "expected"),
    [
        ("", Ready(), "answering and the role's probe alone"),
        ('cloud-init-result={"v1": {"errors": []}}\n', Ready(), "cloud-init's end and the role's probe alone"),
        ("cloud-init=running\n", Ready(), "still"),
        ('cloud-init-result={"v1": {"errors": ["boom"]}}\n', Ready(), "cloud-init: boom"),
        ("", Ready(units=("a.service",)), "cannot be asked for"),
    ],
)
def test_what_a_confined_guest_with_systemd_says(said: str, ready: Ready, expected: str) -> None:
    """An agent that may not ask D-Bus is judged by what it may see, and says which boolean or unit is in the way."""
    found = judged(CONFINED_SYSTEMD + said, ready)
    assert found.started is ("alone" in expected)
    told = " ".join((found.note, *found.failed))
    assert expected == "still" or expected in told
    assert ("virt_qemu_ga" in told) is ("alone" in expected or bool(ready.units))


def test_a_confined_agent_with_nothing_to_see_is_judged_by_its_answering() -> None:
    """Where neither our files nor a program can be had, the probe decides, and the note names the confinement."""
    agent = Agent({BOOT_ID_FILE: BOOT})
    agent.denied = (*OUR_FILES, "exec")
    found = guest(agent).services(with_ready(Ready(probe=TcpProbe(port=22))))
    assert isinstance(found, Services)
    assert found.started
    assert "virt_qemu_ga_run_unconfined" in found.note


def test_an_agent_that_hides_how_commands_end_runs_one_and_no_more() -> None:
    """guest-exec without guest-exec-status is worth nothing: it is not called at each look."""
    agent = Agent({BOOT_ID_FILE: BOOT, guest_services.CLOUD_INIT_RESULT: '{"v1": {"errors": []}}'})
    agent.forbidden = ("guest-exec-status",)
    asked, of = guest(agent), instance(boot_id=BOOT)
    for _ in range(3):
        found = asked.services(of)
        assert isinstance(found, Services)
        assert found.started
    assert len(agent.started) == 1


def test_commands_are_remembered_in_bounds_and_forgotten_with_the_guest() -> None:
    """However often a role's wishes change, few commands of a guest are remembered; none of one that is gone."""
    agent = Agent({BOOT_ID_FILE: BOOT}, output="init=systemd\nstate=running\n")
    agent.running_for_s = math.inf
    asked = guest(agent)
    for number in range(50):
        asked.identity(instance())
        asked.services(with_ready(Ready(units=(f"a{number}.service",))))
    name = instance().name
    assert len(asked._commands._running[name]) == agent_commands.COMMANDS_MAX
    agent.forbidden = ("guest-exec-status",)
    asked.services(with_ready(Ready(units=("b.service",))))
    asked.forget(name)
    for keeper in (asked, asked._commands, *asked._systems.values()):
        for what, known in vars(keeper).items():
            assert not (isinstance(known, dict) and name in known), f"{keeper} remembers {what}"


def test_no_look_waits_for_the_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb never sleeps: what a guest has not answered yet is another look's."""

    def sleeps(_seconds: float) -> None:
        raise AssertionError("a verb of the port sleeps")

    monkeypatch.setattr(time, "sleep", sleeps)
    agent = Agent({BOOT_ID_FILE: BOOT}, output="init=systemd\nstate=running\n")
    agent.running_for_s = math.inf
    asked = guest(agent)
    for of in (instance(boot_id=BOOT), with_ready(Ready(command=("/bin/true",)))):
        asked.identity(of)
        asked.services(of)


def test_without_commands_and_files_answering_is_all() -> None:
    """An agent that allows nothing is ready when it answers, and the note says how little that is."""
    agent = Agent()
    agent.forbidden = FILES + EXEC
    found = guest(agent).services(instance(boot_id=BOOT))
    assert isinstance(found, Services)
    assert found.started
    assert "by its answering alone" in found.note
    refused = guest(agent).services(with_ready(Ready(units=("app.service",))))
    assert isinstance(refused, Services)
    assert not refused.started
    assert refused.failed


def test_a_slow_script_is_taken_up_by_the_next_turn() -> None:
    """A turn waits a moment for the script and comes back later; the script is not started twice in one boot."""
    agent = Agent(output="init=systemd\nstate=running\ncloud-init=disabled\n")
    agent.running_for_s = math.inf
    asked, of = guest(agent), instance(boot_id=BOOT)
    for _ in range(2):
        first = asked.services(of)
        assert isinstance(first, Services)
        assert not first.started
    agent.running_for_s = 0.0
    assert asked.services(of) == heard(started=True)
    assert len(agent.started) == 1


def test_a_slow_guest_is_left_alone_for_a_while() -> None:
    """A guest that took a second to say "not yet" is not asked again for a second, unless what is asked changed;
    then it is, and "ready" never waits.
    """
    agent = Agent(output="init=systemd\nstate=starting\njob=app.service start\n")
    agent.running_for_s = 1.0
    asked, of = guest(agent), instance(boot_id=BOOT)
    not_yet = heard(started=False, pending=("app.service",), note="systemd: starting")
    while asked.services(of) != not_yet:
        pass  # A slow machine needs more than one turn for it.
    assert asked.services(of) == not_yet
    assert len(agent.started) == 1
    agent.running_for_s = 0.0
    agent.output = "init=systemd\nstate=running\n"
    assert asked.services(with_ready(Ready(ignore=("x.service",)))) == heard(started=True)
    time.sleep(1.1)
    assert asked.services(of) == heard(started=True)


def test_a_command_of_an_earlier_boot_is_forgotten() -> None:
    """A process id of one boot is not asked for in the next, where it may be another process."""
    agent = Agent(output="init=systemd\nstate=running\ncloud-init=disabled\n")
    agent.running_for_s = 60
    asked = guest(agent)
    asked.services(instance(boot_id=BOOT))
    agent.running_for_s = 0
    assert asked.services(instance(boot_id=SETUP_BOOT)) == heard(started=True)
    assert len(agent.started) == 2


def test_ready_command_decides() -> None:
    """With `ready.command` an instance is ready when it exits 0; else its status and its last line are told."""
    ready = Ready(command=("/usr/bin/check", "--all"))
    agent = Agent({guest_services.READY_FILE: BOOT})
    assert guest(agent).services(with_ready(ready)) == heard(started=True)
    assert agent.started == [["/usr/bin/check", "--all"]]
    agent = Agent({guest_services.READY_FILE: BOOT}, output="a\nnot \x1b[1myet\n", status=3)
    found = guest(agent).services(with_ready(ready))
    assert found == heard(started=False, note="ready.command exits 3: not [1myet")
    assert str(unstarted(found)) == "ready.command exits 3: not [1myet", "it is not the services that are missing"
    agent = Agent({guest_services.READY_FILE: BOOT}, output="", status=1)
    assert guest(agent).services(with_ready(ready)) == heard(started=False, note="ready.command exits 1")


# What the script's output means --------------------------------------------------------------------------------

RUNNING = "init=systemd\nstate=running\n"
DONE = RUNNING + 'cloud-init-exit=0\ncloud-init-json={"status": "done", "errors": []}\n'


def judged(said: str, ready: Ready = Ready()) -> Services:  # noqa: B008 - frozen
    found = guest_services.judge(said, ready, BOOT)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("said", "ready", "expected"),
    [
        (RUNNING, Ready(), heard(started=True)),
        (DONE, Ready(), heard(started=True)),
        (RUNNING + "cloud-init=disabled\n", Ready(), heard(started=True)),
        (
            "init=systemd\nstate=starting\njob=nginx.service start\n",
            Ready(units=("app.service",)),
            heard(started=False, pending=("nginx.service",), note="systemd: starting"),
        ),
        (
            RUNNING + "cloud-init=running\n",
            Ready(),
            heard(started=False, pending=("cloud-init",), note="cloud-init: running"),
        ),
        ("init=systemd\nstate=degraded\n", Ready(), heard(started=False, note="systemd: degraded")),
        (
            "init=systemd\nstate=degraded\nfailed=ssh.service\n",
            Ready(),
            heard(started=False, failed=("ssh.service",)),
        ),
        (
            "init=systemd\nstate=degraded\nfailed=ssh.service\n",
            Ready(ignore=("ssh.service",)),
            heard(started=True),
        ),
        (RUNNING + "unit=active app.service\n", Ready(units=("app.service",)), heard(started=True)),
        (
            RUNNING + "unit=activating app.service\n",
            Ready(units=("app.service",)),
            heard(started=False, pending=("app.service (activating)",)),
        ),
        (
            RUNNING + "failed=app.service\nunit=failed app.service\n",
            Ready(units=("app.service",)),
            heard(started=False, failed=("app.service",)),
        ),
        (
            RUNNING + 'cloud-init-exit=2\ncloud-init-json={"status": "done", "extended_status": "degraded done"}\n',
            Ready(),
            heard(started=True),
        ),
        (
            RUNNING + 'cloud-init-exit=1\ncloud-init-json={"status": "error", "errors": ["no \\u202e"]}\n',
            Ready(),
            heard(started=False, failed=("cloud-init: no",)),
        ),
        (
            RUNNING + 'cloud-init-exit=1\ncloud-init-json={"status": "error"}\n',
            Ready(ignore=("cloud-init",)),
            heard(started=True),
        ),
        (
            RUNNING + 'cloud-init-result={"v1": {"datasource": "NoCloud", "errors": []}}\n',
            Ready(),
            heard(started=True),
        ),
        (
            RUNNING + 'cloud-init-result={"v1": {"errors": ["script failed"]}}\n',
            Ready(),
            heard(started=False, failed=("cloud-init: script failed",)),
        ),
        (
            DONE
            + 'setup-result={"result": {"v1": {"errors": ["runcmd failed"]}}, "problems": ["no disk ls-cache"]}\n',
            Ready(),
            heard(started=False, failed=("setup: no disk ls-cache", "cloud-init: runcmd failed")),
        ),
        (
            DONE + 'setup-result={"result": {"v1": {"errors": []}}, "status": null, "problems": []}\n',
            Ready(),
            heard(started=True),
        ),
        (
            DONE + 'setup-result={"result": {"v1": {"errors": ["runcmd failed"]}}, "problems": []}\n',
            Ready(ignore=("cloud-init",)),
            heard(started=True),
        ),
        (
            RUNNING + "cloud-init-result=half\n",
            Ready(),
            heard(started=False, pending=("cloud-init",), note="cloud-init: unknown"),
        ),
        (
            RUNNING + "cloud-init-exit=127\ncloud-init-json=\n",
            Ready(),
            heard(started=False, pending=("cloud-init",), note="cloud-init: unknown"),
        ),
        (
            "init=systemd\nstate=\n",
            Ready(),
            heard(started=False, note="systemd: unknown"),
        ),
    ],
)
def test_what_systemd_says(said: str, ready: Ready, expected: Services) -> None:
    """Started means: a final state, no jobs, nothing failed that matters, the named units active, cloud-init done."""
    found = judged(said, ready)
    assert dataclasses.replace(found, verdict="") == expected
    final = found.failed and not (found.pending or found.note) and any("cloud-init: " in one for one in found.failed)
    assert bool(found.verdict) >= bool(final), "what no restart mends is said to be so"


@given(st.text())
def test_any_output_is_survived(said: str) -> None:
    """Whatever a guest prints, the judgement ends, is short, and holds nothing that a terminal would act on."""
    for text in (said, f"init=systemd\n{said}", f"init=systemd\nstate={said}\njob={said}\ncloud-init-json={said}"):
        found = guest_services.judge(text, Ready(), BOOT)
        shown = [] if found is None else [found.note, *found.pending, *found.failed]
        assert len(shown) < 60
        assert all(len(line) < 300 and line == harmless(line, 300) for line in shown)


def test_a_thousand_failures_are_told_shortly() -> None:
    """A guest with a thousand failed units gets a list that a person reads."""
    found = judged(RUNNING + "".join(f"failed=unit-{number}.service\n" for number in range(1000)))
    assert len(found.failed) == 21
    assert found.failed[-1] == "and 980 more"


def test_script_is_sound_shell() -> None:
    """shellcheck finds nothing in the script that runs in the guest, and a shell without systemd says so."""
    script = f"#!/bin/sh\n{guest_services.SCRIPT}"
    done = subprocess.run(["shellcheck", "-"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    said = subprocess.run(
        ["busybox", "sh", "-c", guest_services.SCRIPT, "vmrole", "app.service"], capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[0] in ("init=other", "init=systemd")


# Probes -------------------------------------------------------------------------------------------------------


@contextmanager
def server(answer: bytes, *, pause_s: float = 0.0, by: int = 4096) -> Iterator[int]:
    """A TCP server on a free port that sends `answer` to each client, `by` bytes at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    try:
                        client.recv(4096)
                        for start in range(0, len(answer), by):
                            client.sendall(answer[start : start + by])
                            time.sleep(pause_s)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nok", ""),
        (b"HTTP/1.0 204\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "GET /healthz answers 503"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "GET /healthz answers 100"),
        (b"SSH-2.0-OpenSSH\x1b[31m\r\n", "no HTTP answer, but 'SSH-2.0-OpenSSH[31m'"),
        (b"", "the connection was closed without an answer"),
        (b"x" * 100_000, f"no HTTP answer, but '{'x' * 39}…'"),
    ],
)
def test_http_probe(answer: bytes, expected: str) -> None:
    """2xx and 3xx pass; everything else says shortly what came instead."""
    with server(answer) as port:
        assert host_probe.ask("127.0.0.1", port, HttpProbe(path="/healthz")) == expected


def test_probe_ends_although_the_guest_drips() -> None:
    """A server that sends a byte now and then does not hold a turn longer than the probe's time."""
    drips = b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000
    with server(drips, pause_s=0.2, by=1) as port:  # for twenty minutes, if somebody listened
        assert "no answer" in host_probe.ask("127.0.0.1", port, HttpProbe(), within_s=0.5)


def test_tcp_probe() -> None:
    """A port that accepts passes; a closed one does not."""
    with server(b"") as port:
        assert host_probe.ask("127.0.0.1", port, TcpProbe()) == ""
    assert host_probe.ask("127.0.0.1", port, TcpProbe()) == f"port {port}: connection refused"


# Hostile text and the transcript --------------------------------------------------------------------------------


@given(st.text())
def test_harmless_is_short_and_printable(text: str) -> None:
    """No control, no reordering, no line end, no more than asked for."""
    line = harmless(text, 50)
    assert len(line) <= 50
    assert line.isprintable()
    assert all(line_.isprintable() for line_ in harmless_lines(text).replace("\t", "").split("\n"))


def test_transcript_is_bounded_and_counts() -> None:
    """Equal exchanges are counted, different ones push the oldest out, and another instance is not disturbed."""
    transcript, name = Transcript(SystemClock()), InstanceName("web-0.shop")
    for _ in range(500):
        transcript.note(name, "identity", "silence")
        transcript.note(name, "services", "none")
    assert transcript.text(name).count("(500 times)") == 2
    for number in range(100):
        transcript.note(name, "identity", f"boot {number}")
    assert len(transcript.text(name).splitlines()) == EXCHANGES
    assert transcript.text(InstanceName("web-1.shop")) == ""


def test_deep_json_is_no_error() -> None:
    """JSON that is nested too deeply for a parser is treated as nothing."""
    deep = json.dumps({"status": "done"})[:-1] + ', "x": ' + "[" * 100_000
    found = judged(f"{RUNNING}cloud-init-exit=0\ncloud-init-json={deep}\n")
    assert found.pending == ("cloud-init",)

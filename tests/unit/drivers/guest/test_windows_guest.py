"""The Windows driver against agents that obey, forbid, lie, are slow or say nothing."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.drivers.guest import windows_guest, windows_setup
from orchestrator.drivers.guest.agent_commands import LEFT_ALONE_MAX_S, OUTPUT_BYTES
from orchestrator.drivers.guest.awakening import BY_KERNEL, CLOCK_OFF_S
from orchestrator.drivers.guest.guest_agent import LibvirtGuest
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.model import AnswerFormat, Identity, InstanceName, Phase, Silence
from tests.world.instances import checkpoint
from tests.world.waiting import until
from tests.world.windows_agent import (
    EXEC,
    FILES,
    FIRST,
    IN_FIRST,
    IN_SECOND,
    OOBE,
    SETUP_DIR,
    SPECIALIZE,
    STARTING,
    WEB,
    WindowsAgent,
    guest,
    identified,
    of_windows,
    status,
    without_exec,
)

CACHED_SENTENCE = (
    "the computer is called WIN-ABC, not WEB-0: the answer file was not honoured: "
    r"C:\Windows\Panther\unattend.xml cached in the image was used instead; remove it and generalize again"
)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two looks, so that a test need not sleep."""
    monkeypatch.setattr(windows_guest, "LEFT_ALONE_MAX_S", 0.0)


# Identity -----------------------------------------------------------------------------------------------------


def test_setup_is_finished_at_the_second_look() -> None:
    """Complete, both flags zero, the right name, in another boot than the disc's: believed when seen twice."""
    asked = guest(WindowsAgent())
    first, second = asked.identity(WEB), asked.identity(WEB)
    expected = Identity(boot_id=IN_SECOND, setup_boot_id=IN_FIRST, source="exec")
    assert first == dataclasses.replace(expected, unfinished=windows_setup.CONFIRMING)
    assert second == expected
    assert IN_FIRST != IN_SECOND


def test_two_looks_must_be_of_one_boot() -> None:
    """What was seen before a restart confirms nothing after it."""
    agent = WindowsAgent(status(boot=FIRST))
    asked = guest(agent)
    asked.identity(WEB)
    agent.status = status()
    found = asked.identity(WEB)
    assert isinstance(found, Identity)
    assert found.unfinished == windows_setup.CONFIRMING
    agent.resets_seen = 1
    agent.status = status()
    found = asked.identity(WEB)
    assert isinstance(found, Identity)
    assert found.unfinished == windows_setup.CONFIRMING


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (SPECIALIZE, "Windows is getting devices ready: specialize pass (IMAGE_STATE_UNDEPLOYABLE)"),
        (
            SPECIALIZE | {"setup-boot": "", "instance": "", "generation": ""},
            "Windows is getting devices ready: specialize pass (IMAGE_STATE_UNDEPLOYABLE)",
        ),
        (OOBE, "Windows is preparing your computer for first use: oobeSystem pass (IMAGE_STATE_UNDEPLOYABLE)"),
        (
            status(oobe="1"),
            "Windows is preparing your computer for first use: oobeSystem pass (IMAGE_STATE_COMPLETE)",
        ),
        (
            status(boot=FIRST, image_state="IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"),
            "Windows Setup has not begun yet (IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE)",
        ),
        (
            status(boot=FIRST, image_state="IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE"),
            "Windows has been specialized; its restart comes next (IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE)",
        ),
        (
            status(image_state="IMAGE_STATE_SPECIALIZE_RESEAL_TO_AUDIT"),
            "the image goes to audit mode (IMAGE_STATE_SPECIALIZE_RESEAL_TO_AUDIT): "
            "generalize it with sysprep /generalize /oobe",
        ),
        (status(image_state=""), "Windows does not say how far Setup is (ImageState unknown)"),
        (
            status(boot=FIRST, setup_boot="", system_setup="1"),
            "Windows Setup is still in progress (IMAGE_STATE_COMPLETE, SystemSetupInProgress)",
        ),
        (status(computer="WIN-ABC", cached="yes", instance="", generation="", setup_boot=""), CACHED_SENTENCE),
        (status(computer="WIN-ABC", cached="yes", generation="7"), CACHED_SENTENCE),
        (
            status(computer="WIN-ABC", instance="", answer_file=r"C:\Windows\System32\Sysprep\unattend.xml"),
            "the computer is called WIN-ABC, not WEB-0: the answer file was not honoured: "
            r"C:\Windows\System32\Sysprep\unattend.xml was used instead; remove it and generalize again",
        ),
        (
            status(computer="WIN-ABC", instance="", answer_file=""),
            "the computer is called WIN-ABC, not WEB-0: no answer file was found; is the image generalized "
            "(sysprep /generalize /oobe), and does it have a driver for a SATA CD?",
        ),
        (
            status(computer="WIN-ABC"),
            "the computer is called WIN-ABC, not WEB-0: the answer file was applied and its name was not; "
            "see setuperr.log in the evidence",
        ),
        (
            status(instance="old-3.shop", cached="yes"),
            "Windows Setup has finished, but the answer file was not honoured: "
            r"C:\Windows\Panther\unattend.xml cached in the image was used instead; remove it and generalize again",
        ),
        (status(setup_boot=""), "Windows Setup has finished; the answer disc's own script has not"),
    ],
)
def test_what_setup_still_does_is_told(said: dict[str, str], expected: str) -> None:
    """Each state of Setup has a sentence; a wrong name says what was wrong with the image, and what mends it."""
    agent = WindowsAgent(said)
    asked = guest(agent)
    asked.identity(WEB)
    found = asked.identity(WEB)
    assert isinstance(found, Identity)
    assert found.unfinished == expected


@pytest.mark.parametrize("computer", ["WEB-0", "web-0", "Web-0", "web-0.shop.internal"])
def test_names_compare_as_windows_compares_them(computer: str) -> None:
    """Case and a domain do not make another computer."""
    assert identified(WindowsAgent(status(computer=computer))).unfinished == windows_setup.CONFIRMING


def test_remains_of_another_instance_are_not_ours() -> None:
    """An image that was made of an instance carries its `setup-boot`: that was another generation's."""
    for said in (status(instance="db-0.shop"), status(generation="2"), status(instance="", generation="")):
        assert identified(WindowsAgent(said)).setup_boot_id == ""


def test_what_boots_from_a_checkpoint_knows_the_generation_of_its_setup() -> None:
    """It went through that of another generation of the same instance, and of none that is not its checkpoint's."""
    kept = checkpoint(generation=WEB.generation, boot_id=IN_SECOND, memory=None)
    after = dataclasses.replace(WEB, generation=7, layered=7, checkpoint=kept)
    asked = guest(WindowsAgent())
    assert [asked.identity(after), asked.identity(after)][1] == Identity(
        boot_id=IN_SECOND, setup_boot_id=IN_FIRST, source="exec"
    )
    cold = dataclasses.replace(after, layered=0)
    asked = guest(WindowsAgent())
    found = [asked.identity(cold), asked.identity(cold)][1]
    assert isinstance(found, Identity)
    assert (found.setup_boot_id, bool(found.unfinished)) == ("", True)


def test_another_time_zone_is_no_other_boot() -> None:
    """Setup sets the time zone in the boot that it runs in: the same moment in another zone is the same boot."""
    same = "20261121183000.123456-480"
    found = identified(WindowsAgent(SPECIALIZE | {"boot": same}))
    assert found.boot_id == found.setup_boot_id == IN_FIRST
    assert windows_setup.moment("20261122123000.123456+600") == windows_setup.moment(FIRST)


@pytest.mark.parametrize(
    "lie", ["", "never", "20261322023000.123456+000", "00010101000000.000000+999", f"{FIRST}; reboot", "\x1b[31m"]
)
def test_no_lie_becomes_a_boot(lie: str) -> None:
    """What is no date is no boot: such a guest is worth no more than a ping."""
    found = identified(WindowsAgent(status(boot=lie, setup_boot=lie)))
    assert (found.boot_id, found.setup_boot_id, found.source) == ("", "", "ping")


def test_each_generation_has_boots_of_its_own() -> None:
    """Two VMs that began in the same moment are in different boots."""
    other = dataclasses.replace(WEB, generation=2)
    assert windows_setup.boot_id(WEB, FIRST) != windows_setup.boot_id(other, FIRST)


def test_a_cloudbase_image_is_called_by_its_host_name() -> None:
    """Images that do not answer from Unattend.xml take the instance's own name."""
    role = dataclasses.replace(WEB.role, answers=AnswerFormat.CONFIG_DRIVE)
    found = identified(WindowsAgent(), dataclasses.replace(WEB, role=role))
    assert found.unfinished == windows_setup.CONFIRMING


def test_a_slow_script_is_taken_up_by_the_next_turn() -> None:
    """A turn waits a moment for PowerShell and comes back later; it is not started twice."""
    agent = WindowsAgent()
    agent.running_for_s = math.inf
    asked = guest(agent)
    for _ in range(2):
        assert asked.identity(WEB) == Silence(reason="the guest is being asked how far Setup is")
    agent.running_for_s = 0.0
    assert not isinstance(asked.identity(WEB), Silence)
    assert len(agent.started) == 1


@pytest.mark.slow
def test_a_script_that_never_ends_is_started_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first PowerShell may take minutes; one that has hung does not keep the guest from being asked for ever."""
    agent = WindowsAgent()
    agent.running_for_s = 60.0
    asked = guest(agent)
    asked.identity(WEB)
    asked.identity(WEB)
    assert len(agent.started) == 1
    monkeypatch.setattr(windows_guest, "FORGOTTEN_S", 0.0)
    asked.identity(WEB)
    assert len(agent.started) == 2


def test_a_slow_guest_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest whose PowerShell took a second is not asked again for a second; what it said stands."""
    monkeypatch.setattr(windows_guest, "LEFT_ALONE_MAX_S", LEFT_ALONE_MAX_S)
    agent = WindowsAgent(SPECIALIZE)
    agent.running_for_s = 1.0
    asked = guest(agent)
    assert isinstance(asked.identity(WEB), Silence), "a look does not wait for it"
    while isinstance(found := asked.identity(WEB), Silence):
        pass
    for _ in range(20):
        assert asked.identity(WEB) == found
    assert len(agent.started) == 1


def test_a_serving_guest_is_asked_by_a_ping() -> None:
    """Once Setup is complete no PowerShell runs in the guest; a reset, or a silence, makes it be asked again."""
    agent = WindowsAgent()
    asked = guest(agent)
    serving = dataclasses.replace(WEB, phase=Phase.SERVING)
    asked.identity(serving)
    complete = asked.identity(serving)
    assert isinstance(complete, Identity)
    assert complete.unfinished == ""
    for _ in range(20):
        assert asked.identity(serving) == complete
    assert len(agent.started) == 2
    agent.status = status(boot="20261122040000.000000+000")
    agent.resets_seen = 1
    third = asked.identity(serving)
    assert isinstance(third, Identity)
    assert third.boot_id not in ("", complete.boot_id)
    assert len(agent.started) == 3
    agent.silent = "no answer"
    assert asked.identity(serving) == Silence(reason="no answer")
    agent.silent = ""
    asked.identity(serving)
    assert len(agent.started) == 4


def test_a_restart_is_watched_by_more_than_pings() -> None:
    """While a restart is waited for, the boot is asked for each time: a reset that nobody saw is found out."""
    agent = WindowsAgent()
    asked = guest(agent)
    restarting = dataclasses.replace(WEB, phase=Phase.RESTARTING)
    asked.identity(restarting)
    before = asked.identity(restarting)
    agent.status = status(boot="20261122040000.000000+000")
    after = asked.identity(restarting)
    assert isinstance(before, Identity)
    assert isinstance(after, Identity)
    assert after.boot_id != before.boot_id


# Without guest-exec ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "utf-16", "utf-8-sig"])
def test_files_tell_without_exec(encoding: str) -> None:
    """State.ini, our own files and the host name say when Setup has finished; the monitor tells of the restart."""
    asked = guest(without_exec(encoding=encoding))
    asked.identity(WEB)
    assert asked.identity(WEB) == Identity(boot_id="", source="ping")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({windows_guest.STATE_INI: b"[State]\nImageState=IMAGE_STATE_UNDEPLOYABLE\n"}, "oobeSystem pass"),
        ({windows_guest.STATE_INI: b""}, "Windows does not say how far Setup is"),
        ({f"{SETUP_DIR}instance": b""}, "Windows Setup has finished, but no answer file was found"),
        ({f"{SETUP_DIR}setup-boot": b"x"}, "the answer disc's own script has not"),
    ],
)
def test_files_tell_what_is_missing(change: dict[str, bytes], expected: str) -> None:
    """Without guest-exec the sentences are the same, as far as files go."""
    agent = without_exec()
    agent.files |= change
    found = identified(agent)
    assert (found.boot_id, found.source) == ("", "ping")
    assert expected in found.unfinished


def test_an_agent_that_allows_nothing_tells_its_name() -> None:
    """A computer takes its name with the restart after specialize; without even that there is only the ping."""
    agent = WindowsAgent()
    agent.forbidden = EXEC + FILES
    agent.host_name = "WIN-ABC"
    assert "called WIN-ABC, not WEB-0" in identified(agent).unfinished
    agent.host_name = "web-0"
    asked = guest(agent)
    asked.identity(WEB)
    assert asked.identity(WEB) == Identity(boot_id="", source="ping")
    agent.host_name = {"name": 1}
    assert isinstance(guest(agent).identity(WEB), Silence)


def test_without_powershell_files_tell() -> None:
    """A guest that cannot start PowerShell, or whose PowerShell says something else, is read instead."""
    for change in ("has_powershell", "garbage"):
        agent = without_exec()
        agent.forbidden = ()
        setattr(agent, change, False if change == "has_powershell" else "#< CLIXML")
        found = identified(agent)
        assert (found.source, found.unfinished) == ("ping", windows_setup.CONFIRMING)


def test_a_powershell_that_fails_once_does_not_make_files_decide() -> None:
    """Where PowerShell has answered before, files that know less do not stand in for it: it is asked again."""
    for change, broken in (("has_powershell", False), ("garbage", "Out of memory")):
        agent = without_exec()
        agent.forbidden, agent.status = (), OOBE
        asked = guest(agent)
        first = asked.identity(WEB)
        assert isinstance(first, Identity)
        assert "oobeSystem pass" in first.unfinished
        well = getattr(agent, change)
        setattr(agent, change, broken)
        for _ in range(3):
            assert isinstance(asked.identity(WEB), Silence)
        setattr(agent, change, well)
        assert asked.identity(WEB) == first


# Hostile and broken -----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(said=st.text(), name=st.text())
def test_any_answer_is_survived(said: str, name: str) -> None:
    """Whatever a guest says, the answer is short, and holds nothing that a terminal would act on."""
    liar = WindowsAgent(dict.fromkeys(status(), said))
    garbled = WindowsAgent()
    garbled.garbage = said
    reader = without_exec()
    reader.files = dict.fromkeys(reader.files, said.encode(errors="replace"))
    reader.host_name = name
    for agent in (liar, garbled, reader, WindowsAgent(status(computer=said, answer_file=name, image_state=said))):
        asked = guest(agent)
        for found in (asked.identity(WEB), asked.services(STARTING)):
            shown = [getattr(found, field.name) for field in dataclasses.fields(found)]
            words = [word for one in shown for word in (one if isinstance(one, tuple) else (one,))]
            assert all(word == harmless(word, 400) for word in words if isinstance(word, str))


@pytest.mark.parametrize("answer", [None, [], {"pid": "x"}, {"pid": 1, "exited": True, "out-data": 7}, "x" * 100])
def test_answers_of_a_wrong_shape_are_silence(answer: object) -> None:
    """An agent that answers something else than was asked for has said nothing."""

    class Liar(WindowsAgent):
        def call(self, name: InstanceName, command: str, **arguments: Any) -> Any:
            return answer

    assert isinstance(guest(Liar()).identity(WEB), Silence)


# Logs -----------------------------------------------------------------------------------------------------------


def test_logs_of_setup_are_kept_without_secrets() -> None:
    """The logs that can be read are, without the lines that may hold a password or a key."""
    agent = WindowsAgent()
    key = b"A AAAAA-BBBBB-CCCCC-DDDDD-EEEEE\n"
    agent.files = {
        r"C:\Windows\Panther\setuperr.log": "Fehler 1\r\nAdministratorPassword = geheim\r\n".encode("utf-16"),
        r"C:\Windows\Panther\UnattendGC\setuperr.log": b"<Value>geheim</Value>\n" + key + b"end\n",
    }
    found = guest(agent).logs(WEB)
    assert found["setuperr.log"] == "Fehler 1\n(a line that may hold a secret was left out)\n"
    assert found["unattendgc-setuperr.log"].splitlines()[-1] == "end"
    assert "geheim" not in str(found)
    assert "BBBBB" not in str(found)
    assert set(found) == {"setuperr.log", "unattendgc-setuperr.log"}
    agent.silent = "no answer"
    assert guest(agent).logs(WEB) == {}
    agent.silent, agent.forbidden = "", FILES
    assert guest(agent).logs(WEB) == {}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp850"])
@pytest.mark.parametrize("more", [0, 1])
def test_no_secret_stands_at_the_end_of_a_long_log(encoding: str, more: int) -> None:
    """Of UTF-16 the end does not say what it is. It may begin within a letter, as it may within a line: behind what
    says that a secret comes.
    """
    line = "2026-11-29 Info  AdministratorPassword = geheim, für alle\r\n"
    agent = WindowsAgent()
    for length in range(windows_guest.LOG_BYTES - 80, windows_guest.LOG_BYTES + 80):
        filler = "x" * (length // (2 if "16" in encoding else 1) - len(line) - 6) + "\r\nend\r\n"
        text = f"begin\r\n{line}{filler}".encode(encoding) + b"\0" * more
        agent.files = {r"C:\Windows\Panther\setuperr.log": text}
        found = guest(agent).logs(WEB)["setuperr.log"]
        assert "geheim" not in found.replace("\0", ""), found[:200]
        assert "\nend\n" in found
    agent.files = {r"C:\Windows\Panther\setuperr.log": b"geheim" * windows_guest.LOG_BYTES}
    assert guest(agent).logs(WEB)["setuperr.log"] == "(a line that was cut off was left out)\n"


def test_no_secret_stands_at_the_end_of_a_long_journal() -> None:
    """Of which the beginning is kept: what says that a line holds a secret may come behind it."""
    agent = WindowsAgent()
    for length in range(OUTPUT_BYTES - 40, OUTPUT_BYTES + 1):
        agent.without_powershell = "x" * length + "\r\nnet user a geheim /passwordreq:yes\r\n" + "y" * 100
        told = guest(agent).evidence(WEB)["journal.txt"].decode()
        assert "geheim" not in told


RESTORED: Final = of_windows(boot_id=IN_SECOND)


def test_a_restored_windows_is_told_the_time() -> None:
    """By its agent, which alone can: and its random numbers are its own since Windows 8, by vmgenid."""
    agent = WindowsAgent()
    agent.clock_off_s = -86_400.0
    asked = guest(agent)
    assert asked.awaken(RESTORED) == ""
    assert abs(agent.clock_off_s) <= CLOCK_OFF_S
    assert asked.randomness(RESTORED) == BY_KERNEL
    assert not agent.started, "Linux's commands mean nothing there"
    agent.clock_off_s, agent.sets_clock = 7200.0, False
    assert "its agent does not set its clock: Failed to set the time" in str(asked.awaken(RESTORED))


@pytest.mark.parametrize(
    ("system", "words"),
    [
        ({"kernel-version": "10.0"}, ""),
        ({"kernel-version": "6.2"}, ""),
        ({"kernel-version": "6.1"}, "its Windows (6.1) may give the same random numbers twice"),
        ({"kernel-version": "6.1\x1b[2J"}, "its Windows (6.1"),
        ({"kernel-version": 10}, "its Windows (of no known version)"),
        ({}, "its Windows (of no known version)"),
        ("Windows", "its Windows (of no known version)"),
    ],
)
def test_a_windows_that_may_repeat_itself_is_not_restored(system: object, words: str) -> None:
    """Its version is what it says, and is told as it may be shown."""
    agent = WindowsAgent()
    agent.system = system
    unfit = guest(agent).unfit(RESTORED)
    assert isinstance(unfit, str)
    assert words in unfit
    assert bool(unfit) is bool(words)
    assert "\x1b" not in unfit


def test_a_windows_writes_what_it_held_back_before_it_is_kept() -> None:
    """By our script; one that cannot says why, and one without PowerShell is another matter."""
    agent = WindowsAgent(services="")
    assert _until_told(guest(agent)) == ""
    assert agent.started == ["# vmrole flush 1"]
    agent.flush_code, agent.services = 1, "no volume with a letter"
    assert "it cannot write to its disk what it held back: no volume with a letter" in _until_told(guest(agent))
    agent.has_powershell = False
    assert "has nothing written to its disk" in _until_told(guest(agent))


def _until_told(asked: LibvirtGuest) -> str:
    told: list[str | Silence] = []

    def ended() -> bool:
        told.append(asked.write_out(RESTORED))
        return isinstance(told[-1], str)

    until(ended, 60.0, what="the script to end")
    return str(told[-1])


def test_what_was_seen_before_it_was_saved_says_nothing_of_what_is_restored() -> None:
    """Somebody else may have started its VM meanwhile: it is asked again which boot it is in."""
    agent = WindowsAgent()
    asked = guest(agent)
    before = [asked.identity(RESTORED), asked.identity(RESTORED)][1]
    assert isinstance(before, Identity)
    assert before.boot_id == IN_SECOND
    agent.status = status(boot="20261122090000.000000+000")
    found = asked.identity(dataclasses.replace(RESTORED, phase=Phase.RESTORING))
    assert isinstance(found, Identity)
    assert found.boot_id != IN_SECOND

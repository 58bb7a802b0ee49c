"""What people have done in guests, against agents that forbid, lie or say nothing."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest

from orchestrator.drivers.guest.agent_inside import ENDED_MAX, OUTPUT_BYTES, PIECE_BYTES, AgentInside
from orchestrator.drivers.tools.agent_channel import AgentAbsent, AgentDenied, AgentForbids, AgentRefused, AgentSilent
from orchestrator.errors import Conflict, NotFound, Permanent, Transient, Unreachable, VmroleError, Whose
from orchestrator.model import InstanceName
from tests.world.instances import instance

WEB = instance()
OTHER_UID = "0d6a3f5e-0b1f-4a50-8f0c-52b0a1f5c001"
Said = dict[str, Any]


class Agent:
    """An agent whose answers a test has written; an exception among them is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"guest-ping": {}, "guest-file-open": 5, "guest-file-close": {}, "guest-file-flush": {}}
        self.answers |= {f"guest-{key.replace('_', '-')}": value for key, value in answers.items()}
        self.asked: list[tuple[str, Said]] = []

    def call(self, name: InstanceName, command: str, **arguments: object) -> Any:
        """One call."""
        self.asked.append((command, arguments))
        answer = self.answers[command]
        if isinstance(answer, Exception):
            raise answer
        return answer(arguments) if callable(answer) else answer

    def calls(self, command: str) -> int:
        """How often it was asked for that."""
        return [asked for asked, _ in self.asked].count(command)


def b64(data: bytes) -> str:
    """As agents send it."""
    return base64.b64encode(data).decode()


def test_what_is_not_there_is_a_program_or_a_file() -> None:
    """Each with what helps: who types a line for a shell, and who leaves out where a file is."""
    refused = AgentRefused("No such file or directory")
    inside = AgentInside(Agent(exec=refused, file_open=refused))
    with pytest.raises(NotFound) as told:
        inside.begin(WEB, ["ls / | head"], b"")
    assert "no shell reads the line: /bin/sh -c 'LINE' runs one" in told.value.hint
    with pytest.raises(NotFound) as told:
        inside.read(WEB, "fstab", 0, 1)
    assert told.value.hint == "write paths in full, as the guest has them"


@pytest.mark.parametrize(
    ("refusal", "kind", "words"),
    [
        (AgentForbids("Command guest-exec has been disabled"), Conflict, "does not allow"),
        (AgentDenied("Permission \x1b[31mdenied"), Conflict, "Permission [31mdenied"),
        (AgentRefused("Failed to execute child process (No such file or directory)"), NotFound, "No such file"),
        (AgentRefused("x" * 100_000), Conflict, "…"),
        (AgentAbsent("not connected"), Transient, "is silent: not connected"),
    ],
)
def test_what_an_agent_refuses_is_told(refusal: Exception, kind: type[VmroleError], words: str) -> None:
    """Each as the error that says whose turn it is, with its words cut and made harmless."""
    inside = AgentInside(Agent(exec=refusal, file_open=refusal))
    for ask in (lambda: inside.begin(WEB, ("id",), b""), lambda: inside.read(WEB, "/x", 0, 1)):
        with pytest.raises(kind) as caught:
            ask()
        assert type(caught.value) is kind
        assert words in str(caught.value)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400
        assert caught.value.hint
        if isinstance(caught.value, Transient):
            assert caught.value.whose is Whose.GUEST


def test_what_may_have_begun_is_not_begun_again() -> None:
    """An agent that is silent has begun nothing; one that falls silent at the very command may have."""
    agent = Agent(ping=AgentSilent("not available for now"), exec={"pid": 1})
    with pytest.raises(Transient, match="not available for now"):
        AgentInside(agent).begin(WEB, ("id",), b"")
    assert agent.calls("guest-exec") == 0
    for answer in (AgentSilent("timed out"), Unreachable("libvirtd has ended"), {"pid": "1"}, []):
        with pytest.raises(Permanent, match="whether it began"):
            AgentInside(Agent(exec=answer)).begin(WEB, ("id",), b"")


def test_an_end_that_did_not_arrive_is_told_as_that() -> None:
    """An agent tells it once; that it knows the process no longer is no word about the command."""
    inside = AgentInside(Agent(exec={"pid": 1}, exec_status=AgentRefused("PID 1 does not exist")))
    with pytest.raises(Permanent, match="does not say any more how it ended"):
        inside.ended(WEB, inside.begin(WEB, ("id",), b""))
    inside = AgentInside(Agent(exec={"pid": 1}, exec_status=AgentForbids("guest-exec-status has been disabled")))
    with pytest.raises(Conflict, match="does not allow"):
        inside.ended(WEB, inside.begin(WEB, ("id",), b""))


@pytest.mark.parametrize(
    "answers",
    [
        {"exec": {"pid": 1}, "exec_status": 7},
        {"exec": {"pid": 1}, "exec_status": {"exited": True, "out-data": "?"}},
        {"exec": {"pid": 1}, "exec_status": {"exited": True, "out-data": ["x"]}},
    ],
)
def test_an_agent_that_lies_ends_no_command(answers: Said) -> None:
    """It is told as a guest's fault, and nothing of ours breaks."""
    inside = AgentInside(Agent(**answers))
    with pytest.raises(Transient):
        inside.ended(WEB, inside.begin(WEB, ("id",), b""))


@pytest.mark.parametrize("boot_id", ["", "b0071d"])
def test_the_end_of_a_command_is_no_other_guest_s(boot_id: str) -> None:
    """Guests of one image number their processes alike; some say no boot, and one may say another's."""
    here, there = dataclasses.replace(WEB, boot_id=boot_id), dataclasses.replace(WEB, boot_id=boot_id, uid=OTHER_UID)
    said = {"exited": True, "exitcode": 0, "out-data": b64(b"of the first")}
    agent = Agent(exec={"pid": 7}, exec_status=said)
    inside = AgentInside(agent)
    assert inside.begin(here, ("id",), b"") == inside.begin(there, ("id",), b"") == 7
    first = inside.ended(here, 7)
    agent.answers["guest-exec-status"] = {"exited": False}
    assert inside.ended(there, 7) is None
    assert inside.ended(here, 7) is first


def test_what_is_kept_of_an_output_is_bounded() -> None:
    """A megabyte of each stream, and that it was not all; so many commands, and no more."""
    flood = {"exited": True, "exitcode": 0, "out-data": b64(b"x" * (OUTPUT_BYTES + 1)), "err-data": b64(b"e")}
    pids = iter(range(1000))
    agent = Agent(exec=lambda _: {"pid": next(pids)}, exec_status=flood)
    inside = AgentInside(agent)
    first = inside.begin(WEB, ("yes",), b"")
    ran = inside.ended(WEB, first)
    assert ran is not None
    assert (len(ran.output), ran.errors, ran.whole) == (OUTPUT_BYTES, b"e", False)
    assert inside.ended(WEB, first) == ran
    assert agent.calls("guest-exec-status") == 1, "an agent tells it only once"
    for _ in range(ENDED_MAX):
        inside.ended(WEB, inside.begin(WEB, ("yes",), b""))
    inside.ended(WEB, first)
    assert agent.calls("guest-exec-status") == ENDED_MAX + 2, "the oldest was forgotten"


def test_an_output_that_is_just_all_is_whole() -> None:
    """The bound itself is no cut; an agent that says it has cut is believed."""
    ends = {"exited": True, "exitcode": 0, "out-data": b64(b"x" * OUTPUT_BYTES)}
    for said, whole in ((ends, True), (ends | {"err-truncated": True}, False)):
        ran = AgentInside(Agent(exec_status=said)).ended(WEB, 1)
        assert ran is not None
        assert ran.whole is whole


def test_a_number_that_is_used_again_is_another_command() -> None:
    """What an earlier process of that number printed is not told of the next one."""
    said = iter([b"first", b"second"])
    agent = Agent(exec={"pid": 9}, exec_status=lambda _: {"exited": True, "exitcode": 0, "out-data": b64(next(said))})
    inside = AgentInside(agent)
    for expected in (b"first", b"second"):
        ran = inside.ended(WEB, inside.begin(WEB, ("id",), b""))
        assert ran is not None
        assert ran.output == expected


@pytest.mark.parametrize(
    "answers",
    [
        {"file_read": {"buf-b64": "%%%"}},
        {"file_read": None},
        {"file_open": "5", "file_read": {"buf-b64": b64(b"x")}},
        {"file_read": {"buf-b64": b64(b"x")}, "file_seek": {"position": 3}},
    ],
)
def test_an_agent_that_lies_gives_no_file(answers: Said) -> None:
    """Also about the place that it has gone to."""
    with pytest.raises(Transient):
        AgentInside(
            Agent(
                file_seek=answers.get("file_seek", {"position": 4}),
                **{k: v for k, v in answers.items() if k != "file_seek"},
            )
        ).read(WEB, "/x", 4, 10)


def test_an_agent_that_sends_more_than_it_was_asked_for_is_cut() -> None:
    """And one that never says that the file ends is left after as much as was asked for."""
    agent = Agent(file_read={"buf-b64": b64(b"y" * (PIECE_BYTES * 3))})
    assert AgentInside(agent).read(WEB, "/x", 0, PIECE_BYTES + 1) == b"y" * (PIECE_BYTES + 1)
    assert agent.calls("guest-file-read") == 2
    assert agent.calls("guest-file-close") == 1


@pytest.mark.parametrize("count", [0, -1, PIECE_BYTES + 1, "3", None])
def test_an_agent_that_lies_takes_no_file_for_ever(count: object) -> None:
    """A number of bytes that cannot be ends the writing, and the file is closed."""
    agent = Agent(file_write={"count": count})
    with pytest.raises(Transient):
        AgentInside(agent).write(WEB, "/x", 0, b"data")
    assert agent.calls("guest-file-write") == agent.calls("guest-file-close") == 1


def test_a_full_disk_is_told() -> None:
    """The agent's own buffer takes what the disk does not: only the flush shows it."""
    full = AgentRefused("failed to flush file: No space left on device")
    agent = Agent(file_write=lambda said: {"count": len(base64.b64decode(said["buf-b64"]))}, file_flush=full)
    with pytest.raises(Conflict, match="No space left"):
        AgentInside(agent).write(WEB, "/x", 0, b"data")


def test_a_part_that_is_not_the_first_empties_nothing() -> None:
    """Only offset 0 makes a file anew."""
    agent = Agent(file_write={"count": 4}, file_seek={"position": 8})
    AgentInside(agent).write(WEB, "/x", 0, b"data")
    AgentInside(agent).write(WEB, "/x", 8, b"data")
    assert [said["mode"] for command, said in agent.asked if command == "guest-file-open"] == ["wb", "rb+"]

"""Calls to agents: what a guest sends cannot end the thread that asked, and libvirt's errors become ours."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from orchestrator.drivers.guest import agent_channel
from orchestrator.drivers.guest.agent_channel import AgentChannel, AgentForbids, AgentRefused, AgentSilent
from orchestrator.drivers.hypervisor.libvirt_connection import translated
from orchestrator.errors import Busy, NoSpace, Permanent, Transient, VmroleError
from orchestrator.model import InstanceName

NAME, OTHER = InstanceName("web-0.shop"), InstanceName("web-1.shop")


class Domain:
    """A running domain."""

    def ID(self) -> int:  # noqa: N802 - libvirt's name
        """Libvirt's number of this start."""
        return 7

    def agentSetResponseTimeout(self, seconds: int) -> None:  # noqa: N802 - libvirt's name
        """Never longer than we wait ourselves."""
        assert seconds <= agent_channel.ANSWER_S


class Connection:
    """A connection to a libvirtd that lives."""

    @contextlib.contextmanager
    def use(self, what: str) -> Iterator[Connection]:
        """As LibvirtConnection.use."""
        yield self

    def lookupByName(self, name: str) -> Domain:  # noqa: N802 - libvirt's name
        """Every domain exists."""
        return Domain()

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's name
        """It does."""
        return True


def libvirt_error(code: int, message: str, *, errno: int = -1) -> libvirt.libvirtError:
    error = libvirt.libvirtError("")
    error.err = (code, 0, message, 2, "", "", "", errno, -1)
    error.args = (message,)
    return error


@pytest.fixture
def channel() -> AgentChannel:
    """A channel to agents whose replies a test gives by `replies`."""
    return AgentChannel(Connection())  # type: ignore[arg-type]


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the next calls return, or raise; a list that holds the last for ever."""
    replies: list[Any] = []

    def answer(domain: Domain, request: str, within_s: int, flags: int) -> str:
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, BaseException):
            raise reply
        found: str = reply() if callable(reply) else reply
        return found

    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", answer)
    return replies


@pytest.mark.parametrize(
    "garbage",
    [
        SystemError("returned a result with an exception set"),  # What invalid UTF-8 does to the binding.
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        "not json",
        "[]",
        "{}",
        "[" * 200_000,
        '{"return": "' + "x" * agent_channel.REPLY_MAX_CHARS + '"}',
        None,
    ],
)
def test_garbage_is_silence_until_the_agent_reconnects(
    channel: AgentChannel, replies: list[Any], garbage: object
) -> None:
    """Whatever comes back, the caller gets one of our errors; the agent is then left alone, the others are not."""
    replies[:] = [garbage, '{"return": 5}']
    with pytest.raises(AgentSilent, match="garbage"):
        channel.call(NAME, "guest-ping")
    with pytest.raises(AgentSilent, match="left alone"):
        channel.call(NAME, "guest-ping")
    assert channel.call(OTHER, "guest-ping") == 5
    channel.reconnected(NAME)
    assert channel.call(NAME, "guest-ping") == 5


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("unable to execute QEMU agent command 'guest-exec': Command guest-exec has been disabled", AgentForbids),
        (
            "unable to execute QEMU agent command 'guest-exec': The command guest-exec has not been found",
            AgentForbids,
        ),
        ("unable to execute QEMU agent command 'guest-exec': Command not allowed", AgentForbids),
        ("unable to execute QEMU agent command 'guest-exec': Failed to execute child process", AgentRefused),
    ],
)
def test_refusals(channel: AgentChannel, replies: list[Any], message: str, kind: type[Exception]) -> None:
    """A command that an agent never allows is told from one that failed this time."""
    replies[:] = [libvirt_error(libvirt.VIR_ERR_INTERNAL_ERROR, f"internal error: {message}")]
    with pytest.raises(AgentRefused) as told:
        channel.call(NAME, "guest-exec", path="/bin/true")
    assert type(told.value) is kind
    assert str(told.value) == message.partition("': ")[2]


def test_an_agent_that_does_not_answer_is_silent(channel: AgentChannel, replies: list[Any]) -> None:
    """A time-out is silence, and the agent is asked again the next time; a command without answer may time out."""
    replies[:] = [libvirt_error(libvirt.VIR_ERR_AGENT_UNRESPONSIVE, "not connected"), '{"return": {}}']
    with pytest.raises(AgentSilent, match="not connected"):
        channel.call(NAME, "guest-ping")
    assert channel.call(NAME, "guest-ping") == {}
    replies[:] = [libvirt_error(libvirt.VIR_ERR_AGENT_UNRESPONSIVE, "no answer")]
    channel.tell(NAME, "guest-shutdown", mode="reboot")


def test_one_call_at_a_time_for_each_agent(
    channel: AgentChannel, replies: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one agent has a question another can be asked; the same one waits its turn, and not for ever."""
    monkeypatch.setattr(agent_channel, "TURN_S", 0.1)
    asked, go_on = threading.Event(), threading.Event()

    def slowly() -> str:
        asked.set()
        assert go_on.wait(60)
        return '{"return": 1}'

    replies[:] = [slowly, '{"return": 2}']
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(channel.call(NAME, "guest-ping")))
    first.start()
    assert asked.wait(5)
    assert channel.call(OTHER, "guest-ping") == 2
    with pytest.raises(AgentSilent, match="earlier question"):  # although the earlier one is not answered yet
        channel.call(NAME, "guest-ping")
    go_on.set()
    first.join(60)
    assert answers == [1]
    assert channel.call(NAME, "guest-ping") == 2


@pytest.mark.parametrize(
    ("code", "message", "errno", "kind"),
    [
        (libvirt.VIR_ERR_SYSTEM_ERROR, "cannot write: No space left on device", 28, NoSpace),
        (libvirt.VIR_ERR_SYSTEM_ERROR, "cannot read: Input/output error", 5, Transient),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, "cannot acquire state change lock", -1, Busy),
        (libvirt.VIR_ERR_INTERNAL_ERROR, 'process exited: Failed to get "write" lock', -1, Busy),
        (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "unsupported machine type", -1, Permanent),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "something new", -1, Transient),
    ],
)
def test_errors_of_libvirt_become_ours(code: int, message: str, errno: int, kind: type[VmroleError]) -> None:
    """A full disk, a lock, a request that cannot be met; what is not known is worth another look."""
    found = translated("start web-0.shop", libvirt_error(code, message, errno=errno))
    assert type(found) is kind
    assert str(found) == f"start web-0.shop: {message}"

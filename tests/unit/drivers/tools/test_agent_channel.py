"""Calls to agents: what a guest sends cannot end the thread that asked, and libvirt's errors become ours."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from orchestrator.drivers.tools import agent_channel
from orchestrator.drivers.tools.agent_channel import (
    AgentBroken,
    AgentChannel,
    AgentDenied,
    AgentForbids,
    AgentFrozen,
    AgentRefused,
    AgentSilent,
)
from orchestrator.drivers.tools.libvirt_connection import translated
from orchestrator.errors import Busy, NoSpace, Permanent, Transient, VmroleError
from orchestrator.model import InstanceName
from tests.world.clocks import HurriedClock

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

    def __init__(self) -> None:
        self._is_used = False

    @contextlib.contextmanager
    def use(self, what: str) -> Iterator[Connection]:
        """As LibvirtConnection.use, for one at a time: whoever shares it waits for one that hangs."""
        assert not self._is_used, "two questions share a connection"
        self._is_used = True
        try:
            yield self
        finally:
            self._is_used = False

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
def clock() -> HurriedClock:
    """Its time moves when a test moves it."""
    return HurriedClock()


@pytest.fixture
def channel(clock: HurriedClock) -> AgentChannel:
    """A channel to agents whose replies a test gives by `replies`."""
    return AgentChannel([Connection() for _ in range(agent_channel.AT_ONCE)], clock)  # type: ignore[misc]


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
    with pytest.raises(AgentBroken, match="garbage"):
        channel.call(NAME, "guest-ping")
    with pytest.raises(AgentBroken, match="left alone"):
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


@pytest.mark.parametrize(
    "words",
    [
        "failed to open file '/var/lib/vmrole/setup-boot' (mode: 'r'): Permission denied",
        "Failed to execute child process “/bin/sh” (Operation not permitted)",
        "failed to open file 'C:\\x': Access is denied.",
    ],
)
def test_a_confinement_is_told_from_an_absence(channel: AgentChannel, replies: list[Any], words: str) -> None:
    """What the guest's own system does not let the agent do is neither forbidden by the agent nor absent."""
    message = f"internal error: unable to execute QEMU agent command 'guest-file-open': {words}"
    replies[:] = [libvirt_error(libvirt.VIR_ERR_INTERNAL_ERROR, message)]
    with pytest.raises(AgentDenied) as told:
        channel.call(NAME, "guest-file-open", path="x", mode="r")
    assert str(told.value) == words


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            "internal error: cannot parse json {0}: lexical error: invalid char in json.",
        ),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "internal error: failed to parse JSON 0:0: unexpected character: {0}"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "internal error: Parsed JSON reply '{0}' isn't an object"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "internal error: Unknown JSON reply '{0}'"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "internal error: No complete agent response found in 10485760 bytes"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "internal error: Missing agent reply object"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "internal error: unable to execute QEMU agent command 'guest-ping'"),
        (
            libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
            "Guest agent is not responding: QEMU guest agent is not available due to an error",
        ),
    ],
)
@pytest.mark.parametrize(
    "rubbish", ["xxxx", "QEMU guest agent is not connected", "QEMU agent command 'guest-exec': has been disabled"]
)
def test_an_agent_that_makes_no_sense_is_told_from_a_silent_one(
    channel: AgentChannel, replies: list[Any], code: int, message: str, rubbish: str
) -> None:
    """Whatever libvirt quotes of it; also while it is left alone, until it answers."""
    replies[:] = [libvirt_error(code, message.format(rubbish)), '{"return": 5}']
    with pytest.raises(AgentBroken) as told:
        channel.call(NAME, "guest-ping")
    with pytest.raises(AgentBroken) as again:
        channel.call(NAME, "guest-ping")
    assert str(again.value) == str(told.value) == message.format(rubbish)
    channel.reconnected(NAME)
    assert channel.call(NAME, "guest-ping") == 5


@pytest.mark.parametrize(
    "words", ["cannot parse json", "Unknown JSON reply 'x'", "QEMU guest agent is not available due to an error"]
)
def test_an_agent_s_own_words_do_not_make_it_broken(channel: AgentChannel, replies: list[Any], words: str) -> None:
    """What it says when it refuses something is a refusal."""
    message = f"internal error: unable to execute QEMU agent command 'guest-exec': {words}"
    replies[:] = [libvirt_error(libvirt.VIR_ERR_INTERNAL_ERROR, message)]
    with pytest.raises(AgentRefused, match=words):
        channel.call(NAME, "guest-exec")


def test_an_agent_that_hangs_is_left_alone_longer_each_time(
    channel: AgentChannel, clock: HurriedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lets us wait in vain is asked again after 2, 4, 8 … 60 s, and at once when it connects anew or has
    answered; the others are asked meanwhile.
    """
    asked = []
    hung = [True]

    def answer(domain: Domain, request: str, within_s: int, flags: int) -> str:
        asked.append(clock.time_s)
        if hung[0]:
            raise libvirt_error(libvirt.VIR_ERR_AGENT_UNRESPONSIVE, "Guest agent not available for now")
        return '{"return": 1}'

    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", answer)

    def silences(until_s: float) -> list[float]:
        """The pauses between the questions that reached the agent, while it is asked twice a second."""
        asked.clear()
        while clock.time_s < until_s:
            with contextlib.suppress(AgentSilent):
                channel.call(NAME, "guest-ping")
            clock.time_s += 0.5
        return [after - before for before, after in itertools.pairwise(asked)]

    assert silences(1300.0) == [2, 4, 8, 16, 32, 60, 60, 60]
    hung[0] = False
    assert channel.call(OTHER, "guest-ping") == 1
    with pytest.raises(AgentSilent, match="not available for now"):
        channel.call(NAME, "guest-ping")
    channel.reconnected(NAME)
    assert channel.call(NAME, "guest-ping") == 1
    hung[0] = True
    assert silences(clock.time_s + 20)[0] == 2, "an answer makes the first pause short again"


def test_an_agent_that_is_not_there_yet_is_asked_all_the_time(channel: AgentChannel, replies: list[Any]) -> None:
    """While a guest boots its agent is not connected, which libvirt says at once: nothing is left alone for that."""
    absent = libvirt_error(
        libvirt.VIR_ERR_AGENT_UNRESPONSIVE, "Guest agent is not responding: QEMU guest agent is not connected"
    )
    replies[:] = [*[absent] * 20, '{"return": 7}']
    for _ in range(20):
        with pytest.raises(AgentSilent):
            channel.call(NAME, "guest-ping")
    assert channel.call(NAME, "guest-ping") == 7


def test_no_more_agents_are_asked_at_once_than_libvirtd_serves(
    channel: AgentChannel, replies: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fifth of five agents that hang is not asked while four are: libvirtd has requests left for everybody."""
    monkeypatch.setattr(agent_channel, "SLOT_S", 0.1)
    asked, go_on = threading.Semaphore(0), threading.Event()

    def hang() -> str:
        asked.release()
        assert go_on.wait(60)
        return '{"return": 1}'

    replies[:] = [hang]
    names = [InstanceName(f"web-{number}.shop") for number in range(agent_channel.AT_ONCE)]
    threads = [threading.Thread(target=channel.call, args=(name, "guest-ping")) for name in names]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert asked.acquire(timeout=60)
    with pytest.raises(AgentSilent, match="other agents"):
        channel.call(InstanceName("db-0.shop"), "guest-ping")
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert channel.call(InstanceName("db-0.shop"), "guest-ping") == 1


# What a refusal means -------------------------------------------------------------------------------------------

OLD = "The command {} has been disabled for this instance"  # QEMU 2 to 5.2: for good and while frozen alike
NEW = "Command {} has been disabled"  # 6.0 and later, for good
NEWEST = "Command {} has been disabled: the command is not allowed"  # 9.1 and later, for good
FROZEN = "Command {} has been disabled: the agent is in frozen state"  # 6.0 and later
ABSENT = "The command {} has not been found"
# How libvirt hands it on: until 9 and since then.
BEGINNINGS = ("internal error: unable to execute", "guest agent command failed: unable to execute")
AGENT_COMMAND_FAILED = 112  # VIR_ERR_AGENT_COMMAND_FAILED, which the binding of an older libvirt does not name


class RightfulAgent:
    """An agent of some release: it forbids some commands for good, and nearly all while its guest is frozen."""

    def __init__(self, *, disabled: str, frozen_words: str, forbidden: tuple[str, ...], beginning: str) -> None:
        self.words = {"disabled": disabled, "frozen": frozen_words}
        self.forbidden = forbidden
        self.beginning = beginning
        self.frozen = False
        self.freezes = True  # whether it knows of freezing at all
        self.lists = True
        self.asked: list[str] = []
        self.between: dict[str, bool] = {}  # frozen or not, from the moment on when this has been answered

    def answer(self, domain: Domain, request: str, within_s: int, flags: int) -> str:
        """Stands in for libvirt_qemu.qemuAgentCommand."""
        command = json.loads(request)["execute"]
        self.asked.append(command)
        try:
            return json.dumps({"return": self._value(command)})
        finally:
            self.frozen = self.between.pop(command, self.frozen)

    def _value(self, command: str) -> object:
        always = ("guest-ping", "guest-info", "guest-fsfreeze-status", "guest-fsfreeze-thaw")
        if command in self.forbidden or (command == "guest-fsfreeze-status" and not self.freezes):
            raise self._no(command, self.words["disabled"])
        if self.frozen and command not in always:
            raise self._no(command, self.words["frozen"])
        match command:
            case "guest-fsfreeze-status":
                return "frozen" if self.frozen else "thawed"
            case "guest-info":
                enabled = {name: not self.frozen for name in agent_channel.RIGHTS if name not in self.forbidden}
                known = enabled | dict.fromkeys(always, True) | dict.fromkeys(self.forbidden, False)
                return {"supported_commands": [{"name": name, "enabled": yes} for name, yes in known.items()]}
            case _:
                return command

    def _no(self, command: str, words: str) -> libvirt.libvirtError:
        code = libvirt.VIR_ERR_INTERNAL_ERROR if self.beginning.startswith("internal") else AGENT_COMMAND_FAILED
        return libvirt_error(code, f"{self.beginning} QEMU agent command '{command}': {words.format(command)}")


RELEASES = pytest.mark.parametrize(("disabled", "frozen_words"), [(OLD, OLD), (NEW, FROZEN), (NEWEST, FROZEN)])
LIBVIRTS = pytest.mark.parametrize("beginning", BEGINNINGS)


@RELEASES
@LIBVIRTS
@pytest.mark.parametrize("command", ["guest-exec", "guest-file-open", "guest-exec-status", "guest-get-host-name"])
def test_a_frozen_agent_forbids_nothing(
    channel: AgentChannel,
    monkeypatch: pytest.MonkeyPatch,
    disabled: str,
    frozen_words: str,
    beginning: str,
    command: str,
) -> None:
    """While a backup has frozen the guest its agent is silent, whichever release says no in which words; after the
    thaw it is asked as before.
    """
    agent = RightfulAgent(disabled=disabled, frozen_words=frozen_words, forbidden=(), beginning=beginning)
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", agent.answer)
    agent.frozen = True
    for _ in range(3):
        with pytest.raises(AgentFrozen, match="frozen"):
            channel.call(NAME, command)
    agent.frozen = False
    assert channel.call(NAME, command) == command


@RELEASES
@LIBVIRTS
def test_what_an_agent_may_do_is_learned_once(
    channel: AgentChannel, monkeypatch: pytest.MonkeyPatch, disabled: str, frozen_words: str, beginning: str
) -> None:
    """A command that the agent's own list shows as disabled is forbidden, and the list is asked for once for each
    connection of the agent; a freeze later on does not change what is known.
    """
    agent = RightfulAgent(
        disabled=disabled, frozen_words=frozen_words, forbidden=("guest-exec",), beginning=beginning
    )
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", agent.answer)
    for _ in range(3):
        with pytest.raises(AgentForbids):
            channel.call(NAME, "guest-exec")
    assert agent.asked.count("guest-info") == 1
    agent.frozen = True
    with pytest.raises(AgentFrozen):
        channel.call(NAME, "guest-file-open")
    agent.frozen = False
    with pytest.raises(AgentForbids):
        channel.call(NAME, "guest-exec")
    assert agent.asked.count("guest-info") == 1
    for again in (NAME, InstanceName("")):
        agent.forbidden, asked = (), agent.asked.count("guest-info")
        channel.reconnected(again)
        assert channel.call(NAME, "guest-exec") == "guest-exec"
        agent.forbidden = ("guest-exec",)
        with pytest.raises(AgentForbids):
            channel.call(NAME, "guest-exec")
        assert agent.asked.count("guest-info") == asked + 1


@RELEASES
@pytest.mark.parametrize("after", ["guest-exec", "guest-fsfreeze-status", "guest-info"])
def test_a_freeze_at_any_moment_teaches_nothing_wrong(
    channel: AgentChannel, monkeypatch: pytest.MonkeyPatch, disabled: str, frozen_words: str, after: str
) -> None:
    """A freeze that begins or ends between two of the questions never makes a right forbidden that was given."""
    agent = RightfulAgent(
        disabled=disabled, frozen_words=frozen_words, forbidden=("guest-file-open",), beginning=BEGINNINGS[0]
    )
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", agent.answer)
    for frozen in (True, False):
        agent.frozen, agent.between = not frozen, {after: frozen}
        with contextlib.suppress(AgentSilent, AgentForbids):
            channel.call(NAME, "guest-file-open")
        agent.frozen, agent.between = False, {}
        assert channel.call(NAME, "guest-exec") == "guest-exec"
        agent.frozen = True
        with pytest.raises(AgentFrozen):
            channel.call(NAME, "guest-exec")


def test_an_agent_that_says_little_of_itself_is_judged_by_its_words(
    channel: AgentChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that knows no freeze, or shows no list, is taken at its word, as long as that does not say "frozen"."""
    agent = RightfulAgent(
        disabled=ABSENT, frozen_words=FROZEN, forbidden=("guest-exec", "guest-info"), beginning=BEGINNINGS[1]
    )
    agent.freezes = False
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", agent.answer)
    with pytest.raises(AgentForbids, match="has not been found"):
        channel.call(NAME, "guest-exec")
    agent.frozen = True
    with pytest.raises(AgentFrozen):
        channel.call(NAME, "guest-file-open")


def test_a_refusal_against_the_agent_s_own_list_is_for_now(
    channel: AgentChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that is refused although the list shows it as enabled is asked again later: nothing is learned."""
    agent = RightfulAgent(disabled=NEW, frozen_words=FROZEN, forbidden=(), beginning=BEGINNINGS[0])
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", agent.answer)
    agent.frozen, agent.between = True, {"guest-exec": False}
    agent.words["frozen"] = NEW
    with pytest.raises(AgentSilent, match="for now"):
        channel.call(NAME, "guest-exec")
    assert channel.call(NAME, "guest-exec") == "guest-exec"


@pytest.mark.parametrize("lie", [{}, {"supported_commands": 7}, {"supported_commands": [{"name": []}, 5]}, "x"])
def test_a_list_of_a_wrong_shape_is_survived(
    channel: AgentChannel, monkeypatch: pytest.MonkeyPatch, lie: object
) -> None:
    """Whatever stands where the list should, one of our errors comes of it."""
    agent = RightfulAgent(disabled=NEW, frozen_words=FROZEN, forbidden=("guest-exec",), beginning=BEGINNINGS[0])
    true_value = agent._value
    monkeypatch.setattr(agent, "_value", lambda name: lie if name == "guest-info" else true_value(name))
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", agent.answer)
    with pytest.raises(AgentForbids):
        channel.call(NAME, "guest-exec")


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

"""Calls to the guest agent through libvirt: one at a time per guest, each with an end, every answer suspect.

What comes back is whatever the guest wanted to send. Here it becomes a JSON value or one of two errors; what the
value means is for `guest_agent` to judge. This is the one place that catches every exception, and why is said there.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import libvirt
import libvirt_qemu

from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.errors import Transient, VmroleError
from orchestrator.model import InstanceName
from orchestrator.ports import Clock

log = logging.getLogger(__name__)
ANSWER_S = 2  # A healthy agent answers in 2 ms; on a host that starts twenty guests at once it took 1.4 s.
TELL_S = 1  # A refusal comes at once; a guest that obeys is on its way down by then.
AT_ONCE = 4  # Agents asked at the same time, each on a connection of its own.
SLOT_S = 10.0  # How long a call waits for that; agents that hang are left alone, so it seldom does.
TURN_S = 3.0  # How long a call waits for the one before it.
GARBAGE_S = 30.0  # How long an agent that sent garbage is left alone unless it reconnects: each such answer costs
# libvirtd a second of CPU, and libvirt itself refuses the agent until it reconnects.
PAUSE_FIRST_S, PAUSE_LAST_S = (
    2.0,
    60.0,
)  # How long an agent is left alone that did not answer: twice as long each time.
REPLY_MAX_CHARS = 4 * 1024 * 1024  # What libvirt passes on at most (VIR_NET_MESSAGE_STRING_MAX).
# How an agent of QEMU 2 to 10 refuses a command that is switched off (qapi/qmp-dispatch.c). Before 6.0 the words are
# the same for a command that its configuration forbids and for one that waits for a thaw; only later ones say which.
_SWITCHED_OFF: Final = re.compile(r"has been disabled|has not been found|not allowed")
_DENIED: Final = re.compile(r"permission denied|operation not permitted|access is denied", re.IGNORECASE)
# libvirt's words for a line of an agent that is no message (qemu_agent.c, virjson.c, since 0.9), at their beginning:
# what comes after is the agent's own. An agent that sent such a line is not asked until it connects anew.
_NONSENSE: Final = re.compile(
    r"(?:internal error: |Guest agent is not responding: |guest agent command failed: )*"
    r"(?:cannot parse json|failed to parse json|Parsed JSON reply|Unknown JSON reply|No complete agent response"
    r"|Missing (?:agent|monitor) reply object|Malformed return value|[Aa]gent reply was missing"
    r"|QEMU guest agent is not available due to an error"
    r"|unable to execute QEMU agent command '[a-z-]+'$)",
    re.IGNORECASE,
)
_NOT_CONNECTED: Final = re.compile(r"not connected|not running|disappeared")  # libvirt's, qemu_domain.c, qemu_agent.c
_FROZEN: Final = re.compile(r"frozen state")
# libvirt's words around an agent's error, whose code and beginning differ by release.
_ANSWERED_NO: Final = re.compile(r"QEMU agent command '[a-z-]+': (.*)", re.DOTALL)
RIGHTS: Final = (  # The commands that are asked for; of no other is a right remembered.
    "guest-exec",
    "guest-exec-status",
    "guest-file-open",
    "guest-file-read",
    "guest-file-seek",
    "guest-file-close",
    "guest-file-write",
    "guest-file-flush",
    "guest-get-host-name",
    "guest-get-osinfo",
    "guest-ping",
)


class AgentSilent(Transient):
    """No answer in time: normal while a guest boots."""


class AgentAbsent(AgentSilent):
    """No agent is connected: the guest boots, or has none."""


class AgentBroken(AgentSilent):
    """One is connected, and nothing can be made of what it sends: rubbish, a flood, an answer of a wrong shape."""


class AgentFrozen(AgentSilent):
    """The agent lives, and says nothing while the guest's file systems are frozen: a backup, a snapshot."""


class AgentRefused(Transient):
    """The agent answered with an error."""


class AgentDenied(AgentRefused):
    """The agent's own system does not let it: SELinux, AppArmor, a hardened unit, the mode of a file."""


class AgentForbids(AgentRefused):
    """The agent does not allow the command, for as long as it keeps this connection."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Pause:
    """An agent that let us wait in vain: how often in a row, what it was, and until when it is left alone."""

    times: int
    silence: AgentSilent
    until_s: float


class AgentChannel:
    """All agents of this host. Thread-safe.

    Each question has a connection for itself: on one that is shared, a call about a healthy agent waits until a hung
    one is given up, with three that hang as with one (measured: 1.3 to 2.0 s, and 4 ms on another connection).
    """

    def __init__(self, connections: Sequence[LibvirtConnection], clock: Clock) -> None:
        self._free = collections.deque(connections)
        self._clock = clock
        self._lock = threading.Lock()
        self._turns: dict[InstanceName, threading.Lock] = {}
        self._slots = threading.BoundedSemaphore(len(connections))
        self._garbage_until_s: dict[InstanceName, float] = {}
        self._limited: dict[InstanceName, int] = {}  # libvirt's number of the VM's start
        self._rights: dict[InstanceName, frozenset[str]] = {}  # commands that the agent allows, by its own list
        self._pauses: dict[InstanceName, _Pause] = {}

    def call(self, name: InstanceName, command: str, **arguments: object) -> Any:  # noqa: ANN401 - it is JSON
        """What the agent returned. Takes at most about TURN_S + ANSWER_S seconds; a first refusal takes longer.

        Raises AgentSilent, AgentBroken, AgentFrozen, AgentRefused, AgentForbids, or Unreachable when libvirtd does
        not answer.
        An agent that lets us wait in vain is left alone for a while, each time longer, until it connects anew.
        """
        with self._turn(name) as connection:
            if self._clock.monotonic_s() < self._garbage_until_s.get(name, 0.0):
                raise AgentBroken("the agent sent garbage and is left alone until it reconnects")
            pause = self._pauses.get(name)
            if pause is not None and self._clock.monotonic_s() < pause.until_s:
                raise type(pause.silence)(str(pause.silence))
            try:
                returned = self._call(connection, name, command, arguments, ANSWER_S)
            except AgentForbids as refusal:
                raise self._meaning(connection, name, command, refusal) from refusal
            except AgentRefused:
                self._pauses.pop(name, None)
                raise
            except AgentAbsent:
                self._pauses.pop(name, None)
                raise
            except AgentSilent as silent:
                self._leave_alone(name, silent)
                raise
            self._pauses.pop(name, None)
            return returned

    def tell(self, name: InstanceName, command: str, **arguments: object) -> None:
        """A command that has no answer when it is obeyed. Raises AgentRefused when the agent says no in TELL_S."""
        with contextlib.suppress(AgentSilent), self._turn(name) as connection:
            self._call(connection, name, command, arguments, TELL_S)

    def reconnected(self, name: InstanceName) -> None:
        """The agent opened its port anew: what was held against it is forgotten, and so is what it may do.

        The name "" stands for all of them: events were lost.
        """
        for known in (self._garbage_until_s, self._rights, self._pauses):
            if name:
                known.pop(name, None)
            else:
                known.clear()

    def forget(self, name: InstanceName) -> None:
        """The guest is gone for good."""
        self.reconnected(name)
        self._limited.pop(name, None)
        with self._lock:
            self._turns.pop(name, None)

    @contextlib.contextmanager
    def _turn(self, name: InstanceName) -> Iterator[LibvirtConnection]:
        """The connection on which the agent may be asked now."""
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        if not turn.acquire(timeout=TURN_S):
            raise AgentSilent("an earlier question to the agent has not been answered")
        try:
            if not self._slots.acquire(timeout=SLOT_S):
                raise AgentSilent("other agents are being asked")
            connection = self._free.popleft()
            try:
                yield connection
            finally:
                self._free.append(connection)
                self._slots.release()
        finally:
            turn.release()

    def _call(
        self,
        line: LibvirtConnection,
        name: InstanceName,
        command: str,
        arguments: Mapping[str, object],
        within_s: int,
    ) -> Any:  # noqa: ANN401 - likewise
        request = json.dumps({"execute": command, "arguments": arguments} if arguments else {"execute": command})
        with line.use(f"agent of {name}") as connection:
            try:
                domain = connection.lookupByName(name)
                self._limit(name, domain)
                reply = libvirt_qemu.qemuAgentCommand(domain, request, within_s, 0)
                return self._checked(reply)
            except libvirt.libvirtError as error:
                if connection.isAlive():
                    raise _judged(error) from error
                raise
            except VmroleError:
                raise
            except Exception as error:
                # An answer that is not UTF-8 makes the binding raise SystemError (measured); what else a guest can
                # cause nobody knows, and none of it may end the thread that works for all guests.
                self._garbage_until_s[name] = self._clock.monotonic_s() + GARBAGE_S
                log.warning("%s: the agent's answer to %s cannot be read: %s", name, command, type(error).__name__)
                raise AgentBroken("the agent sent garbage") from error

    def _leave_alone(self, name: InstanceName, silence: AgentSilent) -> None:
        """A hung agent costs libvirtd one of the few requests that it serves at a time, ANSWER_S for each question.

        One that is absent costs nothing: libvirt says so at once.
        """
        before = self._pauses.get(name)
        times = 1 if before is None else before.times + 1
        pause_s = min(PAUSE_FIRST_S * 2.0 ** (min(times, 10) - 1), PAUSE_LAST_S)
        self._pauses[name] = _Pause(times, silence, self._clock.monotonic_s() + pause_s)

    def _meaning(
        self, line: LibvirtConnection, name: InstanceName, command: str, refusal: AgentForbids
    ) -> AgentSilent | AgentForbids:
        """What it means that a command is switched off: for good, or while the file systems are frozen.

        One refusal does not say. The agent's own list does, but that shows nearly all as switched off while it is
        frozen. So it is asked for between two looks at the freeze, and once for each connection of the agent.
        """

        def ask(question: str) -> Any:  # noqa: ANN401 - it is JSON
            return self._call(line, name, question, {}, ANSWER_S)

        if _FROZEN.search(str(refusal)):
            return AgentFrozen(FROZEN_WORDS)
        rights = self._rights.get(name)
        if rights is not None and command not in rights:
            return refusal
        if is_frozen(ask):
            return AgentFrozen(FROZEN_WORDS)
        rights = _allowed(ask)
        if rights is None:
            return refusal  # An agent that has no list: its words and its freeze are all there is.
        if command in rights:
            return AgentSilent(f"the agent does not run {command} for now, which it allows")
        if is_frozen(ask):
            return AgentFrozen(FROZEN_WORDS)
        self._rights[name] = rights
        return refusal

    def _limit(self, name: InstanceName, domain: libvirt.virDomain) -> None:
        """Once per start of the VM; else the sync that libvirt sends first waits 5 s whatever we say (measured)."""
        run = domain.ID()
        if self._limited.get(name) != run:
            domain.agentSetResponseTimeout(ANSWER_S)
            self._limited[name] = run
            self._rights.pop(name, None)

    def _checked(self, reply: object) -> Any:  # noqa: ANN401
        if not isinstance(reply, str) or len(reply) > REPLY_MAX_CHARS:
            raise ValueError("not an answer of a reasonable size")
        answer = json.loads(reply)
        return answer["return"]


FROZEN_WORDS: Final = "its file systems are frozen (a backup or a snapshot is being made): it says nothing meanwhile"


def is_frozen(ask: Callable[[str], Any]) -> bool:
    """Whether the guest's file systems are frozen; an agent that knows of no freezing has not frozen them."""
    with contextlib.suppress(AgentRefused):
        return bool(ask("guest-fsfreeze-status") == "frozen")
    return False


def _allowed(ask: Callable[[str], Any]) -> frozenset[str] | None:
    """Which of RIGHTS the agent's list shows as enabled; None when it shows no list."""
    try:
        info = ask("guest-info")
    except AgentRefused:
        return None
    commands = info.get("supported_commands") if isinstance(info, dict) else None
    if not isinstance(commands, list):
        return None
    enabled = [each.get("name") for each in commands if isinstance(each, dict) and each.get("enabled") is True]
    return frozenset(right for right in RIGHTS if right in enabled)


def _judged(error: libvirt.libvirtError) -> AgentSilent | AgentRefused:
    """An error of a libvirtd that lives: the agent does not answer, or makes no sense, or it answered no."""
    if _NONSENSE.match(str(error)):
        return AgentBroken(str(error))
    answered_no = _ANSWERED_NO.search(str(error))
    if answered_no is None:
        return (AgentAbsent if _NOT_CONNECTED.search(str(error)) else AgentSilent)(str(error))
    words = answered_no[1]
    if _SWITCHED_OFF.search(words):
        return AgentForbids(words)
    return AgentDenied(words) if _DENIED.search(words) else AgentRefused(words)

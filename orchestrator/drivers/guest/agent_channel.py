"""Calls to the guest agent through libvirt: one at a time per guest, each with an end, every answer suspect.

What comes back is whatever the guest wanted to send. Here it becomes a JSON value or one of two errors; what the
value means is for `guest_agent` to judge. This is the one place that catches every exception, and why is said there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import libvirt
import libvirt_qemu

from orchestrator.drivers.hypervisor.libvirt_connection import LibvirtConnection
from orchestrator.errors import Transient, VmroleError
from orchestrator.model import InstanceName

log = logging.getLogger(__name__)
ANSWER_S = 2  # A healthy agent answers in 2 ms; on a host that starts twenty guests at once it took 1.4 s.
TELL_S = 1  # A refusal comes at once; a guest that obeys is on its way down by then.
TURN_S = 3.0  # How long a call waits for the one before it.
GARBAGE_S = 30.0  # How long an agent that sent garbage is left alone unless it reconnects: each such answer costs
# libvirtd a second of CPU, and libvirt itself refuses the agent until it reconnects.
REPLY_MAX_CHARS = 4 * 1024 * 1024  # What libvirt passes on at most (VIR_NET_MESSAGE_STRING_MAX).
_FORBIDDEN: Final = re.compile(r"has been disabled|has not been found|not allowed")  # qapi/qmp-dispatch.c, 7.2 to 10


class AgentSilent(Transient):
    """No answer in time: normal while a guest boots."""


class AgentRefused(Transient):
    """The agent answered with an error."""


class AgentForbids(AgentRefused):
    """The agent does not allow the command, this time or ever."""


class AgentChannel:
    """All agents of this host. Thread-safe."""

    def __init__(self, connection: LibvirtConnection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._turns: dict[InstanceName, threading.Lock] = {}
        self._garbage_until_s: dict[InstanceName, float] = {}
        self._limited: dict[InstanceName, int] = {}  # libvirt's number of the VM's start

    def call(self, name: InstanceName, command: str, **arguments: object) -> Any:  # noqa: ANN401 - it is JSON
        """What the agent returned. Takes at most about TURN_S + ANSWER_S seconds.

        Raises AgentSilent, AgentRefused, or Unreachable when libvirtd does not answer.
        """
        with self._turn(name):
            if time.monotonic() < self._garbage_until_s.get(name, 0.0):
                raise AgentSilent("the agent sent garbage and is left alone until it reconnects")
            return self._call(name, command, arguments, ANSWER_S)

    def tell(self, name: InstanceName, command: str, **arguments: object) -> None:
        """A command that has no answer when it is obeyed. Raises AgentRefused when the agent says no in TELL_S."""
        with contextlib.suppress(AgentSilent), self._turn(name):
            self._call(name, command, arguments, TELL_S)

    def reconnected(self, name: InstanceName) -> None:
        """The agent opened its port anew: what was held against it is forgotten."""
        self._garbage_until_s.pop(name, None)

    def forget(self, name: InstanceName) -> None:
        """The guest is gone for good."""
        self.reconnected(name)
        self._limited.pop(name, None)
        with self._lock:
            self._turns.pop(name, None)

    @contextlib.contextmanager
    def _turn(self, name: InstanceName) -> Iterator[None]:
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        if not turn.acquire(timeout=TURN_S):
            raise AgentSilent("an earlier question to the agent has not been answered")
        try:
            yield
        finally:
            turn.release()

    def _call(self, name: InstanceName, command: str, arguments: Mapping[str, object], within_s: int) -> Any:  # noqa: ANN401 - likewise
        request = json.dumps({"execute": command, "arguments": arguments} if arguments else {"execute": command})
        with self._connection.use(f"agent of {name}") as connection:
            try:
                domain = connection.lookupByName(name)
                self._limit(name, domain)
                reply = libvirt_qemu.qemuAgentCommand(domain, request, within_s, 0)
                return self._checked(reply)
            except libvirt.libvirtError as error:
                if connection.isAlive():
                    raise _judged(command, error) from error
                raise
            except VmroleError:
                raise
            except Exception as error:
                # An answer that is not UTF-8 makes the binding raise SystemError (measured); what else a guest can
                # cause nobody knows, and none of it may end the thread that works for all guests.
                self._garbage_until_s[name] = time.monotonic() + GARBAGE_S
                log.warning("%s: the agent's answer to %s cannot be read: %s", name, command, type(error).__name__)
                raise AgentSilent("the agent sent garbage") from error

    def _limit(self, name: InstanceName, domain: libvirt.virDomain) -> None:
        """Once per start of the VM; else the sync that libvirt sends first waits 5 s whatever we say (measured)."""
        run = domain.ID()
        if self._limited.get(name) != run:
            domain.agentSetResponseTimeout(ANSWER_S)
            self._limited[name] = run

    def _checked(self, reply: object) -> Any:  # noqa: ANN401
        if not isinstance(reply, str) or len(reply) > REPLY_MAX_CHARS:
            raise ValueError("not an answer of a reasonable size")
        answer = json.loads(reply)
        return answer["return"]


def _judged(command: str, error: libvirt.libvirtError) -> AgentSilent | AgentRefused:
    """An error of a libvirtd that lives: the agent does not answer, or it answered no."""
    text = str(error)
    if error.get_error_code() == libvirt.VIR_ERR_INTERNAL_ERROR and command in text:
        words = text.rpartition(f"'{command}': ")[2]
        return AgentForbids(words) if _FORBIDDEN.search(words) else AgentRefused(words)
    return AgentSilent(text)

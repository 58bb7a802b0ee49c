"""Commands that checks of members run in guests: begun, and asked for their end. Their output is of no interest."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.drivers.guest.agent_commands import Agents
from orchestrator.drivers.tools.agent_channel import AgentBroken, AgentForbids, AgentRefused
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.model import InstanceName

REASON_CHARS = 120


class AgentProbes:
    """See balancer.command_checks.Commands. Thread-safe."""

    def __init__(self, channel: Agents) -> None:
        self._channel = channel

    def begin(self, name: InstanceName, argv: Sequence[str]) -> int:
        """Returns its process id in the guest. AgentRefused when it cannot be begun, such as for want of a file."""
        said = self._asked(name, "guest-exec", path=argv[0], arg=list(argv[1:]))
        pid = said.get("pid") if isinstance(said, dict) else None
        if not isinstance(pid, int):
            raise AgentBroken("the agent sent a process id that is none")
        return pid

    def status(self, name: InstanceName, number: int) -> int | None:
        """Its exit status, -1 when a signal ended it; AgentRefused when the guest has begun anew since."""
        said = self._asked(name, "guest-exec-status", pid=number)
        if not isinstance(said, dict):
            raise AgentBroken("the agent sent something else than was asked for")
        if not said.get("exited"):
            return None
        status = said.get("exitcode")
        return status if isinstance(status, int) else -1

    def _asked(self, name: InstanceName, command: str, **arguments: object) -> object:
        """What it says of itself is cut and made harmless: people read it."""
        try:
            answer: object = self._channel.call(name, command, **arguments)
        except AgentForbids as forbidden:
            raise AgentForbids("the agent runs no commands: docs/images-needs.md") from forbidden
        except AgentRefused as refused:
            raise AgentRefused(f"the agent says: {harmless(str(refused), REASON_CHARS)}") from refused
        return answer

"""Commands in a guest that several of ours ask beside each other: a turn, and whoever attaches a drive meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.guest.agent_commands import COMMANDS_MAX, AgentCommands
from orchestrator.model import InstanceName, Phase
from tests.world.recorded import instance

WEB = replace(instance(Phase.SERVING, (1, 1), (1, 1)), boot_id="b")


class Guest:
    """An agent that begins whatever it is asked to, and says of all that they run yet, or have ended."""

    ended = False

    def call(self, _name: InstanceName, command: str, **_arguments: object) -> object:
        """See agent_commands.Agents."""
        return {"pid": 7} if command == "guest-exec" else {"exited": self.ended, "exitcode": 0}


class Watched(str):
    """What a command is for; somebody does something whenever it is looked up."""

    __slots__ = ("meanwhile",)
    meanwhile: Callable[[], None]

    def __hash__(self) -> int:
        self.meanwhile()
        return super().__hash__()


def test_a_command_whose_end_somebody_hears_as_it_is_forgotten_is_no_error() -> None:
    """The ninth command of a guest has the oldest forgotten; whoever asked for that hears just then that it ended."""
    guest = Guest()
    commands = AgentCommands(guest, SystemClock())
    heard = []

    def hear() -> None:
        if guest.ended and not heard:
            heard.append("")
            assert commands.run(WEB, "the oldest", ["true"]) is not None

    oldest = Watched("the oldest")
    oldest.meanwhile = hear
    for what in [oldest, *(f"command {number}" for number in range(COMMANDS_MAX - 1))]:
        assert commands.run(WEB, what, ["true"]) is None
    guest.ended = True
    assert commands.run(WEB, "one more", ["true"]) is not None
    assert heard
    assert not commands.runs(WEB, "the oldest")

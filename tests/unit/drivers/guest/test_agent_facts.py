"""What an agent says of itself may be of any kind; none of it ends in anything but an answer."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.drivers.guest import agent_facts
from orchestrator.model import InstanceName

ODD: tuple[object, ...] = (None, True, 1.5, 2**70, "\ud800\x1b[31m", [], {}, [[]], {"name": []})


class Agents:
    """All of one answer, but for the freeze."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def call(self, name: InstanceName, command: str, **arguments: object) -> Any:
        """One call."""
        return "thawed" if command == "guest-fsfreeze-status" else self.answer


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_no_kind_of_answer_breaks_it(odd: object) -> None:
    """Names of commands that are lists, texts that are numbers, a list of commands that is none."""
    answers = (
        odd,
        {"supported_commands": odd, "version": odd, "host-name": odd, "pretty-name": odd},
        {"supported_commands": [odd, {"name": odd, "enabled": True}, {"name": "guest-exec", "enabled": odd}]},
    )
    for answer in answers:
        agent = agent_facts.ask(Agents(answer), InstanceName("web-0.shop"))
        for text in (agent.host_name, agent.system, agent.version):
            assert text.isprintable()
            text.encode()
        assert set(agent.allowed) | set(agent.forbidden) == set(agent_facts.WANTED)


def test_what_it_allows_is_told() -> None:
    """Beside what makes no sense."""
    commands = [{"name": ["guest-info"], "enabled": True}, {"name": "guest-exec", "enabled": True}, "guest-info"]
    agent = agent_facts.ask(Agents({"supported_commands": commands}), InstanceName("web-0.shop"))
    assert agent.allowed == ("guest-exec",)

"""What a guest's agent says of itself, for people who want to know what an image can do. Nothing is decided by it."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from orchestrator.drivers.guest.agent_commands import Agents
from orchestrator.drivers.tools.agent_channel import FROZEN_WORDS, AgentFrozen, AgentRefused, is_frozen
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.model import Agent, InstanceName

# What vmrole has a use for, the most important first; qapi-schema.json of QEMU's guest agent.
WANTED: Final = (
    "guest-exec",
    "guest-exec-status",
    "guest-file-open",
    "guest-file-read",
    "guest-file-close",
    "guest-shutdown",
    "guest-get-host-name",
    "guest-get-osinfo",
    "guest-info",
)
_WORDS = 80


def ask(agents: Agents, name: InstanceName) -> Agent:
    """A few questions. Raises AgentSilent; what the agent refuses to say is empty.

    Raises AgentFrozen while the file systems are frozen: nearly every command is switched off then, none for good.
    """
    if is_frozen(lambda question: agents.call(name, question)):
        raise AgentFrozen(FROZEN_WORDS)
    info = _object(agents, name, "guest-info")
    commands = info.get("supported_commands")
    enabled = {
        _text(one, "name")
        for one in (commands if isinstance(commands, list) else ())
        if isinstance(one, dict) and one.get("enabled") is True
    }
    system = _object(agents, name, "guest-get-osinfo")
    return Agent(
        host_name=harmless(_text(_object(agents, name, "guest-get-host-name"), "host-name"), _WORDS),
        system=harmless(_text(system, "pretty-name") or _text(system, "id"), _WORDS),
        version=harmless(_text(info, "version"), _WORDS),
        allowed=tuple(one for one in WANTED if one in enabled),
        forbidden=tuple(one for one in WANTED if one not in enabled),
    )


def _object(agents: Agents, name: InstanceName, command: str) -> dict[str, Any]:
    with contextlib.suppress(AgentRefused):
        said = agents.call(name, command)
        if isinstance(said, dict):
            return said
    return {}


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key)
    return value if isinstance(value, str) else ""

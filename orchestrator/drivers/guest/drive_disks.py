"""Disks that are given to a guest, or taken from it: mounted and unmounted by a script through its agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from vmrole_unattend.nocloud import guest_script

from orchestrator.drivers.guest.agent_commands import AgentCommands
from orchestrator.drivers.tools.agent_channel import AgentSilent
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.model import Instance, Os

Verb = Literal["take_up", "let_go", "step_aside"]
_WORDS: Final = 200
_OUTPUT_BYTES: Final = 4096
_OF_WINDOWS: Final[dict[Verb, str]] = {
    "take_up": "a Windows looks for its drives as it starts",
    "let_go": "a Windows is not asked whether it uses it",
    "step_aside": "a Windows is not asked whether it uses it",
}


def asked(commands: AgentCommands, instance: Instance, serials: Sequence[str], verb: Verb) -> str:
    """ "": it is done, for the disks with those serial numbers; else why not. Raises AgentSilent until it has ended,
    AgentRefused.
    """
    if instance.role.os is not Os.LINUX:
        return _OF_WINDOWS[verb]
    which = " ".join(serials)  # Letters, digits and "-" each: how disks are named.
    script = f"verb={verb} serials='{which}'\n{guest_script('drive.sh')}"
    ended = commands.run(instance, f"{verb} {which}", ("/bin/sh", "-c", script), output_bytes=_OUTPUT_BYTES)
    if ended is None:
        raise AgentSilent("it is being asked")
    if ended.status == 0:
        return ""
    return harmless(ended.text.strip(), _WORDS) or f"its shell exits {ended.status}"

"""A drive that is given to a guest, or taken from it: mounted and unmounted by a script through its agent."""

from __future__ import annotations

from typing import Final, Literal

from vmrole_unattend.nocloud import guest_script

from orchestrator.drivers.guest.agent_commands import AgentCommands
from orchestrator.drivers.tools.agent_channel import AgentSilent
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.model import Attachment, Instance, Os

_WORDS: Final = 200
_OUTPUT_BYTES: Final = 4096
_OF_WINDOWS: Final = {
    "take_up": "a Windows looks for its drives as it starts",
    "let_go": "a Windows is not asked whether it uses it",
}


def asked(
    commands: AgentCommands, instance: Instance, attached: Attachment, verb: Literal["take_up", "let_go"]
) -> str:
    """ "": it is done; else why not. Raises AgentSilent until it has ended, AgentRefused."""
    if instance.role.os is not Os.LINUX:
        return _OF_WINDOWS[verb]
    script = f"verb={verb} serial={attached.serial}\n{guest_script('drive.sh')}"
    ended = commands.run(instance, f"{verb} {attached.serial}", ("/bin/sh", "-c", script), output_bytes=_OUTPUT_BYTES)
    if ended is None:
        raise AgentSilent("it is being asked")
    if ended.status == 0:
        return ""
    return harmless(ended.text.strip(), _WORDS) or f"its shell exits {ended.status}"

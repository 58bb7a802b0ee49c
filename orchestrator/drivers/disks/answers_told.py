"""What an answer disc says, for people: texts that may hold a secret are told by their size and digest alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from vmrole_unattend import AnswersInvalid, nocloud
from vmrole_unattend.secret import Secret
from vmrole_unattend.windows import explain
from vmrole_unattend.windows import files as windows_files
from vmrole_unattend.windows.answers import Answers

from orchestrator.drivers.disks.answer_media import cloud_answers
from orchestrator.drivers.tools.windows_machine import windows_machine
from orchestrator.errors import NotFound, Permanent
from orchestrator.model import AnswerFormat, Instance

HIDDEN: Final = Secret("***")
STANDS_IN: Final = Secret("#cloud-config\n")  # for user-data, which are read: they must be of a kind that there is
_PLAIN: Final = ("meta-data", "network-config")
_USER_DATA: Final = "user-data"


def told(instance: Instance) -> Mapping[str, bytes]:
    """One text. Raises NotFound where it reads no disc, Permanent where the disc cannot be made."""
    try:
        match instance.role.answers:
            case AnswerFormat.NONE:
                raise NotFound("it reads no answer disc")
            case AnswerFormat.UNATTEND:
                answers = instance.role.unattend or Answers()
                files = windows_files.files(answers, windows_machine(instance), lambda _: HIDDEN)
                shown = {
                    name: explain.settings_alone(content)
                    for name, content in files.items()
                    if name.casefold().endswith("unattend.xml")
                }
            case AnswerFormat.NOCLOUD | AnswerFormat.CONFIG_DRIVE:
                files = nocloud.files(cloud_answers(instance, lambda _: STANDS_IN))
                shown = {name: files[name].decode(errors="replace") for name in _PLAIN if name in files}
                if (kept := instance.role.user_data_from) is not None:
                    shown[_USER_DATA] = f"({kept}, of which nothing is told)"
    except AnswersInvalid as error:
        raise Permanent(f"the answers of role {instance.role.name} are refused: {error}") from error
    parts = [
        f"== {name}\n{shown[name]}\n"
        if name in shown
        else f"== {name}: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}\n"
        for name, content in sorted(files.items())
    ]
    return {"answers.txt": "".join(parts).encode()}

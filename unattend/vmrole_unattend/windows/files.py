"""Everything that stands on the answer disc of a Windows instance, checked before it is given out.

disc = files.disc(answers, machine, reveal)
"""

from __future__ import annotations

from collections.abc import Mapping

from vmrole_unattend import iso, local_storage
from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.secret import Reveal
from vmrole_unattend.windows import guest_command, names, wishes
from vmrole_unattend.windows.answers import Answers, Machine
from vmrole_unattend.windows.check import Deployment, Severity, check
from vmrole_unattend.windows.merge import merge, strip_marks
from vmrole_unattend.windows.render import render

_NEVER = frozenset({"computer-name", "password-missing"})
"""Doubts about a user's own file that keep it from the disc all the same.

The computer's name is ours in any case, and Setup stops over an account of that name; and nobody sits before the
instance to answer a question.
"""
LABEL = "UNATTEND"  # Windows does not care
ANSWER_FILE = "Unattend.xml"  # Autounattend.xml is for Setup from its own media, which could wipe a disk


def files(answers: Answers, machine: Machine, reveal: Reveal) -> Mapping[str, bytes]:
    """The disc's files by name; equal arguments give equal bytes. Raises AnswersInvalid: no invalid disc is made."""
    found = faults(answers, service=machine.service, role=machine.role, instances=machine.index + 1)
    if found:
        raise found[0]
    own = _own(answers, reveal)
    ours = render(answers, machine, reveal)
    xml = _merged(own, ours) if own else strip_marks(ours)
    _must_be_valid(xml, answers, own=bool(own))
    made = {ANSWER_FILE: xml}
    texts = {
        guest_command.SPECIALIZE: guest_command.specialize(
            machine.instance, machine.generation, storage=bool(machine.local_storage)
        ),
        "vmrole\\boot.ps1": guest_command.BOOT_SCRIPT,
    }
    if machine.local_storage:
        placing = local_storage.script(machine.local_storage, machine.blank_storage)
        texts[guest_command.STORAGE] = placing.replace("\n", "\r\n")
    if answers.first_logon:
        texts[guest_command.FIRST_LOGON] = guest_command.first_logon(answers.first_logon)
    for script in answers.scripts:
        texts[f"vmrole\\{script.name}"] = script.text.replace("\r\n", "\n").replace("\n", "\r\n")
    return made | {name.replace("\\", "/"): text.encode() for name, text in texts.items()}


def disc(answers: Answers, machine: Machine, reveal: Reveal) -> bytes:
    """The ISO of those files."""
    return iso.write_iso(files(answers, machine, reveal), LABEL)


def faults(answers: Answers, *, service: str, role: str, instances: int) -> list[AnswersInvalid]:
    """All that is wrong with the wishes of a role, without a look at a secret; `where` is the service file's key."""
    found = names.faults(answers, service=service, role=role, instances=instances)
    return [*found, *wishes.faults(answers), *wishes.shared(answers, instances)]


def computer_name(answers: Answers, machine: Machine) -> str:
    """What the machine shall call itself; raises AnswersInvalid."""
    return names.computer_name(answers.computer_name, role=machine.role, index=machine.index, service=machine.service)


def _own(answers: Answers, reveal: Reveal) -> bytes:
    """The user's own file; b"" when he brings none."""
    if answers.own_xml_from is not None:
        text = reveal(answers.own_xml_from).reveal()
        if not text.strip():  # Without this, nothing of his would be done, and Setup might wait for an answer.
            raise AnswersInvalid("the file is empty", where=str(answers.own_xml_from), hint="put the XML there")
        return text.encode()
    return answers.own_xml.encode()


def _merged(own: bytes, ours: bytes) -> bytes:
    try:
        return merge(own, ours).xml
    except AnswersInvalid as refused:
        raise AnswersInvalid(refused.message, where=f"xml, {refused.where}", hint=refused.hint) from refused


def _must_be_valid(xml: bytes, answers: Answers, *, own: bool) -> None:
    """Ours must be without a fault; in a user's own file only what Windows refuses keeps it from the disc."""
    found = check(
        xml,
        windows=answers.windows,
        edition=answers.edition,
        architecture=answers.architecture,
        ours=not own,
        deployment=Deployment.GENERALIZED,
    )
    errors = [one for one in found if one.severity is Severity.ERROR or one.code in _NEVER]
    if errors:
        where = "xml" if own else ANSWER_FILE
        raise AnswersInvalid(f"{errors[0]}", where=where, hint=errors[0].mend)

"""Everything that stands on the answer disc of a Windows instance, checked before it is given out.

disc = files.disc(answers, machine, reveal)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from vmrole_unattend import iso, local_storage
from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.nocloud import guest_script
from vmrole_unattend.secret import Reveal, Secret
from vmrole_unattend.windows import guest_command, names, wishes
from vmrole_unattend.windows.answers import Answers, Machine, secrets_of
from vmrole_unattend.windows.check import Deployment, Diagnostic, Severity, check
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
    xml = _merged(own, ours)
    _must_be_valid(xml, answers, own=bool(own))
    made = {ANSWER_FILE: xml}
    texts = {
        guest_command.SPECIALIZE: guest_command.specialize(
            machine.instance, machine.generation, storage=bool(machine.local_storage)
        ),
        "vmrole\\boot.ps1": guest_command.BOOT_SCRIPT,
        guest_command.CLIENT: guest_script("vmrole-guest.ps1").replace("\n", "\r\n"),
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
    found += [*wishes.faults(answers), *wishes.shared(answers, instances)]
    return found or _faults_of_a_proof(answers, service=service, role=role)


def _faults_of_a_proof(answers: Answers, *, service: str, role: str) -> list[AnswersInvalid]:
    """What the disc of the first instance would be refused for, with stand-ins for secrets: told now, not then.

    A file that is kept elsewhere is read when the disc is made, and what it has to say is not known before.
    """
    known = dataclasses.replace(answers, own_xml_from=None)
    stand_ins = dict.fromkeys(secrets_of(known), Secret("Stand-in.1"))
    for ref, text in ((known.product_key, _A_KEY), (known.join.blob, "QQ==")):
        if ref is not None:
            stand_ins[ref] = Secret(text)
    machine = dataclasses.replace(_FIRST, service=service, role=role, instance=f"{role}-0.{service}")
    try:
        xml = _merged(_own(known, stand_ins.__getitem__), render(known, machine, stand_ins.__getitem__))
    except AnswersInvalid as refused:
        return [refused]
    return [
        AnswersInvalid(f"{one.message}", where=_key_of(one, known), hint=one.mend)
        for one in _refusals(xml, known, own=bool(known.own_xml))
        if answers.own_xml_from is None or one.code != "password-missing"
    ][:1]


_A_KEY = "VK7JG-NPHTM-C97JM-9MPGT-3V66T"  # what Windows itself begins with
_FIRST = Machine(
    role="",
    index=0,
    service="",
    instance="",
    generation=1,
    instance_id="00000000-0000-4000-8000-000000000000",
    mac="52:54:00:00:00:00",
    address="192.0.2.10/24",
    gateway="192.0.2.1",
)
_KEYS = {
    "UILanguage": "uiLanguage",
    "UserLocale": "locale",
    "SystemLocale": "locale",
    "TimeZone": "timeZone",
    "ComputerName": "computerName",
    "RegisteredOwner": "owner",
    "RegisteredOrganization": "organization",
    "JoinDomain": "join.domain",
    "JoinWorkgroup": "join.workgroup",
    "MachineObjectOU": "join.unit",
    "Path": "specialize",
    "Description": "specialize",
    "Group": "accounts",
    "Name": "accounts",
}
"""The service file's keys by the settings that they become."""


def _key_of(found: Diagnostic, answers: Answers) -> str:
    setting = found.path.rpartition("/")[2]
    if answers.own_xml:
        return "xml"
    if setting == "InputLocale":
        return "keyboard" if answers.keyboard else "locale"
    return _KEYS.get(setting, ANSWER_FILE)


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
    if not own:
        return strip_marks(ours)
    try:
        return merge(own, ours).xml
    except AnswersInvalid as refused:
        raise AnswersInvalid(refused.message, where=f"xml, {refused.where}", hint=refused.hint) from refused


def _must_be_valid(xml: bytes, answers: Answers, *, own: bool) -> None:
    """Raises AnswersInvalid for what keeps the file from the disc."""
    errors = _refusals(xml, answers, own=own)
    if errors:
        where = "xml" if own else ANSWER_FILE
        raise AnswersInvalid(f"{errors[0]}", where=where, hint=errors[0].mend)


def _refusals(xml: bytes, answers: Answers, *, own: bool) -> list[Diagnostic]:
    """Ours must be without a fault; in a user's own file only what Windows refuses keeps it from the disc."""
    found = check(
        xml,
        windows=answers.windows,
        edition=answers.edition,
        architecture=answers.architecture,
        ours=not own,
        deployment=Deployment.GENERALIZED,
    )
    return [one for one in found if one.severity is Severity.ERROR or one.code in _NEVER]

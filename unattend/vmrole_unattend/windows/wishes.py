"""What can be said against a role's wishes before there is a disc; names are `names`'s. Looks at no secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from lxml import etree

from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.windows import document, guest_command, merge_rules
from vmrole_unattend.windows.answers import Answers, Edition, Join
from vmrole_unattend.windows.check import Severity, check
from vmrole_unattend.windows.checks import welcome
from vmrole_unattend.windows.checks.place import homes
from vmrole_unattend.windows.markup import elements, local, text_of
from vmrole_unattend.windows.time_zones import NAMES, near

OWNER_CHARS_MAX = 256
COMMAND_CHARS_MAX = 259  # Path and Description of a RunSynchronousCommand
LINE_CHARS_MAX = 8000  # of a line in a script; cmd.exe takes 8191
_LOCALE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_KEYBOARD = re.compile(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{8}")
_SCRIPT = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}")
_OURS = frozenset({"specialize.cmd", "first-logon.cmd", "boot.ps1", "local-storage.ps1", "vmrole-guest.ps1"})
_ELSEWHERE = "keep the XML in a file of its own and say xml: {file: /path}"
_UNTYPED = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def faults(answers: Answers) -> list[AnswersInvalid]:
    """Every fault; `where` is the key in the service file below `unattend`."""
    return [
        *_texts(answers),
        *_region(answers),
        *_accounts(answers),
        *_join(answers.join),
        *_commands(answers),
        *_scripts(answers),
        *_own_xml(answers),
    ]


def shared(answers: Answers, instances: int) -> list[AnswersInvalid]:
    """What one computer may have and so many instances would share."""
    if answers.join.blob is None or instances < 2:
        return []
    told = f"a blob is the account of one computer, and the role has {instances} instances"
    hint = "say instances: 1 and give each computer a role of its own, or join with a user and a password"
    return [_fault("join.blob", told, hint)]


def _texts(answers: Answers) -> Iterator[AnswersInvalid]:
    limited = [("organization", answers.organization), ("owner", answers.owner)]
    for account in answers.accounts:
        at = f"accounts.{account.name}"
        limited += [(f"{at}.group", account.group), (f"{at}.displayName", account.display_name)]
        limited += [(f"{at}.description", account.description)]
    limited += [("firewallGroups", group) for group in answers.firewall_groups]
    join = answers.join
    limited += [("join.domain", join.domain), ("join.user", join.user), ("join.userDomain", join.user_domain)]
    limited += [("join.workgroup", join.workgroup), ("join.unit", join.unit)]
    for where, text in limited:
        if len(text) > OWNER_CHARS_MAX:
            yield _fault(where, f"has {len(text)} characters", f"at most {OWNER_CHARS_MAX}")
        yield from _typed(where, text)


def _region(answers: Answers) -> Iterator[AnswersInvalid]:
    zone = answers.time_zone.removesuffix("_dstoff")  # which says: without daylight saving
    if zone not in NAMES:
        close = [meant] if (meant := near(zone)) else difflib.get_close_matches(zone, NAMES, 3, 0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else "one that `tzutil /l` prints on Windows"
        yield _fault("timeZone", f"{zone[:60]!r} is not a time zone of Windows'", hint)
    for where, text in (("locale", answers.locale), ("uiLanguage", answers.ui_language)):
        if (text or where == "locale") and not _LOCALE.fullmatch(text):
            yield _fault(where, f"{text[:40]!r} is not a locale", "such as en-US or de-DE")
    if answers.keyboard:
        for one in answers.keyboard.split(";"):
            if not (_LOCALE.fullmatch(one) or _KEYBOARD.fullmatch(one)):
                yield _fault("keyboard", f"{one[:40]!r} is not a keyboard", "a locale, or such as 0407:00000407")


def _accounts(answers: Answers) -> Iterator[AnswersInvalid]:
    """Without these, Setup asks a person who is not there."""
    if answers.own_xml_from is not None:
        return  # Nobody has seen it yet; whoever makes the disc looks.
    if answers.own_xml and not _own_xml_asks(answers):
        return
    if answers.edition is Edition.SERVER and answers.administrator_password is None:
        told = "a server asks for the administrator's password and waits for ever"
        yield _fault("administratorPassword", told, "say where it is: {file: /path}")
    if answers.edition is Edition.CLIENT and not answers.accounts:
        told = "a client asks who will use it and waits for ever: its Administrator is disabled"
        yield _fault("accounts", told, "give it a local account")


def _own_xml_asks(answers: Answers) -> bool:
    """Whether the user's own file leaves a question of the first start open; one that cannot be read does not."""
    try:
        root = document.parse(answers.own_xml.encode(errors="replace")).root
    except AnswersInvalid:
        return False
    return bool(welcome.question(homes(root), answers.edition))


def _join(join: Join) -> Iterator[AnswersInvalid]:
    if sum(map(bool, (join.domain, join.workgroup, join.blob))) > 1:
        yield _fault("join", "joins in more than one way", "say one of domain, workgroup and blob")
    if join.unsecure and (join.user or join.password is not None):
        yield _fault("join.unsecure", "an unsecured join must not have credentials", "leave out user and password")
    if join.domain and not join.unsecure and not (join.user and join.password is not None):
        yield _fault(
            "join", "a domain is joined with a user and a password", "say both, or unsecure: true, or a blob"
        )
    if not join.domain and (join.user or join.password is not None or join.unit or join.unsecure):
        yield _fault("join", "says how to join and not which domain", "say domain")


def _commands(answers: Answers) -> Iterator[AnswersInvalid]:
    for number, command in enumerate(answers.specialize):
        where = f"specialize.{number}"
        if not command.line.strip():
            yield _fault(f"{where}.run", "is empty", "say what to run")
        for name, text in (("run", command.line), ("description", command.description)):
            if len(text) > COMMAND_CHARS_MAX:
                hint = f"at most {COMMAND_CHARS_MAX}; put the rest into a script"
                yield _fault(f"{where}.{name}", f"has {len(text)} characters", hint)
            yield from _typed(f"{where}.{name}", text)
    for line in answers.first_logon:
        if not line.strip() or len(line) > LINE_CHARS_MAX:
            yield _fault("firstLogon", f"a line has {len(line)} characters", f"1 to {LINE_CHARS_MAX}")
        yield from _typed("firstLogon", line)


def _scripts(answers: Answers) -> Iterator[AnswersInvalid]:
    seen: set[str] = set()
    for script in answers.scripts:
        where = f"scripts.{script.name[:80]}"
        if not _SCRIPT.fullmatch(script.name):
            yield _fault(where, "cannot be a file's name on the disc", "1 to 64 letters, digits, '.', '_' and '-'")
        elif script.name.casefold() in _OURS:
            yield _fault(where, "is the name of a script of vmrole's", "choose another one")
        elif script.name.casefold() in seen:
            yield _fault(where, "is there twice", "Windows ignores case")
        seen.add(script.name.casefold())
        if re.search("[\ud800-\udfff]", script.text):
            yield _fault(where, "holds a character that UTF-8 cannot hold", "remove it")


def _own_xml(answers: Answers) -> Iterator[AnswersInvalid]:
    """What Windows would refuse in the user's own file; what is only doubtful is `vmrole answers check`'s to say."""
    if not answers.own_xml:
        return
    try:
        source = answers.own_xml.encode()
    except UnicodeEncodeError:
        yield _fault("xml", "holds a character that UTF-8 cannot hold", "remove it")
        return
    try:
        root = document.parse(source).root
    except AnswersInvalid:
        root = None  # What is wrong with it, `check` says below.
    kept = [one for one in elements(root) if text_of(one) and merge_rules.is_secret(one)] if root is not None else []
    if kept:
        told = f"line {kept[0].sourceline}: <{local(kept[0])}> is a secret, and a service file is stored as it is"
        yield _fault("xml", told, _ELSEWHERE)
    comments = root.iter(etree.Comment) if root is not None else ()
    hidden = next((one for one in comments if merge_rules.comment_holds_secret(one)), None)
    if hidden is not None:
        told = f"line {hidden.sourceline}: a comment holds a secret, and a service file is stored as it is"
        yield _fault("xml", told, f"remove it, or {_ELSEWHERE}")
    for found in check(source, windows=answers.windows, edition=answers.edition, architecture=answers.architecture):
        if found.severity is Severity.ERROR:
            yield _fault("xml", str(found), found.mend)


def _typed(where: str, text: str) -> Iterator[AnswersInvalid]:
    if found := _UNTYPED.search(text):
        yield _fault(where, f"holds U+{ord(found[0]):04X}, which cannot stand there", "remove the control character")


def _fault(where: str, message: str, hint: str) -> AnswersInvalid:
    return AnswersInvalid(message, where=where, hint=hint)


assert len(guest_command.from_disc(guest_command.SPECIALIZE)) <= COMMAND_CHARS_MAX

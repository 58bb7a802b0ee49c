"""Names that Windows takes: of a computer and of a local account. Sources: Microsoft's reference of ComputerName and
of LocalAccount/Name, and its naming conventions.
"""

from __future__ import annotations

import re
import string

from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.windows.answers import Answers

COMPUTER_NAME_BYTES_MAX = 15
ACCOUNT_NAME_CHARS_MAX = 20
_COMPUTER = re.compile(r"(?!-)[A-Za-z0-9-]{1,15}(?<!-)")
_ACCOUNT_FORBIDDEN = frozenset('/\\[]:;|=,+*?<>"%@')
_TAKEN = frozenset(
    {
        "administrator", "guest", "defaultaccount", "wdagutilityaccount", "none", "system", "network", "service",
        "local service", "network service", "everyone", "users", "administrators", "guests",
    }
)  # fmt: skip
_FIELDS = frozenset({"role", "index", "service"})


def computer_name(pattern: str, *, role: str, index: int, service: str) -> str:
    """The name that the pattern gives; {role}, {index} and {service} are put in. Raises AnswersInvalid."""
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise _refused("computerName", f"{pattern[:40]!r}: {error}", "write {role}, {index} or {service}") from error
    for _, field, form, conversion in parts:
        if field is not None and (field not in _FIELDS or form or conversion):
            raise _refused(
                "computerName", f"{pattern[:40]!r} has a field that is not known", "use {role}, {index}, {service}"
            )
    name = pattern.format(role=role, index=index, service=service)
    if len(name.encode(errors="replace")) > COMPUTER_NAME_BYTES_MAX:
        size = len(name.encode(errors="replace"))
        hint = f'at most {COMPUTER_NAME_BYTES_MAX}; set computerName, such as "WEB{{index}}"'
        raise _refused("computerName", f"{name[:40]!r} has {size} bytes", hint)
    if not _COMPUTER.fullmatch(name):
        hint = "letters, digits and '-', neither first nor last a '-'"
        raise _refused("computerName", f"{name!r} has a character that Windows refuses", hint)
    if name.isdigit():
        raise _refused("computerName", f"{name!r} has digits only", "put a letter into it")
    return name


def account_name(name: str) -> str:
    """`name` when a local account can be called so; raises AnswersInvalid."""
    if not name.strip() or len(name) > ACCOUNT_NAME_CHARS_MAX:
        raise _refused("accounts", f"{name[:40]!r} has {len(name)} characters", f"1 to {ACCOUNT_NAME_CHARS_MAX}")
    if any(char in _ACCOUNT_FORBIDDEN or not char.isprintable() for char in name) or name.endswith("."):
        hint = "none of / \\ [ ] : ; | = , + * ? < > \" % @, and no '.' at the end"
        raise _refused(f"accounts.{name}", f"{name!r} has a character that Windows refuses", hint)
    if name.casefold() in _TAKEN:
        raise _refused(f"accounts.{name}", f"{name!r} is a name of Windows' own", "choose another name")
    return name


def faults(answers: Answers, *, service: str, role: str, instances: int) -> list[AnswersInvalid]:
    """What is wrong with the names of `instances` machines and of the accounts on each; [] is good."""
    found: list[AnswersInvalid] = []
    names: dict[str, int] = {}
    for index in range(max(1, instances)):
        try:
            name = computer_name(answers.computer_name, role=role, index=index, service=service)
        except AnswersInvalid as refused:
            return [*found, refused, *_account_faults(answers, frozenset())]
        if name.casefold() in names:
            told = f"instances {names[name.casefold()]} and {index} would both be called {name!r}"
            found.append(_refused("computerName", told, "put {index} into it"))
            break
        names[name.casefold()] = index
    return [*found, *_account_faults(answers, frozenset(names))]


def _account_faults(answers: Answers, computers: frozenset[str]) -> list[AnswersInvalid]:
    found: list[AnswersInvalid] = []
    seen: set[str] = set()
    for account in answers.accounts:
        try:
            account_name(account.name)
        except AnswersInvalid as refused:
            found.append(refused)
        folded = account.name.casefold()
        if folded in seen:
            found.append(_refused(f"accounts.{account.name}", "the account is there twice", "Windows ignores case"))
        if folded in computers:
            told = f"{account.name!r} is the name of a computer as well: Setup stops there"
            found.append(_refused(f"accounts.{account.name}", told, "choose another name for one of them"))
        seen.add(folded)
    return found


def _refused(where: str, message: str, hint: str) -> AnswersInvalid:
    return AnswersInvalid(message, where=where, hint=hint)

"""Names, accounts, product keys: what makes one machine differ from another."""

from __future__ import annotations

import re

from vmrole_unattend.windows import group_names
from vmrole_unattend.windows.checks.characters import INVISIBLE
from vmrole_unattend.windows.checks.file import File
from vmrole_unattend.windows.checks.place import Place, Report, short
from vmrole_unattend.windows.checks.placeholder import is_placeholder

NAME_BYTES_MAX = 15
ACCOUNT_CHARS_MAX = 20
_NOT_IN_NAME = re.compile(r"""[{|}~\[\\\]^':;<=>?@!"#$%`()+/.,*&\s]""")
_VARIABLE = re.compile(r"%\w+%")  # PC-%SERIAL%, to be filled in by a task sequence
_NOT_IN_ACCOUNT = re.compile(r'["/\\\[\]:;|=,+*?<>%@]')
_BUILT_IN = frozenset({"guest", "defaultaccount", "system", "none", "network service", "local service"})
_RESERVED_WORDS = """
    anonymous batch builtin dialup domain enterprise interactive internet local localhost network null proxy
    restricted self server service system users world
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())
"""Names of Windows' own, which Microsoft's naming conventions keep from computers."""

_KEY = re.compile(r"[A-Za-z0-9]{5}(-[A-Za-z0-9]{5}){4}")
_NOT_IN_KEY = re.compile("[015AEILOSUZ]")
_MISTYPED_MAX = 3  # What holds more of them is an example.
_NO_KEY = re.compile(r"(.)\1{4}(-\1{5}){4}")  # XXXXX-XXXXX-XXXXX-XXXXX-XXXXX
_STAND_IN = re.compile(r"_|key|your|insert|replace|here|[<>\[\]{}]", re.IGNORECASE)


def check(file: File, report: Report) -> None:
    """Everything of this subject in the whole file."""
    accounts = {one.text.casefold() for home in file.homes for one in home.every if _is_account_name(one)}
    for home in file.homes:
        if home.is_named("Shell-Setup"):
            for place in home.find("computername"):
                _computer_name(place, accounts, report)
            for place in home.find("productkey"):
                _product_key(place, report)
            for place in home.every:
                _accounts(place, report)
                if place.key in _GROUPS_OF:
                    _groups(place, report)
        if home.is_named("Setup"):
            for place in home.find("userdata/productkey/key"):
                if place.text:
                    _key_shape(place, report)


def _computer_name(place: Place, accounts: set[str], report: Report) -> None:
    name = place.text
    if name in ("", "*") or report.awaits(place, name):
        return
    if _VARIABLE.search(name):
        report.to_come(place, short(name))
        return
    bad = _NOT_IN_NAME.search(name)
    mend = "at most 15 letters, digits and hyphens, not only digits"
    if bad is not None:
        report.error(place, "computer-name", f"a computer's name cannot hold {bad[0]!r}: {short(name)}", mend)
    elif len(name) > NAME_BYTES_MAX:
        message = f"a computer's name has at most {NAME_BYTES_MAX} characters, {short(name)} has {len(name)}"
        report.error(place, "computer-name", message, mend)
    elif name.isdigit():
        report.error(place, "computer-name", f"a computer's name cannot be all digits: {short(name)}", mend)
    elif len(name.encode()) > NAME_BYTES_MAX or any(ord(char) > 0xFFFF for char in name):
        message = f"a computer's name has at most {NAME_BYTES_MAX} bytes, {short(name)} has {len(name.encode())}"
        report.doubt(place, "computer-name", message, mend)
    elif name.startswith("-") or name.endswith("-"):
        report.warning(place, "host-name", f"a computer's name begins and ends with no hyphen: {short(name)}", mend)
    elif not INVISIBLE.sub("", name).isascii():
        message = (
            f"a computer's name with other letters than A to Z is found by no DNS as others write it: {short(name)}"
        )
        report.warning(place, "host-name", message, mend)
    elif name.casefold() in _RESERVED:
        report.warning(place, "host-name", f"{name} means something else to Windows", "choose another name")
    elif name.casefold() in accounts:
        message = f"the computer and a local account are both named {short(name)}"
        report.doubt(place, "computer-name", message, "rename one of them")


def _is_account_name(place: Place) -> bool:
    return place.key == "useraccounts/localaccounts/localaccount/name"


def _accounts(place: Place, report: Report) -> None:
    if place.key != "useraccounts/localaccounts":
        return
    seen: dict[str, Place] = {}
    for account in place.children:
        name = account.child("name")
        if name is None or not name.text:
            if account.name.casefold() == "localaccount" and account.mark("action") != "remove":
                report.doubt(account, "account", "the account has no name", "add <Name>")
            continue
        if report.awaits(name, name.text):
            continue
        bad = _NOT_IN_ACCOUNT.search(name.text)
        if bad is not None:
            report.error(
                name, "account", f"an account's name cannot hold {bad[0]!r}: {short(name.text)}", "rename it"
            )
        elif len(name.text) > ACCOUNT_CHARS_MAX:
            message = f"an account's name has at most {ACCOUNT_CHARS_MAX} characters: {short(name.text)}"
            report.error(name, "account", message, "make it shorter")
        elif name.text.endswith("."):
            report.error(name, "account", f"an account's name cannot end in a dot: {short(name.text)}", "rename it")
        elif name.text.casefold() in _BUILT_IN:
            report.doubt(name, "account", f"{name.text} is a name of Windows' own", "choose another name")
        if name.text.casefold() in seen:
            message = f"the account is there twice, first on line {seen[name.text.casefold()].line}"
            report.doubt(name, "account", message, "keep one")
        seen.setdefault(name.text.casefold(), name)


def _groups(place: Place, report: Report) -> None:
    """Groups are made known before a language is; Windows translates the English names of its own."""
    for group in (one.strip() for one in place.text.split(";")):
        if not group or group_names.is_known(group) or report.awaits(place, group):
            continue
        right = group_names.meant(group)
        message = f"the group {short(group)} is none that every Windows has under this name"
        mend = f"write {right}" if right else "the English name of one of Windows' own; another must be in the image"
        if "," in group and all(group_names.is_known(one) for one in group.split(",")):
            mend = "divide them by semicolons"
        report.warning(place, "group", message, mend)


_GROUPS_OF = (
    "useraccounts/localaccounts/localaccount/group",
    "useraccounts/domainaccounts/domainaccountlist/domainaccount/group",
    "offlineuseraccounts/offlinelocalaccounts/localaccount/group",
    "offlineuseraccounts/offlinedomainaccounts/offlinedomainaccount/group",
)


def _product_key(place: Place, report: Report) -> None:
    if place.children:
        mend = "write the key itself; only Microsoft-Windows-Setup has <Key>"
        report.doubt(place, "product-key", "<ProductKey> holds elements", mend)
    elif not place.text:
        report.error(place, "product-key", "the product key is empty; Setup fails over it", "remove <ProductKey>")
    else:
        _key_shape(place, report)


def _key_shape(place: Place, report: Report) -> None:
    if _is_stand_in(place):
        if set(place.text) != set("0-"):  # which Windows' own media take for "no key"
            report.to_come(place, "a product key")
        return
    if _KEY.fullmatch(place.text) is None:
        mend = "five groups of five letters and digits, with hyphens between"
        report.error(place, "product-key", "this has not the shape of a product key", mend)
    elif 0 < len(re.findall(_NOT_IN_KEY, place.text.upper())) <= _MISTYPED_MAX:
        message = "this is mistyped: it holds a letter or a digit that no product key has"
        mend = "0, 1 and 5, A, E, I, L, O, S, U and Z are in none: look at it again"
        report.warning(place, "product-key", message, mend)


def _is_stand_in(place: Place) -> bool:
    """Whether the text of a product key is no key yet: MY_KEY, XXXXX-…, "your key here"."""
    text = place.text
    return is_placeholder(text) or _NO_KEY.fullmatch(text) is not None or _STAND_IN.search(text) is not None

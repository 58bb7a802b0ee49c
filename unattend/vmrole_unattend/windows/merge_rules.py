"""How ours and his are merged, as tables: what is a list, what is taken whole, what is secret. Changes no tree."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from vmrole_unattend.windows.markup import MARKS, UNATTEND, children, elements, local, text_of

COMMENT = "vmrole instance "  # what the comment that names the instance begins with
OUR_SCRIPT = "vmrole\\specialize.cmd"  # the command that runs it must be the first at specialize

COMMANDS = {
    "runsynchronous": "path",
    "runasynchronous": "path",
    "firstlogoncommands": "commandline",
    "logoncommands": "commandline",
}
"""Lists in the order of their Orders, and the element that holds the command line."""

LISTS = {
    "localaccounts": ("name",),
    "domainaccountlist": ("name",),
    "firewallgroups": ("group",),
    "interfaces": ("identifier",),
}
"""Lists of things, and what tells one from another, besides wcm:keyValue."""

WHOLES = frozenset(
    {
        "administratorpassword",
        "password",
        "credentials",
        "identification",  # a domain of one and a workgroup of the other would be neither
        "offlineidentification",
        "interface",  # Windows wants its children in one order
        "autologon",
        "extendospartition",  # Extend and Size exclude each other
    }
)
"""What is taken whole from the one or the other: half of each would be wrong."""

CASELESS = frozenset(
    {"group", "inputlocale", "systemlocale", "uilanguage", "userlocale", "timezone", "profile", "domain"}
)
"""Settings whose texts Windows compares without case."""

DEPLOYED = ("specialize", "oobesystem")  # the passes that a generalized image goes through, in this order
ARCHITECTURES = frozenset({"amd64", "x86", "arm64", "arm", "ia64"})  # wow64 and neutral go with any image
SHOWN_CHARS_MAX = 160

WISH = "the service file says so"
HIS = f"{{{MARKS}}}his"  # marks one of ours that says what he says elsewhere
DEFAULT = "ours is only a default"
ADDED = "your file does not say it"
ELSEWHERE = "ours is only a default, and your file says it in {}"
COPIED = f"{ELSEWHERE}; it is written here too, where the last word is"
LATER = "the service file says so, in a pass that comes later"
OVERRULED = "the service file says so, and this pass would have the last word"
ARCHITECTURE = "it is for another architecture than the image; Windows skips it"
FIRST = "ours has to run before yours; your Orders are raised"
APPENDED = "the service file's come after yours"
AT_ONCE = "ours comes last; Windows 10 and later start all of them at once"
AUTOLOGON = "the service file sets this account's password; the one here must be the same"
ANOTHER_NAME = "Windows calls this interface by another name than its MAC; it may be the one that ours sets"


def says_instance(comment: etree._Element) -> bool:
    """Whether it is the comment that names the instance."""
    return (comment.text or "").strip().startswith(COMMENT)


def is_list(group: etree._Element) -> bool:
    """Whether what is right below are things of one kind."""
    return local(group).casefold() in {*COMMANDS, *LISTS}


def item_name(item: etree._Element, group: etree._Element) -> str:
    """Which one of a list it is, as part of a path: "[bob]", "[2]"."""
    names = LISTS.get(local(group).casefold(), ("order",))
    key = next((value for value in item.attrib.values() if value not in ("add", "true", "false")), "")
    return f"[{next((text for name in names if (text := child_text(item, name))), str(key))}]"


def accounts(ours: etree._Element) -> set[str]:
    """The accounts whose passwords ours sets, in lower case."""
    found = set()
    for one in elements(ours):
        parent = one.getparent()
        if parent is None or any(is_default(above, False) for above in [one, *one.iterancestors()]):
            continue
        if local(one) == "AdministratorPassword":
            found.add("administrator")
        elif local(one) == "Password" and local(parent) == "LocalAccount":
            found.add(child_text(parent, "name").casefold())
    return found


def is_default(element: etree._Element, inherited: bool) -> bool:
    """Whether ours only suggests it: its own mark, else that of what it stands in."""
    mark = element.get(f"{{{MARKS}}}default")
    return inherited if mark is None else mark == "true"


def is_secret(element: etree._Element) -> bool:
    """Whether its text is a password, a product key or a join blob."""
    if local(element).casefold() == "plaintext":
        return False
    above = [element, *element.iterancestors()]
    names = [local(one).casefold() for one in above if isinstance(one.tag, str)]
    return any(name.endswith("password") or name in ("productkey", "accountdata") for name in names)


def comment_holds_secret(comment: etree._Element) -> bool:
    """Whether XML in a comment, such as an older answer that somebody kept, holds what `is_secret` calls one."""
    text, parent = comment.text or "", comment.getparent()
    inside = [found[2] for found in _SECRET_IN_COMMENT.finditer(text)]
    if parent is not None and is_secret(parent):
        inside += [found[1] for found in _VALUE_IN_COMMENT.finditer(text)]
    return any(_TAG_IN_COMMENT.sub("", _NO_SECRET_IN_COMMENT.sub("", one)).strip() for one in inside)


_SECRET_IN_COMMENT = re.compile(
    r"<([\w:.-]*(?:Password|ProductKey|AccountData))(?:\s[^<>]*)?>((?:(?!</\1).)*)", re.IGNORECASE | re.DOTALL
)
_VALUE_IN_COMMENT = re.compile(r"<(?:Value|Key)(?:\s[^<>]*)?>([^<>]*)", re.IGNORECASE)
_NO_SECRET_IN_COMMENT = re.compile(r"<(PlainText|WillShowUI|OnError)>[^<>]*</\1>", re.IGNORECASE)
_TAG_IN_COMMENT = re.compile(r"<[^<>]*>")


def named(parent: etree._Element, name: str) -> list[etree._Element]:
    """The settings of that name right below that are Windows' own; Windows does not mind the case."""
    space, wanted = f"{{{UNATTEND}}}", name.casefold()
    return [one for one in parent.iterchildren(f"{space}*") if local(one).casefold() == wanted]


def child_text(parent: etree._Element, name: str) -> str:
    """The text of the first child of that name, "" without one."""
    found = named(parent, name)
    return text_of(found[0]) if found else ""


def keys_of(item: etree._Element, names: tuple[str, ...]) -> set[str]:
    """What tells an item of a list from others, each as `kind=value`; two with one in common are the same thing."""
    found = {name: child_text(item, name) for name in names}
    for attribute, value in item.attrib.items():
        if etree.QName(attribute).localname == "keyValue":
            found["keyValue"] = str(value)
    return {f"{name}={_plain(value)}" for name, value in found.items() if value}


def _plain(value: str) -> str:
    mac = value.replace(":", "-").casefold()
    return mac if is_mac(value) else value.strip().casefold()


def is_mac(value: str) -> bool:
    """Whether it is a network card's address."""
    return re.fullmatch(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}", value.strip()) is not None


def order_of(item: etree._Element) -> int | None:
    """The Order of a command; None when there is none that is a number."""
    text = child_text(item, "order")
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def same(left: etree._Element, right: etree._Element) -> bool:
    """Whether two elements mean the same: comments, blanks, and the case of names, true and false aside."""
    return list(_meaning(left)) == list(_meaning(right))


def _meaning(top: etree._Element) -> Iterator[tuple[int, str, str]]:
    depth = sum(1 for _ in top.iterancestors())
    for one in elements(top):
        text = text_of(one)
        if text.casefold() in ("true", "false") or local(one).casefold() in CASELESS:
            text = text.casefold()
        yield sum(1 for _ in one.iterancestors()) - depth, "" if one is top else local(one).casefold(), text


def shown(element: etree._Element) -> str:
    """What it says, for a person, on one line; secrets as ***."""
    leaves = [one for one in elements(element) if not children(one)]
    said = [_leaf(one, element) for one in leaves]
    text = ", ".join(one for one in said if one)
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return clean if len(clean) <= SHOWN_CHARS_MAX else f"{clean[: SHOWN_CHARS_MAX - 1]}…"


def _leaf(leaf: etree._Element, top: etree._Element) -> str:
    text = text_of(leaf)
    if text and is_secret(leaf):
        text = "***"
    if leaf is top:
        return text
    name = local(leaf)
    parent = leaf.getparent()
    if name == "Value" and parent is not None:
        return text if parent is top else f"{local(parent)} {text}"
    return "" if name == "PlainText" else f"{name} {text}"

"""What a merge did, as text for a person: each decision, and the change of the file without its secrets."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from lxml import etree

from vmrole_unattend.windows import document, merge_rules
from vmrole_unattend.windows.decision import Decision, Kept
from vmrole_unattend.windows.markup import UNATTEND, children, elements, text_of
from vmrole_unattend.windows.splice import Splice

MASK = "***"
_IN_COMMENT = re.compile(
    r"<([\w:.-]*(?:Password|ProductKey|AccountData|Value|Key))(\s[^<>]*)?>[^<>]+(?=</\1\s*>)", re.IGNORECASE
)
_FREE = ("path", "commandline", "description", "comment")  # a password is often in one
_ATTRIBUTES = (
    "pass",
    "name",
    "processorArchitecture",
    "publicKeyToken",
    "language",
    "versionScope",
    "action",
    "keyValue",
)
_KEPT = {
    Kept.OURS: "the service file's is taken",
    Kept.THEIRS: "yours stays",
    Kept.BOTH: "both stay",
}


def lines(decisions: Iterable[Decision]) -> list[str]:
    """Two lines for each decision, where and what became of it, then both sides and the reason; last, what is new."""
    said, new = [], []
    for one in decisions:
        if one.kept is Kept.OURS and one.why == merge_rules.ADDED and not one.line:
            new.append(f"    {one.path}: {one.ours}" if one.ours else f"    {one.path}")
            continue
        place = f"line {one.line}: " if one.line else ""
        kept = "added" if one.kept is Kept.OURS and not one.theirs and not one.line else _KEPT[one.kept]
        sides = [f"{whose}: {text}" for whose, text in (("ours", one.ours), ("yours", one.theirs)) if text]
        said += [f"{place}{one.path}: {kept}", f"    {'; '.join([*sides, one.why])}"]
    if new:
        said += ["added, where your file says nothing:", *new]
    return [_printable(line) for line in said]


def masked(xml: bytes) -> str:
    """The file's text with *** for passwords, product keys and join blobs, in comments too as far as they are XML.

    Command lines are shown as they are. Raises AnswersInvalid for a file that cannot be read.
    """
    read = document.parse(xml)
    splice = Splice(read.text, read.root)
    splice.change_comments(lambda text: _IN_COMMENT.sub(rf"<\1\2>{MASK}", text))
    for element in elements(read.root):
        if merge_rules.is_secret(element) and not children(element) and text_of(element):
            splice.set_text(element, MASK)
    return splice.result()


def settings_alone(xml: bytes) -> str:
    """The file's settings, for whoever looks for the cause of a failure: with *** for what `masked` hides, for
    command lines, and for whatever Setup does not read, such as comments, descriptions, and scripts that a tool has
    put into it: there people write what they like. Raises AnswersInvalid as `masked` does.
    """
    root = document.parse(xml).root
    for node in list(root.iter()):
        if node.tail and node.tail.strip():
            node.tail = MASK
        if isinstance(node, etree._Comment | etree._ProcessingInstruction | etree._Entity):
            node.text = MASK
            continue
        name = etree.QName(node)
        for key in node.attrib:
            if etree.QName(key).localname not in _ATTRIBUTES:
                node.set(key, MASK)
        foreign = name.namespace != UNATTEND
        if foreign:
            del node[:]
        hidden = foreign or name.localname.casefold() in _FREE or merge_rules.is_secret(node)
        if node.text and node.text.strip() and (hidden or children(node)):
            node.text = MASK
    return etree.tostring(root, encoding="unicode")


def changes(theirs: bytes, merged: bytes, name: str) -> str:
    """A unified diff of two files, masked; "" when they show no difference."""
    old, new = ([_printable(line) for line in masked(one).splitlines()] for one in (theirs, merged))
    return "\n".join(difflib.unified_diff(old, new, name, f"{name} (merged)", lineterm=""))


def _printable(line: str) -> str:
    """No control character reaches a terminal."""
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in line)

"""What a merge did, as text for a person: each decision, and the change of the file without its secrets."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from vmrole_unattend.windows import document, merge_rules
from vmrole_unattend.windows.decision import Decision, Kept
from vmrole_unattend.windows.markup import children, elements, local, text_of
from vmrole_unattend.windows.splice import Splice

MASK = "***"
_IN_COMMENT = re.compile(
    r"<([\w:.-]*(?:Password|ProductKey|AccountData|Value|Key))(\s[^<>]*)?>[^<>]+(?=</\1\s*>)", re.IGNORECASE
)
_COMMANDS = ("Path", "CommandLine")  # a password is often in one
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


def masked(xml: bytes, *, commands: bool = False) -> str:
    """The file's text with *** for passwords, product keys and join blobs, in comments too as far as they are XML.

    Command lines are shown as they are; with `commands` they are masked, too, and so is all that comments say, of
    which much is a command that somebody has tried. Raises AnswersInvalid for a file that cannot be read.
    """
    read = document.parse(xml)
    splice = Splice(read.text, read.root)
    splice.change_comments(lambda text: MASK if commands else _IN_COMMENT.sub(rf"<\1\2>{MASK}", text))
    for element in elements(read.root):
        is_masked = merge_rules.is_secret(element) or (commands and local(element) in _COMMANDS)
        if is_masked and not children(element) and text_of(element):
            splice.set_text(element, MASK)
    return splice.result()


def changes(theirs: bytes, merged: bytes, name: str) -> str:
    """A unified diff of two files, masked; "" when they show no difference."""
    old, new = ([_printable(line) for line in masked(one).splitlines()] for one in (theirs, merged))
    return "\n".join(difflib.unified_diff(old, new, name, f"{name} (merged)", lineterm=""))


def _printable(line: str) -> str:
    """No control character reaches a terminal."""
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in line)

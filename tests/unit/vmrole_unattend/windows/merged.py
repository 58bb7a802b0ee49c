"""What a merge of somebody's answer file with ours has lost."""

from __future__ import annotations

import collections
import re

from lxml import etree
from vmrole_unattend.windows import document
from vmrole_unattend.windows.markup import children, elements
from vmrole_unattend.windows.merge import Kept, Merged

from tests.world.places import GOLDEN_FILES

GOLDEN = GOLDEN_FILES / "merge"
OURS = {name: (GOLDEN / f"{name}.xml").read_bytes() for name in ("ours", "ours-join")}
UNATTEND = "urn:schemas-microsoft-com:unattend"


def lost(theirs: bytes, merged: Merged) -> list[str]:
    """Places of settings that were his, are not in the result, and that no decision names; and lost comments."""
    changed = {
        re.sub(r"\[[^/]*?\]", "", one.path).casefold() for one in merged.decisions if one.kept is not Kept.THEIRS
    }
    gone = {place for place, _, _ in _leaves(theirs) - _leaves(merged.xml)}
    silent = [
        place for place in gone if not any(place.startswith(named) or named.startswith(place) for named in changed)
    ]
    return sorted(silent) + sorted(_comments(theirs) - _comments(merged.xml))


def _place(element: etree._Element) -> str:
    """Where it stands, as decisions say it, without which one of a list."""
    names = []
    for one in [element, *element.iterancestors()]:
        name = str(etree.QName(one).localname)
        names.append({"settings": one.get("pass", ""), "component": one.get("name", "")}.get(name, name))
    return "/".join(reversed(names[:-1])).casefold()


def _leaves(xml: bytes) -> collections.Counter[tuple[str, str, bytes]]:
    """Every setting without others below it, in canonical form, by place and architecture."""
    found: collections.Counter[tuple[str, str, bytes]] = collections.Counter()
    for one in elements(document.parse(xml).root):
        if not children(one):
            canonical = etree.tostring(one, method="c14n", exclusive=True, with_comments=True, with_tail=False)
            of = next((above for above in one.iterancestors() if above.get("processorArchitecture")), one)
            found[_place(one), of.get("processorArchitecture", ""), canonical.strip()] += 1
    return found


def _comments(xml: bytes) -> collections.Counter[str]:
    found = document.parse(xml).root.iter(etree.Comment)
    return collections.Counter(one.text or "" for one in found)

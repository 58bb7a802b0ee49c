"""A user's own Unattend.xml with ours merged into it; docs/answer-files.md says the rules, merge_rules holds tables.

Ours is what `render` made. An element marked `v:default="true"` (namespace `MARKS`), and all below it, is what we
only suggest: there his wins. All else is a wish of the service file, or says which instance it is: there ours wins.
What only he says stays, byte for byte.
"""

from __future__ import annotations

import copy
import dataclasses
import re

from lxml import etree

from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.windows import document, merge_rules
from vmrole_unattend.windows.checks import disks
from vmrole_unattend.windows.checks.place import Report, homes
from vmrole_unattend.windows.decision import Decision, Decisions, Kept
from vmrole_unattend.windows.markup import UNATTEND, children, elements, local, text_of
from vmrole_unattend.windows.splice import Splice, in_tags

__all__ = ["Decision", "Kept", "Merged", "merge", "strip_marks"]

_MARK = re.compile(r'\s+(?:xmlns:v="https://vmrole\.dev/answers/1"|v:default="(?:true|false)")')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The file for the disc, and how it came about."""

    xml: bytes = dataclasses.field(repr=False)
    decisions: tuple[Decision, ...]


def merge(theirs: bytes, ours: bytes) -> Merged:
    """Puts `ours`, made by `render`, into `theirs`; the same bytes when nothing of ours is new.

    Raises AnswersInvalid, with the line, for a file that cannot be read, that says a thing twice where ours has to
    go, or that wipes disks.
    """
    read = document.parse(theirs)
    if etree.QName(read.root) != etree.QName(UNATTEND, "unattend"):
        space = etree.QName(read.root).namespace
        which = f"namespace {space!r}" if space else "no namespace"
        raise AnswersInvalid(
            f"the root is <{local(read.root)}> of {which}, not Windows' <unattend>",
            where=f"line {read.root.sourceline}",
            hint=f'write <unattend xmlns="{UNATTEND}">',
        )
    wiping = Report(ours=False)
    disks.check_generalized(homes(read.root), wiping)
    for found in wiping.findings:
        raise AnswersInvalid(found.message, where=f"line {found.line}", hint=found.mend)
    merging = _Merging(read.text, read.root, document.parse(ours).root)
    merging.run()
    text = merging.splice.result()
    return Merged(xml=theirs if text == read.text else read.encode(text), decisions=tuple(merging.decisions.made))


def strip_marks(xml: bytes) -> bytes:
    """What `render` made, in UTF-8, without its marks, as it goes onto a disc where the user brought no file."""
    return in_tags(xml.decode(), lambda tag: _MARK.sub("", tag)).encode()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Elsewhere:
    """What stands in the other pass of a deployment about the same thing."""

    name: str  # of that pass
    later: bool  # whether that pass comes after this one
    theirs: etree._Element
    mine: etree._Element | None  # what ours says there
    here: etree._Element | None  # what he says in this pass

    def below(self, name: str) -> _Elsewhere | None:
        """The same for a setting in it; None where he does not say it there."""
        theirs = merge_rules.named(self.theirs, name)
        mine = [] if self.mine is None else merge_rules.named(self.mine, name)
        here = [] if self.here is None else merge_rules.named(self.here, name)
        if not theirs:
            return None
        return dataclasses.replace(
            self, theirs=theirs[0], mine=mine[0] if mine else None, here=here[0] if here else None
        )


class _Merging:
    """One merge: his tree, ours, the edits and the decisions."""

    def __init__(self, text: str, theirs: etree._Element, ours: etree._Element) -> None:
        self.splice = Splice(text, theirs)
        self.decisions = Decisions(self.splice)
        self._theirs = theirs
        self._ours = copy.deepcopy(ours)

    def run(self) -> None:
        """Decides everything."""
        self._say_instance()
        his = self._passes()
        self._look_elsewhere(his)
        after = self._last_pass()
        for settings in merge_rules.named(self._ours, "settings"):
            name = settings.get("pass", "")
            if name.casefold() in his:
                self._refuse_used(his[name.casefold()])
                self._components(name, his[name.casefold()], settings)
                continue
            for component in children(settings):
                self.decisions.all_new(f"{name}/{component.get('name')}", component)
            if after is None:
                self.splice.put_first(self._theirs, settings)
            else:
                self.splice.put_after(after, settings)
        self._report()

    # What is there --------------------------------------------------------------------------------------------

    def _passes(self) -> dict[str, etree._Element]:
        """His passes by name; refuses what stands there twice."""
        found: dict[str, etree._Element] = {}
        for settings in merge_rules.named(self._theirs, "settings"):
            name = settings.get("pass", "").strip().casefold()
            if name in found:
                raise self.decisions.twice(f"the pass {settings.get('pass')}", settings)
            found[name] = settings
            keys = set()
            for component in merge_rules.named(settings, "component"):
                key = _component_key(component)
                if key in keys:
                    raise self.decisions.twice(f"the component {component.get('name')}", component)
                keys.add(key)
        return found

    def _refuse_used(self, settings: etree._Element) -> None:
        if settings.get("wasPassProcessed", "").casefold() == "true":
            raise AnswersInvalid(
                f"the pass {settings.get('pass')} is marked as done, so Windows would skip it",
                where=f"line {self.splice.line(settings)}",
                hint="remove wasPassProcessed; Setup writes it into its copy in C:\\Windows\\Panther",
            )

    def _last_pass(self) -> etree._Element | None:
        """Behind what a new pass goes: <servicing> comes before the passes, others' elements after them."""
        found = merge_rules.named(self._theirs, "settings") or merge_rules.named(self._theirs, "servicing")
        return found[-1] if found else None

    def _say_instance(self) -> None:
        """The comment that names the instance; one that is there is changed, for it may be of another."""
        ours = [node.text or "" for node in self._ours.iter(etree.Comment) if merge_rules.says_instance(node)]
        there = any(merge_rules.says_instance(node) for node in self._theirs.iter(etree.Comment))
        if ours and there:
            named = merge_rules.COMMENT
            self.splice.change_comments(lambda text: ours[0] if text.strip().startswith(named) else text)
        elif ours:
            self.splice.put_first(self._theirs, ours[0])

    # What he says elsewhere -----------------------------------------------------------------------------------

    def _look_elsewhere(self, his: dict[str, etree._Element]) -> None:
        """One setting can be said in two passes, and the later has the last word: look at both."""
        for settings in merge_rules.named(self._ours, "settings"):
            name = settings.get("pass", "").casefold()
            if name not in merge_rules.DEPLOYED:
                continue
            other = next(one for one in merge_rules.DEPLOYED if one != name)
            for component in children(settings):
                theirs = _component_of(his.get(other), component)
                if theirs is None:
                    continue
                self._elsewhere(
                    f"{settings.get('pass')}/{component.get('name')}",
                    component,
                    _Elsewhere(
                        name=his[other].get("pass", ""),
                        later=merge_rules.DEPLOYED.index(other) == 1,
                        theirs=theirs,
                        mine=_component_of(_pass_of(self._ours, other), component),
                        here=_component_of(his.get(name), component),
                    ),
                    default=False,
                )
                if not children(component):
                    settings.remove(component)
            if not children(settings):
                self._ours.remove(settings)

    def _elsewhere(self, path: str, ours: etree._Element, other: _Elsewhere, *, default: bool) -> None:
        """Compares what is below `ours` with what the other pass says about the same."""
        default = merge_rules.is_default(ours, default)
        for one in children(ours):
            at = f"{path}/{local(one)}"
            below = other.below(local(one))
            if below is None or merge_rules.is_list(one) or local(one).casefold() in merge_rules.WHOLES:
                continue
            if children(one):
                self._elsewhere(at, one, below, default=default)
                if not children(one):
                    ours.remove(one)
            elif merge_rules.same(one, below.theirs):
                continue
            elif merge_rules.is_default(one, default):
                if below.here is None:
                    self._yield_to(at, one, below)
            elif below.mine is None:
                self._overrule(at, one, below)

    def _overrule(self, path: str, ours: etree._Element, other: _Elsewhere) -> None:
        if not other.later:
            self.decisions.decide(path, ours, other.theirs, Kept.OURS, merge_rules.LATER)
            return
        there = "/".join([other.name, *path.split("/")[1:]])
        self.decisions.decide(there, ours, other.theirs, Kept.OURS, merge_rules.OVERRULED)
        self.splice.set_text(other.theirs, text_of(ours))

    def _yield_to(self, path: str, ours: etree._Element, other: _Elsewhere) -> None:
        """Ours is no wish: it goes, or takes his value where it has the last word and Windows asks without it."""
        why = merge_rules.ELSEWHERE if other.later else merge_rules.COPIED
        self.decisions.decide(path, ours, other.theirs, Kept.THEIRS, why.format(other.name))
        if other.later:
            above = ours.getparent()
            assert above is not None
            above.remove(ours)
        else:
            ours.text = text_of(other.theirs)
            ours.set(merge_rules.HIS, "true")

    # Settings -------------------------------------------------------------------------------------------------

    def _components(self, name: str, theirs: etree._Element, ours: etree._Element) -> None:
        for component in children(ours):
            path = f"{name}/{component.get('name')}"
            found = _component_of(theirs, component)
            if found is None:
                self.decisions.all_new(path, component)
                self.splice.put_last(theirs, component)
                continue
            for one in children(component):
                self._setting(path, found, one, default=merge_rules.is_default(component, False))

    def _setting(self, above: str, parent: etree._Element, ours: etree._Element, *, default: bool) -> None:
        """One of ours, a setting or a group of them, into his `parent`."""
        name = local(ours)
        path, default = f"{above}/{name}", merge_rules.is_default(ours, default)
        found = merge_rules.named(parent, name)
        if not found:
            self.decisions.all_new(path, ours)
            self.splice.put_last(parent, ours)
            return
        if len(found) > 1:
            raise self.decisions.twice(name, found[1])
        if name.casefold() in merge_rules.COMMANDS:
            self._commands(path, found[0], ours)
        elif name.casefold() in merge_rules.LISTS:
            self._list(path, found[0], ours, default=default)
        elif name.casefold() in merge_rules.WHOLES or not children(ours) or text_of(found[0]):
            self._whole(path, found[0], ours, default=default)
        else:
            for one in children(ours):
                self._setting(path, found[0], one, default=default)

    def _whole(self, path: str, theirs: etree._Element, ours: etree._Element, *, default: bool) -> None:
        if merge_rules.same(theirs, ours):
            return
        if default:
            self.decisions.decide(path, ours, theirs, Kept.THEIRS, merge_rules.DEFAULT)
        else:
            self.decisions.decide(path, ours, theirs, Kept.OURS, merge_rules.WISH)
            self.splice.set_content(theirs, ours)

    def _list(self, path: str, theirs: etree._Element, ours: etree._Element, *, default: bool) -> None:
        """Things that have a name: those of both, and of one name one."""
        names = merge_rules.LISTS[local(ours).casefold()]
        for item in children(ours):
            keys = merge_rules.keys_of(item, names)
            at = f"{path}/{local(item)}{merge_rules.item_name(item, ours)}"
            found = [one for one in merge_rules.named(theirs, local(item)) if keys & merge_rules.keys_of(one, names)]
            if not found:
                self.decisions.decide(at, item, None, Kept.OURS, merge_rules.ADDED)
                self.splice.put_last(theirs, item)
            elif len(found) > 1:
                raise self.decisions.twice(f"{local(item)}{merge_rules.item_name(item, ours)}", found[1])
            elif local(item).casefold() in merge_rules.WHOLES:
                self._whole(at, found[0], item, default=merge_rules.is_default(item, default))
            else:
                for one in children(item):
                    if local(one).casefold() != "name":
                        self._setting(at, found[0], one, default=merge_rules.is_default(item, default))

    def _commands(self, path: str, theirs: etree._Element, ours: etree._Element) -> None:
        """Command lines: our first one before his, all others after his; one that he has already is not run twice."""
        line = merge_rules.COMMANDS[local(ours).casefold()]
        his = children(theirs)
        left = list(his)
        added = []
        for item in sorted(children(ours), key=lambda one: merge_rules.order_of(one) or 0):
            said = merge_rules.child_text(item, line)
            there = next((one for one in left if merge_rules.child_text(one, line) == said), None)
            if there is None:
                added.append(item)
            else:
                left.remove(there)
        first = [one for one in added if merge_rules.OUR_SCRIPT in merge_rules.child_text(one, line).casefold()]
        raised = self._raise_orders(path, theirs, first[0]) if first else 0
        orders = [order for one in his if (order := merge_rules.order_of(one)) is not None]
        last = max(orders, default=len(first)) + raised
        why = merge_rules.AT_ONCE if local(ours).casefold() == "firstlogoncommands" else merge_rules.APPENDED
        for item in added:
            if item in first:
                continue
            last += 1
            _set_order(item, last)
            self.decisions.decide(
                f"{path}/{local(item)}[{last}]", item, None, Kept.OURS, why if his else merge_rules.ADDED
            )
            self.splice.put_last(theirs, item)

    def _raise_orders(self, path: str, theirs: etree._Element, first: etree._Element) -> int:
        """Makes `first` Order 1 and his start at 2 or later; by how much his are raised."""
        his = {one: order for one in children(theirs) if (order := merge_rules.order_of(one)) is not None}
        raised = max(0, 2 - min(his.values(), default=2))
        _set_order(first, 1)
        self.splice.put_first(theirs, first)
        for one, order in his.items() if raised else ():
            self.splice.set_text(merge_rules.named(one, "order")[0], str(order + raised))
        theirs_now = ", ".join(str(order) for order in sorted(his.values()))
        self.decisions.add(
            Decision(
                path=f"{path}/{local(first)}[1]",
                line=self.splice.line(theirs),
                ours=merge_rules.shown(first),
                theirs=f"Order {theirs_now}" if his else "",
                kept=Kept.BOTH if his else Kept.OURS,
                why=merge_rules.FIRST if raised else merge_rules.ADDED,
            )
        )
        return raised

    # What is said about it ------------------------------------------------------------------------------------

    def _report(self) -> None:
        """What stays as it is and may surprise."""
        images = {component.get("processorArchitecture", "").casefold() for component in _components(self._ours)}
        passwords = merge_rules.accounts(self._ours)
        addressed = any(local(one) == "Interface" for one in elements(self._ours))
        for component in _components(self._theirs):
            architecture = component.get("processorArchitecture", "")
            if images and architecture.casefold() in merge_rules.ARCHITECTURES - images:
                self.decisions.stays(component, component, ", ".join(images), architecture, merge_rules.ARCHITECTURE)
            for one in elements(component):
                name = local(one).casefold()
                if name == "autologon" and merge_rules.child_text(one, "username").casefold() in passwords:
                    self.decisions.stays(
                        component, one, "", merge_rules.child_text(one, "username"), merge_rules.AUTOLOGON
                    )
                identifier = merge_rules.child_text(one, "identifier")
                if name == "interface" and addressed and not merge_rules.is_mac(identifier):
                    self.decisions.stays(component, one, "", identifier, merge_rules.ANOTHER_NAME)


def _components(root: etree._Element) -> list[etree._Element]:
    passes = merge_rules.named(root, "settings")
    return [component for settings in passes for component in merge_rules.named(settings, "component")]


def _component_key(component: etree._Element) -> tuple[str, str]:
    said = component.get("name", ""), component.get("processorArchitecture", "")
    return said[0].strip().casefold(), said[1].strip().casefold()


def _component_of(settings: etree._Element | None, like: etree._Element) -> etree._Element | None:
    """The component of the same name and architecture in a pass."""
    there = [] if settings is None else merge_rules.named(settings, "component")
    return next((one for one in there if _component_key(one) == _component_key(like)), None)


def _pass_of(root: etree._Element, name: str) -> etree._Element | None:
    there = merge_rules.named(root, "settings")
    return next((one for one in there if one.get("pass", "").strip().casefold() == name), None)


def _set_order(item: etree._Element, order: int) -> None:
    """In ours, where each command has one."""
    merge_rules.named(item, "order")[0].text = str(order)

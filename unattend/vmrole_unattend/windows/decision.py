"""The differences between his file and ours, and what was decided about each."""

from __future__ import annotations

import dataclasses
import enum

from lxml import etree

from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.windows import merge_rules
from vmrole_unattend.windows.markup import children, local
from vmrole_unattend.windows.splice import Splice


class Kept(enum.StrEnum):
    """Whose stands in the result."""

    OURS = "ours"
    THEIRS = "theirs"
    BOTH = "both"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One difference, and what became of it. `ours` and `theirs` are for people: shortened, secrets as ***."""

    path: str  # "specialize/Microsoft-Windows-Shell-Setup/ComputerName"
    line: int  # in his file; 0 where he says nothing
    ours: str
    theirs: str
    kept: Kept
    why: str


class Decisions:
    """All of one merge, as they are made; `splice` knows the lines."""

    def __init__(self, splice: Splice) -> None:
        self.made: list[Decision] = []
        self._splice = splice

    def all_new(self, path: str, ours: etree._Element, *, item: bool = False) -> None:
        """A decision for each setting below one that he does not have."""
        name = local(ours).casefold()
        if ours.get(merge_rules.HIS):
            return  # That it is his was decided when it was written here.
        if item or not children(ours) or name in merge_rules.WHOLES:
            self.decide(path, ours, None, Kept.OURS, merge_rules.ADDED)
            return
        for one in children(ours):
            key = merge_rules.item_name(one, ours) if merge_rules.is_list(ours) else ""
            self.all_new(f"{path}/{local(one)}{key}", one, item=bool(key))

    def stays(self, component: etree._Element, at: etree._Element, ours: str, theirs: str, why: str) -> None:
        """Something of his that stays as it is and may surprise, `at` in a component of his."""
        settings, names = component.getparent(), []
        assert settings is not None
        step: etree._Element | None = at
        while step is not None and step is not component:
            names.append(local(step))
            step = step.getparent()
        path = "/".join([settings.get("pass", ""), component.get("name", ""), *reversed(names)])
        self.add(
            Decision(
                path=path,
                line=self._splice.line(at),
                ours=ours,
                theirs=theirs,
                kept=Kept.THEIRS,
                why=why,
            )
        )

    def decide(self, path: str, ours: etree._Element, theirs: etree._Element | None, kept: Kept, why: str) -> None:
        """What became of one of ours; without `theirs` he says nothing there."""
        self.add(
            Decision(
                path=path,
                line=0 if theirs is None else self._splice.line(theirs),
                ours=merge_rules.shown(ours),
                theirs="" if theirs is None else merge_rules.shown(theirs),
                kept=kept,
                why=why,
            )
        )

    def add(self, decision: Decision) -> None:
        """Any other one."""
        self.made.append(decision)

    def twice(self, what: str, element: etree._Element) -> AnswersInvalid:
        """The error for what his file says twice."""
        return AnswersInvalid(
            f"{what} is there twice",
            where=f"line {self._splice.line(element)}",
            hint="put all of it into one place; Windows refuses the file otherwise",
        )

"""The elements of an answer file with their places, and the report that findings go to. Judges nothing."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator
from typing import cast

from lxml import etree

from vmrole_unattend.windows import settings
from vmrole_unattend.windows.checks.placeholder import is_placeholder
from vmrole_unattend.windows.document import Diagnostic, Severity
from vmrole_unattend.windows.settings import Component, Setting

BLANKS = " \t\r\n"  # Of XML; what word processors write for a blank is a character like any other.
UNATTEND = "urn:schemas-microsoft-com:unattend"
WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"


class Place:
    """A setting, a group or an item of a list, where it stands."""

    __slots__ = ("children", "element", "home", "key", "known", "name", "number", "parent", "text")

    def __init__(self, element: etree._Element, name: str, home: Home, parent: Place | None) -> None:
        self.element = element
        self.name = name
        self.home = home
        self.parent = parent
        self.key: str = f"{parent.key}/{name.casefold()}" if parent is not None else name.casefold()
        self.known: Setting | None = home.known.settings.get(self.key) if home.known and home.known.settings else None
        self.children: list[Place] = []
        self.number = 0  # which of several of its name it is, from 1; 0 for the only one
        self.text = ""  # what it says itself, without blanks around it and without comments in it

    @property
    def path(self) -> str:
        """As people read it: "specialize/Microsoft-Windows-Shell-Setup/ComputerName"."""
        names, at = [], self
        while True:
            names.append(f"{at.name}[{at.number}]" if at.number and at.parent is not None else at.name)
            if at.parent is None:
                return "/".join([self.home.path, *reversed(names)])
            at = at.parent

    @property
    def line(self) -> int:
        """Of its start tag."""
        return line_of(self.element)

    @property
    def raw(self) -> str:
        """What it says itself, with the blanks around it."""
        return _own(self.element)

    def child(self, name: str) -> Place | None:
        """The first child of that name."""
        return next((one for one in self.children if one.name.casefold() == name), None)

    def said(self, name: str) -> str:
        """What the first child of that name says; "" without one."""
        found = self.child(name)
        return found.text if found is not None else ""

    def mark(self, name: str) -> str | None:
        """The attribute wcm:action or wcm:keyValue; a wrong namespace is a finding of its own."""
        found = self.element.get(f"{{{WCM}}}{name}")
        if found is None and len(self.element.attrib):
            found = next((str(value) for key, value in self.element.attrib.items() if local(key) == name), None)
        return found


@dataclasses.dataclass(slots=True, eq=False)
class Home:
    """A <component> in a pass."""

    element: etree._Element
    pass_name: str  # as the file writes it
    number: int  # which <settings> of the file it stands in
    name: str
    architecture: str
    known: Component | None
    places: list[Place] = dataclasses.field(default_factory=list)
    every: list[Place] = dataclasses.field(default_factory=list)  # all below it, in the order of the file

    @property
    def path(self) -> str:
        """Pass and component."""
        return f"{self.pass_name}/{self.name or 'component'}"

    @property
    def line(self) -> int:
        """Of its start tag."""
        return line_of(self.element)

    @property
    def phase(self) -> str:
        """The pass in small letters."""
        return self.pass_name.casefold()

    def is_named(self, name: str) -> bool:
        """Whether it is Microsoft-Windows-NAME."""
        return self.name.casefold() == f"microsoft-windows-{name}".casefold()

    def find(self, key: str) -> Iterator[Place]:
        """The elements at a path in small letters, "oobe/protectyourpc"."""
        return (place for place in self.every if place.key == key)


FINDINGS_MAX = 300


class Report:
    """Where findings go. `doubt` is for what only the table or hearsay says: an error only in what we made.

    It is full at FINDINGS_MAX: nobody reads more, and a hostile file must not keep us busy.
    """

    def __init__(self, *, ours: bool) -> None:
        self.findings: list[Diagnostic] = []
        self._ours = ours
        self._to_come: dict[str, int] = {}  # what is to be filled in, and on which line first

    @property
    def full(self) -> bool:
        """Whether nothing more is taken; a check that has hard work to do for a finding asks first."""
        return len(self.findings) >= FINDINGS_MAX

    def awaits(self, at: Place | Home | etree._Element, text: str, what: str = "") -> bool:
        """Whether the text is another program's to fill in, so that nothing can be said of it but that.

        No check passes over a text without asking here, so that none does so in silence.
        """
        if not is_placeholder(text):
            return False
        self.to_come(at, what or (quoted(at) if isinstance(at, Place) else short(text)))
        return True

    def to_come(self, at: Place | Home | etree._Element, what: str) -> None:
        """Notes what is to be filled in; all of it is one finding."""
        self._to_come.setdefault(what, line_of(at.element if isinstance(at, Place | Home) else at))

    def end(self) -> None:
        """Says once that the file is a template, if it is."""
        if self._to_come:
            first = min(self._to_come, key=lambda what: self._to_come[what])
            others = f" and {len(self._to_come) - 1} more" if len(self._to_come) > 1 else ""
            self.findings.append(
                Diagnostic(
                    severity=Severity.WARNING,
                    line=self._to_come[first],
                    path="",
                    code="template",
                    message=f"the file is a template: {first}{others} is to be filled in",
                    mend="fill it in before Windows reads it; such values are not checked",
                )
            )

    def error(self, at: Place | Home | etree._Element, code: str, message: str, mend: str) -> None:
        """Windows refuses it, or it surely breaks."""
        self._add(Severity.ERROR, at, code, message, mend)

    def warning(self, at: Place | Home | etree._Element, code: str, message: str, mend: str) -> None:
        """It may not do what was meant."""
        self._add(Severity.WARNING, at, code, message, mend)

    def note(self, at: Place | Home | etree._Element, code: str, message: str, mend: str) -> None:
        """Worth knowing, and no reason to change anything now."""
        self._add(Severity.NOTE, at, code, message, mend)

    def doubt(self, at: Place | Home | etree._Element, code: str, message: str, mend: str) -> None:
        """Perhaps wrong: the documentation says so, Windows may not mind."""
        self._add(Severity.ERROR if self._ours else Severity.WARNING, at, code, message, mend)

    def _add(self, severity: Severity, at: Place | Home | etree._Element, code: str, message: str, mend: str) -> None:
        if self.full:
            return
        element = at.element if isinstance(at, Place | Home) else at
        path = at.path if isinstance(at, Place | Home) else _outer_path(element)
        line = line_of(element)
        self.findings.append(
            Diagnostic(severity=severity, line=line, path=path, code=code, message=message, mend=mend)
        )


def line_of(element: etree._Element) -> int:
    """The line of a start tag; 1 is the first."""
    return cast("int | None", element.sourceline) or 1


def _outer_path(element: etree._Element) -> str:
    """The path of what is no setting: "settings", or "specialize" of a pass."""
    name = str(etree.QName(element).localname)
    return str(element.get("pass") or name) if name == "settings" else name


def homes(root: etree._Element) -> list[Home]:
    """Every component of every pass with all that is in it."""
    found = []
    for number, passed in enumerate(root.iterchildren(f"{{{UNATTEND}}}settings")):
        for element in passed.iterchildren(f"{{{UNATTEND}}}component"):
            name = (element.get("name") or "").strip()
            home = Home(
                element=element,
                pass_name=(passed.get("pass") or "settings").strip(),
                number=number,
                name=name,
                architecture=(element.get("processorArchitecture") or "").strip(),
                known=settings.components().get(name.casefold()),
            )
            home.places = _places(element, home, None)
            found.append(home)
    return found


def _places(parent: etree._Element, home: Home, above: Place | None) -> list[Place]:
    found = []
    for element in parent:
        tag = element.tag
        if not isinstance(tag, str) or not tag.startswith(f"{{{UNATTEND}}}"):
            continue
        place = Place(element, local(tag), home, above)
        home.every.append(place)
        if len(element):
            place.text = own_text(element)
            place.children = _places(element, home, place)
        else:
            place.text = (element.text or "").strip(BLANKS)
        found.append(place)
    names = collections.Counter(one.name for one in found)
    counted = collections.Counter[str]()
    for one in found if len(names) < len(found) else ():
        counted[one.name] += 1
        one.number = counted[one.name] if names[one.name] > 1 else 0
    return found


def local(name: str | bytes | bytearray | etree.QName) -> str:
    """A name without its namespace."""
    return str(name).rpartition("}")[2]


def own_text(element: etree._Element) -> str:
    """The text that stands in the element itself, not in those below it."""
    return _own(element).strip(BLANKS)


def _own(element: etree._Element) -> str:
    return "".join([element.text or "", *(one.tail or "" for one in element)])


def quoted(place: Place) -> str:
    """What it says, as a message quotes it; *** where that may be a secret."""
    name = place.name.casefold()
    above = place.parent.name.casefold() if place.parent is not None else ""
    hidden = name.endswith(("password", "key", "accountdata")) or (name == "value" and above.endswith("password"))
    return "***" if hidden else short(place.text)


def short(text: str) -> str:
    """The text as a message quotes it: on one line, at most 40 characters."""
    flat = " ".join(one for one in re.split(f"[{BLANKS}]+", text) if one)
    return repr(flat if len(flat) <= 40 else f"{flat[:39]}…")

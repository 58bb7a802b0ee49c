"""The account of an import: each element and attribute of both files is translated, or listed with the reason.

What nobody has accounted for when the account is closed is listed too: forgetting a part cannot lose it. Values are
not listed, for some are secrets; names are, and where they stand.
"""

from __future__ import annotations

import dataclasses

from orchestrator.servicefile.azure.definition import Element, plain

Part = tuple[Element, str]
"""An element and the name of one of its attributes; "" for the element itself, _TEXT for the text in it."""

_TEXT = "#text"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A thing that the service file does not say, or says otherwise, and why."""

    place: str  # FILE:LINE
    what: str
    why: str
    dropped: bool  # False: carried over, but changed

    def __str__(self) -> str:
        return f"{'not carried over' if self.dropped else 'changed'}: {self.place}: {self.what}: {self.why}"


class Ledger:
    """What became of each part, so far."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.translated: set[Part] = set()
        self.listed: set[Part] = set()

    def use(self, element: Element, *attributes: str) -> None:
        """The element and those of its attributes are said by the service file."""
        self.translated.add((element, ""))
        self.translated.update((element, name) for name, _ in element.attributes if name in attributes)

    def drop(self, element: Element, why: str) -> None:
        """The element, with all that is in it, has no counterpart."""
        self.listed.update(part for one in element.walk() for part in _parts(one))
        self._note(element, _outline(element), why, dropped=True)

    def drop_attribute(self, element: Element, attribute: str, why: str) -> None:
        """The attribute has no counterpart; says nothing when it is absent."""
        if element.get(attribute) is not None:
            self.listed.add((element, attribute))
            self._note(element, f"{title(element)} {plain(attribute)}", why, dropped=True)

    def change(self, element: Element, what: str, why: str) -> None:
        """Something is carried over otherwise than it stands there."""
        self._note(element, f"{title(element)} {what}", why, dropped=False)

    def close(self, *roots: Element) -> None:
        """Lists what is left."""
        for element in (one for root in roots for one in root.walk()):
            left = [part for part in _parts(element) if part not in self.translated | self.listed]
            if (element, "") in left:
                self._note(element, _own(element), "vmrole does not know it", dropped=True)
            elif left:
                names = ", ".join(_called(name) for _, name in left)
                self._note(element, f"{title(element)} {names}", "vmrole does not know it", dropped=True)
            self.listed.update(left)
            if element.comments:
                what = f"{title(element)} {element.comments} comments or instructions"
                self._note(element, what, "they are for readers of that file", dropped=True)

    def _note(self, element: Element, what: str, why: str, *, dropped: bool) -> None:
        self.notes.append(Note(place=element.place, what=what, why=why, dropped=dropped))


def title(element: Element) -> str:
    """The element with the name that it gives itself: `InputEndpoint http`."""
    name = element.get("name")
    return plain(element.name) + (f" {plain(name)}" if name else "")


def _parts(element: Element) -> list[Part]:
    text = [(element, _TEXT)] if element.text else []
    return [(element, ""), *((element, name) for name, _ in element.attributes), *text]


def _called(name: str) -> str:
    return "its text" if name == _TEXT else plain(name)


def _own(element: Element) -> str:
    """The element with its attributes, without what is in it."""
    names = [_called(name) for _, name in _parts(element) if name not in ("", "name")]
    return title(element) + (f" ({', '.join(names)})" if names else "")


def _outline(element: Element) -> str:
    """The element and all in it, by their names."""
    inside = ", ".join(_outline(child) for child in element.children)
    return _own(element) + (f" [{inside}]" if inside else "")

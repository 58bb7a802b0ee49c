"""An answer file as Setup reads it: what makes it fail, what it passes over, and where a setting is.

Failures: it is not XML, has a DTD, another root, an unknown pass, a pass or component or single setting twice, or a
component that does not say what it is (Microsoft, Windows Setup Automation Overview; KB2425962 on duplicates). Names
of settings are compared without case. The order of elements does not matter.
"""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from xml.etree.ElementTree import Element

NAMESPACE = "urn:schemas-microsoft-com:unattend"
WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"
PASSES = frozenset(
    (
        "offlineServicing",
        "windowsPE",
        "generalize",
        "specialize",
        "auditSystem",
        "auditUser",
        "oobeSystem",
        "oobeUser",
    )
)
PROCESSED = "wasPassProcessed"
_ACTION = f"{{{WCM}}}action"
_IDENTITY = ("name", "processorArchitecture", "publicKeyToken", "language", "versionScope")
_REQUIRED = _IDENTITY[:4]


class AnswerFileError(Exception):
    """Setup stops: "Windows could not parse or process the unattend answer file"."""


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerFile:
    """A file that Setup can read."""

    root: Element

    def settings(self, name: str) -> Element | None:
        """The settings of a pass."""
        return next((one for one in _children(self.root, "settings") if one.get("pass") == name), None)

    def pending(self, name: str) -> bool:
        """Whether it has settings for the pass that have not been processed."""
        found = self.settings(name)
        return found is not None and (found.get(PROCESSED) or "false").lower() != "true"

    def components(self, name: str, architecture: str) -> dict[str, Element]:
        """The components of a pass by name in lower case; those of another architecture are passed over."""
        found = self.settings(name)
        everything = _children(found, "component") if found is not None else ()
        return {
            (one.get("name") or "").lower(): one
            for one in everything
            if (one.get("processorArchitecture") or "").lower() in (architecture, "neutral")
        }


class _Tree(ElementTree.TreeBuilder):
    """Keeps comments, which stay in the cached copy too, and refuses a document type with all that it could do."""

    def doctype(self, name: str, _public: str | None, _system: str | None) -> None:
        """Called by the parser."""
        raise AnswerFileError(f"it has a document type declaration, {name}")


def parse(content: bytes) -> AnswerFile:
    """The file; AnswerFileError when Setup would stop."""
    try:
        # The standard library is all that the guest has, and document types are refused by _Tree.
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_Tree(insert_comments=True)))  # noqa: S314
    except ElementTree.ParseError as error:
        raise AnswerFileError(f"it is not well-formed: {error}") from error
    if root.tag != f"{{{NAMESPACE}}}unattend":
        raise AnswerFileError(f"its root is {root.tag}")
    seen: set[str] = set()
    for settings in _children(root, "settings"):
        name = settings.get("pass") or ""
        if name not in PASSES:
            raise AnswerFileError(f"there is no pass {name!r}")
        if name in seen:
            raise AnswerFileError(f"pass {name} is there twice")
        seen.add(name)
        _check_components(name, settings)
    return AnswerFile(root)


def dump(file: AnswerFile) -> bytes:
    """The file as bytes, with the usual prefixes."""
    ElementTree.register_namespace("", NAMESPACE)
    ElementTree.register_namespace("wcm", WCM)
    written: bytes = ElementTree.tostring(file.root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def text(element: Element | None, path: str) -> str:
    """The text of a setting such as "OOBE/HideEULAPage"; "" when it is not there."""
    for name in path.split("/"):
        found = _children(element, name) if element is not None else []
        if not found:
            return ""
        element = found[0]
    return (element.text or "").strip() if element is not None else ""


def items(element: Element | None, path: str) -> list[Element]:
    """The items of a list such as "RunSynchronous/RunSynchronousCommand", by their Order."""
    *above, last = path.split("/")
    for name in above:
        found = _children(element, name) if element is not None else []
        element = found[0] if found else None
    return sorted(_children(element, last), key=_order) if element is not None else []


def _order(element: Element) -> int:
    said = text(element, "Order")
    return int(said) if said.isdecimal() else 0


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if _local(child) == name.lower()]


def _local(element: Element) -> str:
    """The name in lower case without its namespace; a comment has none."""
    return element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""


def _check_components(name: str, settings: Element) -> None:
    seen: set[tuple[str, ...]] = set()
    for component in _children(settings, "component"):
        missing = [attribute for attribute in _REQUIRED if not component.get(attribute)]
        if missing:
            raise AnswerFileError(f"a component in pass {name} has no {', '.join(missing)}")
        identity = tuple((component.get(attribute) or "").lower() for attribute in _IDENTITY)
        if identity in seen:
            raise AnswerFileError(f"component {component.get('name')} is twice in pass {name}")
        seen.add(identity)
        _check_once(component, f"{name}/{component.get('name')}")


def _check_once(element: Element, where: str) -> None:
    """What is no item of a list may be there once."""
    seen: set[str] = set()
    for child in _elements(element):
        name = _local(child)
        if child.get(_ACTION) is None:
            if name in seen:
                raise AnswerFileError(f"{where}/{name} is there twice and is no list item")
            seen.add(name)
        _check_once(child, f"{where}/{name}")


def _elements(element: Element) -> Iterable[Element]:
    return (child for child in element if isinstance(child.tag, str))

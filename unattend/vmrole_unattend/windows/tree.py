"""Building an answer file element by element; lxml quotes everything. No setting of Windows' is known here."""

from __future__ import annotations

from lxml import etree

from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.windows.answers import Architecture
from vmrole_unattend.windows.markup import MARKS, UNATTEND

WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"
_TOKEN = "31bf3856ad364e35"  # noqa: S105 - the public key token of all of Windows' components
_NAMESPACES: dict[str | None, str] = {None: UNATTEND, "wcm": WCM, "v": MARKS}


def root() -> etree._Element:
    """An empty answer file."""
    return etree.Element(f"{{{UNATTEND}}}unattend", nsmap=_NAMESPACES)  # type: ignore[arg-type] # None is a prefix


class Pass:
    """The settings of one pass; a component is made when something is put into it."""

    def __init__(self, top: etree._Element, name: str, architecture: Architecture) -> None:
        self._settings = etree.SubElement(top, f"{{{UNATTEND}}}settings")
        self._settings.set("pass", name)
        self._architecture = architecture
        self._components: dict[str, etree._Element] = {}

    def component(self, name: str) -> etree._Element:
        """The component of that name."""
        if name not in self._components:
            made = etree.SubElement(self._settings, f"{{{UNATTEND}}}component")
            for key, value in (
                ("name", name),
                ("processorArchitecture", self._architecture.value),
                ("publicKeyToken", _TOKEN),
                ("language", "neutral"),
                ("versionScope", "nonSxS"),
            ):
                made.set(key, value)
            self._components[name] = made
        return self._components[name]


def add(parent: etree._Element, name: str, text: str | None = None, *, default: bool = False) -> etree._Element:
    """A child; `default` marks what a user's own file may say otherwise. AnswersInvalid when XML cannot hold it."""
    made = etree.SubElement(parent, f"{{{UNATTEND}}}{name}")
    try:
        made.text = text
    except ValueError as error:
        raise AnswersInvalid(
            "it holds a character that no XML can hold", where=name, hint="remove the control character"
        ) from error
    if default:
        made.set(f"{{{MARKS}}}default", "true")
    return made


def item(parent: etree._Element, name: str, *, key: str | None = None) -> etree._Element:
    """A member of a list, with the attributes that Windows wants of one."""
    made = add(parent, name)
    made.set(f"{{{WCM}}}action", "add")
    if key is not None:
        made.set(f"{{{WCM}}}keyValue", key)
    return made

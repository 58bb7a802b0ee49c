"""An element as text, to be put into another's file with his prefixes and indentation; small questions to a tree."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax import saxutils

from lxml import etree

UNATTEND = "urn:schemas-microsoft-com:unattend"
MARKS = "https://vmrole.dev/answers/1"  # the namespace of what `render` tells `merge`; never written to a disc

_TEXT = {"\r": "&#13;"}  # A reader takes a bare one for the end of a line.
_ATTRIBUTE = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;", '"': "&quot;"}
_Scope = Mapping[str | None, str]


def elements(top: etree._Element) -> list[etree._Element]:
    """The element and all below it, in the order of the start tags; no comments."""
    return [one for one in top.iter() if isinstance(one.tag, str)]


def children(parent: etree._Element) -> list[etree._Element]:
    """The elements right below one."""
    return [one for one in parent if isinstance(one.tag, str)]


def text_of(element: etree._Element) -> str:
    """Its own text without blanks around it and without comments in it; "" when it holds elements."""
    if children(element):
        return ""
    return "".join([element.text or "", *(one.tail or "" for one in element)]).strip()


def local(element: etree._Element) -> str:
    """Its name without the namespace."""
    return str(element.tag).rpartition("}")[2]


def escaped(text: str) -> str:
    """The text as it may stand between tags."""
    return saxutils.escape(text, _TEXT)


def written(new: etree._Element, scope: _Scope, step: str | None, unit: str) -> str:
    """The element with all below it, without comments and marks, as it is to be written where `scope` holds.

    `step` is the end of a line and the indentation of the element, `unit` one step more; no blanks when it is None.
    Namespaces that the place does not know are declared at the element.
    """
    needed = _needed(new, scope)
    declared = "".join(
        f" {f'xmlns:{prefix}' if prefix else 'xmlns'}={_quoted(uri)}" for prefix, uri in needed.items()
    )
    return _element(new, {**scope, **needed}, declared, step, unit)


def _element(new: etree._Element, scope: _Scope, declared: str, step: str | None, unit: str) -> str:
    name = _named(etree.QName(new), scope, attribute=False)
    attributes = "".join(
        f" {_named(etree.QName(key), scope, attribute=True)}={_quoted(str(value))}"
        for key, value in new.attrib.items()
        if etree.QName(key).namespace != MARKS
    )
    deeper = None if step is None else step + unit
    held = [(deeper or "") + _element(one, scope, "", deeper, unit) for one in children(new)]
    if held:
        inner = "".join(held) + (step or "")
    else:
        inner = escaped(text_of(new))
    start = f"<{name}{attributes}{declared}"
    return f"{start}>{inner}</{name}>" if inner else f"{start} />"


def _needed(top: etree._Element, scope: _Scope) -> dict[str | None, str]:
    needed: dict[str | None, str] = {}
    for element in elements(top):
        named = [(etree.QName(element).namespace, False)]
        named += [(etree.QName(key).namespace, True) for key in element.attrib]
        for uri, attribute in named:
            if uri and uri != MARKS and not _prefixes(uri, {**scope, **needed}, attribute=attribute):
                prefix = _prefixes(uri, element.nsmap, attribute=attribute)[0]
                while prefix is not None and prefix in scope:  # He calls something else so.
                    prefix += "x"
                needed[prefix] = uri
    return needed


def _prefixes(uri: str, scope: _Scope, *, attribute: bool) -> list[str | None]:
    """The prefixes that stand for a namespace, none at all first; an attribute without one is in no namespace."""
    found = [prefix for prefix, known in scope.items() if known == uri and (prefix or not attribute)]
    return sorted(found, key=lambda prefix: prefix or "")


def _named(name: etree.QName, scope: _Scope, *, attribute: bool) -> str:
    if not name.namespace:
        return name.localname
    prefix = _prefixes(name.namespace, scope, attribute=attribute)[0]
    return f"{prefix}:{name.localname}" if prefix else name.localname


def _quoted(text: str) -> str:
    return f'"{saxutils.escape(text, _ATTRIBUTE)}"'

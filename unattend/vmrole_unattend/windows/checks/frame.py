"""The frame of an answer file: root, namespaces, passes, components and their attributes. Nothing about settings."""

from __future__ import annotations

import difflib
import re

from lxml import etree

from vmrole_unattend.windows import settings
from vmrole_unattend.windows.answers import Windows
from vmrole_unattend.windows.checks.file import TRUE, File
from vmrole_unattend.windows.checks.place import (
    BLANKS,
    UNATTEND,
    WCM,
    Home,
    Report,
    line_of,
    own_text,
    short,
)
from vmrole_unattend.windows.checks.placeholder import has_branches

ARCHITECTURES = frozenset({"amd64", "x86", "arm64", "arm", "ia64", "wow64", "neutral", "msil"})
_WRONG = {"x64": "amd64", "x86_64": "amd64", "x86-64": "amd64", "amd": "amd64", "i386": "x86", "x32": "x86"}
_ANY = frozenset({"wow64", "neutral", "msil"})  # go with every image
_MEANT = [name for name in settings.PASSES if name != "oobeUser"]  # Nobody who mistypes a pass means that one.
_NEEDED = ("name", "processorArchitecture", "publicKeyToken", "language")
_AZURES = "it is of an Azure service: vmrole import makes a service file of it"
_TOKEN = "31bf3856ad364e35"  # noqa: S105 - the public key of Windows' own components


def root_is_ours(root: etree._Element, report: Report) -> bool:
    """Whether it is an answer file at all; nothing more can be told otherwise."""
    name = etree.QName(root)
    if name.localname != "unattend":
        mend = _AZURES if name.localname in ("ServiceDefinition", "ServiceConfiguration") else "write <unattend>"
        report.error(root, "root", f"the file is no answer file: its root is <{name.localname}>", mend)
        return False
    if name.namespace != UNATTEND:
        said = f"the namespace {name.namespace!r}" if name.namespace else "no namespace"
        report.error(root, "root", f"<unattend> has {said}", f'write <unattend xmlns="{UNATTEND}">')
        return False
    return True


def check(file: File, report: Report) -> None:
    """Everything about the frame."""
    _root(file.root, report)
    _passes(file.root, report)
    _marks(file.root, report)
    _attributes(file.homes, report)
    for home in file.homes:
        _component(home, report)
    _same_component(file.homes, report)
    if file.architecture is not None:
        _architecture(file.homes, {file.architecture.value}, f"Windows for {file.architecture}", report)
    elif file.windows is not None and file.windows not in _ALSO_X86:
        _architecture(file.homes, {"amd64", "arm64"}, f"Windows {file.windows} is not made for x86 and", report)
    else:
        _mixed(file.homes, report)


def _root(root: etree._Element, report: Report) -> None:
    before = True
    for child in root.iterchildren(etree.Element):
        name = etree.QName(child)
        if name.namespace == UNATTEND and name.localname == "settings":
            before = False
        elif name.namespace == UNATTEND and name.localname == "servicing":
            if not before:
                report.doubt(child, "servicing-order", "<servicing> stands behind <settings>", "put it first")
        elif name.namespace == UNATTEND and name.localname == "component":
            message = f"the component {child.get('name')} stands outside <settings>, where Windows does not look"
            report.warning(child, "outside", message, 'put it into <settings pass="…">')
        elif name.localname.casefold() in ("settings", "servicing", "component"):
            _elsewhere(child, report)
        elif name.namespace in (UNATTEND, None, ""):
            mend = "put it into a component, or into a namespace of its own"
            report.warning(child, "outside", f"<{name.localname}> is no part of an answer file", mend)
    if root.find(f"{{{UNATTEND}}}settings") is None and root.find(f"{{{UNATTEND}}}servicing") is None:
        report.warning(root, "no-settings", "the file has no <settings>, so it does nothing", "add a pass")


def _passes(root: etree._Element, report: Report) -> None:
    seen: dict[str, int] = {}
    branched = has_branches(own_text(root))
    for passed in root.iterchildren(f"{{{UNATTEND}}}settings"):
        name = passed.get("pass")
        if name is None:
            near = ("pass", "name", "passname")
            written = next((str(one) for one in passed.attrib if str(one).casefold() in near), "")
            mend = f"write pass for {written}" if written else 'write <settings pass="…">'
            report.error(passed, "pass-name", "<settings> does not name its pass", mend)
            continue
        key = name.strip().casefold()
        right = next((one for one in settings.PASSES if one.casefold() == key), "")
        if not right:
            begun = [one for one in _MEANT if key and one.casefold().startswith(key)]
            close = begun if len(begun) == 1 else difflib.get_close_matches(name, _MEANT, 1)
            mend = f"write {close[0]}" if close else "one of " + ", ".join(settings.PASSES)
            if not report.awaits(passed, name):
                report.error(passed, "pass-name", f"there is no pass {name!r}", mend)
        elif name != right:
            report.doubt(passed, "pass-name", f"the pass is written {name!r}", f"write {right}")
        if key in seen and not branched:
            message = f"the pass {name} is there twice, first on line {seen[key]}"
            # A doubt: libosinfo's installations have a pass twice.
            report.doubt(passed, "same-pass", message, "put all of a pass into one <settings>")
        seen.setdefault(key, line_of(passed))
        if (passed.get("wasPassProcessed") or "").strip().casefold() in TRUE:
            message = (
                "the pass is marked as done (wasPassProcessed), as Windows marks its own copy, and may be skipped"
            )
            report.warning(passed, "pass-done", message, "remove the attribute wasPassProcessed")
        for child in passed.iterchildren(etree.Element):
            if child.tag != f"{{{UNATTEND}}}component":
                local = etree.QName(child).localname
                if local.casefold() == "component":
                    _elsewhere(child, report)
                elif etree.QName(child).namespace in (UNATTEND, None):
                    mend = "only components stand in a pass"
                    report.error(child, "outside", f"<{local}> stands in the pass {name} itself", mend)
        text = own_text(passed)
        if text and not report.awaits(passed, text):
            report.warning(passed, "stray-text", f"the pass {name} holds text: {short(text)}", "remove it")


def _elsewhere(element: etree._Element, report: Report) -> None:
    """A part of the frame in another namespace or in other letters: Windows passes over all that is in it."""
    name = etree.QName(element)
    right = name.localname.lower()
    if name.namespace == UNATTEND:
        message, mend = f"<{name.localname}> is no part of an answer file: letters count", f"write <{right}>"
    else:
        where = f"the namespace {short(name.namespace)}" if name.namespace else "no namespace"
        message, mend = f"<{name.localname}> is in {where}, so all of it is passed over", "remove its xmlns"
    report.error(element, "namespace", message, mend)


def _marks(root: etree._Element, report: Report) -> None:
    """What Windows does not see in components: elements and wcm's marks in another namespace, and attributes.

    One finding each for the file.
    """
    marks = names = False
    # A package below <servicing> has an action of its own, in no namespace.
    components = root.iter(f"{{{UNATTEND}}}component")
    for element in (one for component in components for one in component.iter(etree.Element)):
        name = etree.QName(element)
        if name.namespace != UNATTEND:
            parent = element.getparent()
            if not names and parent is not None and str(parent.tag).startswith(f"{{{UNATTEND}}}"):
                names = True
                where = f"the namespace {short(name.namespace)}" if name.namespace else "no namespace"
                message = f"{name.localname} is in {where}, so Windows may not see it"
                mend = "remove its xmlns, or its prefix" if name.namespace else 'remove xmlns=""'
                report.warning(element, "namespace", message, mend)
            continue
        for key in element.attrib if name.localname != "component" else ():
            mark = etree.QName(key)
            if mark.localname in ("action", "keyValue"):
                if mark.namespace != WCM and not marks:
                    marks = True
                    where = f"the namespace {mark.namespace!r}" if mark.namespace else "no namespace"
                    mend = f'declare xmlns:wcm="{WCM}" and write wcm:{mark.localname}'
                    report.doubt(element, "wcm-namespace", f"{mark.localname} is in {where}", mend)
            elif not mark.namespace:
                message = f"Windows reads no attribute {mark.localname} of <{name.localname}>"
                report.doubt(element, "attribute", message, "write what it says between the tags, or as an element")


def _attributes(homes: list[Home], report: Report) -> None:
    """What every component needs; one finding for all that lack the same."""
    lacking: dict[tuple[str, ...], list[Home]] = {}
    for home in homes:
        missing = tuple(name for name in _NEEDED if not home.element.get(name, "").strip(BLANKS))
        if missing:
            lacking.setdefault(missing, []).append(home)
    for missing, found in lacking.items():
        near = {str(name).casefold(): str(name) for name in found[0].element.attrib}
        wrong = [near[name.casefold()] for name in missing if near.get(name.casefold(), name) != name]
        others = ", ".join(str(one.line) for one in found[1:])
        message = "the component lacks " + ", ".join(missing) + (f", and so on line {others}" if others else "")
        mend = f"{wrong[0]} is written otherwise" if wrong else f'add {missing[0]}="{_usual(missing[0])}"'
        report.error(found[0], "attribute", message, mend)


def _component(home: Home, report: Report) -> None:
    _identity(home, report)
    architecture = home.architecture.casefold()
    if architecture and architecture not in ARCHITECTURES and not report.awaits(home, home.architecture):
        message = f"there is no architecture {short(home.architecture)}, so the component is skipped"
        report.error(home, "architecture", message, f"write {_WRONG.get(architecture, 'amd64, x86 or arm64')}")
    if home.known is None and home.name and not report.full and not report.awaits(home, home.name):
        report.warning(home, "unknown-component", "the reference has no component of this name", _meant(home.name))
    text = own_text(home.element)
    if text and not report.awaits(home, text):
        report.warning(home, "stray-text", f"the component holds text: {short(text)}", "remove it")


def _identity(home: Home, report: Report) -> None:
    """The attributes by which Windows finds the component."""
    attributes = home.element.attrib
    token = (attributes.get("publicKeyToken") or _TOKEN).strip()
    if not re.fullmatch("[0-9A-Fa-f]{16}", token):
        if not report.awaits(home, token):
            report.error(home, "attribute", "publicKeyToken is no key of 16 digits", f"write {_TOKEN}")
    elif token.casefold() != _TOKEN:
        message = f"publicKeyToken {token} is not that of Windows' components, so the component is skipped"
        report.warning(home, "attribute", message, f"write {_TOKEN}")
    language = (attributes.get("language") or "neutral").strip()
    if language.casefold() not in ("neutral", "*") and not report.awaits(home, language):
        message = f"language is {short(language)}; Windows' components are neutral, so the component may be skipped"
        report.doubt(home, "attribute", message, 'write language="neutral"; International-Core says the language')
    scope = attributes.get("versionScope")
    if scope is not None and scope.strip().casefold() not in ("nonsxs", "neutral", "sxs"):
        report.doubt(home, "attribute", f"versionScope is {short(scope)}", "write nonSxS")
    blank = [name for name in (*_NEEDED, "versionScope") if (said := attributes.get(name, "")) != said.strip()]
    if blank:
        message = f"blanks stand around what {' and '.join(blank)} say, so the component may be skipped"
        report.doubt(home, "attribute", message, "remove the blanks")


def _meant(name: str) -> str:
    """The component that somebody may have meant."""
    known = {one.name.casefold(): one.name for one in settings.components().values()}
    close = difflib.get_close_matches(name.casefold(), known, 1, 0.9)
    if not close:  # "Shell-Setup", "Microsoft_Windows_Shell_Setup"
        key = re.sub("[^a-z0-9]", "", name.casefold()).removeprefix("microsoft").removeprefix("windows")
        close = [one for one in known if re.sub("[^a-z0-9]", "", one).removeprefix("microsoftwindows") == key]
    return f"perhaps {known[close[0]]}" if close else "check the name; Windows skips what it does not have"


def _usual(attribute: str) -> str:
    usual = {"processorArchitecture": "amd64", "publicKeyToken": _TOKEN, "language": "neutral"}
    return usual.get(attribute, "…")


def _same_component(homes: list[Home], report: Report) -> None:
    seen: dict[tuple[str, ...], int] = {}
    branched: dict[int, bool] = {}
    for home in homes:
        passed = home.element.getparent()
        if passed is not None and home.number not in branched:
            branched[home.number] = has_branches(own_text(passed))
        if not home.name or branched.get(home.number):
            continue
        said = [(home.element.get(name) or "").casefold() for name in ("language", "publicKeyToken", "versionScope")]
        key = (str(home.number), home.name.casefold(), home.architecture.casefold(), *said)
        if key in seen:
            message = f"the component is there twice in the pass, first on line {seen[key]}"
            report.error(home, "same-component", message, "put all of it into one <component>")
        seen.setdefault(key, home.line)


_ALSO_X86 = (Windows.W7, Windows.W8, Windows.W81, Windows.W10)


def _architecture(homes: list[Home], right: set[str], who: str, report: Report) -> None:
    """Components that the image skips, one finding for each architecture; none where the right one is beside it."""
    twins = {(home.phase, home.name.casefold()) for home in homes if home.architecture.casefold() in right}
    wrong: dict[str, list[Home]] = {}
    for home in homes:
        its = home.architecture.casefold()
        if its in ARCHITECTURES - _ANY and its not in right and (home.phase, home.name.casefold()) not in twins:
            wrong.setdefault(its, []).append(home)
    for its, skipped in wrong.items():
        message = f"{who} skips the components for {its}, {len(skipped)} of them here"
        report.doubt(skipped[0], "architecture", message, f'write processorArchitecture="{min(right)}"')


def _mixed(homes: list[Home], report: Report) -> None:
    """Some components for one architecture alone and some for another: every image skips some."""
    has: dict[tuple[str, str], set[str]] = {}
    for home in homes:
        has.setdefault((home.phase, home.name.casefold()), set()).add(home.architecture.casefold())
    alone: dict[str, list[Home]] = {}
    for home in homes:
        its = home.architecture.casefold()
        if its in ARCHITECTURES - _ANY and len(has[home.phase, home.name.casefold()]) == 1:
            alone.setdefault(its, []).append(home)
    if len(alone) > 1:
        usual = max(alone, key=lambda one: len(alone[one]))
        for its in alone.keys() - {usual}:
            message = f"this is for {its} and others are for {usual}: an image takes those of one architecture alone"
            report.doubt(alone[its][0], "architecture", message, f'write processorArchitecture="{usual}"')

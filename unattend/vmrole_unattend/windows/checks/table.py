"""What the reference says about each setting: known, in its pass, its values and its length."""

from __future__ import annotations

import difflib
import re

from vmrole_unattend.windows import settings
from vmrole_unattend.windows.checks.file import File
from vmrole_unattend.windows.checks.place import Home, Place, Report, quoted
from vmrole_unattend.windows.settings import Setting

_SURE_VALUES = re.compile(
    r"(.*/)?(willreboot|willshowui|willwipedisk|accepteula|extend|active|hideeulapage|forceshutdownnow|mode|enabled"
    r"|hidewirelesssetupinoobe|copyprofile|enablefirewall|enablenetwork|useconfigurationset|unsecurejoin|plaintext"
    r"|createpartition/type|installtoavailablepartition)"
)
"""Settings with a type: Windows Setup refuses the file over another value."""

_NUMBERS = re.compile(
    r"(.*/)?(diskid|partitionid|logoncount|createpartition/size|(horizontal|vertical)resolution|colordepth|refreshrate"
    r"|display/dpi|route/metric|metadata/index)"
)
NUMBER_MAX = 0xFFFF_FFFF
_DEPTHS = ("1", "4", "8", "15", "16", "24", "32")
_NEVER_EMPTY = re.compile(
    r"(.*/)?([a-z]*synchronouscommand/path|pathandcredentials/path|pagefile/path|interface/identifier"
    r"|(unicastipaddresses|dnsserversearchorder|nameserverlist)/ipaddress"
    r"|dnssuffixsearchorder/domainname|route/(prefix|nexthopaddress)"
    r"|diskid|partitionid|logoncount|createpartition/size|accepteula|autologon/enabled)"
)
"""Of what the reference calls never empty, what can mean nothing; an empty name or organization installs."""


def check(file: File, report: Report) -> None:
    """Everything in every component."""
    for home in file.homes:
        _component(home, report)


def _component(home: Home, report: Report) -> None:
    """Everything in one component. What stands in a wrong place is said once, for all that it holds."""
    if home.known is None or home.known.settings is None:
        for place in home.every:
            _value(place, report)
        return
    passes = home.known.passes
    right_pass = not passes or home.phase not in _KNOWN_PASSES or home.phase in passes
    if not right_pass:
        message = f"the reference has no setting of this component for {home.pass_name}"
        report.doubt(home, "pass", message, f"put it into {_listed(passes)}")
    for place in home.places:
        _settings(place, report, check_pass=right_pass)


_KNOWN_PASSES = frozenset(name.casefold() for name in settings.PASSES)


def _settings(place: Place, report: Report, *, check_pass: bool) -> None:
    if place.known is None and not _inside_unlisted(place):
        if report.full or (place.name.casefold() in ("key", "value") and place.parent is not None):
            return
        report.warning(place, "unknown-setting", f"the reference has no setting {place.name} here", _perhaps(place))
        return
    passes = place.known.passes if place.known is not None else frozenset()
    if check_pass and passes and place.home.phase in _KNOWN_PASSES and place.home.phase not in passes:
        message = f"the reference has no {place.name} for {place.home.pass_name}"
        report.doubt(place, "pass", message, f"put it into {_listed(passes)}")
        check_pass = False
    _value(place, report)
    for child in place.children:
        _settings(child, report, check_pass=check_pass)


def _inside_unlisted(place: Place) -> bool:
    """Whether the reference stops above: it does not say what is in some groups."""
    if place.parent is None or place.home.known is None or place.home.known.settings is None:
        return False
    start = place.parent.key + "/"
    return not any(key.startswith(start) for key in place.home.known.settings)


def _perhaps(place: Place) -> str:
    known = place.home.known.settings if place.home.known is not None else None
    start = place.parent.key + "/" if place.parent is not None else ""
    name = place.name.casefold()
    if known is not None:
        deeper = {key.rpartition("/")[0] for key in known if key.startswith(start) and key.endswith(f"/{name}")}
        near = [known[key].name.rpartition("/")[2] for key in deeper if "/" not in key[len(start) :] and key in known]
        if len(near) == 1 and f"{start}{name}" not in known:
            return f"put it into <{near[0]}>"
        beside = {
            key[len(start) :]: one.name.rpartition("/")[2]
            for key, one in known.items()
            if key.startswith(start) and "/" not in key[len(start) :]
        }
        close = difflib.get_close_matches(place.name.casefold(), beside, 1, 0.75)
        if close:
            return f"perhaps {beside[close[0]]}"
        elsewhere = [
            one.name
            for key, one in known.items()
            if key.endswith(f"/{place.name.casefold()}") or key == place.name.casefold()
        ]
        if len(elsewhere) == 1:
            return f"it has {elsewhere[0]}"
    others = settings.where_else(place.key)
    if len(others) == 1 or any(one == "Microsoft-Windows-Shell-Setup" for one in others):
        return f"it is a setting of {others[0] if len(others) == 1 else 'Microsoft-Windows-Shell-Setup'}"
    return "check the name and what it stands in"


def _listed(passes: frozenset[str]) -> str:
    return " or ".join(name for name in settings.PASSES if name.casefold() in passes)


def _value(place: Place, report: Report) -> None:
    known = place.known
    if place.children:
        _group(place, report)
    elif not place.text:
        if known is not None and _NEVER_EMPTY.fullmatch(place.key):
            mend = "say something there, or remove what it stands in"
            report.doubt(place, "empty", f"{place.name} is empty", mend)
    elif known is not None and _is_group(known):
        if not report.awaits(place, place.text):
            mend = "write " + " or ".join(f"<{name}>" for name in known.inside[:3]) + " in it"
            report.doubt(place, "shape", f"{place.name} holds text; the reference has settings in it", mend)
    else:
        _text(place, report)
        _length(place, report)


def _group(place: Place, report: Report) -> None:
    if place.known is not None and (place.known.values or place.known.chars_max):
        mend = f"write <{place.name}>…</{place.name}>"
        report.doubt(place, "shape", f"{place.name} holds elements; the reference has a text there", mend)
    if place.text and not report.awaits(place, place.text):
        message = f"{place.name} holds text beside its settings: {quoted(place)}"
        report.warning(place, "stray-text", message, _text_goes(place))


def _text_goes(place: Place) -> str:
    """What to do with a text that stands beside settings: it may be what one of them should say."""
    inside = {name.casefold(): name for name in place.known.inside} if place.known is not None else {}
    name = inside.get("key" if place.name.casefold() == "productkey" else "value", "")
    if not name and place.name.casefold().endswith("password"):
        name = "Value"
    return f"put it into <{name}>" if name and not place.said(name.casefold()) else "remove it"


def _text(place: Place, report: Report) -> None:
    """One of the values that the reference lists, or a number."""
    known, text = place.known, place.text
    if known is not None and known.values:
        allowed = {value.casefold() for value in known.values}
        right = text.casefold() in allowed or (known.values == settings.BOOL and text in ("0", "1"))
        if not right and not report.awaits(place, text):
            report_it = report.error if _SURE_VALUES.fullmatch(place.key) else report.doubt
            report_it(place, "value", f"{place.name} is {quoted(place)}", "write " + " or ".join(known.values))
    wrong = _NUMBERS.fullmatch(place.key) and not re.fullmatch(r"[0-9]+|0x[0-9A-Fa-f]+", text)
    if wrong and not report.awaits(place, text):
        report.error(place, "number", f"{place.name} is no number: {quoted(place)}", "write digits only")
    elif _NUMBERS.fullmatch(place.key) and text.isdecimal() and int(text[:12]) > NUMBER_MAX:
        report.error(place, "number", f"{place.name} is more than {NUMBER_MAX}", "write a smaller number")
    elif place.name.casefold() == "colordepth" and text not in _DEPTHS and not report.awaits(place, text):
        message = f"no display shows {quoted(place)} bits a point"
        report.doubt(
            place, "value", message, "write 32, or leave it out: a depth that is not to be had shows nothing"
        )


# What another program puts its own text in the place of: "{{ name }}", "${NAME}", "$NAME", "%NAME%", "{0}", "<NAME>".
_TO_COME = re.compile(r"\{\{.*?\}\}|\$\{.*?\}|\$\w+|%[^%\s]+%|\{[^{}]*\}|<[^<>]*>")


def _length(place: Place, report: Report) -> None:
    """How long a text may be. Of a command line it counts as it stands: dollars and braces are at home there."""
    command = _is_command(place)
    if command and re.search(r"[\r\n]", place.text):
        message = f"{place.name} holds a line break; whatever runs it may take the first line only"
        report.warning(place, "line-break", message, "write it on one line, or put it into a script and run that")
    if place.known is None or not place.known.chars_max or place.key.endswith("computername"):
        return
    most = place.known.chars_max
    length, whole = _units(place.text), _units(place.raw)
    message = mend = ""
    certain = length if command else _units(_TO_COME.sub("", place.text))
    if length > most and (certain > most or not report.awaits(place, place.text)):
        message = f"{place.name} has {length} characters, {most} are allowed"
        mend = "put it into a script and run that" if command else "make it shorter"
    elif command and whole > most >= length:
        message = f"{place.name} has {whole} characters with the blanks around it, {most} are allowed"
        mend = f"write <{place.name}> and its text on one line, without blanks around it"
    if message:
        # Setup is known to give up on a longer command of RunSynchronous; of other lengths nothing is known.
        longer = report.error if command and place.name.casefold() == "path" else report.doubt
        longer(place, "length", message, mend)


def _units(text: str) -> int:
    """The characters as Windows counts them."""
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2


def _is_group(known: Setting) -> bool:
    """Whether it holds settings and no text. Key and Value are an item's wcm:keyValue and text in the reference.

    Passwords have a check of their own.
    """
    return not known.name.endswith("Password") and not {"Key", "Value"}.issuperset(known.inside)


def _is_command(place: Place) -> bool:
    return place.name.casefold() in ("path", "commandline") and "command" in place.key

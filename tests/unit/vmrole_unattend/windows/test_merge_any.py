"""Ours in any file whatever: what people write into answer files, in any dress, keeps all that no decision names."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vmrole_unattend import AnswersInvalid
from vmrole_unattend.windows import document
from vmrole_unattend.windows.check import Severity, check
from vmrole_unattend.windows.merge import merge

from tests.unit.vmrole_unattend.windows.merged import OURS, UNATTEND, lost

pytestmark = pytest.mark.slow

WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=12)
COMMENT = TEXT.filter(
    lambda text: "--" not in text and not text.endswith("-") and not text.strip().startswith("vmrole")
)
LEAVES = [
    "ComputerName",
    "TimeZone",
    "RegisteredOwner",
    "OOBE",
    "SystemLocale",
    "UserLocale",
    "Foreign",
    "computername",
]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclasses.dataclass(frozen=True)
class Dress:
    """How a person writes XML."""

    prefix: str
    blank: str  # between elements
    quote: str
    newline: str
    encoding: str

    def element(self, name: str, inner: str, /, **attributes: str) -> str:
        """One element with its attributes."""
        tag = self.prefix + name
        said = "".join(
            f" {key.replace('_', ':')}={self.quote}{value}{self.quote}" for key, value in attributes.items()
        )
        return f"<{tag}{said}>{inner}</{tag}>" if inner else f"<{tag}{said} />"

    def group(self, name: str, inner: list[str], /, **attributes: str) -> str:
        """One that holds others."""
        return self.element(name, "".join(self.blank + one for one in inner) + self.blank, **attributes)

    def file(self, inner: list[str]) -> bytes:
        """The whole file."""
        prefix = f":{self.prefix[:-1]}" if self.prefix else ""
        spaces = {f"xmlns{prefix}".replace(":", "_"): UNATTEND, "xmlns_w": WCM}
        text = f"<?xml version='1.0'?>\n{self.group('unattend', inner, **spaces)}\n"
        return re.sub("\r\n|\n", self.newline, text).encode(self.encoding)


DRESSES = st.builds(
    Dress,
    prefix=st.sampled_from(["", "u:"]),
    blank=st.sampled_from(["", "\n", "\n  ", "\n\t", " ", "\n\n    "]),
    quote=st.sampled_from(["'", '"']),
    newline=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)


@st.composite
def _command(draw: st.DrawFn, dress: Dress, order: int) -> str:
    said = dress.element("Path", _escaped("x" + draw(TEXT)))
    return dress.group("RunSynchronousCommand", [said, dress.element("Order", str(order))], w_action="add")


@st.composite
def _inside(draw: st.DrawFn, dress: Dress) -> list[str]:
    """What a component holds: settings of any kind, no two of one name, and comments."""
    names = draw(st.lists(st.sampled_from(LEAVES), max_size=4, unique_by=str.casefold))
    found = [dress.element(name, _escaped(draw(TEXT))) for name in names]
    if draw(st.booleans()):
        orders = draw(st.lists(st.integers(0, 9), max_size=3, unique=True))
        found.append(dress.group("RunSynchronous", [draw(_command(dress, order)) for order in orders]))
    if draw(st.booleans()):
        people = draw(st.lists(st.sampled_from(["ops", "OPS", "audit", "Zoë"]), max_size=3, unique_by=str.casefold))
        password = [dress.element("Value", _escaped("p" + draw(TEXT))), dress.element("PlainText", "true")]
        accounts = [
            dress.group(
                "LocalAccount", [dress.element("Name", name), dress.group("Password", password)], w_action="add"
            )
            for name in people
        ]
        found.append(dress.group("UserAccounts", [dress.group("LocalAccounts", accounts)]))
    if draw(st.booleans()):
        join = [dress.element("JoinWorkgroup", "LAB"), f"<!--{draw(COMMENT)}-->"]
        found.append(dress.group("Identification", join))
    found += [f"<!--{draw(COMMENT)}-->" for _ in range(draw(st.integers(0, 2)))]
    return draw(st.permutations(found))


NAMES = ["Microsoft-Windows-Shell-Setup", "microsoft-windows-deployment", "Microsoft-Windows-International-Core"]
NAMES += ["Microsoft-Windows-UnattendedJoin", "Some-Other"]


@st.composite
def _files(draw: st.DrawFn) -> tuple[Dress, bytes]:
    dress = draw(DRESSES)
    parts = []
    for name in draw(st.lists(st.sampled_from(["specialize", "oobeSystem", "generalize"]), unique=True)):
        components = [
            dress.group("component", draw(_inside(dress)), name=one, processorArchitecture=architecture)
            for one, architecture in draw(
                st.lists(
                    st.tuples(st.sampled_from(NAMES), st.sampled_from(["amd64", "arm64"])), max_size=4, unique=True
                )
            )
        ]
        parts.append(dress.group("settings", [*components, f"<!--{draw(COMMENT)}-->"], **{"pass": name}))
    if draw(st.booleans()):
        parts.insert(0, dress.group("servicing", [dress.element("package", "", action="install")]))
    if draw(st.booleans()):
        parts.append('<cpi:offlineImage cpi:source="a" xmlns:cpi="urn:schemas-microsoft-com:cpi"/>')
    return dress, dress.file(parts)


@settings(max_examples=60, deadline=None)
@given(_files(), st.sampled_from(sorted(OURS)))
def test_whatever_he_wrote_stays_unless_a_decision_names_it(file: tuple[Dress, bytes], ours: str) -> None:
    """The result can be read, has his dress, all his comments, and every setting of his that no decision names."""
    dress, theirs = file
    merged = merge(theirs, OURS[ours])
    text = merged.xml.decode(dress.encoding)
    assert merged.xml[:3] == theirs[:3]
    assert ("\n" in text.replace("\r\n", "")) is (dress.newline == "\n")
    assert not lost(theirs, merged)


@settings(max_examples=40, deadline=None)
@given(_files(), st.sampled_from(sorted(OURS)))
def test_merging_any_file_again_decides_nothing_new(file: tuple[Dress, bytes], ours: str) -> None:
    """The second time all of ours is there: the same bytes, and no difference that was not told the first time."""
    once = merge(file[1], OURS[ours])
    again = merge(once.xml, OURS[ours])
    assert again.xml == once.xml
    assert {(one.path, one.kept) for one in again.decisions} <= {(one.path, one.kept) for one in once.decisions}


@settings(max_examples=40, deadline=None)
@given(_files(), st.sampled_from(sorted(OURS)))
def test_a_merge_brings_no_error_into_any_file(file: tuple[Dress, bytes], ours: str) -> None:
    """What `check` calls an error in the result was one of his file already."""
    merged = merge(file[1], OURS[ours])
    assert _errors(merged.xml) <= _errors(file[1])


def _errors(xml: bytes) -> set[tuple[str, str]]:
    return {(one.path.casefold(), one.code) for one in check(xml) if one.severity is Severity.ERROR}


@settings(max_examples=40, deadline=None)
@given(_files(), st.data())
def test_a_damaged_file_is_refused_or_merged_and_never_ends_otherwise(
    file: tuple[Dress, bytes], data: st.DataObject
) -> None:
    """Bytes lost or added anywhere give AnswersInvalid or a file that can be read; no other error."""
    at = data.draw(st.integers(0, len(file[1])))
    damaged = file[1][:at] + data.draw(st.binary(max_size=3)) + file[1][at + data.draw(st.integers(0, 9)) :]
    try:
        merged = merge(damaged, OURS["ours"])
    except AnswersInvalid:
        return
    document.parse(merged.xml)


def test_a_file_as_large_as_may_be_is_merged() -> None:
    """A mebibyte of settings takes a moment and no more memory than a few of it."""
    many = "".join(f"<Setting{number}>&amp;</Setting{number}>\n" for number in range(29000))
    dress = Dress(prefix="", blank="\n", quote='"', newline="\n", encoding="utf-8")
    theirs = dress.file(
        [dress.group("settings", [dress.group("component", [many], name="a")], **{"pass": "specialize"})]
    )
    assert 900_000 < len(theirs) <= document.SOURCE_BYTES_MAX
    merged = merge(theirs, OURS["ours"])
    assert many in merged.xml.decode()


@pytest.mark.parametrize("deep", [100, 200])
def test_deep_files_are_merged(deep: int) -> None:
    """As deep as the parser allows, and no stack of ours ends before."""
    dress = Dress(prefix="", blank="", quote='"', newline="\n", encoding="utf-8")
    held = "<a>" * deep + "x" + "</a>" * deep
    component = dress.group(
        "component", [f"<OOBE>{held}</OOBE>"], name="Microsoft-Windows-Shell-Setup", processorArchitecture="amd64"
    )
    theirs = dress.file([dress.group("settings", [component], **{"pass": "oobeSystem"})])
    assert held in merge(theirs, OURS["ours"]).xml.decode()

"""What is told, and not told, about answer files as people really write them: templates, typos, copied web pages."""

from __future__ import annotations

import base64

import pytest
from vmrole_unattend.windows.check import Deployment, Severity, check

from tests.unit.vmrole_unattend.windows.checked import ROOT, SHELL, E, W, answers, component, found, password
from tests.world.answer_files import PASSWORD

IE = "IE-InternetExplorer"
ADDON = "<AddonGuidItem><AddonGuid>{1}</AddonGuid></AddonGuidItem>"
MAKE = (
    "<DiskConfiguration><Disk wcm:action='add'><DiskID>0</DiskID>"
    "<CreatePartitions>{}</CreatePartitions></Disk></DiskConfiguration>"
)
PART = "<CreatePartition wcm:action='add'><Order>1</Order>{}</CreatePartition>"
NBSP = "\N{NO-BREAK SPACE}"
CARD = "<Interfaces><Interface wcm:action='add'><Identifier>{}</Identifier></Interface></Interfaces>"


def codes(phase: str, name: str, body: str) -> list[tuple[Severity, str]]:
    """Severity and code of each finding."""
    return [one[:2] for one in found(answers(phase, name, body))]


@pytest.mark.parametrize("group", ["InstalledToolbarsList", "InstalledBHOList", "PreApprovedAddons"])
def test_items_of_a_list_may_lack_their_action(group: str) -> None:
    """Microsoft's own sample of toolbars does."""
    assert codes("specialize", IE, f"<{group}>{ADDON * 2}</{group}>") == []


BRANCHES = [
    "{% if a %}<TimeZone>UTC</TimeZone>{% else %}<TimeZone>GMT Standard Time</TimeZone>{% endif %}",
    "{{ if .a }}<TimeZone>UTC</TimeZone>{{ else }}<TimeZone>GMT Standard Time</TimeZone>{{ end }}",
    "%{ if a ~}<TimeZone>UTC</TimeZone>%{ else ~}<TimeZone>GMT Standard Time</TimeZone>%{ endif ~}",
]


@pytest.mark.parametrize("body", BRANCHES)
def test_alternatives_of_a_template_are_no_doubles(body: str) -> None:
    """Only one of them is left when it is filled in; that it is to be filled in is said once."""
    assert codes("specialize", SHELL, body) == [(W, "template")]
    pages = body.replace("TimeZone", "HideEULAPage").replace("UTC", "true").replace("GMT Standard Time", "false")
    assert codes("oobeSystem", SHELL, f"<OOBE>{pages}</OOBE>") == [(W, "template")]


def test_a_component_in_a_branch_of_a_template_is_no_double() -> None:
    """Nor is a pass."""
    either = f"{{% if a %}}{component(SHELL, '')}{{% else %}}{component(SHELL, '')}{{% endif %}}"
    source = f'{ROOT}<settings pass="specialize">{either}</settings></unattend>'
    assert [one[:2] for one in found(source.encode())] == [(W, "template")]
    passes = '<settings pass="specialize"/>'
    source = f"{ROOT}{{% if a %}}{passes}{{% else %}}{passes}{{% endif %}}</unattend>"
    assert "same-pass" not in {one[1] for one in found(source.encode())}


def test_a_directive_before_the_declaration_is_called_one() -> None:
    """And whatever else stands there is not."""
    sound = b'<?xml version="1.0"?>\n' + answers("specialize", SHELL, "")
    (told,) = check(b"{# made by hand #}\n" + sound, deployment=Deployment.UNKNOWN)
    assert (told.severity, told.code, "directive" in told.message) == (E, "leading-bytes", True)
    (told,) = check(b"\n" + sound, deployment=Deployment.UNKNOWN)
    assert (told.severity, told.code, "directive" in told.message) == (E, "leading-bytes", False)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<Size>500</Size><Extend>true</Extend>", [(W, "partition")]),
        ("<Type>MSR</Type>", [(W, "partition")]),
        ("<Size>500</Size><Extend>false</Extend>", []),
        ("<Extend>true</Extend>", []),
        ("<Extend>${extend}</Extend>", [(W, "template")]),
    ],
)
def test_a_partition_has_a_size_or_takes_the_rest(inside: str, expected: list[tuple[Severity, str]]) -> None:
    """Microsoft: with both no partition is made, and the installation ends."""
    told = codes("windowsPE", "Setup", MAKE.format(PART.format(inside)))
    assert [one for one in told if one[1] != "asks"] == expected


@pytest.mark.parametrize(
    ("phase", "name", "body"),
    [
        ("windowsPE", "Setup", "<UserData><ProductKey>W269N-WFGWX-YVC9B-4J6C9-T83GX</ProductKey></UserData>"),
        ("oobeSystem", SHELL, "<OOBE>true</OOBE>"),
        ("oobeSystem", SHELL, "<FirstLogonCommands>cmd /c x</FirstLogonCommands>"),
        ("specialize", SHELL, "<ComputerName><Value>web</Value></ComputerName>"),
    ],
)
def test_text_and_settings_where_the_other_belongs(phase: str, name: str, body: str) -> None:
    """Windows would see neither."""
    assert (W, "shape") in codes(phase, name, body)


@pytest.mark.parametrize(
    ("zone", "mend"),
    [
        ("Central European Time", "Central Europe"),
        ("EST", "tzutil"),
        ("085", "tzutil"),
        ("W. Europe Standard Time", None),
        ("w. europe standard time_dstoff", None),
        ("Armenian Standard Time", None),
    ],
)
def test_time_zones(zone: str, mend: str | None) -> None:
    """A name that Windows is not known to have is told, with one that is near."""
    told = check(answers("specialize", SHELL, f"<TimeZone>{zone}</TimeZone>"), deployment=Deployment.UNKNOWN)
    assert [(one.code, mend in one.mend) for one in told] == ([("time-zone", True)] if mend else [])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("phase", "body"),
    [
        ("oobeSystem", "<WindowsFeatures><ShowWindowsMail>true</ShowWindowsMail></WindowsFeatures>"),
        ("oobeSystem", "<Themes><DefaultThemesOff>false</DefaultThemesOff></Themes>"),
        ("auditUser", "<ClientApplications><Mail>x</Mail></ClientApplications>"),
    ],
)
def test_settings_of_earlier_releases_are_known(phase: str, body: str) -> None:
    """They stand in Microsoft's own samples."""
    assert codes(phase, SHELL, body) == []


@pytest.mark.parametrize(
    ("written", "meant"), [("oobe", "oobeSystem"), ("specialise", "specialize"), ("offline", "offlineServicing")]
)
def test_a_mistyped_pass_is_the_one_that_was_meant(written: str, meant: str) -> None:
    """And never oobeUser, which does nothing for what people write into oobe."""
    (told,) = check(f'{ROOT}<settings pass="{written}"/></unattend>'.encode(), deployment=Deployment.UNKNOWN)
    assert (told.code, told.mend) == ("pass-name", f"write {meant}")


def test_a_no_break_space_is_no_blank() -> None:
    """Web pages have them; Windows takes them for a part of the name, the number, the key."""
    assert codes("specialize", SHELL, f"<ComputerName>web{NBSP}</ComputerName>") == [(E, "computer-name")]
    assert codes("specialize", SHELL, f"{NBSP}<TimeZone>UTC</TimeZone>") == [(W, "stray-text")]
    source = answers("windowsPE", "Setup", f"<UserData><AcceptEula>{NBSP}true</AcceptEula></UserData>")
    told = check(source, deployment=Deployment.UNKNOWN)
    assert [(one.code, "xa0true" in one.message) for one in told] == [("value", True)]


@pytest.mark.parametrize(
    ("plain", "expected"),
    [("true", [(W, "password-encoding")]), ("false", [])],
)
def test_an_encoded_password_that_is_called_plain_is_told(plain: str, expected: list[tuple[Severity, str]]) -> None:
    """The account's password would be the encoded text, and nobody could log on."""
    value = base64.b64encode("secretAdministratorPassword".encode("utf-16-le")).decode()
    source = password(value, f"<PlainText>{plain}</PlainText>")
    assert [one[:2] for one in found(source)] == expected


@pytest.mark.parametrize("name", ["TCPIP", "DNS-Client", "NetBT"])
def test_a_card_is_named_with_hyphens(name: str) -> None:
    """Windows knows no MAC address with colons, and the address would go to no card."""
    assert codes("specialize", name, CARD.format("52:54:00:12:34:56")) == [(W, "identifier")]
    assert codes("specialize", name, CARD.format("52-54-00-12-34-56")) == []


def test_a_named_entity_of_html_is_not_an_ampersand() -> None:
    """Its name would be shown if the ampersand were written out."""
    told = check(answers("specialize", SHELL, "<RegisteredOwner>&copy; me</RegisteredOwner>"))
    assert ["&#169;" in one.mend for one in told] == [True]
    told = check(answers("specialize", SHELL, "<RegisteredOwner>a & b</RegisteredOwner>"))
    assert ["&amp;" in one.mend for one in told] == [True]


@pytest.mark.parametrize("attribute", ["name", "processorArchitecture", "publicKeyToken", "language"])
def test_a_blank_attribute_is_missing(attribute: str) -> None:
    """A component is found by all four."""
    lines = answers("specialize", SHELL, "").decode().split("\n")
    whole = lines[2]
    start = whole.index(f'{attribute}="') + len(attribute) + 2
    lines[2] = whole[:start] + whole[whole.index('"', start) :]
    told = check("\n".join(lines).encode(), deployment=Deployment.UNKNOWN)
    assert [(one.code, one.message) for one in told] == [("attribute", f"the component lacks {attribute}")]


@pytest.mark.parametrize("name", ["PC-%SERIAL%", "[[hostname]]"])
def test_a_name_that_is_to_be_filled_in_is_not_judged(name: str) -> None:
    """Task sequences and templates fill it in; that it is one is said."""
    assert codes("specialize", SHELL, f"<ComputerName>{name}</ComputerName>") == [(W, "template")]


def test_numbers_are_not_empty() -> None:
    """An empty one can mean nothing."""
    body = f"<AutoLogon><Enabled/><LogonCount/><Username>a</Username>{PASSWORD}</AutoLogon>"
    assert codes("oobeSystem", SHELL, body) == [(W, "empty"), (W, "empty")]

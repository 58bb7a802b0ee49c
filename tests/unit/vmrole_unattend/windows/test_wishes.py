"""What can be said against a Windows role's wishes, each with the key of the service file and what would be right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from vmrole_unattend import AnswersInvalid
from vmrole_unattend.secret import Secret, SecretRef, SecretSource
from vmrole_unattend.windows import files
from vmrole_unattend.windows.answers import Account, Answers, Command, Edition, Join, Script

from tests.bench.answers import machine

SECRET = SecretRef(source=SecretSource.ENV, name="P")
GOOD = Answers(administrator_password=SECRET)
WIPING = """<unattend xmlns="urn:schemas-microsoft-com:unattend">
<settings pass="windowsPE">
<component name="Microsoft-Windows-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35"
 language="neutral" versionScope="nonSxS"><DiskConfiguration><Disk
 xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State" wcm:action="add">
<DiskID>0</DiskID><WillWipeDisk>true</WillWipeDisk></Disk></DiskConfiguration></component></settings></unattend>"""
WITH_PASSWORD = """<unattend xmlns="urn:schemas-microsoft-com:unattend"><settings pass="oobeSystem">
<component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35"
 language="neutral" versionScope="nonSxS"><UserAccounts><AdministratorPassword><Value>canary</Value>
<PlainText>true</PlainText></AdministratorPassword></UserAccounts></component></settings></unattend>"""
NO_KEY = """<unattend xmlns="urn:schemas-microsoft-com:unattend"><settings pass="specialize">
<component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35"
 language="neutral" versionScope="nonSxS"><ProductKey></ProductKey></component></settings></unattend>"""
CLASH = """<unattend xmlns="urn:schemas-microsoft-com:unattend"
 xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State"><settings pass="oobeSystem">
<component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35"
 language="neutral" versionScope="nonSxS"><UserAccounts><LocalAccounts><LocalAccount wcm:action="add">
<Name>WEB-0</Name><Group>Users</Group></LocalAccount></LocalAccounts>
<AdministratorPassword><Value>x</Value><PlainText>true</PlainText></AdministratorPassword></UserAccounts></component></settings></unattend>"""


def found(answers: Answers) -> list[tuple[str, str]]:
    """Where and what."""
    told = files.faults(answers, service="shop", role="web", instances=2)
    assert all(one.hint for one in told)
    return [(one.where, one.message) for one in told]


def test_plain_wishes_have_no_fault() -> None:
    """A server with its password, a client with an account."""
    assert found(GOOD) == []
    account = Account(name="Operator", password=SECRET)
    assert found(Answers(edition=Edition.CLIENT, accounts=(account,))) == []


@pytest.mark.parametrize(
    ("answers", "where", "why"),
    [
        (Answers(), "administratorPassword", "waits for ever"),
        (Answers(edition=Edition.CLIENT), "accounts", "waits for ever"),
        (replace(GOOD, organization="x" * 257), "organization", "257 characters"),
        (replace(GOOD, owner="bell\x07"), "owner", "U+0007"),
        (replace(GOOD, time_zone="Europe/Berlin"), "timeZone", "not a time zone"),
        (replace(GOOD, locale="english"), "locale", "not a locale"),
        (replace(GOOD, locale=""), "locale", "not a locale"),
        (replace(GOOD, keyboard="qwertz!"), "keyboard", "not a keyboard"),
        (replace(GOOD, join=Join(domain="d", workgroup="w")), "join", "more than one way"),
        (replace(GOOD, join=Join(domain="d", blob=SECRET)), "join", "more than one way"),
        (
            replace(GOOD, join=Join(domain="d", unsecure=True, user="u", password=SECRET)),
            "join.unsecure",
            "credentials",
        ),
        (replace(GOOD, join=Join(domain="d", user="u")), "join", "a user and a password"),
        (replace(GOOD, join=Join(user="u")), "join", "not which domain"),
        (replace(GOOD, specialize=(Command(line=" "),)), "specialize.0.run", "empty"),
        (replace(GOOD, specialize=(Command(line="x" * 260),)), "specialize.0.run", "260 characters"),
        (replace(GOOD, specialize=(Command(line="a\nb"),)), "specialize.0.run", "U+000A"),
        (replace(GOOD, first_logon=("",)), "firstLogon", "0 characters"),
        (replace(GOOD, scripts=(Script(name="../x", text=""),)), "scripts.../x", "file's name"),
        (replace(GOOD, scripts=(Script(name="Specialize.cmd", text=""),)), "scripts.Specialize.cmd", "vmrole's"),
        (replace(GOOD, scripts=(Script(name="a", text=""), Script(name="A", text=""))), "scripts.A", "twice"),
        (replace(GOOD, own_xml="<unattend"), "xml", "line 1"),
        (replace(GOOD, own_xml="\n<?xml version='1.0'?><unattend/>"), "xml", "line 1"),
        (replace(GOOD, own_xml="<!DOCTYPE x [<!ENTITY a 'b'>]><unattend/>"), "xml", "document type"),
        (replace(GOOD, own_xml=WIPING), "xml", "wipes it"),
        (replace(GOOD, own_xml=WITH_PASSWORD), "xml", "is a secret"),
    ],
)
def test_each_bad_wish_is_told(answers: Answers, where: str, why: str) -> None:
    """By its key, with the reason."""
    assert [one for one in found(answers) if one[0] == where and why in one[1]], found(answers)


def test_an_answer_file_with_passwords_is_kept_elsewhere() -> None:
    """Named like any other secret, it is fetched when the disc is made; the refusal quotes nothing of it."""
    assert "canary" not in str(found(replace(GOOD, own_xml=WITH_PASSWORD)))
    elsewhere = Answers(own_xml_from=SecretRef(source=SecretSource.FILE, name="/etc/vmrole/unattend.xml"))
    assert found(elsewhere) == []
    made = files.files(elsewhere, machine(0), lambda _: Secret(WITH_PASSWORD))
    assert b"<Value>canary</Value>" in made["Unattend.xml"]
    assert b"specialize.cmd" in made["Unattend.xml"]


def test_a_zone_that_is_nearly_right_is_guessed() -> None:
    """Who forgets a word is told what it might have been."""
    (fault,) = files.faults(replace(GOOD, time_zone="W Europe Standard Time"), service="s", role="r", instances=1)
    assert "W. Europe Standard Time" in fault.hint


@pytest.mark.parametrize(
    ("source", "why"), [(WIPING, "wipes it"), ("\n", "is empty"), (NO_KEY, "ProductKey"), (CLASH, "both named")]
)
def test_an_answer_file_kept_elsewhere_is_checked_as_well(source: str, why: str) -> None:
    """Nobody has seen it before the disc is made: what Windows would refuse is refused there."""
    elsewhere = Answers(own_xml_from=SecretRef(source=SecretSource.FILE, name="/etc/vmrole/unattend.xml"))
    with pytest.raises(AnswersInvalid, match=why):
        files.files(elsewhere, machine(0), lambda _: Secret(source))


JOIN = Join(domain="example.org", user="bob", password=SECRET)
ODD = [
    (replace(GOOD, locale="de"), "locale"),
    (replace(GOOD, locale="en-UK"), "locale"),
    (replace(GOOD, locale="xx-DE", keyboard="de-DE"), "locale"),
    (replace(GOOD, keyboard="0407:00000a07"), "keyboard"),
    (replace(GOOD, keyboard="en-US;en-UK"), "keyboard"),
    (replace(GOOD, ui_language="de-AT"), "uiLanguage"),
    (replace(GOOD, ui_language="en"), "uiLanguage"),
    (replace(GOOD, join=replace(JOIN, unit="example.org/Servers")), "join.unit"),
    (replace(GOOD, join=Join(workgroup="A WORKGROUP OF OURS")), "join.workgroup"),
    (replace(GOOD, join=Join(workgroup="a/b")), "join.workgroup"),
    (replace(GOOD, computer_name="web-"), "computerName"),
    (replace(GOOD, computer_name="localhost"), ""),
    (replace(GOOD, computer_name="b\u00fcro"), "computerName"),
    (replace(GOOD, locale="de-AT", keyboard="0407:00000407;en-GB"), ""),
    (replace(GOOD, specialize=(Command(line="net user a b && echo \u201ca\u201d"),)), ""),
    (replace(GOOD, specialize=(Command(line="\\\\files\\a\\b.exe \u00a0"),)), ""),
    (replace(GOOD, accounts=(Account(name="otto", password=SECRET, group="Administrators,Users"),)), ""),
    (replace(GOOD, owner=" \u200b", organization=" a "), ""),
    (replace(GOOD, product_key=SECRET, join=Join(blob=SecretRef(source=SecretSource.ENV, name="B"))), ""),
]


@pytest.mark.parametrize(("answers", "where"), ODD)
def test_what_is_said_of_a_disc_is_said_of_the_wishes(answers: Answers, where: str) -> None:
    """A role that is taken is one whose disc can be made: no later moment says for the first time what is wrong."""
    told = files.faults(answers, service="shop", role="web", instances=1)
    assert [one.where for one in told] == ([where] if where else [])
    secret = Secret("Geheim.12")
    texts = {answers.product_key: Secret("VK7JG-NPHTM-C97JM-9MPGT-3V66T"), answers.join.blob: Secret("QQ==")}
    if where:
        with pytest.raises(AnswersInvalid):
            files.files(answers, machine(0), lambda ref: texts.get(ref, secret))
    else:
        assert files.files(answers, machine(0), lambda ref: texts.get(ref, secret))

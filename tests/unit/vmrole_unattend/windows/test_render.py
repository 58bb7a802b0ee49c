"""Our Unattend.xml: what is wished stands where Windows looks for it, and nothing that is said breaks out of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import tree_sitter
import tree_sitter_powershell
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from vmrole_unattend import AnswersInvalid
from vmrole_unattend.secret import Secret, SecretRef, SecretSource
from vmrole_unattend.windows import files, guest_command
from vmrole_unattend.windows.answers import (
    Account,
    Answers,
    Architecture,
    Command,
    Edition,
    Join,
    Restart,
    Script,
    Windows,
)
from vmrole_unattend.windows.check import check
from vmrole_unattend.windows.markup import UNATTEND
from vmrole_unattend.windows.passwords import decode

from tests.bench.answers import ANSWERS, machine
from tests.world.places import GOLDEN_FILES

GOLDEN = GOLDEN_FILES / "unattend"
ADMIN = SecretRef(source=SecretSource.ENV, name="admin")
SERVER = Answers(administrator_password=ADMIN)
CLIENT = Answers(windows=Windows.W11, edition=Edition.CLIENT, accounts=(Account(name="Operator", password=ADMIN),))
CASES = {
    "server": SERVER,
    "client": CLIENT,
    "server-2008r2": replace(SERVER, windows=Windows.W2008R2, locale="de-DE", keyboard="0407:00000407"),
    "everything": replace(
        ANSWERS,
        windows=Windows.W2025,
        computer_name="{service}{index}",
        time_zone="W. Europe Standard Time",
        owner="Jörg <admin> & Söhne",
        ui_language="en-US",
        product_key=SecretRef(source=SecretSource.FILE, name="key"),
        firewall_groups=("@FirewallAPI.dll,-28502",),
        join=Join(domain="corp.example", user="joiner", password=ADMIN, unit="OU=Web,DC=corp,DC=example"),
        specialize=(Command(line="cmd /c ver", description="the version", restart=Restart.ON_REQUEST),),
        first_logon=("echo %VMROLE%", "call %VMROLE%first.cmd"),
    ),
    "arm64-blob": replace(
        SERVER,
        architecture=Architecture.ARM64,
        join=Join(blob=SecretRef(source=SecretSource.CREDENTIAL, name="blob")),
    ),
}


def reveal(wanted: SecretRef) -> Secret:
    """Secrets as a careful user has them."""
    return Secret(
        {"key": "ABCDE-12345-FGHIJ-67890-KLMNO", "blob": "ARAI\n"}.get(wanted.name, f"S3cret {wanted.name}")
    )


def made(answers: Answers) -> etree._Element:
    """The answer file for the first machine."""
    return etree.fromstring(files.files(answers, machine(0), reveal)["Unattend.xml"])


def texts(top: etree._Element, name: str) -> list[str]:
    """The texts of all settings of that name."""
    return [one.text or "" for one in top.iter(f"{{{UNATTEND}}}{name}")]


def values(top: etree._Element, parent: str) -> list[str]:
    """The hidden passwords below settings of that name."""
    found = top.iter(f"{{{UNATTEND}}}{parent}")
    return [one.findtext(f"{{{UNATTEND}}}Value") or "" for one in found]


@pytest.mark.parametrize("case", CASES)
def test_typical_files_are_as_they_were(case: str) -> None:
    """A change of what guests are told is seen in a review; this module, run as a program, writes it."""
    assert files.files(CASES[case], machine(0), reveal)["Unattend.xml"] == (GOLDEN / f"{case}.xml").read_bytes()


def all_kinds() -> Iterator[Answers]:
    """Each release, edition and architecture, with each way to join."""
    joins = (
        Join(),
        Join(workgroup="LAB"),
        Join(domain="corp.example", user="u", password=ADMIN),
        Join(domain="corp.example", unsecure=True),
        Join(blob=SecretRef(source=SecretSource.CREDENTIAL, name="blob")),
    )
    for windows, edition, architecture, join in itertools.product(Windows, Edition, Architecture, joins):
        yield replace(CASES["everything"], windows=windows, edition=edition, architecture=architecture, join=join)


def test_every_kind_of_windows_gets_a_file_without_a_fault() -> None:
    """Our validator, with its doubts as errors, has nothing to say of any of them, and no password is in clear but
    the one that Windows cannot hide.
    """
    for answers in all_kinds():
        source = files.files(answers, machine(0), reveal)["Unattend.xml"]
        found = check(source, windows=answers.windows, architecture=answers.architecture, ours=True)
        assert [one for one in found if one.code != "password-plain"] == []
        in_clear = source.count(b"S3cret")
        assert in_clear == (1 if answers.join.password else 0)


def test_what_a_release_does_not_know_is_left_out() -> None:
    """The screens of Windows 8 and later are unknown before, and NetworkLocation after."""
    old, new, client = made(replace(SERVER, windows=Windows.W2008R2)), made(SERVER), made(CLIENT)
    assert texts(old, "NetworkLocation") == ["Work"]
    assert texts(new, "NetworkLocation") == []
    for screen in ("HideLocalAccountScreen", "HideOEMRegistrationScreen"):
        assert (texts(old, screen), texts(new, screen)) == ([], ["true"])
    assert (texts(new, "HideOnlineAccountScreens"), texts(client, "HideOnlineAccountScreens")) == ([], ["true"])


def test_passwords_are_hidden_as_windows_wants_it() -> None:
    """Encoded with the name of the element that holds them, and said to be."""
    top = made(CASES["everything"])
    assert decode(values(top, "AdministratorPassword")[0], "AdministratorPassword") == reveal(ADMIN)
    assert decode(values(top, "Password")[-1], "Password") == Secret("S3cret operator")
    assert set(texts(top, "PlainText")) == {"false"}


def test_the_card_is_told_by_its_mac_and_its_settings_stand_in_order() -> None:
    """Windows wants Ipv4Settings, Identifier, UnicastIpAddresses and Routes in this order, and a MAC with dashes."""
    top = made(replace(SERVER, static_network=True))
    (interface, client) = top.iter(f"{{{UNATTEND}}}Interface")
    order = [etree.QName(one).localname for one in interface]
    assert order == ["Ipv4Settings", "Identifier", "UnicastIpAddresses", "Routes"]
    assert texts(interface, "Identifier")[0] == texts(client, "Identifier")[0] == "52-54-00-00-00-00"
    (route,) = interface.iter(f"{{{UNATTEND}}}Route")
    assert [etree.QName(one).localname for one in route] == ["Identifier", "NextHopAddress", "Prefix"]
    assert texts(interface, "IpAddress") == ["10.90.0.10/24"]
    assert texts(interface, "NextHopAddress") == texts(client, "IpAddress") == ["10.90.0.1"]


def test_remote_desktop_is_opened_in_every_language() -> None:
    """The firewall group is named by its resource, with network level authentication."""
    top = made(replace(SERVER, remote_desktop=True))
    assert texts(top, "fDenyTSConnections") == ["false"]
    assert texts(top, "UserAuthentication") == ["1"]
    assert texts(top, "Group") == ["@FirewallAPI.dll,-28752"]


def test_an_empty_product_key_is_no_element() -> None:
    """Setup fails on one; what is no key is refused without being told."""
    assert texts(made(SERVER), "ProductKey") == []
    assert texts(made(CASES["everything"]), "ProductKey") == ["ABCDE-12345-FGHIJ-67890-KLMNO"]
    with pytest.raises(AnswersInvalid) as caught:
        made(replace(SERVER, product_key=ADMIN))
    assert "S3cret" not in repr(caught.value)


@pytest.mark.parametrize("said", ["", " \n", "no base64!", "ARA", "\x00", "\ud800"])
def test_what_is_no_join_blob_is_refused_without_being_told(said: str) -> None:
    """Setup would stop at it; the error names where it came from."""
    with pytest.raises(AnswersInvalid) as caught:
        files.files(CASES["arm64-blob"], machine(0), lambda one: Secret(said) if one.name == "blob" else reveal(one))
    assert caught.value.where == "credential blob"
    assert not said.strip() or said not in str(caught.value)


def test_there_is_one_command_at_first_logon() -> None:
    """It runs one script that has all lines in their order, since Windows 10 starts commands side by side."""
    found = files.files(CASES["everything"], machine(0), reveal)
    assert len(texts(etree.fromstring(found["Unattend.xml"]), "SynchronousCommand")) == 1
    lines = found["vmrole/first-logon.cmd"].decode().split("\r\n")
    assert lines[-3:] == ["echo %VMROLE%", "call %VMROLE%first.cmd", ""]
    (command,) = texts(etree.fromstring(found["Unattend.xml"]), "CommandLine")
    assert command == r'cmd.exe /d /c "%SystemRoot%\Setup\vmrole\files\first-logon.cmd"', "the disc has gone by then"
    assert b'copy /y "%~dp0*.*" "%notes%\\files"' in found["vmrole/specialize.cmd"]
    assert "vmrole/first-logon.cmd" not in files.files(SERVER, machine(0), reveal)


def test_the_first_command_at_specialize_is_ours() -> None:
    """It finds the disc by trying drive letters, and the user's commands come after it."""
    paths = texts(made(CASES["everything"]), "Path")
    assert paths == [guest_command.from_disc(guest_command.SPECIALIZE), "cmd /c ver"]
    assert len(paths[0]) <= 259


def test_scripts_have_the_ends_of_line_that_windows_wants() -> None:
    """CR LF in every one, however it was written; no secret in any."""
    answers = replace(CASES["everything"], scripts=(Script(name="a.cmd", text="one\ntwo\r\n"),))
    found = files.files(answers, machine(0), reveal)
    for name, content in found.items():
        if name != "Unattend.xml":
            assert content.count(b"\n") == content.count(b"\r\n")
            assert b"S3cret" not in content
    assert found["vmrole/a.cmd"] == b"one\r\ntwo\r\n"


def test_our_powershell_can_be_read() -> None:
    """There is no PowerShell here; a parser of its language finds no error in ours."""
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    assert not parser.parse(guest_command.BOOT_SCRIPT.encode()).root_node.has_error
    assert parser.parse(b"if ( {").root_node.has_error


def test_equal_wishes_give_equal_discs() -> None:
    """Byte for byte, and another machine gets another disc."""
    assert files.disc(ANSWERS, machine(1), reveal) == files.disc(ANSWERS, machine(1), reveal)
    assert files.disc(ANSWERS, machine(1), reveal) != files.disc(ANSWERS, machine(2), reveal)


FREE = [field.name for field in dataclasses.fields(Answers) if field.type in ("str", str)]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([*FREE, "group", "line", "first", "script"]), st.text())
def test_whatever_is_said_stays_what_it_is(field: str, said: str) -> None:
    """Any text in any place either comes back from the file as it was, or is refused with its place."""
    match field:
        case "group":
            answers = replace(SERVER, accounts=(Account(name="Op", password=ADMIN, display_name=said),))
        case "line":
            answers = replace(SERVER, specialize=(Command(line=said),))
        case "first":
            answers = replace(SERVER, first_logon=(said,))
        case "script":
            answers = replace(SERVER, scripts=(Script(name="s.cmd", text=said),))
        case _:
            answers = replace(SERVER, **{field: said})
    try:
        found = files.files(answers, machine(0), reveal)
    except AnswersInvalid as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert refused.where and refused.message  # noqa: PT018 - one thing: it is told
        return
    if field in ("owner", "organization", "group", "line") and said.strip():
        assert said in [one.text for one in etree.fromstring(found["Unattend.xml"]).iter()]


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, answers in CASES.items():
        (GOLDEN / f"{name}.xml").write_bytes(files.files(answers, machine(0), reveal)["Unattend.xml"])

"""What is said about an answer file: each fault once, with its line and place, and nothing about a sound file."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vmrole_unattend.windows.answers import Architecture, Windows
from vmrole_unattend.windows.check import Deployment, Diagnostic, Severity, check

from tests.unit.vmrole_unattend.windows.checked import (
    DEPLOY,
    KEYS,
    ROOT,
    SETUP,
    SHELL,
    E,
    W,
    answers,
    component,
    found,
    password,
)
from tests.world.answer_files import PASSWORD
from tests.world.places import GOLDEN_FILES

SOUND = (GOLDEN_FILES / "answers" / "generalized.xml").read_bytes()


def items(name: str, *inner: str) -> str:
    return "".join(f'<{name} wcm:action="add">{one}</{name}>' for one in inner)


def test_a_package_of_servicing_has_an_action_of_its_own() -> None:
    """In no namespace, as Windows' own tools write it; a mark that is wrong in a component is told all the same."""
    package = b"""<servicing><package action="configure">
    <assemblyIdentity name="Microsoft-Windows-Foundation-Package" version="6.1.7600.16385" language="" />
    <selection name="TelnetClient" state="true" /></package></servicing>"""
    sound = SOUND.replace(b"<servicing />", package)
    assert sound != SOUND
    assert check(sound) == []
    marked = b"<RunSynchronousCommand wcm:action="
    assert marked in sound
    wrong = sound.replace(marked, b"<RunSynchronousCommand action=", 1)
    assert "wcm-namespace" in {one.code for one in check(wrong)}


@pytest.mark.parametrize("value", ["Pa$$w0rd", "P@ssw0rd@x", "hunter$x2"])
def test_a_password_with_a_dollar_is_no_template(value: str) -> None:
    """The most copied password of all is checked as any other."""
    assert [one[1] for one in passwords_of(value, "true")] == ["password-plain"]
    assert [one[:2] for one in passwords_of(value, "false")] == [(E, "password-encoding")]


@pytest.mark.parametrize("value", ["$password", "{{ password }}", "%PASSWORD%", "@@pass@@", "${pass}"])
def test_a_password_that_is_to_be_filled_in_is_not_checked(value: str) -> None:
    """What it will be is not known."""
    assert "password-encoding" not in {one[1] for one in passwords_of(value, "false")}


def passwords_of(value: str, plain: str) -> list[tuple[Severity, str, int, str]]:
    password = f"<AdministratorPassword><Value>{value}</Value><PlainText>{plain}</PlainText></AdministratorPassword>"
    return found(answers("oobeSystem", "Shell-Setup", f"<UserAccounts>{password}</UserAccounts>"))


@pytest.mark.parametrize(
    ("phase", "body"),
    [
        (
            "oobeSystem",
            "<UserAccounts><AdministratorPassword>WX4NM-s3cret<PlainText>true</PlainText></AdministratorPassword>"
            "</UserAccounts>",
        ),
        ("specialize", "<ProductKey>WX4NM-s3cret<Key>x</Key></ProductKey>"),
        ("specialize", "<ProductKey>WX4NM-s3cret_</ProductKey>"),
    ],
)
def test_no_finding_quotes_a_secret(phase: str, body: str) -> None:
    """Also where the file is malformed."""
    said = check(answers(phase, "Shell-Setup", body))
    assert said
    assert "s3cret" not in str(said)


@pytest.mark.parametrize(
    ("phase", "name", "body"),
    [
        (
            "specialize",
            "Deployment",
            "<RunSynchronous><RunSynchronousCommand wcm:action='add'><Order>1</Order><Path></Path>"
            "</RunSynchronousCommand></RunSynchronous>",
        ),
        (
            "specialize",
            "TCPIP",
            "<Interfaces><Interface wcm:action='add'><Identifier> </Identifier></Interface></Interfaces>",
        ),
    ],
)
def test_what_cannot_be_empty_is_told(phase: str, name: str, body: str) -> None:
    """A doubt in a user's file, an error in ours; an empty organization is none."""
    assert (W, "empty") in {one[:2] for one in found(answers(phase, name, body))}
    assert (E, "empty") in {one[:2] for one in found(answers(phase, name, body), ours=True)}
    organization = answers("specialize", "Shell-Setup", "<RegisteredOrganization></RegisteredOrganization>")
    assert found(organization) == []


def test_a_list_of_the_reference_may_lack_its_marks() -> None:
    """Two rules for two ports are two, whatever marks they lack."""
    rule = "<Portrule><Protocol>Both</Protocol></Portrule>"
    body = f"<Clusters><Cluster><Portrules>{rule}{rule}</Portrules></Cluster></Clusters>"
    assert "repeated" not in {one[1] for one in found(answers("specialize", "NetworkLoadBalancing-Core", body))}


def test_nothing_is_said_about_a_sound_file() -> None:
    """Names in another case, environment variables, old and new forms: what Windows takes gets no finding."""
    for windows in (None, Windows.W2022, Windows.W11):
        for ours in (False, True):
            assert check(SOUND, windows=windows, architecture=Architecture.AMD64, ours=ours) == []


FRAME = [
    (b"<html/>", [(E, "no-answers", 1, "")]),
    (b"<unattended/>", [(E, "root", 1, "unattended")]),
    (b"<unattend/>", [(E, "root", 1, "unattend")]),
    (f"{ROOT}</unattend>".encode(), [(W, "no-settings", 1, "unattend")]),
    (f"{ROOT}<settings/></unattend>".encode(), [(E, "pass-name", 1, "settings")]),
    (f'{ROOT}\n<settings pass="specialise"/></unattend>'.encode(), [(E, "pass-name", 2, "specialise")]),
    (f'{ROOT}<settings pass="oobesystem"/></unattend>'.encode(), [(W, "pass-name", 1, "oobesystem")]),
    (f'{ROOT}<settings pass="oobeSystem"/>\n<settings pass="oobeSystem"/></unattend>'.encode(),
     [(W, "same-pass", 2, "oobeSystem")]),
    (f'{ROOT}<settings pass="specialize" wasPassProcessed="true"/></unattend>'.encode(),
     [(W, "pass-done", 1, "specialize")]),
    (f'{ROOT}<settings pass="specialize"/>\n<servicing/></unattend>'.encode(),
     [(W, "servicing-order", 2, "servicing")]),
    (f'{ROOT}<settings pass="specialize"/>\n{component("Shell-Setup", "")}</unattend>'.encode(),
     [(W, "outside", 2, "component")]),
    (f'{ROOT}<settings pass="specialize">\n<TimeZone/></settings></unattend>'.encode(),
     [(E, "outside", 2, "TimeZone")]),
    (f'{ROOT}<settings pass="specialize">&gt;</settings></unattend>'.encode(), [(W, "stray-text", 1, "specialize")]),
    (f'{ROOT}<settings pass="specialize">{component("Shell-Setup", "")}\n{component("shell-setup", "")}</settings>'
     "</unattend>".encode(), [(E, "same-component", 4, "specialize/Microsoft-Windows-shell-setup")]),
    (f'{ROOT}<settings pass="specialize">{component("Shell-Setup", "", "")}'
     f'\n{component("Deployment", "", "")}</settings>'
     "</unattend>".encode(), [(E, "attribute", 1, "specialize/Microsoft-Windows-Shell-Setup")]),
    (answers("specialize", "Shell-Setup", "").replace(b"amd64", b"x64"),
     [(E, "architecture", 3, "specialize/Microsoft-Windows-Shell-Setup")]),
    (answers("specialize", "Shell-Setup", "").replace(b"31bf3856ad364e35", b"31bf"),
     [(E, "attribute", 3, "specialize/Microsoft-Windows-Shell-Setup")]),
    (answers("specialize", "Shell-Setup", "").replace(b"31bf3856ad364e35", b"0123456789abcdef"),
     [(W, "attribute", 3, "specialize/Microsoft-Windows-Shell-Setup")]),
    (answers("specialize", "Shell-Setop", ""),
     [(W, "unknown-component", 3, "specialize/Microsoft-Windows-Shell-Setop")]),
    (answers("specialize", "Shell-Setup", '<TimeZone xmlns="">UTC</TimeZone>'), [(W, "namespace", 4, "TimeZone")]),
    (answers("specialize", "Shell-Setup", "").replace(b"http://schemas", b"https://schemas"), []),
    (answers("specialize", "DNS-Client", '<Interfaces>\n<Interface wcm:action="add"/></Interfaces>').replace(
        b"http://schemas", b"https://schemas"), [(W, "wcm-namespace", 5, "Interface")]),
    (f'{ROOT}<settings pass="specialize"/>\n<notes/></unattend>'.encode(), [(W, "outside", 2, "notes")]),
    (answers("specialize", "Shell-Setup", "").replace(b'"nonSxS"', b'"no"'),
     [(W, "attribute", 3, "specialize/Microsoft-Windows-Shell-Setup")]),
    (answers("specialize", "Shell-Setup", "-"), [(W, "stray-text", 3, "specialize/Microsoft-Windows-Shell-Setup")]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), FRAME)
def test_the_frame(source: bytes, expected: list[tuple[Severity, str, int, str]]) -> None:
    """Root, passes, components and their attributes: each fault once."""
    assert found(source) == expected


LOGON = f"<AutoLogon><Enabled>true</Enabled>{{}}{PASSWORD}</AutoLogon>"
FIRST = "<Order>1</Order><Path>x</Path>"
RUN = "<RunSynchronous>{}</RunSynchronous>"
IN_SHELL = "/Microsoft-Windows-Shell-Setup/"
IN_DEPLOY = "/Microsoft-Windows-Deployment/"
IN_SETUP = "windowsPE/Microsoft-Windows-Setup/"

SETTINGS = [
    ("specialize", SHELL, "<TimeZon>UTC</TimeZon>", [(W, "unknown-setting", f"specialize{IN_SHELL}TimeZon")]),
    ("oobeSystem", SHELL, "<ComputerName>web</ComputerName>", [(W, "pass", f"oobeSystem{IN_SHELL}ComputerName")]),
    ("specialize", SHELL, "<OOBE><HideEULAPage>true</HideEULAPage></OOBE>",
     [(W, "pass", f"specialize{IN_SHELL}OOBE")]),
    ("windowsPE", "International-Core", "<UserLocale>en-US</UserLocale>",
     [(W, "pass", "windowsPE/Microsoft-Windows-International-Core")]),
    ("oobeSystem", SHELL, "<OOBE><HideEULAPage>yes</HideEULAPage></OOBE>",
     [(E, "value", f"oobeSystem{IN_SHELL}OOBE/HideEULAPage")]),
    ("specialize", "Networking-MPSSVC-Svc", "<PublicProfile_EnableFirewall>nope</PublicProfile_EnableFirewall>",
     [(W, "value", "specialize/Networking-MPSSVC-Svc/PublicProfile_EnableFirewall")]),
    ("oobeSystem", SHELL, LOGON.format("<LogonCount>often</LogonCount><Username>a</Username>"),
     [(E, "number", f"oobeSystem{IN_SHELL}AutoLogon/LogonCount")]),
    ("specialize", DEPLOY, RUN.format(items("RunSynchronousCommand", f"<Order>1</Order><Path>{'y' * 260}</Path>")),
     [(E, "length", f"specialize{IN_DEPLOY}RunSynchronous/RunSynchronousCommand/Path")]),
    ("specialize", DEPLOY, RUN.format(f"<RunSynchronousCommand>{FIRST}</RunSynchronousCommand>"),
     [(W, "list-action", f"specialize{IN_DEPLOY}RunSynchronous/RunSynchronousCommand")]),
    ("specialize", SHELL, "<TimeZone>UTC</TimeZone><timezone>UTC</timezone>",
     [(E, "repeated", f"specialize{IN_SHELL}timezone")]),
    ("specialize", DEPLOY, RUN.format(items("RunSynchronousCommand", FIRST, FIRST)),
     [(E, "order", f"specialize{IN_DEPLOY}RunSynchronous/RunSynchronousCommand[2]/Order")]),
    ("specialize", DEPLOY, RUN.format(items("RunSynchronousCommand", "<Order>0</Order><Path>x</Path>")),
     [(E, "order", f"specialize{IN_DEPLOY}RunSynchronous/RunSynchronousCommand/Order")]),
    ("specialize", DEPLOY, RUN.format(items("RunSynchronousCommand", "<Order>one</Order><Path>x</Path>")),
     [(E, "order", f"specialize{IN_DEPLOY}RunSynchronous/RunSynchronousCommand/Order")]),
    ("specialize", DEPLOY, RUN.format(items("RunSynchronousCommand", "<Path>x</Path>")),
     [(W, "order", f"specialize{IN_DEPLOY}RunSynchronous/RunSynchronousCommand")]),
    ("specialize", DEPLOY, RUN.format(items("RunSynchronousCommand", FIRST + "<WillReboot>No</WillReboot>")),
     [(E, "value", f"specialize{IN_DEPLOY}RunSynchronous/RunSynchronousCommand/WillReboot")]),
    ("windowsPE", SETUP, f"<DiskConfiguration>{items('Disk', '<DiskID>0</DiskID>', '<DiskID>0</DiskID>')}"
     "</DiskConfiguration>", [(E, "order", f"{IN_SETUP}DiskConfiguration/Disk[2]/DiskID")]),
    ("specialize", SHELL, "<ProductKey/>", [(E, "product-key", f"specialize{IN_SHELL}ProductKey")]),
    ("specialize", SHELL, "<ProductKey>AAAAA-BBBBB</ProductKey>",
     [(E, "product-key", f"specialize{IN_SHELL}ProductKey")]),
    ("windowsPE", SETUP, "<UserData><ProductKey><Key/></ProductKey></UserData>", []),
    ("windowsPE", SETUP, "<UserData><ProductKey><Key>12345</Key></ProductKey></UserData>",
     [(E, "product-key", f"{IN_SETUP}UserData/ProductKey/Key")]),
    ("windowsPE", SETUP, "<UserData><ProductKey><Key>00000-00000-00000-00000-00000</Key></ProductKey></UserData>",
     []),
    ("oobeSystem", SHELL, LOGON.format("<Username>a</Username>"),
     [(W, "autologon", f"oobeSystem{IN_SHELL}AutoLogon")]),
    ("oobeSystem", SHELL, "<AutoLogon><Enabled>false</Enabled></AutoLogon>", []),
    ("oobeSystem", DEPLOY, "<Reseal><Mode>OOBE</Mode><ForceShutdownNow>true</ForceShutdownNow></Reseal>",
     [(E, "reseal-loop", f"oobeSystem{IN_DEPLOY}Reseal")]),
    ("auditUser", DEPLOY, "<Reseal><Mode>OOBE</Mode><ForceShutdownNow>true</ForceShutdownNow></Reseal>", []),
    ("oobeSystem", SHELL, "<OOBE><SkipMachineOOBE>true</SkipMachineOOBE><SkipUserOOBE>true</SkipUserOOBE></OOBE>",
     [(W, "skip-oobe", f"oobeSystem{IN_SHELL}OOBE/SkipMachineOOBE")]),
    ("oobeSystem", SHELL, "<OOBE><SkipMachineOOBE>false</SkipMachineOOBE></OOBE>", []),
    ("specialize", "Networking-MPSSVC-Svc", '<FirewallGroups><FirewallGroup wcm:action="add" wcm:keyValue="r">'
     "<Group>Remote Desktop</Group></FirewallGroup></FirewallGroups>",
     [(W, "firewall-group", "specialize/Networking-MPSSVC-Svc/FirewallGroups/FirewallGroup/Group")]),
    ("specialize", "Networking-MPSSVC-Svc", "<FirstLogonCommands/>",
     [(W, "unknown-setting", "specialize/Networking-MPSSVC-Svc/FirstLogonCommands")]),
    ("specialize", SHELL, "<TimeZone>Europe/Berlin</TimeZone>", [(W, "time-zone", f"specialize{IN_SHELL}TimeZone")]),
    ("specialize", "TCPIP", '<Interfaces><Interface wcm:action="add"><Identifier>Ethernet</Identifier>'
     "<Ipv4Settings/></Interface></Interfaces>",
     [(W, "interface-order", "specialize/Microsoft-Windows-TCPIP/Interfaces/Interface")]),
    ("specialize", "DNS-Client", '<Interfaces><Interface wcm:action="add"><DNSDomain>a.example</DNSDomain>'
     "<Identifier>Ethernet</Identifier></Interface></Interfaces>", []),
]  # fmt: skip


@pytest.mark.parametrize(("phase", "name", "body", "expected"), SETTINGS)
def test_settings(phase: str, name: str, body: str, expected: list[tuple[Severity, str, str]]) -> None:
    """Each fault of a setting once, at its place; and none where Windows takes it."""
    told = [(severity, code, path) for severity, code, _, path in found(answers(phase, name, body)) if code != "asks"]
    assert told == expected


SHAPES = [
    ("oobeSystem", SHELL, "<OOBE>and<HideEULAPage>true</HideEULAPage></OOBE>", [(W, "stray-text")]),
    ("specialize", SHELL, "<ProductKey><Key>AAAAA-BBBBB-CCCCC-DDDDD-EEEEE</Key></ProductKey>",
     [(W, "product-key")]),
    ("oobeSystem", SHELL, LOGON.format("<LogonCount>1</LogonCount>"), [(W, "autologon")]),
    ("specialize", DEPLOY, "<RunSynchronous><RunSynchronousCommand wcm:action='new'><Order>1</Order>"
     "<Path>x</Path></RunSynchronousCommand></RunSynchronous>", [(W, "list-action")]),
    ("windowsPE", "PnpCustomizationsWinPE", f"<DriverPaths>{items('PathAndCredentials', '')}</DriverPaths>",
     [(W, "list-key")]),
    ("windowsPE", "PnpCustomizationsWinPE", "<DriverPaths>"
     + 2 * "<PathAndCredentials wcm:action='add' wcm:keyValue='1'/>" + "</DriverPaths>", [(W, "list-key")]),
    ("oobeSystem", SHELL, "<UserAccounts><LocalAccounts>" + items("LocalAccount", "<Name>a</Name>", "<Name>A</Name>")
     + "</LocalAccounts></UserAccounts>", [(W, "account")]),
]  # fmt: skip


@pytest.mark.parametrize(("phase", "name", "body", "expected"), SHAPES)
def test_shapes(phase: str, name: str, body: str, expected: list[tuple[Severity, str]]) -> None:
    """Text where settings belong, and lists whose items do not say what they are."""
    assert [one[:2] for one in found(answers(phase, name, body))] == expected


NAMES = [
    ("web-0", None), ("*", None), ("", None),
    ("%COMPUTERNAME%", "template"), ("{{ name }}", "template"), ("$name", "template"),
    ("a" * 15, None), ("a" * 16, E), ("12345", E), ("web 0", E), ("web.shop", E),
    ("web:0", E), ("Ä" * 8, W), ("clerk", W),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_computer_names(name: str, expected: Severity | str | None) -> None:
    """At most 15 bytes, no forbidden character, not only digits, not an account; a name yet to come is not judged."""
    account = items("LocalAccount", "<Name>clerk</Name>")
    body = f"<UserAccounts><LocalAccounts>{account}</LocalAccounts></UserAccounts>"
    shell = component("Shell-Setup", f"<ComputerName>{name}</ComputerName>")
    source = f'{ROOT}<settings pass="specialize">{shell}</settings>'
    source += f'<settings pass="oobeSystem">{component("Shell-Setup", body)}</settings></unattend>'
    said = [(one.severity, one.code) for one in check(source.encode())]
    if isinstance(expected, Severity):
        assert said == [(expected, "computer-name")]
    else:
        assert said == ([(W, expected)] if expected else [])


ACCOUNTS = [("clerk", None), ("a" * 21, E), ("a/b", E), ("clerk.", E), ("Guest", W), ("Administrator", None), ("", W)]


@pytest.mark.parametrize(("name", "expected"), ACCOUNTS)
def test_account_names(name: str, expected: Severity | None) -> None:
    """At most 20 characters and none that is forbidden; names that Windows has already are doubtful."""
    account = items("LocalAccount", f"<Name>{name}</Name>")
    body = f"<UserAccounts><LocalAccounts>{account}</LocalAccounts></UserAccounts>"
    said = [(severity, code) for severity, code, _, _ in found(answers("oobeSystem", "Shell-Setup", body))]
    assert said == ([(expected, "account")] if expected else [])


PASSWORDS = [
    ("cAB3AEEAZABtAGkAbgBpAHMAdAByAGEAdABvAHIAUABhAHMAcwB3AG8AcgBkAA==", None),
    ("cAB3AEEAZABtAGkAbgBpAHMAdAByAGEA\n dABvAHIAUABhAHMAcwB3AG8AcgBkAA==", None),
    ("", (W, "password-blank")),
    ("{{ password }}", None),
    ("UABhAHMAcwB3AG8AcgBkADEAMgAzADQANgBQAGEAcwBzAHcAbwByAGQA", (E, "password-encoding")),  # of another element
    ("cGFzc3dvcmQxMjM=", (E, "password-encoding")),  # base64 of the bytes of "password123"
    ("Passw0rd!", (E, "password-encoding")),
    ("*SENSITIVE*DATA*DELETED*", (W, "password-deleted")),
]


@pytest.mark.parametrize(("value", "expected"), PASSWORDS)
def test_encoded_passwords(value: str, expected: tuple[Severity, str] | None) -> None:
    """What PlainText false promises has to be base64 of the password and the element's name; no password is shown."""
    said = check(password(value), deployment=Deployment.UNKNOWN)
    assert [(one.severity, one.code) for one in said if one.code != "template"] == ([expected] if expected else [])
    assert not value or all(value not in str(one) for one in said if one.code != "template")


def test_plain_passwords_are_said_once_and_not_shown() -> None:
    """One finding names every line, whether PlainText is true or missing."""
    body = "<AutoLogon><Enabled>true</Enabled><LogonCount>1</LogonCount><Username>a</Username>\n"
    body += "<Password><Value>hunter2</Value></Password></AutoLogon>"
    source = password("hunter2", "<PlainText>true</PlainText>").replace(
        b"</component>", f"{body}</component>".encode()
    )
    (one,) = check(source, deployment=Deployment.UNKNOWN)
    assert (one.severity, one.code, one.line) == (W, "password-plain", 5)
    assert "line 7" in one.message
    assert "hunter2" not in str(one)


def test_a_password_without_value_is_none() -> None:
    """The text belongs into <Value>; Credentials have it otherwise."""
    body = "<UserAccounts><AdministratorPassword>hunter2</AdministratorPassword></UserAccounts>"
    assert found(answers("oobeSystem", "Shell-Setup", body)) == [
        (E, "password-shape", 4, "oobeSystem/Microsoft-Windows-Shell-Setup/UserAccounts/AdministratorPassword")
    ]


CREDENTIALS = "<Credentials><Domain>a</Domain><Username>b</Username><Password>k3y$</Password></Credentials>"
JOINS = [
    ("<JoinDomain>a.example</JoinDomain>" + CREDENTIALS, [(W, "password-plain")]),
    ("<JoinDomain>a.example</JoinDomain><UnsecureJoin>1</UnsecureJoin><JoinWorkgroup/>", []),
    (
        "<JoinDomain>a.example</JoinDomain><UnsecureJoin>1</UnsecureJoin><JoinWorkgroup>W</JoinWorkgroup>",
        [(W, "join")],
    ),
    (
        "<JoinDomain>%DOMAIN%</JoinDomain><UnsecureJoin>1</UnsecureJoin><JoinWorkgroup>%GROUP%</JoinWorkgroup>",
        [(W, "template")],
    ),
    ("<JoinDomain>a.example</JoinDomain><UnsecureJoin>true</UnsecureJoin>", []),
    (
        "<JoinDomain>a.example</JoinDomain><UnsecureJoin>true</UnsecureJoin>" + CREDENTIALS,
        [(W, "password-plain"), (W, "join")],
    ),
    ("<JoinDomain>a.example</JoinDomain><UnsecureJoin>false</UnsecureJoin>" + CREDENTIALS, [(W, "password-plain")]),
]


@pytest.mark.parametrize(("body", "expected"), JOINS)
def test_joins(body: str, expected: list[tuple[Severity, str]]) -> None:
    """A domain or a workgroup; credentials or an unsecured join."""
    source = answers("specialize", "UnattendedJoin", f"<Identification>{body}</Identification>")
    assert [one[:2] for one in found(source)] == expected


WIPES = [
    ("<DiskConfiguration><Disk wcm:action='add'><WillWipeDisk>true</WillWipeDisk></Disk></DiskConfiguration>", True),
    ("<DiskConfiguration><Disk wcm:action='add'><WillWipeDisk>false</WillWipeDisk></Disk></DiskConfiguration>",
     False),
    ("<RunSynchronous><RunSynchronousCommand wcm:action='add'><Order>1</Order>"
     "<Path>cmd /c diskpart /s X:\\a.txt</Path>"
     "</RunSynchronousCommand></RunSynchronous>", True),
    ("<DiskConfiguration><Disk wcm:action='add'><ModifyPartitions><ModifyPartition wcm:action='add'><Order>1</Order>"
     "<Format>NTFS</Format></ModifyPartition></ModifyPartitions></Disk></DiskConfiguration>", True),
    ("<UserData><AcceptEula>true</AcceptEula></UserData>", False),
    *(("<RunSynchronous><RunSynchronousCommand wcm:action='add'><Order>1</Order>"
       f"<Path>{line}</Path></RunSynchronousCommand></RunSynchronous>", wipes)
      for line, wipes in (("cmd /c format C: /q /y", True), ("powershell Clear-Disk 0 -RemoveData", True),
                          ("powershell Get-Date -Format s", False), ("reg add HKLM\\x /v format", False))),
    ("<ImageInstall><OSImage><InstallTo><DiskID>0</DiskID><PartitionID>1</PartitionID></InstallTo></OSImage>"
     "</ImageInstall>", True),
    *((f"<ImageInstall><OSImage><InstallToAvailablePartition>{said}</InstallToAvailablePartition></OSImage>"
       "</ImageInstall>", said == "true") for said in ("true", "false")),
    ("<WindowsDeploymentServices><ImageSelection><InstallTo><DiskID>0</DiskID><PartitionID>1</PartitionID>"
     "</InstallTo></ImageSelection></WindowsDeploymentServices>", True),
]  # fmt: skip


@pytest.mark.parametrize(("body", "wipes"), WIPES)
def test_a_wiped_disk_is_an_error_for_a_generalized_image_alone(body: str, wipes: bool) -> None:
    """An install wipes disks as a matter of course; a file for a generalized image never may."""
    source = answers("windowsPE", "Setup", body)
    told = [one.code for one in check(source) if one.code != "password-missing"]
    assert told == (["disk-wipe"] if wipes else [])
    for use in (Deployment.INSTALL, Deployment.UNKNOWN):
        assert "disk-wipe" not in {one.code for one in check(source, deployment=use)}


def test_what_depends_on_the_release() -> None:
    """Windows 7 refuses pages that came with 8; only Windows 10 and later start first-logon commands together."""
    pages = answers(
        "oobeSystem", "Shell-Setup", "<OOBE><HideOnlineAccountScreens>true</HideOnlineAccountScreens></OOBE>"
    )
    assert [one.code for one in check(pages, windows=Windows.W2008R2, deployment=Deployment.UNKNOWN)] == ["release"]
    assert check(pages, windows=Windows.W2012, deployment=Deployment.UNKNOWN) == []
    two = items(
        "SynchronousCommand",
        *(f"<Order>{at}</Order><CommandLine>x</CommandLine>" for at in (1, 2)),
    )
    commands = answers("oobeSystem", "Shell-Setup", f"<FirstLogonCommands>{two}</FirstLogonCommands>")
    for windows, codes in ((Windows.W2012R2, []), (Windows.W2016, ["first-logon"]), (None, ["first-logon"])):
        assert [one.code for one in check(commands, windows=windows, deployment=Deployment.UNKNOWN)] == codes


def test_architectures() -> None:
    """Components that the image skips are one finding; none when the right ones are there too, or for wow64."""
    right, wrong = (
        answers("specialize", "Shell-Setup", ""),
        answers("specialize", "Shell-Setup", "").replace(b"amd64", b"x86"),
    )
    both = right.replace(
        b"</settings>", component("Shell-Setup", "", KEYS.replace("amd64", "x86")).encode() + b"</settings>"
    )
    for source, codes in (
        (right, []),
        (wrong, ["architecture"]),
        (both, []),
        (right.replace(b"amd64", b"wow64"), []),
    ):
        told = check(source, architecture=Architecture.AMD64, deployment=Deployment.UNKNOWN)
        assert [one.code for one in told] == codes
        assert check(source, deployment=Deployment.UNKNOWN) == []


def test_a_template_is_one_finding() -> None:
    """Whatever is to be filled in is said once, and not judged."""
    body = "<ComputerName>{{ name }}</ComputerName><ProductKey>${KEY}</ProductKey><TimeZone>@@ZONE@@</TimeZone>"
    source = answers("specialize", "Shell-Setup", body).replace(b"amd64", b"%arch%")
    told = check(source, deployment=Deployment.UNKNOWN)
    assert [(one.code, one.line) for one in told] == [("template", 3)]


def test_doubts_are_errors_in_our_own_file() -> None:
    """What only the reference says is enough to refuse what we made, and not what a user brings."""
    source = answers("oobeSystem", "Shell-Setup", "<ComputerName>web</ComputerName>")
    for ours, severity in ((False, W), (True, E)):
        assert [one.severity for one in check(source, ours=ours, deployment=Deployment.UNKNOWN)] == [severity]


def test_a_file_that_cannot_be_read_is_one_finding() -> None:
    """What is wrong with the bytes hides the rest, unless the rest can be read all the same."""
    assert [one.code for one in check(b"<unattend>")] == ["not-xml"]
    assert [one.code for one in check(b"\n" + SOUND)] == ["leading-bytes"]
    assert check(SOUND.decode().replace('"utf-8"', '"utf-16"').encode("utf-16")) == []


def test_every_finding_has_a_place_and_a_mend() -> None:
    """No finding leaves the reader without a line or without what would be right."""
    sources = [source for source, _ in FRAME] + [answers(*row[:3]) for row in SETTINGS]
    for one in [one for source in sources for one in check(source)]:
        assert one.line > 0
        assert one.message
        assert one.mend
        assert re.fullmatch("[a-z-]+", one.code)


@given(st.data())
def test_no_file_is_too_odd_to_be_checked(data: st.DataObject) -> None:
    """Any cut and any exchange of a part leaves findings, never an exception."""
    text = SOUND.decode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 200)))
    part = data.draw(
        st.sampled_from(["", "<Order/>", "x", " ", '"', "<a><b/></a>", "</component>", "\u00e9", "&amp;", "{{"])
    )
    for one in check((text[:start] + part + text[end:]).encode(), windows=Windows.W7, architecture=Architecture.X86):
        assert isinstance(one, Diagnostic)

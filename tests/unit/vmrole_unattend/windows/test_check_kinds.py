"""Kinds of faults that Windows passes over, asks about, or ends at: each one told once, its sound neighbours not."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from vmrole_unattend.windows.answers import Windows
from vmrole_unattend.windows.check import Deployment, check

from tests.world.answer_files import (
    ADMINISTRATOR,
    KEYS,
    OOBE,
    OTTO,
    PASSWORD,
    codes,
    commands,
    component,
    items,
    server,
    settings,
    told,
)


def one_code(source: bytes, code: str, **options: object) -> None:
    """Asserts that a warning of this code is all that is told, or nothing for ""."""
    assert codes(source, **options) == ([f"warning {code}"] if code else [])


def encoded(password: str, name: str = "Password") -> str:
    """An element of that name with the password as Windows hides it."""
    value = base64.b64encode((password + name).encode("utf-16-le")).decode()
    return f"<{name}><Value>{value}</Value><PlainText>false</PlainText></{name}>"


# Extending ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "wrong"),
    [
        ("<Extend>true</Extend><Size>20000</Size>", True),
        ("<Size>20000</Size><Extend>true</Extend>", True),
        ("<Extend>false</Extend><Size>20000</Size>", True),  # both in one pass, whatever they say
        ("<Extend>true</Extend>", False),
        ("<Size>20000</Size>", False),
        ("<Extend>true</Extend><Size/>", False),
    ],
)
def test_extend_and_size_exclude_each_other(inside: str, wrong: bool) -> None:
    """Setup logs an error and ends."""
    source = server(component("Deployment", f"<ExtendOSPartition>{inside}</ExtendOSPartition>"))
    assert codes(source) == (["error extend"] if wrong else [])


# The automatic logon ------------------------------------------------------------------------------------------

BOTH = f"<UserAccounts>{ADMINISTRATOR}<LocalAccounts>{OTTO}</LocalAccounts></UserAccounts>"
ON, NAME, COUNT = "<Enabled>true</Enabled>", "<Username>otto</Username>", "<LogonCount>1</LogonCount>"
OTHER = encoded("Geheim.2")
LOGONS = [
    (ON + NAME + PASSWORD + COUNT, ""),
    (NAME + PASSWORD + COUNT, "Enabled"),
    ("<Enabled>false</Enabled>" + NAME, ""),
    (ON + NAME + COUNT, "no Password"),
    (ON + NAME + "<Password/>" + COUNT, "no Password"),
    (ON + NAME + "<Password><PlainText>false</PlainText></Password>" + COUNT, "no Password"),
    (ON + NAME + PASSWORD, "LogonCount"),
    (ON + NAME + PASSWORD + "<LogonCount>0</LogonCount>", "is 0"),
    (ON + PASSWORD + COUNT, "no account"),
    (ON + "<Username/>" + PASSWORD + COUNT, "no account"),
    (ON + NAME + OTHER + COUNT, "not the one"),
    (ON + NAME + "<Password><Value>{{ p }}</Value></Password>" + COUNT, "template"),
    (ON + NAME + "<Password><Value>geheim.1</Value><PlainText>true</PlainText></Password>" + COUNT, "not the one"),
    (ON + NAME + "<Domain>EXAMPLE</Domain>" + OTHER + COUNT, ""),
    (ON + NAME + "<Domain>.</Domain>" + OTHER + COUNT, "not the one"),
    (ON + NAME.replace("otto", "OTTO") + OTHER + COUNT, "not the one"),
    (ON + NAME.replace("otto", "Administrator") + OTHER + COUNT, "not the one"),
    (ON + NAME.replace("otto", "Administrator") + PASSWORD + COUNT, ""),
    (ON + NAME.replace("otto", "anna") + OTHER + COUNT, "the image must have it"),
]


@pytest.mark.parametrize(("inside", "word"), LOGONS)
def test_an_automatic_logon_happens(inside: str, word: str) -> None:
    """What is missing, never, or a password that is not the account's; none is shown."""
    found = told(server(accounts=BOTH, welcome=f"<AutoLogon>{inside}</AutoLogon>"))
    found = [one for one in found if one.code != "password-plain"]
    assert [word in one.message for one in found] == ([True] if word else [])
    assert "eheim" not in str(found)


@pytest.mark.parametrize(
    ("name", "more", "wrong"),
    [
        ("otto", "", False),
        ("anna", "", True),
        ("Administrator", "", False),
        ("anna", commands("net user anna x /add"), False),
    ],
)
def test_an_installed_windows_has_the_account_that_logs_on(name: str, more: str, wrong: bool) -> None:
    """No image brings one along."""
    logon = f"<AutoLogon>{ON}{NAME.replace('otto', name)}{PASSWORD}{COUNT}</AutoLogon>"
    source = server(*([more] if more else []), accounts=BOTH, welcome=logon)
    one_code(source, "autologon" if wrong else "", deployment=Deployment.INSTALL)


@pytest.mark.parametrize("name", ["otto", "Administrator"])
def test_an_account_that_the_file_makes_is_no_unknown_one(name: str) -> None:
    """Nothing is said of who logs on where the file itself makes him, or every Windows has him."""
    source = server(
        accounts=BOTH, welcome=f"<AutoLogon>{ON}{NAME.replace('otto', name)}{PASSWORD}{COUNT}</AutoLogon>"
    )
    assert not [one for one in told(source) if "the image must have it" in one.message]


def test_an_installation_of_windows_11_wants_a_pass_windowspe() -> None:
    """Without one its Setup passes over specialize: a note, where it is said that it is a new Windows 11."""

    def noted(source: bytes, **of: Any) -> bool:
        return any("nothing of specialize" in one.message for one in told(source, **of))

    source = server(commands("ver"))
    assert b"specialize" in source
    assert not noted(source, deployment=Deployment.INSTALL)
    assert noted(source, deployment=Deployment.INSTALL, windows=Windows.W11)
    assert not noted(source, deployment=Deployment.INSTALL, windows=Windows.W2019)
    assert not noted(source, deployment=Deployment.GENERALIZED, windows=Windows.W11)
    assert not noted(source, windows=Windows.W11)


def test_what_a_logon_count_changes_is_said() -> None:
    """Its author may want that the logons never end; Windows logs on once more often than it says."""
    (one,) = told(server(accounts=BOTH, welcome=f"<AutoLogon>{ON}{NAME}{PASSWORD}</AutoLogon>"))
    assert "1 gives two" in one.mend


# Architectures ------------------------------------------------------------------------------------------------

X86 = KEYS.replace("amd64", "x86")
JOIN = "<Identification><JoinWorkgroup>WG</JoinWorkgroup></Identification>"
LONE, PAIR = (
    server(component("UnattendedJoin", JOIN, X86)),
    server(component("UnattendedJoin", JOIN, X86), component("UnattendedJoin", JOIN)),
)
ALL_X86 = server().replace(b"amd64", b"x86")


@pytest.mark.parametrize(
    ("source", "windows", "wrong"),
    [
        (LONE, Windows.W2022, True),
        (LONE, Windows.W2012, True),
        (LONE, Windows.W11, True),
        (LONE, None, True),
        (LONE, Windows.W10, True),  # either of both is skipped
        (PAIR, Windows.W2022, False),
        (PAIR, None, False),
        (ALL_X86, Windows.W2019, True),
        (ALL_X86, None, False),
        (ALL_X86.replace(b"HideOnlineAccountScreens>", b"HideWirelessSetupInOOBE>"), Windows.W7, False),
        (server().replace(b"amd64", b"arm64"), Windows.W11, False),
        (LONE.replace(b'"x86"', b'"wow64"'), Windows.W2022, False),
    ],
)
def test_components_that_no_image_takes_are_told(source: bytes, windows: Windows | None, wrong: bool) -> None:
    """No server since 2008 R2 and no Windows 11 exists for x86; and one file is for one architecture."""
    found = codes(source, windows=windows, deployment=Deployment.UNKNOWN)
    assert found == (["warning architecture"] if wrong else [])


# Languages and keyboards --------------------------------------------------------------------------------------

LANGUAGES = [
    ("en-US", ""),
    ("EN-us", ""),
    ("sr-Latn-RS", ""),
    ("english", "such as en-US"),
    ("en", "such as en-US"),
    ("en_US", "write en-US"),
    ("1033", "such as en-US"),
    ("en-US, de-DE", "such as en-US"),
]


@pytest.mark.parametrize("name", ["UILanguage", "SystemLocale", "UserLocale", "UILanguageFallback"])
@pytest.mark.parametrize(("text", "mend"), LANGUAGES)
def test_a_language_is_one_of_a_region(name: str, text: str, mend: str) -> None:
    """As RFC 3066 writes it, in any case."""
    found = told(server(component("International-Core", f"<{name}>{text}</{name}>")))
    assert [(one.code, mend in one.mend) for one in found] == ([("language", True)] if mend else [])


@pytest.mark.parametrize(
    ("text", "mend"),
    [("es-US", "perhaps es-"), ("de-AT", "perhaps de-DE"), ("en-GB", ""), ("ay-BO", "such as en-US")],
)
def test_windows_speaks_the_languages_that_it_has_packs_for(text: str, mend: str) -> None:
    """Of the other regions it has formats alone."""
    found = told(server(component("International-Core", f"<UILanguage>{text}</UILanguage>")))
    assert [(one.code, mend in one.mend) for one in found] == ([("language", True)] if mend else [])
    assert codes(server(component("International-Core", f"<UserLocale>{text}</UserLocale>"))) == []
    setup = f"<SetupUILanguage><UILanguage>{text}</UILanguage></SetupUILanguage>"
    begun = settings("windowsPE", component("International-Core-WinPE", setup))
    assert bool(mend) is ("warning language" in codes(server(more=begun)))


KEYBOARDS = [
    ("0409:00000409", ""),
    ("0409:00010409", ""),
    ("0407:00000407;0409:00000409", ""),
    ("en-US; fr-FR; es-ES", ""),
    ("en-US;0407:00000407;", ""),
    ("0411:E0010411", ""),
    ("0804:{81D4E9C9-1D3B-41BC-9E6C-4B40BF79E35E}{FA550B04-5AD7-411F-A5AC-CA038EC515D7}", ""),
    ("0c0a:00000c0a", "0000040a"),
    ("0c07:00000c07", "00000407"),
    ("0409:00000409,0407:00000407", "semicolons"),
    ("en-US, de-DE", "semicolons"),
    ("0409:0409", "such as"),
    ("00000409", "such as"),
    ("0409", "such as"),
    ("qwertz", "such as"),
    ("0409:00000409;german", "such as"),
]


@pytest.mark.parametrize("name", ["International-Core", "International-Core-WinPE"])
@pytest.mark.parametrize(("text", "mend"), KEYBOARDS)
def test_a_keyboard_is_a_language_or_a_layout_that_there_is(name: str, text: str, mend: str) -> None:
    """Several are divided by semicolons."""
    phase = "windowsPE" if name.endswith("WinPE") else "specialize"
    file = settings(phase, component(name, f"<InputLocale>{text}</InputLocale>"))
    found = told(server(more=file), deployment=Deployment.UNKNOWN)
    found = [one for one in found if one.code != "same-pass"]
    assert [(one.code, mend in one.mend) for one in found] == ([("keyboard", True)] if mend else [])


@pytest.mark.parametrize(
    ("zone", "mend"),
    [
        ("America/New_York", "Eastern Standard Time"),
        ("Europe/Berlin", "W. Europe Standard Time"),
        ("europe/vienna", "W. Europe Standard Time"),
        ("Asia/Kolkata", "India Standard Time"),
        ("Asia/Calcutta", "India Standard Time"),
        ("Europe/Kiev", "FLE Standard Time"),
        ("America/New York", "Eastern Standard Time"),
        ("Etc/UTC", "UTC"),
        ("EST", "Eastern Standard Time"),
        ("W Europe Standard Time", "W. Europe Standard Time"),
        ("nowhere", "such as UTC"),
    ],
)
def test_a_zone_by_another_name_is_translated(zone: str, mend: str) -> None:
    """IANA's names are what everybody else uses."""
    (one,) = told(server(zone=zone))
    assert (one.code, mend in one.mend) == ("time-zone", True)


# Commands -----------------------------------------------------------------------------------------------------


def listed(outer: str, inner: str, inside: str) -> str:
    """A list of one command."""
    return f"<{outer}>{items(inner, inside)}</{outer}>"


@pytest.mark.parametrize(
    ("inside", "code"),
    [
        ("<Order>1</Order>{}", ""),
        ("<Order>1</Order>", "command"),
        ("<Order>500</Order>{}", ""),
        ("<Order>501</Order>{}", "order"),
        ("<Order>99999999999999</Order>{}", "order"),
        ("{}", "order"),
    ],
)
def test_a_command_has_a_line_and_an_order(inside: str, code: str) -> None:
    """Orders go from 1 to 500."""
    path, line = inside.format("<Path>cmd /c ver</Path>"), inside.format("<CommandLine>cmd /c ver</CommandLine>")
    for outer in ("RunSynchronous", "RunAsynchronous"):
        one_code(server(component("Deployment", listed(outer, f"{outer}Command", path))), code)
    one_code(server(welcome=listed("FirstLogonCommands", "SynchronousCommand", line)), code)
    one_code(server(welcome=listed("LogonCommands", "AsynchronousCommand", line)), code)


@pytest.mark.parametrize("line", ["<CommandLine/>", "<CommandLine> </CommandLine>"])
def test_an_empty_line_is_none(line: str) -> None:
    """Told once, whichever the element that holds it."""
    logon = listed("FirstLogonCommands", "SynchronousCommand", f"<Order>1</Order>{line}")
    one_code(server(welcome=logon), "command")
    path = line.replace("CommandLine", "Path")
    assert (
        len(
            codes(
                server(
                    component(
                        "Deployment", listed("RunSynchronous", "RunSynchronousCommand", f"<Order>1</Order>{path}")
                    )
                )
            )
        )
        == 1
    )


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("cmd /c echo hello", False),
        ("echo hello", True),
        ("@echo off", True),
        ("MKDIR C:\\Temp", True),
        ("copy D:\\a C:\\a", True),
        ("copype amd64", False),
        ("setx A b", False),
        ("C:\\tools\\echo.exe a", False),
        ("start.exe", False),
    ],
)
def test_a_word_of_the_shell_is_no_program(line: str, wrong: bool) -> None:
    """Setup starts programs, and asks no shell."""
    one_code(server(commands(line)), "command" if wrong else "")
    logon = listed("FirstLogonCommands", "SynchronousCommand", f"<Order>1</Order><CommandLine>{line}</CommandLine>")
    one_code(server(welcome=logon), "command" if wrong else "")


RESTARTS = [
    ("shutdown /r /t 0", True),
    ("shutdown.exe -r -f", True),
    ("C:\\Windows\\System32\\shutdown.exe /s /t 5", True),
    ("cmd /c &quot;echo a &amp;&amp; shutdown /r&quot;", True),
    ("powershell -Command Restart-Computer -Force", True),
    ("powershell Stop-Computer", True),
    ("wpeutil reboot", True),
    ("shutdown /a", False),
    ("sysprep /generalize /oobe /shutdown /unattend:x.xml", False),
    ("reg add HKLM\\x /v Shutdown /d 1", False),
    ("cmd /c echo restart", False),
    ("cmd /c echo shutdown /r comes later &gt; C:\\note.txt", False),
    ("cmd /c echo later &amp; shutdown /r", True),
    ("powershell -c Write-Output shutdown /r; Restart-Computer", True),
]


@pytest.mark.parametrize(("line", "wrong"), RESTARTS)
def test_a_command_that_restarts_is_told(line: str, wrong: bool) -> None:
    """Setup restarts by WillReboot; at first logon it is over."""
    one_code(server(commands(line)), "restart" if wrong else "")
    logon = listed("FirstLogonCommands", "SynchronousCommand", f"<Order>1</Order><CommandLine>{line}</CommandLine>")
    one_code(server(welcome=logon), "")


AUDIT = settings("auditUser", commands("cmd /c ver"))
RESEAL = component("Deployment", "<Reseal><Mode>Audit</Mode></Reseal>")


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        (server(more=AUDIT), True),
        (server(more=AUDIT.replace("auditUser", "auditSystem")), True),
        (server(more=settings("oobeSystem", RESEAL) + AUDIT), False),
        (server(more=settings("auditUser")), False),
        (f"{server().decode().partition('<settings')[0]}{AUDIT}</unattend>".encode(), False),
    ],
)  # fmt: skip
def test_audit_mode_that_nothing_leads_into_is_told(source: bytes, wrong: bool) -> None:
    """Its passes run only where something resealed to it; a file of these passes alone knows that."""
    found = [one for one in codes(source, deployment=Deployment.UNKNOWN) if one.endswith(" audit")]
    assert found == (["warning audit"] if wrong else [])


# Joining ------------------------------------------------------------------------------------------------------

DOMAIN = "<JoinDomain>example.com</JoinDomain>"
BLOB = "<Provisioning><AccountData>AAAA</AccountData></Provisioning>"


def credentials(domain: str = "EXAMPLE", user: str = "joiner", password: str = "{{ p }}") -> str:
    """Those of somebody who may join machines."""
    said = (("Domain", domain), ("Username", user), ("Password", password))
    return "<Credentials>" + "".join(f"<{name}>{text}</{name}>" for name, text in said if text) + "</Credentials>"


JOINS = [
    (DOMAIN + credentials(), ""),
    (DOMAIN, "none is there"),
    (DOMAIN + "<Credentials/>", "none is there"),
    (DOMAIN + "<UnsecureJoin>false</UnsecureJoin>", "none is there"),
    (DOMAIN + "<UnsecureJoin>true</UnsecureJoin>", ""),
    (DOMAIN + "<UnsecureJoin>true</UnsecureJoin><MachinePassword>{{ m }}</MachinePassword>", ""),
    (DOMAIN + credentials() + "<MachinePassword>{{ m }}</MachinePassword>", "MachinePassword"),
    (BLOB, ""),
    ("<Provisioning/>", "AccountData"),
    (BLOB + credentials(), "ignores"),
    (DOMAIN + credentials(password=""), "lack Password"),
    (DOMAIN + credentials(user="", password=""), "lack Username and Password"),
    (DOMAIN + credentials(domain="", user="joiner@example.com"), ""),
    (DOMAIN + credentials(domain=""), "lack Domain"),
    (credentials(), "without JoinDomain"),
    ("<MachineObjectOU>OU=a,DC=b</MachineObjectOU>", "without JoinDomain"),
    (DOMAIN + "<JoinWorkgroup>WG</JoinWorkgroup><UnsecureJoin>true</UnsecureJoin>", "ignored"),
    ("<JoinWorkgroup>WG</JoinWorkgroup>", ""),
    ("<JoinWorkgroup>A-WORKGROUP-TOO-LONG</JoinWorkgroup>", "cannot be a workgroup's name"),
    ("<JoinWorkgroup>A/B</JoinWorkgroup>", "cannot be a workgroup's name"),
    (DOMAIN + credentials() + "<MachineObjectOU>OU=a, OU=b,DC=example,DC=com</MachineObjectOU>", ""),
    (DOMAIN + credentials() + "<MachineObjectOU>example.com/a</MachineObjectOU>", "no distinguished name"),
]


@pytest.mark.parametrize(("inside", "word"), JOINS)
def test_joining_has_what_it_needs(inside: str, word: str) -> None:
    """One way, all of it; a service with such a file is not refused."""
    found = told(server(component("UnattendedJoin", f"<Identification>{inside}</Identification>")))
    found = [one for one in found if one.code != "template"]
    assert [(str(one.severity), one.code, word in one.message) for one in found] == (
        [("warning", "join", True)] if word else []
    )


# The network --------------------------------------------------------------------------------------------------


def card(inside: str, identifier: str = "52-54-00-00-00-01") -> str:
    """One interface."""
    return items("Interface", f"<Identifier>{identifier}</Identifier>{inside}")


def address(name: str, text: str) -> str:
    """A list of one address."""
    return f'<{name}><IpAddress wcm:action="add" wcm:keyValue="1">{text}</IpAddress></{name}>'


def route(hop: str, prefix: str) -> str:
    """A list of one route."""
    inside = f"<Identifier>1</Identifier><NextHopAddress>{hop}</NextHopAddress><Prefix>{prefix}</Prefix>"
    return f"<Routes>{items('Route', inside)}</Routes>"


ADDRESSES = [
    ("DNS-Client", address("DNSServerSearchOrder", "192.0.2.53"), ""),
    ("DNS-Client", address("DNSServerSearchOrder", "2001:db8::53"), ""),
    ("DNS-Client", address("DNSServerSearchOrder", "dns.example.com"), "address"),
    ("DNS-Client", address("DNSServerSearchOrder", "192.0.2.300"), "address"),
    ("DNS-Client", address("DNSServerSearchOrder", "192.0.2.53,192.0.2.54"), "address"),
    ("DNS-Client", address("DNSServerSearchOrder", "192.0.2.53/24"), "address"),
    ("DNS-Client", address("DNSServerSearchOrder", "{{ dns }}"), "template"),
    ("DNS-Client", address("DNSServerSearchOrder", "fe80::53%12"), ""),
    ("DNS-Client", address("DNSServerSearchOrder", "fe80::53%eth0"), "address"),
    ("TCPIP", address("UnicastIpAddresses", "2001:db8::5%a/64"), "address"),
    ("TCPIP", route("2001:db8::1%x y", "::/0"), "address"),
    ("TCPIP", route("2001:db8::1", "2001:db8::%x/64"), "address"),
    ("NetBT", address("NameServerList", "wins"), "address"),
    ("TCPIP", address("UnicastIpAddresses", "192.0.2.5/24"), ""),
    ("TCPIP", address("UnicastIpAddresses", "192.0.2.5"), "address"),
    ("TCPIP", address("UnicastIpAddresses", "192.0.2.5/255.255.255.0"), "address"),
    ("TCPIP", address("UnicastIpAddresses", "192.0.2.5/33"), "address"),
    ("TCPIP", route("192.0.2.1", "0.0.0.0/0"), ""),
    ("TCPIP", route("2001:db8::1", "::/0"), ""),
    ("TCPIP", route("192.0.2.0", "24"), ""),
    ("TCPIP", route("192.0.2.1", "default"), "address"),
    ("TCPIP", route("192.0.2.1", "192.0.2.1/24"), "address"),
    ("TCPIP", route("gateway", "0.0.0.0/0"), "address"),
]


@pytest.mark.parametrize(("name", "inside", "code"), ADDRESSES)
def test_an_address_is_a_number(name: str, inside: str, code: str) -> None:
    """Setup asks no name server."""
    one_code(server(component(name, f"<Interfaces>{card(inside)}</Interfaces>")), code)


@pytest.mark.parametrize(
    ("identifiers", "mend"),
    [
        (("52-54-00-00-00-01", "52-54-00-00-00-02"), ""),
        (("Ethernet", "Ethernet 2"), ""),
        (("0x6000001000000",), ""),
        (("52:54:00:00:00:01",), "write 52-54-00-00-00-01"),
        (("525400000001",), "write 52-54-00-00-00-01"),
        (("5254.0000.0001",), "write 52-54-00-00-00-01"),
        (("52-54-00-00-00-0a", "52-54-00-00-00-0A"), "into one"),
        (("Ethernet", "ethernet"), "into one"),
    ],
)
@pytest.mark.parametrize("name", ["TCPIP", "DNS-Client", "NetBT"])
def test_a_card_is_named_once_and_as_windows_does(name: str, identifiers: tuple[str, ...], mend: str) -> None:
    """By its alias, its LUID, or its MAC with hyphens."""
    cards = "".join(card("", one) for one in identifiers)
    found = told(server(component(name, f"<Interfaces>{cards}</Interfaces>")))
    assert [(one.code, mend in one.mend) for one in found] == ([("identifier", True)] if mend else [])


@pytest.mark.parametrize(
    ("group", "mend"),
    [
        ("@FirewallAPI.dll,-28752", ""),
        ("FirewallAPI.dll,-28752", "write @FirewallAPI.dll,-28752"),
        ("firewallapi.DLL, -30267", "write @firewallapi.DLL, -30267"),
        ("@FirewallAPI,-30267", "write @FirewallAPI.dll,-30267"),
        ("@firewallapi, -28752", "write @firewallapi.dll, -28752"),
        ("@C:\\a\\b.exe,-1", ""),
        ("Windows Remote Management", "@FirewallAPI.dll,-30267"),
        ("remote administration", "@FirewallAPI.dll,-29752"),
        ("File and Printer Sharing", "@FirewallAPI.dll,-28502"),
        ("Remotedesktop", "for Remote Desktop: @FirewallAPI.dll,-28752"),
    ],
)
def test_a_firewall_group_is_named_by_its_resource(group: str, mend: str) -> None:
    """The one that was meant, where it is known."""
    inside = f"<Active>true</Active><Group>{group}</Group><Profile>all</Profile>"
    item = f'<FirewallGroup wcm:action="add" wcm:keyValue="a">{inside}</FirewallGroup>'
    found = told(server(component("Networking-MPSSVC-Svc", f"<FirewallGroups>{item}</FirewallGroups>")))
    assert [(one.code, mend in one.mend) for one in found] == ([("firewall-group", True)] if mend else [])


# Groups, deprecated and newer settings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "mend"),
    [
        ("Administrators", ""),
        ("administrators;Users", ""),
        ("Power Users; Remote Desktop Users", ""),
        ("", ""),
        ("Administratoren", "write Administrators"),
        ("Administrators;Benutzer", "write Users"),
        ("Utilisateurs", "write Users"),
        ("Администраторы", "write Administrators"),
        ("docker-users", "must be in the image"),
    ],
)
def test_a_local_group_has_its_english_name(group: str, mend: str) -> None:
    """Windows translates its own; the language is not known yet when the account is made."""
    account = OTTO.replace("<Group>Administrators", f"<Group>{group}")
    found = told(
        server(accounts=f"<UserAccounts>{ADMINISTRATOR}<LocalAccounts>{account}</LocalAccounts></UserAccounts>")
    )
    assert [(one.code, mend in one.mend) for one in found] == ([("group", True)] if mend else [])


PLACE = OOBE.replace("</OOBE>", "<NetworkLocation>Work</NetworkLocation></OOBE>")
MAKER = "<OEMInformation><Manufacturer>a</Manufacturer><Model>b</Model><SupportURL>c</SupportURL></OEMInformation>"


@pytest.mark.parametrize(
    ("source", "windows", "names"),
    [
        (server(oobe=PLACE), Windows.W2022, "NetworkLocation"),
        (server(oobe=PLACE), None, "NetworkLocation"),
        (server(oobe=PLACE), Windows.W2012R2, ""),
        (server(shell=MAKER), Windows.W2019, "Manufacturer, Model"),
        (server(shell=MAKER), Windows.W81, ""),
        (server(shell="<OEMInformation><SupportURL>c</SupportURL></OEMInformation>"), Windows.W11, ""),
    ],
)
def test_a_setting_that_does_nothing_any_more_is_a_note(source: bytes, windows: Windows | None, names: str) -> None:
    """One for each group, and none for a release that heeds it."""
    found = check(source, windows=windows, deployment=Deployment.UNKNOWN)
    assert [(str(one.severity), one.message.partition(":")[0]) for one in found] == (
        [("note", names)] if names else []
    )


@pytest.mark.parametrize("name", ["TradeInURL", "RecycleURL", "SupportProvider", "SupportAppURL"])
def test_newer_settings_are_known(name: str) -> None:
    """The reference has grown."""
    one_code(server(shell=f"<OEMInformation><{name}>https://a.example</{name}></OEMInformation>"), "")


@pytest.mark.parametrize(
    ("suffix", "right"),
    [("AdministratorPassword", True), ("OfflineAdministratorPassword", True), ("Password", False)],
)
def test_the_offline_password_has_either_name_behind_it(suffix: str, right: bool) -> None:
    """Microsoft's own samples have the shorter one."""
    value = base64.b64encode(f"secret{suffix}".encode("utf-16-le")).decode()
    inside = f"<Value>{value}</Value><PlainText>false</PlainText>"
    password = f"<OfflineAdministratorPassword>{inside}</OfflineAdministratorPassword>"
    accounts = f"<OfflineUserAccounts>{password}</OfflineUserAccounts>"
    found = codes(server(more=settings("offlineServicing", component("Shell-Setup", accounts))))
    assert found == ([] if right else ["error password-encoding"])


# Ways out -----------------------------------------------------------------------------------------------------

ACCOUNTS = "<UserAccounts>{}</UserAccounts>"
WAYS = [
    (server(accounts=ACCOUNTS.format(ADMINISTRATOR + OTTO)), "put it into <LocalAccounts>"),
    (server(welcome="<HideEULAPage>true</HideEULAPage>"), "put it into <OOBE>"),
    (server(component("Deployment", items("RunSynchronousCommand", "<Order>1</Order><Path>x</Path>"))),
     "<RunSynchronous>"),
    (
        server(
            component("Networking-MPSSVC-Svc",
                listed("FirstLogonCommands", "SynchronousCommand", "<CommandLine>a</CommandLine>") * 1)
        ),
        "Microsoft-Windows-Shell-Setup",
    ),
    (server(accounts=ACCOUNTS.format("<AdministratorPassword>geheim<PlainText>true</PlainText></AdministratorPassword>")),
     "<Value>"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "mend"), WAYS)
def test_a_way_out_leads_where_the_text_belongs(source: bytes, mend: str) -> None:
    """And what stands in a wrong place is told once, for all that it holds."""
    found = [one for one in told(source, deployment=Deployment.UNKNOWN) if one.code not in ("password-blank",)]
    assert {one.code for one in found} <= {"unknown-setting", "password-shape", "stray-text"}, found
    assert any(mend in one.mend for one in found), found
    assert "geheim" not in str(found)


SLIPS = [
    ("<a b='1'c='2'/>", "a blank is missing"),
    ("<a b='1' b='2'/>", "keep one of the two"),
    ("<a b/>", 'name="value"'),
    ("<a b=1/>", "into quotes"),
    ("<a b='1>2</a>", "closing quote"),
    ("<a></b>", "close each element"),
    ("<a>", "close each element"),
    ("<!-- a -- b -->", "no -- within"),
    ("<x:b/>", "declare the prefix"),
    ("]]>", "]]&gt;"),
    ("\x01", "control character"),
    ("1 < 2", "&lt;"),
]


@pytest.mark.parametrize(("slip", "mend"), SLIPS)
def test_what_is_wrong_with_the_xml_is_said_with_its_remedy(slip: str, mend: str) -> None:
    """The parser's own words are not for everybody."""
    (one,) = check(server(shell=slip))
    assert (one.code, mend in one.mend) == ("not-xml", True), one

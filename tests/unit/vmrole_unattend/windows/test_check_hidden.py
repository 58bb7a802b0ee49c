"""What looks like a placeholder hides nothing: lengths are measured, passwords seen, and a template is called one."""

from __future__ import annotations

import pytest
from vmrole_unattend import AnswersInvalid
from vmrole_unattend.secret import Secret, SecretRef, SecretSource
from vmrole_unattend.windows import files
from vmrole_unattend.windows.answers import Answers, Edition, Windows
from vmrole_unattend.windows.check import Deployment

from tests.bench.answers import machine
from tests.world.answer_files import ADMINISTRATOR, OOBE, OTTO, codes, commands, component, items, server, told

LONG = "Write-Output one two three; " * 12
LINES = [
    'powershell -Command "$a = 1; {}"',
    "powershell -Command \"'{{0}}' -f 1; {}\"",
    'powershell -Command "Get-Process | % {{ $_.Name }}; {}"',
    "cmd /c for %%a%% in (a) do echo {}",
    "cmd /c echo __name__ {}",
    "cmd /c echo ${{x}} $(y) @z@ {}",
    "cmd /c echo {}",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("kind", ["RunSynchronous", "RunAsynchronous"])
def test_a_command_line_is_measured_whatever_is_in_it(line: str, kind: str) -> None:
    """Dollars and braces are PowerShell's own: with them a Path is as long as it is."""
    for text, expected in ((line.format("x"), []), (line.format(LONG), ["error length"])):
        source = server(commands(text)).replace(b"RunSynchronous", kind.encode())
        assert codes(source) == expected


@pytest.mark.parametrize("line", LINES)
def test_a_long_command_at_first_logon_is_told(line: str) -> None:
    """1024 characters; what Setup does with more is not known."""
    for text, expected in ((line.format(LONG), []), (line.format(LONG * 4), ["warning length"])):
        run = items("SynchronousCommand", f"<Order>1</Order><CommandLine>{text}</CommandLine>")
        assert codes(server(welcome=f"<FirstLogonCommands>{run}</FirstLogonCommands>")) == expected


@pytest.mark.parametrize("head", ["$a", "{0}", "xxxxx", "${{b}}", "%c%", "{{ d e }}"])
def test_a_long_text_is_measured_whatever_is_in_it(head: str) -> None:
    """What is to be filled in may be short; the rest is as long as it is."""
    for words, expected in ((400, ["warning length"]), (4, [])):
        text = f"{head} " + "lorem " * words
        run = items(
            "SynchronousCommand",
            f"<Order>1</Order><Description>{text}</Description><CommandLine>cmd</CommandLine>",
        )
        seen = codes(server(welcome=f"<FirstLogonCommands>{run}</FirstLogonCommands>"))
        assert [code for code in seen if "template" not in code] == expected


@pytest.mark.parametrize("text", ["x" * 259, "$" + "x" * 258, "\N{GRINNING FACE}" * 129])
def test_the_longest_command_is_no_fault(text: str) -> None:
    """259 characters as Windows counts them; the next one is too many."""
    assert codes(server(commands(text))) == []
    assert codes(server(commands(text + "xx"))) == ["error length"]


def test_blanks_that_a_formatter_put_around_a_command_count() -> None:
    """Setup reads them too."""
    (one,) = told(server(commands("\n" + " " * 40 + "x" * 249 + "\n" + " " * 8)))
    assert (str(one.severity), one.code) == ("error", "length")
    assert "with the blanks around it" in one.message
    assert codes(server(commands("\n  cmd /c ver\n  "))) == []


@pytest.mark.parametrize("text", ["cmd /c echo a\n&amp; echo b", "powershell -Command &#xD; x", "a\r\nb"])
def test_a_line_break_inside_a_command_is_told(text: str) -> None:
    """Whatever runs it may take the first line only."""
    assert codes(server(commands(text))) == ["warning line-break"]


def test_a_command_that_is_too_long_is_on_no_disc() -> None:
    """Also where it looks like a template: a disc's file is filled in by nobody."""
    for text, refused in ((f'powershell -Command "$a = 1; {LONG}"', True), ('powershell -Command "$a = 1"', False)):
        own = server(commands(text)).decode()
        elsewhere = Answers(own_xml_from=SecretRef(source=SecretSource.FILE, name="/x.xml"))
        if refused:
            with pytest.raises(AnswersInvalid, match="259 are allowed"):
                files.files(elsewhere, machine(0), lambda _, own=own: Secret(own))
        else:
            assert files.files(elsewhere, machine(0), lambda _, own=own: Secret(own))


# Passwords ----------------------------------------------------------------------------------------------------


def with_password(value: str, plain: str = "true") -> bytes:
    """A server's administrator with that password."""
    inside = f"<AdministratorPassword><Value>{value}</Value><PlainText>{plain}</PlainText></AdministratorPassword>"
    return server(accounts=f"<UserAccounts>{inside}</UserAccounts>")


SHAPES = [
    "$x$",
    "%x%",
    "#x#",
    "[x]",
    "!x!",
    "S{{o}}mmer",
    "&lt;x&gt;",
    "{x}",
    "~x~",
    "|x|",
    "$password",
    "__x__",
    "***",
]


@pytest.mark.parametrize("value", ["@Sommer24", "Sommer24", "P@ss@w0rd", "Pa$$w0rd", "a__b__c", "x{0}y", "X", "@a@b"])
def test_a_plain_password_is_told_whatever_it_looks_like(value: str) -> None:
    """People choose passwords with such characters because they are told to."""
    assert codes(with_password(value)) == ["warning password-plain"]


@pytest.mark.parametrize("value", SHAPES)
@pytest.mark.parametrize("plain", ["true", "false"])
def test_a_password_that_may_be_a_placeholder_is_told_and_not_shown(value: str, plain: str) -> None:
    """It is to be filled in, or it is a plain password; either way something is said, and nothing is quoted."""
    (one,) = told(with_password(value, plain))
    assert (str(one.severity), one.code) == ("warning", "template")
    assert "a password is to be filled in" in one.message


@pytest.mark.parametrize(
    ("value", "plain"),
    [("", "true"), ("", "false"), ("QQBkAG0AaQBuAGkAcwB0AHIAYQB0AG8AcgBQAGEAcwBzAHcAbwByAGQA", "false")],
)
def test_an_empty_password_of_the_administrator_is_told(value: str, plain: str) -> None:
    """As it stands, or encoded."""
    assert "warning password-blank" in codes(with_password(value, plain), deployment=Deployment.UNKNOWN)


@pytest.mark.parametrize(
    "word", ["$TimeZone$", "%x%", "#x#", "[x]", "!x!", "__x__", "{{ x }}", "&lt;x&gt;", "@x@", "xxx"]
)
def test_what_is_to_be_filled_in_is_called_so(word: str) -> None:
    """Names, zones, values, numbers and keys alike: no check is left out in silence."""
    account = OTTO.replace("otto", word)
    logon = f"<AutoLogon><Enabled>true</Enabled><Username>a</Username><LogonCount>{word}</LogonCount></AutoLogon>"
    page = OOBE.replace("<HideEULAPage>true", f"<HideEULAPage>{word}")
    sources = [
        server(name=word),
        server(zone=word),
        server(oobe=page),
        server(shell=f"<ProductKey>{word}</ProductKey>"),
        server(accounts=f"<UserAccounts>{ADMINISTRATOR}<LocalAccounts>{account}</LocalAccounts></UserAccounts>"),
        server(welcome=logon),
        server(
            component("UnattendedJoin", f"<Identification><JoinWorkgroup>{word}</JoinWorkgroup></Identification>")
        ),
        server().replace(b"amd64", word.encode()),
        server().replace(b'pass="specialize"', f'pass="{word}"'.encode()),
    ]
    for source in sources[:-3] + sources[-2:]:
        assert "warning template" in codes(source), source
    assert not [one for source in sources for one in codes(source) if one.startswith("error")]


def test_one_letter_is_no_placeholder() -> None:
    """An X where true or false belongs is a mistake."""
    assert codes(server(oobe=OOBE.replace("<HideEULAPage>true", "<HideEULAPage>X"))) == ["error value"]


# What Windows asks --------------------------------------------------------------------------------------------

ACCOUNT = f"<UserAccounts><LocalAccounts>{OTTO}</LocalAccounts></UserAccounts>"
LOGON = "<AutoLogon><Enabled>true</Enabled><Username>Administrator</Username><LogonCount>1</LogonCount></AutoLogon>"
SKIP = OOBE.replace("<OOBE>", "<OOBE><SkipMachineOOBE>true</SkipMachineOOBE>")
AUDIT = component("Deployment", "<Reseal><Mode>Audit</Mode></Reseal>")
ASKED = [
    (server(accounts=""), Windows.W2022, True),
    (server(accounts=""), Windows.W11, True),
    (server(accounts=""), None, True),
    (server(accounts="<UserAccounts/>"), Windows.W2022, True),
    (server(accounts=ACCOUNT), Windows.W2019, True),  # the administrator's is asked all the same
    (server(accounts=ACCOUNT), Windows.W10, False),
    (server(accounts=ACCOUNT), None, False),
    (server(), Windows.W2025, False),
    (server(), Windows.W11, True),  # a client's Administrator is disabled
    (server(accounts="", welcome=LOGON), Windows.W10, False),
    (server(accounts="", welcome=LOGON), Windows.W2016, True),
    (server(accounts="", oobe=SKIP), Windows.W2022, False),
    (
        server(accounts="").replace(b"</settings>\n</unattend>", AUDIT.encode() + b"</settings>\n</unattend>"),
        None,
        False,
    ),
    (with_password(""), Windows.W2022, True),
    (with_password("{{ password }}"), Windows.W2022, False),
    (with_password("*SENSITIVE*DATA*DELETED*"), Windows.W2022, True),
]


@pytest.mark.parametrize(("source", "windows", "asked"), ASKED)
def test_what_the_first_start_would_ask_is_told(source: bytes, windows: Windows | None, asked: bool) -> None:
    """Nobody sits before the machine; a file whose use is not known may be half of one."""
    assert ("warning password-missing" in codes(source, windows=windows)) is asked
    assert "warning password-missing" not in codes(source, windows=windows, deployment=Deployment.UNKNOWN)


def test_an_install_is_asked_the_same_where_it_answers_its_first_start() -> None:
    """One that answers windowsPE alone, or that says nothing about which Windows it is, may want the questions."""
    assert "warning password-missing" in codes(
        server(accounts=""), deployment=Deployment.INSTALL, windows=Windows.W2022
    )
    assert "warning password-missing" not in codes(server(accounts=""), deployment=Deployment.INSTALL)
    setup = (
        server()
        .replace(b'pass="specialize"', b'pass="windowsPE"')
        .replace(b'pass="oobeSystem"', b'pass="generalize"')
    )
    assert "warning password-missing" not in codes(setup, deployment=Deployment.INSTALL, windows=Windows.W2022)


@pytest.mark.parametrize(
    ("answers", "where"),
    [
        (Answers(own_xml=server(accounts="").decode()), "administratorPassword"),
        (Answers(own_xml=server(accounts="").decode(), edition=Edition.CLIENT), "accounts"),
        (Answers(own_xml=server(accounts="", oobe=SKIP).decode()), ""),
    ],
)
def test_an_own_file_does_not_stop_the_question(answers: Answers, where: str) -> None:
    """A role with a file of its own is asked for what the file leaves open."""
    found = files.faults(answers, service="shop", role="web", instances=1)
    assert [(one.where, "waits for ever" in one.message) for one in found] == ([(where, True)] if where else [])


def test_a_file_kept_elsewhere_without_a_password_is_on_no_disc() -> None:
    """It is read when the disc is made."""
    elsewhere = Answers(own_xml_from=SecretRef(source=SecretSource.FILE, name="/x.xml"))
    with pytest.raises(AnswersInvalid, match="waits for ever"):
        files.files(elsewhere, machine(0), lambda _: Secret(server(accounts="").decode()))
    assert files.files(elsewhere, machine(0), lambda _: Secret(server().decode()))


OLD = "<!-- <AdministratorPassword><Value>canary</Value></AdministratorPassword> -->"


@pytest.mark.parametrize(
    ("comment", "refused"),
    [
        (OLD, True),
        ("<!--<Password>\n<PlainText>true</PlainText><Value>canary</Value>-->", True),
        ("<!-- <ProductKey>AAAAA-BBBBB-CCCCC-DDDDD-EEEEE</ProductKey> -->", True),
        ("<!-- <Provisioning><AccountData>canary</AccountData></Provisioning> -->", True),
        ("<!-- <AdministratorPassword><Value></Value><PlainText>true</PlainText></AdministratorPassword> -->", False),
        ("<!-- <Value>2</Value> is the image; the password is elsewhere -->", False),
    ],
)
def test_a_secret_in_a_comment_is_not_stored(comment: str, refused: bool) -> None:
    """A service file is stored as it is, comments too."""
    own = server(accounts=comment, oobe=SKIP).decode()
    found = files.faults(Answers(own_xml=own), service="shop", role="web", instances=1)
    assert [one.where for one in found] == (["xml"] if refused else [])
    assert "canary" not in str(found)


# The order of a route -----------------------------------------------------------------------------------------

ROUTE = {
    "Identifier": "<Identifier>1</Identifier>",
    "Metric": "<Metric>10</Metric>",
    "NextHopAddress": "<NextHopAddress>192.0.2.1</NextHopAddress>",
    "Prefix": "<Prefix>0.0.0.0/0</Prefix>",
}


@pytest.mark.parametrize(
    ("names", "right"),
    [
        ("Identifier Metric NextHopAddress Prefix", True),
        ("Identifier NextHopAddress Prefix", True),
        ("Identifier Prefix", True),
        ("Identifier Prefix NextHopAddress", False),
        ("Prefix Identifier NextHopAddress", False),
        ("Identifier NextHopAddress Metric Prefix", False),
    ],
)
def test_a_route_has_the_order_of_the_reference(names: str, right: bool) -> None:
    """A doubt in a user's file, an error in ours."""
    route = "".join(ROUTE[name] for name in names.split())
    source = server(tcpip(f"<Routes>{items('Route', route)}</Routes>"))
    assert codes(source) == ([] if right else ["warning interface-order"])
    assert codes(source, ours=True) == ([] if right else ["error interface-order"])


def tcpip(more: str, identifier: str = "52-54-00-00-00-01") -> str:
    """One card with a fixed address."""
    address = '<IpAddress wcm:action="add" wcm:keyValue="1">192.0.2.5/24</IpAddress>'
    inside = (
        f"<Ipv4Settings><DhcpEnabled>false</DhcpEnabled></Ipv4Settings><Identifier>{identifier}</Identifier>"
        f"<UnicastIpAddresses>{address}</UnicastIpAddresses>{more}"
    )
    return component("TCPIP", f"<Interfaces>{items('Interface', inside)}</Interfaces>")

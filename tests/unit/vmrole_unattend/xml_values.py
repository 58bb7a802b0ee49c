"""Answer files with one fault each, as people write them, and sound ones that look like it: a table for a test."""

from __future__ import annotations

import base64
import dataclasses
import gzip
from collections.abc import Mapping
from typing import Any

from vmrole_unattend.windows.answers import Windows
from vmrole_unattend.windows.check import Deployment

from tests.world.answer_files import (
    ADMINISTRATOR,
    CREATED,
    MODIFIED,
    OOBE,
    OTTO,
    PASSWORD,
    ROOT,
    TARGET,
    commands,
    component,
    install,
    items,
    server,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A file, and all that is said of it: "error encoding", or "" for nothing; `word` is in what is said."""

    what: str
    source: bytes
    said: str
    word: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


TEXT = server().decode()
UTF_8, UTF_16 = '<?xml version="1.0" encoding="utf-8"?>\n', '<?xml version="1.0" encoding="utf-16"?>\n'
OWNER = server(shell="<RegisteredOwner>B\u00fcro</RegisteredOwner>").decode()
MERGED = TEXT.replace("<OOBE>", "\n<<<<<<< HEAD\n<OOBE>")


def of_bytes(what: str, source: bytes | str, said: str, word: str = "") -> Case:
    """A case of a file as such."""
    return Case(what, source if isinstance(source, bytes) else source.encode(), said, word)


FILES = (
    of_bytes("UTF-16 without a mark", TEXT.encode("utf-16-le"), ""),
    of_bytes("UTF-16 without a mark, declared", (UTF_16 + TEXT).encode("utf-16-be"), ""),
    of_bytes("UTF-16 without a mark behind a blank line", ("\r\n" + TEXT).encode("utf-16-le"), ""),
    of_bytes("UTF-16 that says UTF-8", b"\xff\xfe" + (UTF_8 + TEXT).encode("utf-16-le"), "error encoding", "UTF-16"),
    of_bytes("UTF-8 that says UTF-16", UTF_16 + TEXT, "error encoding", "the file is in UTF-8"),
    of_bytes("UTF-32", b"\xff\xfe\0\0" + TEXT.encode("utf-32-le"), "error encoding", "UTF-32"),
    of_bytes("UTF-32 of the other order", b"\0\0\xfe\xff" + TEXT.encode("utf-32-be"), "error encoding", "UTF-32"),
    of_bytes("UTF-32 without a mark", TEXT.encode("utf-32-le"), "error encoding", "UTF-32"),
    of_bytes("two marks", b"\xef\xbb\xbf\xef\xbb\xbf" + TEXT.encode(), "error leading-bytes", "byte-order mark"),
    of_bytes("a mark in the midst", UTF_8 + "\ufeff" + TEXT, "error leading-bytes", "byte-order mark"),
    of_bytes(
        "a mark read as Latin-1", "\u00ef\u00bb\u00bf" + UTF_8 + TEXT, "error leading-bytes", "begin with <?xml"
    ),
    of_bytes(
        "Latin-1 that says UTF-8", (UTF_8 + OWNER).encode("latin-1"), "error encoding", "save the file as UTF-8"
    ),
    of_bytes("another encoding", UTF_8.replace("utf-8", "windows-1252") + TEXT, "warning encoding", "windows-1252"),
    of_bytes("an encoding that is none", UTF_8.replace("utf-8", "utf-9") + TEXT, "error encoding", "utf-9"),
    of_bytes("XML 1.1", UTF_8.replace("1.0", "1.1") + TEXT, "error not-xml", 'version="1.0"'),
    of_bytes("the declaration's parts swapped", f'<?xml encoding="utf-8" version="1.0"?>{TEXT}', "error not-xml"),
    of_bytes("typographic quotes", "<?xml version=\u201c1.0\u201d?>" + TEXT, "error not-xml", 'version="1.0"'),
    of_bytes("a declaration in capitals", UTF_8.replace("xml", "XML") + TEXT, "error not-xml", "small letters"),
    of_bytes("two declarations", UTF_8 + UTF_8 + TEXT, "error not-xml", "keep the first"),
    of_bytes("NUL within", TEXT.replace("web-0", "we\0b"), "error encoding", "NUL"),
    of_bytes("NUL before", "\0" + TEXT, "error encoding", "NUL"),
    of_bytes("NUL behind", TEXT + "\0" * 300, "error trailing-bytes", "300"),
    of_bytes("DOS' end of a file", TEXT + "\x1a", "error trailing-bytes", "cut them off"),
    of_bytes("ends of lines by CR alone", TEXT.replace("\n", "\r"), ""),
    of_bytes("a file twice", TEXT + TEXT, "error not-xml", "one element holds all"),
    of_bytes("a fence of Markdown", f"```xml\n{TEXT}```\n", "error no-answers", "```"),
    of_bytes("a web page", f"<!DOCTYPE html>\n<html><body>{TEXT}</body></html>", "error no-answers", "raw"),
    of_bytes("a page that is not there", "404: Not Found", "error no-answers", "address"),
    of_bytes(
        "a pointer of Git LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "error no-answers"
    ),
    of_bytes("gzip", gzip.compress(TEXT.encode()), "error no-answers", "gunzip"),
    of_bytes("zip", b"PK\x03\x04" + bytes(range(256)), "error no-answers", "unpack"),
    of_bytes("Windows XP", "; made by hand\r\n[Unattended]\r\nUnattendMode=1\r\n", "error no-answers", "Windows XP"),
    of_bytes("JSON", '{"unattend": {}}', "error no-answers", "XML"),
    of_bytes("RTF", "{\\rtf1\\ansi <unattend/>}", "error no-answers", "plain text"),
    of_bytes("a merge that was not finished", MERGED, "error not-xml", "keep one"),
    of_bytes("a DTD with a bomb", f'<!DOCTYPE a [<!ENTITY b "&c;&c;">]>{TEXT}', "error dtd", "remove"),
    of_bytes("a DTD in small letters", f"<!doctype unattend>{TEXT}", "error dtd", "remove"),
    of_bytes("a DTD behind a comment", f"<!-- a --><!DOCTYPE u SYSTEM 'http://192.0.2.1/'>{TEXT}", "error dtd"),
    of_bytes("an entity of nobody", TEXT.replace("web-0", "&me;"), "error not-xml", "no such name"),
    of_bytes("a number that is no character", TEXT.replace("web-0", "a&#x1f;"), "error not-xml", "remove"),
    of_bytes("too deep", ROOT + "<a>" * 300, "error not-xml", "256 deep"),
    of_bytes("more than is read", TEXT + " " * (1 << 20), "error too-large", "1 MiB"),
    of_bytes("a name in CDATA", server(name="<![CDATA[web-0]]>"), ""),
    of_bytes("a wrong name in CDATA", server(name="<![CDATA[a b]]>"), "error computer-name"),
    of_bytes("a comment in a name", server(name="we<!-- a b -->b"), ""),
    of_bytes("an instruction in a name", server(name="we<?a b?>b"), ""),
)


def once(old: str, new: str, text: str = TEXT) -> str:
    """A sound file with its first `old` written otherwise."""
    assert old in text
    return text.replace(old, new, 1)


def marked(marks: str) -> bytes:
    """A file with a setting that has these marks within its tag."""
    return server(shell=f"<RegisteredOwner {marks}>me</RegisteredOwner>")


SHELL, PASS, X = '"Microsoft-Windows-Shell-Setup"', '<settings pass="specialize"', "http://192.0.2.1/x"
SCHEMA = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
AGAIN = component("Deployment", "")
CAPITAL = once("<settings ", "<Settings ").replace("</settings>", "</Settings>", 1)

FRAME = (
    of_bytes("a setting as an attribute", marked('value="a"'), "warning attribute", "value"),
    of_bytes("a page as an attribute", once("<OOBE>", '<OOBE HideEULAPage="true">'), "warning attribute", "element"),
    of_bytes("an attribute of XML's own", marked('xml:space="preserve"'), ""),
    of_bytes("a type of a schema", marked(f'{SCHEMA} xsi:type="xsi:string"'), ""),
    of_bytes("a mark of another program", marked(f'xmlns:x="{X}" x:note="a"'), ""),
    of_bytes("a component in another namespace", once("<component", f'<component xmlns="{X}"'), "error namespace"),
    of_bytes("a component in none", once("<component", '<component xmlns=""'), "error namespace", "xmlns"),
    of_bytes("a pass in another namespace", once("<settings", f'<settings xmlns="{X}"'), "error namespace", X),
    of_bytes("a pass in none", once("<settings", '<settings xmlns=""'), "error namespace", "no namespace"),
    of_bytes("a setting in another namespace", marked(f'xmlns="{X}"'), "warning namespace", X),
    of_bytes("what another program keeps", once("</unattend>", f'<x:a xmlns:x="{X}"/></unattend>'), ""),
    of_bytes("settings in capitals", CAPITAL, "error namespace", "write <settings>"),
    of_bytes("a pass named otherwise", once('pass="spec', 'Pass="spec'), "error pass-name", "write pass for Pass"),
    of_bytes("a pass by name", once('pass="spec', 'name="spec'), "error pass-name", "write pass for name"),
    of_bytes("a pass of no name", once('"specialize"', '""'), "error pass-name", "windowsPE"),
    of_bytes("a pass with blanks", once('"specialize"', '" specialize"'), "warning pass-name", "write specialize"),
    of_bytes("a pass that is done", once(PASS, f'{PASS} wasPassProcessed="1"'), "warning pass-done", "remove"),
    of_bytes("a component for a language", once('"neutral"', '"en-US"'), "warning attribute", "neutral"),
    of_bytes("a component for any language", once('"neutral"', '"Neutral"'), ""),
    of_bytes("a name with a blank", once(SHELL, SHELL[:-1] + ' "'), "warning attribute", "blanks"),
    of_bytes("an architecture with a line", once('"amd64"', '"&#10;amd64"'), "warning attribute", "blanks"),
    of_bytes("a name cut short", once(SHELL, '"Shell-Setup"'), "warning unknown-component", SHELL[1:-1]),
    of_bytes("a name with underscores", once(SHELL, SHELL.replace("-", "_")), "warning unknown-component", "Shell-S"),
    of_bytes("a name of nobody", once(SHELL, '"Contoso-Agent"'), "warning unknown-component", "skips"),
    of_bytes("a component twice", server(AGAIN, AGAIN.replace('"amd64"', '"AMD64"')), "error same-component"),
)  # fmt: skip


def zone(what: str, said: str, word: str = "") -> Case:
    """A case of a time zone of that name."""
    return Case(f"time zone {what}", server(zone=what), f"{said} time-zone" if said else "", word)


def region(name: str, what: str, said: str, word: str = "") -> Case:
    """A case of a setting of languages."""
    return Case(f"{name} {what}", server(component("International-Core", f"<{name}>{what}</{name}>")), said, word)


def named(what: str, said: str, word: str = "") -> Case:
    """A case of a computer's name."""
    return Case(f"computer {what!r}", server(name=what), said, word)


def line(what: str, command: str, said: str, word: str = "") -> Case:
    """A case of a command at specialize."""
    return Case(what, server(commands(command)), said, word)


def account(what: str, old: str, new: str, said: str, word: str = "") -> Case:
    """A case of a local account."""
    assert old in OTTO
    accounts = f"<UserAccounts>{ADMINISTRATOR}<LocalAccounts>{OTTO.replace(old, new)}</LocalAccounts></UserAccounts>"
    return Case(what, server(accounts=accounts), said, word)


def hidden(password: str, codec: str = "utf-16-le") -> str:
    """The value of an encoded password of an account, by that encoding."""
    return base64.b64encode(f"{password}Password".encode(codec)).decode()


def logon(what: str, name: str, said: str, word: str = "", count: str = "1") -> Case:
    """A case of an automatic logon by that name."""
    inside = f"<Enabled>true</Enabled><Username>{name}</Username>{PASSWORD}<LogonCount>{count}</LogonCount>"
    return Case(what, server(welcome=f"<AutoLogon>{inside}</AutoLogon>"), said, word)


def key(what: str, text: str, said: str, word: str = "") -> Case:
    """A case of a product key."""
    return Case(what, server(shell=f"<ProductKey>{text}</ProductKey>"), said, word)


def display(setting: str, said: str, word: str = "") -> Case:
    """A case of the display."""
    return Case(f"display {setting}", server(shell=f"<Display>{setting}</Display>"), said, word)


VALUE, KEY = hidden("Geheim.1"), "W269N-WFGWX-YVC9B-4J6C9-T83GX"
NAME, LANGUAGE, KEYBOARD = "warning host-name", "warning language", "warning keyboard"

VALUES = (
    named("-PC", NAME, "hyphen"),
    named("web-", NAME, "hyphen"),
    named("b\u00fcro", NAME, "A to Z"),
    named("w\u0435b", NAME, "A to Z"),
    named("localhost", NAME, "another name"),
    named("SYSTEM", NAME, "another name"),
    named("we\u200bb", "warning invisible", "U+200B"),
    named("web\u202e", "warning invisible", "U+202E"),
    named("\n  web-0\n", "warning blanks", "one line"),
    named("web_0", ""),
    named("WEB-0a", ""),
    named("web.example.com", "error computer-name", "'.'"),
    named("web-*", "error computer-name", "'*'"),
    named("PC-%RAND:5%", "error computer-name", "'%'"),
    key("a key with a nought", KEY.replace("T83GX", "T83G0"), "warning product-key", "mistyped"),
    key("a key with two vowels", KEY.replace("T83GX", "TA3IX"), "warning product-key", "mistyped"),
    key("a key with dashes", KEY.replace("-", "\u2013"), "error product-key", "hyphens"),
    key("a key of six groups", f"{KEY}-T83GX", "error product-key"),
    key("a key without hyphens", KEY.replace("-", ""), "error product-key"),
    key("a key in small letters", KEY.lower(), ""),
    key("a key that is an example", "ABCDE-12345-FGHIJ-67890-KLMNO", ""),
    zone("(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna", "warning", "W. Europe Standard Time"),
    zone("(UTC-05:00) Eastern Time (US &amp; Canada)", "warning", "tzutil"),
    zone("(UTC+05:30) Chennai, Kolkata, Mumbai, New Delhi", "warning", "India Standard Time"),
    zone("Eastern Daylight Time", "warning", "Eastern Standard Time"),
    zone("W. Europe Summer Time", "warning", "W. Europe Standard Time"),
    zone("UTC+1", "warning", "such as UTC;"),
    zone("UTC+12:00", "warning", "perhaps UTC+12"),
    zone("GMT-2", "warning", "perhaps UTC-02"),
    zone("UTC-11", ""),
    Case("a zone with blanks", server(zone=" UTC\t"), "warning blanks", "TimeZone"),
    region("UserLocale", "en-UK", LANGUAGE, "perhaps en-GB"),
    region("SystemLocale", "cz-CZ", LANGUAGE, "perhaps cs-CZ"),
    region("UserLocale", "jp-JP", LANGUAGE, "perhaps ja-JP"),
    region("UserLocale", "jp-JA", LANGUAGE, "perhaps ja-JP"),
    region("UserLocale", "de-XX", LANGUAGE, "ISO 3166"),
    region("UserLocale", "qq-DE", LANGUAGE, "ISO 639"),
    region("InputLocale", "en-US;en-UK", KEYBOARD, "perhaps en-GB"),
    region("UserLocale", "es-419", ""),
    region("UserLocale", "sr-Latn-RS", ""),
    region("UserLocale", "EN-gb", ""),
    region("UserLocale", "fil-PH", ""),
    region("UserLocale", "ca-ES-valencia", ""),
    region("InputLocale", "en-CA;fr-CA", ""),
    display("<ColorDepth>7</ColorDepth>", "warning value", "32"),
    display("<ColorDepth>true</ColorDepth>", "error number"),
    display("<ColorDepth>32</ColorDepth>", ""),
    display("<DPI>100%</DPI>", "error number"),
    display("<HorizontalResolution>1024x768</HorizontalResolution>", "error number"),
    logon("a count beyond numbers", "otto", "error number", "4294967295", count="99999999999"),
    logon("a count beyond sense", "otto", "", count="9999999"),
    logon("a count below nothing", "otto", "error number", count="-1"),
    logon("a domain before the name", "EXAMPLE\\otto", "warning autologon", "<Domain>"),
    logon("a domain behind the name", "otto@example.com", "warning autologon", "<Domain>"),
    account("a password in UTF-8", VALUE, hidden("Geheim.1", "utf-8"), "error password-encoding"),
    account("a password of the other order", VALUE, hidden("Geheim.1", "utf-16-be"), "error password-encoding"),
    account("a password with a line break", VALUE, hidden("Geheim.1\n"), "warning password-encoding", "echo"),
    account("a password with a mark", VALUE, hidden("\ufeffGeheim.1"), "warning password-encoding", "alone"),
    account("a password too long", VALUE, hidden("Geheim.1" * 20), "warning password-encoding", "127"),
    account("a password as long as it may be", VALUE, hidden("G" * 127), ""),
    account("an administrator without one", VALUE, "", "warning password-blank", "let in"),
    account("a user without one", f"Administrators</Group>{PASSWORD}", "Users</Group>", ""),
    account("an account with blanks", "otto", " otto", "warning blanks", "Name"),
    account("groups divided by a comma", ">Administrators", ">Users,Administrators", "warning group", "semicolons"),
    account("a group by its SID", ">Administrators", ">S-1-5-32-545", "warning group", "write Users"),
    account("a group in the singular", ">Administrators", ">Administrator", "warning group", "write Administrators"),
    account("two groups", ">Administrators", ">Users; Administrators", ""),
    line("a zero width blank", "cmd /c v\u200ber", "warning invisible", "U+200B"),
    line("a blank of a web page", "cmd /c\u00a0ver", "warning invisible", "U+00A0"),
    line("escaped twice", "cmd /c a &amp;amp;&amp;amp; b", "warning escaped", "write &amp;"),
    line("quotes escaped twice", "cmd /c &amp;quot;a b&amp;quot;", "warning escaped", "write &quot;"),
    line("a command that writes XML", "cmd /c echo ^&lt;a^&gt;b &amp;amp; c^&lt;/a^&gt; &gt; x.xml", ""),
    Case("a text for people", server(shell="<RegisteredOwner>\u0645\u06cc\u200c\u062e</RegisteredOwner>"), ""),
)


def at_logon(what: str, command: str, said: str, word: str = "") -> Case:
    """A case of a command at first logon."""
    run = items("SynchronousCommand", f"<Order>1</Order><CommandLine>{command}</CommandLine>")
    return Case(what, server(welcome=f"<FirstLogonCommands>{run}</FirstLogonCommands>"), said, word)


def orders(what: str, first: str, second: str, said: str, word: str = "") -> Case:
    """A case of two commands at specialize."""
    lines = (f"<Order>{one}</Order><Path>cmd /c ver</Path>" for one in (first, second))
    run = f"<RunSynchronous>{items('RunSynchronousCommand', *lines)}</RunSynchronous>"
    return Case(what, server(component("Deployment", run)), said, word)


def first_logon(group: str) -> bytes:
    """A file whose first logon is that of an account of this group, with a command."""
    run = items("SynchronousCommand", "<Order>1</Order><CommandLine>cmd /c ver</CommandLine>")
    logon = f"<Enabled>true</Enabled><Username>otto</Username>{PASSWORD}<LogonCount>1</LogonCount>"
    accounts = f"{ADMINISTRATOR}<LocalAccounts>{OTTO.replace('Administrators', group)}</LocalAccounts>"
    return server(
        accounts=f"<UserAccounts>{accounts}</UserAccounts>",
        welcome=f"<AutoLogon>{logon}</AutoLogon><FirstLogonCommands>{run}</FirstLogonCommands>",
    )


SHARE = "<Credentials><Domain>A</Domain><Username>b</Username><Password>{{ p }}</Password></Credentials>"
COMMAND, TYPED = "warning command", "warning typographic"

COMMANDS = (
    line("a script of PowerShell", "C:\\a.ps1", COMMAND, "powershell"),
    line("a script in quotes", "&quot;C:\\Program Files\\a.ps1&quot; -x", COMMAND, ".ps1"),
    line("a package", "C:\\a.msi /qn", COMMAND, "msiexec"),
    line("a file of the registry", "C:\\a.REG", COMMAND, "reg import"),
    line("a script of Windows' host", "C:\\a.vbs", COMMAND, "cscript"),
    line("a driver", "C:\\a.inf", COMMAND, "pnputil"),
    line("a batch file", "C:\\a.cmd /x", ""),
    line("an installer", "msiexec.exe /i C:\\a.msi /qn", ""),
    at_logon("a script of PowerShell at logon", "C:\\a.ps1", COMMAND, "powershell"),
    at_logon("what Windows opens at logon", "C:\\a.vbs", ""),
    line("a cmdlet", "Set-ExecutionPolicy RemoteSigned -Force", COMMAND, "powershell -Command"),
    line("a method", "[Environment]::SetEnvironmentVariable('a', 'b')", COMMAND, "powershell -Command"),
    line("a program that is named like one", "get-it.exe -a", ""),
    line("a cmdlet where it belongs", "powershell -Command Set-ExecutionPolicy RemoteSigned", ""),
    line("two commands", "net user a b /add &amp;&amp; net user c d /add", COMMAND, "cmd /c"),
    line("a redirection", "ipconfig /all &gt; C:\\a.txt", COMMAND, "cmd /c"),
    line("both outputs", "C:\\a.exe &gt;&gt;C:\\a.log 2&gt;&amp;1", COMMAND, "cmd /c"),
    line("a pipe", "tasklist | find &quot;a&quot;", COMMAND, "cmd /c"),
    at_logon("a pipe at logon", "tasklist | find &quot;a&quot;", COMMAND, "cmd /c"),
    line("a pipe in a shell", "%ComSpec% /c tasklist | find &quot;a&quot;", ""),
    line("a pipe in quotes", "schtasks /create /tn a /tr &quot;cmd /c a | b &gt; c&quot;", ""),
    line("an address with ampersands", "curl.exe http://192.0.2.1/?a=b&amp;c=d -o x", ""),
    line("a filter of a template", "a.exe {{ name | upper }}", ""),
    line("quotes of a word processor", "cmd /c \u201ca b\u201d", TYPED, "keyboard"),
    line("a dash of a word processor", "reg \u2013add HKLM\\a", TYPED, "keyboard"),
    line("letters of a language", "cmd /c echo \u00fc\u00df\u65e5", ""),
    line("a quote that is not closed", "cmd /c &quot;ver", "note quote", "close"),
    line("a folder of a batch file", "cmd /c %~dp0a.cmd", COMMAND, "one %"),
    line("a loop of a batch file", "cmd /c for %%i in (a b) do ver", COMMAND, "one %"),
    line("a loop over lines", "cmd /c for /f &quot;tokens=1&quot; %%a in (x) do ver", COMMAND, "one %"),
    line("a loop", "cmd /c for %i in (a b) do ver", ""),
    line("a program on a share", "\\\\files\\a\\b.exe /q", COMMAND, "Credentials"),
    line("a program by its device", "\\\\?\\C:\\a.exe", ""),
    Case("a share with credentials", server(commands("\\\\files\\a\\b.exe", more=SHARE)), "warning template"),
    orders("an Order twice, once with a nought", "1", "01", "error order", "twice"),
    orders("an Order with a nought", "01", "02", ""),
    orders("an Order with a sign", "+1", "2", "error order"),
    orders("an Order of other digits", "1", "\u0662", "error order"),
    Case("a first logon of a user", first_logon("Users"), "warning first-logon", "administrator"),
    Case("a first logon of an administrator", first_logon("Users;Administrators"), ""),
)


INSTALL: Mapping[str, Any] = {"deployment": Deployment.INSTALL}
EFI, MSR, WINDOWS = CREATED
SYSTEM, _, DATA = MODIFIED


def media(what: str, said: str, word: str = "", **parts: Any) -> Case:
    """A case of an installation from media."""
    return Case(what, install(**parts), said, word, INSTALL)


def sized(what: str, efi: str, said: str, word: str = "") -> Case:
    """A case of an EFI partition of that size."""
    return media(what, said, word, created=(EFI.replace("260", efi), MSR, WINDOWS))


def changed(what: str, old: str, new: str, said: str, word: str = "") -> Case:
    """A case of what becomes of Windows' own partition."""
    assert old in DATA
    return media(what, said, word, modified=(*MODIFIED[:2], DATA.replace(old, new)))


def image(name: str, windows: Windows, said: str, word: str = "") -> Case:
    """A case of an image that is named."""
    source = install(image=f"<Key>/IMAGE/NAME</Key><Value>{name}</Value>")
    return Case(f"{name} for {windows}", source, said, word, {**INSTALL, "windows": windows})


FAT = SYSTEM.replace(">System<", ">a+b<")
OOBE_PAGE = "<HideEULAPage>true</HideEULAPage>"
PARTITION, ASKS = "warning partition", "warning asks"

MEDIA = (
    sized("a size in bytes", "272629760", PARTITION, "not bytes"),
    sized("a size with its unit", "260MB", "error number"),
    sized("a size with a point", "0.5", "error number"),
    sized("a size beyond numbers", "99999999999", "error number", "4294967295"),
    sized("an EFI partition that is too small", "10", PARTITION, "260"),
    sized("an EFI partition as small as it may be", "100", ""),
    changed("a file system of others", "NTFS", "ext4", PARTITION, "NTFS"),
    changed("a file system in small letters", "NTFS", "ntfs", ""),
    changed("Setup's own letter", ">C<", ">X<", PARTITION, "another letter"),
    changed("a label too long", ">Windows<", f">{'w' * 33}<", PARTITION, "32"),
    media("a label that FAT has not", PARTITION, "'+'", modified=(FAT, *MODIFIED[1:])),
    media("a disk by 00", "", target=TARGET.replace("<DiskID>0", "<DiskID>00")),
    media("an index of 0", "note image", "from 1", image="<Key>/IMAGE/INDEX</Key><Value>0</Value>"),
    image("Windows Server 2019 SERVERSTANDARD", Windows.W2022, "warning image", "--os"),
    image("Windows 11 Pro", Windows.W2022, "warning image", "--os"),
    image("Windows Server 2012 R2 SERVERSTANDARD", Windows.W2012R2, ""),
    image("Windows Server 2012 SERVERSTANDARD", Windows.W2012R2, "warning image"),
    image("Windows Server 2022 SERVERSTANDARD", Windows.W2022, ""),
    image("Contoso Desktop", Windows.W2022, ""),
    Case("the license is shown", server(oobe=OOBE.replace(OOBE_PAGE, "")), ASKS, "HideEULAPage"),
    Case("the license is wanted", server(oobe=OOBE.replace(OOBE_PAGE, OOBE_PAGE.replace("true", "false"))), ASKS),
    Case("a number for a word", server(oobe=OOBE.replace("true", "1")), ""),
    Case("a word for a number", server(oobe=OOBE.replace(">3<", ">true<")), "warning value", "write 1 or 2 or 3"),
)


def addresses(*addresses: str) -> str:
    """An interface's own addresses."""
    listed = (
        f'<IpAddress wcm:action="add" wcm:keyValue="{at}">{one}</IpAddress>' for at, one in enumerate(addresses)
    )
    return f"<UnicastIpAddresses>{''.join(listed)}</UnicastIpAddresses>"


def card(what: str, inside: str, said: str, word: str = "", mac: str = "52-54-00-12-34-56", before: str = "") -> Case:
    """A case of an interface."""
    inside = f"{before}<Identifier>{mac}</Identifier>{inside}"
    return Case(
        what, server(component("TCPIP", f"<Interfaces>{items('Interface', inside)}</Interfaces>")), said, word
    )


def own(address: str, said: str, word: str = "") -> Case:
    """A case of an interface of that address."""
    return card(f"address {address}", addresses(address), said, word)


def route(what: str, hop: str, said: str, word: str = "", prefix: str = "0.0.0.0/0", metric: str = "10") -> Case:
    """A case of a route of the interface 192.0.2.10/24 and 2001:db8::10/64."""
    inside = f"<Identifier>1</Identifier><Metric>{metric}</Metric><NextHopAddress>{hop}</NextHopAddress>"
    inside = f"<Routes>{items('Route', f'{inside}<Prefix>{prefix}</Prefix>')}</Routes>"
    return card(what, addresses("192.0.2.10/24", "2001:db8::10/64") + inside, said, word)


def join(what: str, domain: str, said: str, word: str = "") -> Case:
    """A case of a domain that is joined by a blob."""
    blob = "<Provisioning><AccountData>{{ blob }}</AccountData></Provisioning>"
    inside = f"<Identification><JoinDomain>{domain}</JoinDomain>{blob}</Identification>"
    found = server(component("UnattendedJoin", inside.replace("{{ blob }}", "QQ==")))
    return Case(what, found, said, word)


def domain(name: str, said: str, word: str = "") -> Case:
    """A case of the DNS domain of a machine."""
    return Case(f"DNS {name}", server(component("DNS-Client", f"<DNSDomain>{name}</DNSDomain>")), said, word)


DHCP = "<Ipv4Settings><DhcpEnabled>true</DhcpEnabled></Ipv4Settings>"
NAMELESS = component("TCPIP", f"<Interfaces>{items('Interface', addresses('192.0.2.10/24'))}</Interfaces>")
ADDRESS, IDENTIFIER = "warning address", "warning identifier"

NETWORK = (
    own("192.0.2.10/24", ""),
    own("192.0.2.10/31", ""),
    own("2001:db8::/64", ""),
    own("192.0.2.0/24", ADDRESS, "network itself"),
    own("192.0.2.255/24", ADDRESS, "everybody"),
    own("127.0.0.1/8", ADDRESS, "no address of a card"),
    own("224.0.0.1/8", ADDRESS, "no address of a card"),
    own("0.0.0.0/0", ADDRESS, "no address of a card"),
    own("192.0.2.10", ADDRESS, "192.0.2.10/24"),
    own("192.0.2.10/255.255.255.0", ADDRESS, "192.0.2.10/24"),
    own("192.000.002.010/24", ADDRESS),
    own("192.0.2.10/33", ADDRESS),
    card("two addresses in one", addresses("192.0.2.10/24, 192.0.2.11/24"), ADDRESS, "for each"),
    card("an address twice", addresses("192.0.2.10/24", "192.0.2.10/16"), ADDRESS, "twice"),
    card("asked for, and written", addresses("192.0.2.10/24"), ADDRESS, "write false", before=DHCP),
    card("asked for beside IPv6", addresses("2001:db8::10/64"), "", before=DHCP),
    Case("an interface of no name", server(NAMELESS), IDENTIFIER, "<Identifier>"),
    card("a MAC cut short", "", IDENTIFIER, "six pairs", mac="52-54-00-12-34"),
    card("a MAC of other letters", "", IDENTIFIER, "six pairs", mac="52-54-00-12-34-5G"),
    card("a MAC of a group", "", IDENTIFIER, "group", mac="01-00-5E-00-00-01"),
    card("a MAC of nobody", "", IDENTIFIER, "nobody", mac="00-00-00-00-00-00"),
    card("an alias with hyphens", "", "", mac="LAN-2-wired"),
    route("a gateway", "192.0.2.1", ""),
    route("a gateway of IPv6", "fe80::1", "", prefix="::/0"),
    route("a gateway elsewhere", "192.0.3.1", ADDRESS, "no network"),
    route("a gateway that is itself", "192.0.2.10", ADDRESS, "itself"),
    route("a gateway of the other kind", "2001:db8::1", ADDRESS, "two kinds"),
    route("a gateway with a length", "192.0.2.1/24", ADDRESS, "gateway"),
    route("a network without a length", "192.0.2.1", ADDRESS, "0.0.0.0/0", prefix="0.0.0.0"),
    route("a metric in words", "192.0.2.1", "error number", metric="low"),
    domain("http://example.com", ADDRESS, "example.com"),
    domain("example com", ADDRESS, "example.com"),
    domain("_msdcs.example.com.", ""),
    join("a domain with a user", "EXAMPLE\\bob", "warning join", "Credentials"),
    join("a domain as an address", "ldap://example.com", "warning join", "DNS name"),
    join("a domain", "corp.example.com", ""),
)

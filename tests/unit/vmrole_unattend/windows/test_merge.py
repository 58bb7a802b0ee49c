"""Ours in a user's own Unattend.xml: whose stands, that all else keeps its bytes, and what is refused."""

from __future__ import annotations

import dataclasses
import re

import pytest
from vmrole_unattend import AnswersInvalid
from vmrole_unattend.secret import Secret, SecretRef, SecretSource
from vmrole_unattend.windows import explain
from vmrole_unattend.windows.answers import Account, Answers, Architecture, Command, Join, Machine
from vmrole_unattend.windows.check import Severity, check
from vmrole_unattend.windows.merge import Decision, Kept, Merged, merge, strip_marks
from vmrole_unattend.windows.render import render

from tests.world.places import GOLDEN_FILES

GOLDEN = GOLDEN_FILES / "merge"
CASES = [("server", "ours"), ("compact", "ours"), ("client", "ours-join")]
WCM = 'xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State"'


MACHINE = Machine(
    role="web",
    index=0,
    service="shop",
    instance="web-0.shop",
    generation=3,
    instance_id="11111111-2222-4333-8444-555555555555",
    mac="52:54:00:12:34:57",
    address="192.0.2.10/24",
    gateway="192.0.2.1",
    dns=("192.0.2.1",),
)
_SECRET = SecretRef(source=SecretSource.ENV, name="SECRET")
ALL = Answers(
    time_zone="Tokyo Standard Time",
    organization="Shop Ltd",
    product_key=_SECRET,
    administrator_password=_SECRET,
    accounts=(Account(name="ops", password=_SECRET),),
    join=Join(domain="corp.example", user="joiner", password=_SECRET),
    static_network=True,
    remote_desktop=True,
    specialize=(Command(line="cmd.exe /c echo from the service file"),),
    first_logon=("echo hello",),
)
AGAIN = b'\n<component name="MICROSOFT-Windows-Shell-Setup" processorArchitecture="AMD64"/></settings>'


def _golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def _file(specialize: str = "", oobe: str = "", more: str = "", deployment: str = "") -> bytes:
    """An answer file: what its Shell-Setup components hold, and what its Deployment component holds."""
    shell = '<component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64">{}</component>'
    other = '<component name="Microsoft-Windows-Deployment" processorArchitecture="amd64">{}</component>'
    first = (shell.format(specialize) if specialize else "") + (other.format(deployment) if deployment else "")
    passes = [("specialize", first), ("oobeSystem", shell.format(oobe) if oobe else "")]
    body = "".join(f'<settings pass="{name}">{held}</settings>\n' for name, held in passes if held)
    root = f'<unattend xmlns="urn:schemas-microsoft-com:unattend" {WCM} xmlns:v="https://vmrole.dev/answers/1">'
    return f"{root}\n{body}{more}</unattend>".encode()


def _commands(*lines: str, first: int = 1) -> str:
    items = (
        f'<RunSynchronousCommand wcm:action="add"><Path>{line}</Path><Order>{order}</Order></RunSynchronousCommand>'
        for order, line in enumerate(lines, first)
    )
    return f"<RunSynchronous>{''.join(items)}</RunSynchronous>"


def _ordered(xml: bytes) -> list[str]:
    """The command lines as Windows would run them."""
    found = re.findall(r"<RunSynchronousCommand.*?</RunSynchronousCommand>", xml.decode(), re.DOTALL)
    pairs = [(re.search(r"<Order>(\d+)<", one), re.search(r"<Path>(.*?)<", one)) for one in found]
    return [path[1] for _, path in sorted((int(order[1]), path) for order, path in pairs if order and path)]


def _decided(merged: Merged, path: str) -> Decision:
    (found,) = [one for one in merged.decisions if one.path == path]
    return found


# Whole files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ours"), CASES)
def test_files_of_people_come_out_as_a_reader_approved_them(name: str, ours: str) -> None:
    """Tabs, quotes, prefixes, comments, <servicing> and extensions stay; only what is decided changes."""
    merged = merge(_golden(f"{name}.theirs.xml"), _golden(f"{ours}.xml"))
    assert merged.xml.decode() == _golden(f"{name}.merged.xml").decode()
    assert explain.lines(merged.decisions) == _golden(f"{name}.decisions").decode().splitlines()


@pytest.mark.parametrize(("name", "ours"), CASES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_ends_and_encoding_stay(name: str, ours: str, newline: str, encoding: str) -> None:
    """The result is the same text, whatever the byte-order mark, the encoding and the ends of lines were."""

    def dressed(text: str) -> bytes:
        declared = re.sub("encoding=(.)utf-8.", r"encoding=\1utf-16\1", text, flags=re.IGNORECASE)
        text = declared if encoding == "utf-16" else text
        return text.replace("\n", newline).encode(encoding)

    merged = merge(dressed(_golden(f"{name}.theirs.xml").decode()), _golden(f"{ours}.xml"))
    assert merged.xml == dressed(_golden(f"{name}.merged.xml").decode())


@pytest.mark.parametrize(("name", "ours"), CASES)
def test_merging_again_changes_nothing(name: str, ours: str) -> None:
    """What came out of a merge holds ours already, and its bytes stay; only what is his is told again."""
    once = merge(_golden(f"{name}.theirs.xml"), _golden(f"{ours}.xml"))
    again = merge(once.xml, _golden(f"{ours}.xml"))
    assert again.xml == once.xml
    told = {(one.path, one.kept) for one in once.decisions}
    assert {(one.path, one.kept) for one in again.decisions} <= told
    assert {one.kept for one in again.decisions} <= {Kept.THEIRS, Kept.OURS}


@pytest.mark.parametrize(("name", "ours"), CASES)
def test_what_comes_out_is_valid(name: str, ours: str) -> None:
    """Neither file has an error, and so the result has none."""
    merged = merge(_golden(f"{name}.theirs.xml"), _golden(f"{ours}.xml"))
    errors = [one for one in check(merged.xml) if one.severity is Severity.ERROR]
    assert not errors


@pytest.mark.parametrize("name", ["server", "compact", "client"])
@pytest.mark.parametrize("architecture", list(Architecture))
def test_what_render_makes_is_merged(name: str, architecture: Architecture) -> None:
    """The real answers of a role with all wishes: valid where they were, all of them there, no mark on the disc."""
    ours = render(
        dataclasses.replace(ALL, architecture=architecture), MACHINE, lambda _: Secret("AAAAA-" * 4 + "AAAAA")
    )
    merged = merge(_golden(f"{name}.theirs.xml"), ours)
    assert not [one for one in check(merged.xml) if one.severity is Severity.ERROR]
    assert b"vmrole.dev" not in merged.xml
    assert b"vmrole instance web-0.shop generation 3 " in merged.xml
    assert b"specialize.cmd" in merged.xml
    again = merge(merged.xml, ours)
    assert again.xml == merged.xml
    assert {one.kept for one in again.decisions} <= {Kept.THEIRS}


def test_an_instance_may_have_hyphens_side_by_side() -> None:
    """No comment in XML can hold two of them, and a service may be called so; a blank comes between."""
    machine = dataclasses.replace(MACHINE, service="a---b", instance="web-0.a---b")
    ours = render(ALL, machine, lambda _: Secret("AAAAA-" * 4 + "AAAAA"))
    merged = merge(_golden("client.theirs.xml"), ours)
    assert b"<!-- vmrole instance web-0.a- - -b generation 3 id " in merged.xml


@pytest.mark.parametrize("ours", ["ours", "ours-join"])
def test_without_a_file_of_his_the_marks_go(ours: str) -> None:
    """Nothing of how `render` talks to `merge` reaches a disc, and nothing else is lost."""
    marked = _golden(f"{ours}.xml")
    plain = strip_marks(marked)
    assert b"vmrole.dev" not in plain
    assert b"v:" not in plain
    assert not merge(plain, marked).decisions
    text = _file('<RegisteredOwner v:default="true">a v:default="true"</RegisteredOwner>')
    assert b'<RegisteredOwner>a v:default="true"</RegisteredOwner>' in strip_marks(text)


# Whose stands -------------------------------------------------------------------------------------------------


def test_a_wish_beats_his_and_a_default_does_not() -> None:
    """What the service file says wins; what we would only suggest does not; one that he left out is added."""
    ours = _file('<ComputerName>web-0</ComputerName><TimeZone v:default="true">UTC</TimeZone>')
    merged = merge(_file("<TimeZone>GMT Standard Time</TimeZone><computername>PC</computername>"), ours)
    assert b"<computername>web-0</computername>" in merged.xml
    assert b"GMT Standard Time" in merged.xml
    at = "specialize/Microsoft-Windows-Shell-Setup/"
    assert _decided(merged, at + "ComputerName").kept is Kept.OURS
    assert _decided(merged, at + "TimeZone").kept is Kept.THEIRS
    assert _decided(merged, at + "TimeZone").line == 2
    added = merge(_file("<RegisteredOwner>me</RegisteredOwner>"), ours)
    assert b"<TimeZone>UTC</TimeZone>" in added.xml
    assert _decided(added, at + "TimeZone").line == 0


def test_a_default_does_not_beat_his_in_another_pass() -> None:
    """His time zone at oobeSystem stands, and ours at specialize is left out; the other way round his is carried."""
    merged = merge(
        _file(oobe="<TimeZone>GMT Standard Time</TimeZone>"), _file('<TimeZone v:default="true">UTC</TimeZone>')
    )
    assert b"UTC" not in merged.xml
    assert b'"specialize"' not in merged.xml
    carried = merge(
        _file("<TimeZone>GMT Standard Time</TimeZone>"), _file(oobe='<TimeZone v:default="true">UTC</TimeZone>')
    )
    assert carried.xml.count(b"<TimeZone>GMT Standard Time</TimeZone>") == 2
    assert b"UTC" not in carried.xml


def test_his_region_in_one_pass_beats_ours_in_both() -> None:
    """We say the region in both passes: where he says it in one, ours is nowhere, and Windows does not ask."""
    ours = _file(*['<UserLocale v:default="true">en-US</UserLocale>'] * 2)
    first = merge(_file("<UserLocale>de-DE</UserLocale>"), ours)
    assert first.xml.count(b"<UserLocale>de-DE</UserLocale>") == 2
    last = merge(_file(oobe="<UserLocale>de-DE</UserLocale>"), ours)
    assert last.xml.count(b"<UserLocale>de-DE</UserLocale>") == 1
    assert b"en-US" not in first.xml + last.xml
    both = merge(_file("<UserLocale>de-DE</UserLocale>", "<UserLocale>fr-FR</UserLocale>"), ours)
    assert both.xml == _file("<UserLocale>de-DE</UserLocale>", "<UserLocale>fr-FR</UserLocale>")


def test_a_wish_beats_his_in_the_pass_that_has_the_last_word() -> None:
    """A time zone of the service file is not undone by his at oobeSystem."""
    merged = merge(_file(oobe="<TimeZone>GMT Standard Time</TimeZone>"), _file("<TimeZone>UTC</TimeZone>"))
    assert merged.xml.count(b"<TimeZone>UTC</TimeZone>") == 2
    assert _decided(merged, "oobeSystem/Microsoft-Windows-Shell-Setup/TimeZone").kept is Kept.OURS


def test_our_command_runs_first_and_the_service_files_last() -> None:
    """His Orders are raised by one; one that he runs already is not run twice."""
    ours = _file(deployment=_commands("call D:\\vmrole\\specialize.cmd", "two", "shared"))
    merged = merge(_file(deployment=_commands("his", "shared", "last")), ours)
    assert _ordered(merged.xml) == ["call D:\\vmrole\\specialize.cmd", "his", "shared", "last", "two"]
    room = merge(_file(deployment=_commands("his", first=5)), ours)
    assert b"<Path>his</Path><Order>5</Order>" in room.xml
    assert _ordered(room.xml) == ["call D:\\vmrole\\specialize.cmd", "his", "two", "shared"]
    from_nought = merge(_file(deployment=_commands("his", "then", first=0)), ours)
    assert _ordered(from_nought.xml)[:3] == ["call D:\\vmrole\\specialize.cmd", "his", "then"]


def test_a_password_is_never_half_of_each() -> None:
    """With our encoded value comes our PlainText; a comment of his in it stays."""
    password = "<UserAccounts><AdministratorPassword>{}</AdministratorPassword></UserAccounts>"
    his = password.format("<Value>hunter2</Value><!-- mine --><PlainText>true</PlainText>")
    ours = password.format("<Value>AAAA</Value><PlainText>false</PlainText>")
    merged = merge(_file(oobe=his), _file(oobe=ours))
    assert _file(oobe=password.format("<!-- mine --><Value>AAAA</Value><PlainText>false</PlainText>")) == merged.xml
    decided = _decided(merged, "oobeSystem/Microsoft-Windows-Shell-Setup/UserAccounts/AdministratorPassword")
    assert (decided.ours, decided.theirs) == ("***", "***")


def test_an_annotated_value_of_mixed_case_is_the_same() -> None:
    """True and true are one; his spelling stays, and nothing is told."""
    merged = merge(
        _file(oobe="<OOBE><HideEULAPage>True</HideEULAPage></OOBE>"),
        _file(oobe="<OOBE><HideEULAPage>true</HideEULAPage></OOBE>"),
    )
    assert not merged.decisions
    assert b">True<" in merged.xml


def test_bytes_stay_where_nothing_of_ours_is_new() -> None:
    """Odd quotes and blanks that no writer of XML would make come out as they went in."""
    his = _file("<ComputerName  >web-0</ComputerName\n>").replace(b'pass="specialize"', b"pass = 'specialize'  ")
    assert merge(his, _file("<ComputerName>web-0</ComputerName>")).xml == his


# What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "where", "what"),
    [
        (_file("<TimeZone>A</TimeZone>\n<ComputerName>a</ComputerName>\n<ComputerName>b</ComputerName>"), 4, "twice"),
        (_file("<a/>", more='\n\n<settings pass="Specialize"/>'), 5, "twice"),
        (_file("<a/>").replace(b"</settings>", AGAIN), 3, "twice"),
        (_file("<a/>").replace(b'"specialize"', b'"specialize" wasPassProcessed="true"'), 2, "marked as done"),
        (_file("<a/>").replace(b"unattend>", b"unattended>").replace(b"<unattend ", b"<unattended "), 1, "root"),
        (_file("<a/>").replace(b":unattend", b":other"), 1, "root"),
        (b"\n" + b'<?xml version="1.0"?>' + _file("<a/>"), 1, "before"),
        (_file("<a>\n&amp;</a>").replace(b"&amp;", b"&"), 3, "well-formed"),
        (_file("<a>\n\x07</a>"), 3, "well-formed"),
        (b"<!DOCTYPE unattend>\n" + _file("<a/>"), 1, "document type"),
        (b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;&b;">]>' + _file("<a>&d;</a>"), 1, "document type"),
        (_file("<a>" * 5000 + "</a>" * 5000), 2, "depth"),
        (_file("<a/>" * (1 << 18)), 1, "bytes"),
        (b"", 1, "empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_merged_is_refused_with_its_line(theirs: bytes, where: int, what: str) -> None:
    """No file is guessed at: the line of the fault is said, and what would be right."""
    with pytest.raises(AnswersInvalid) as refused:
        merge(theirs, _file("<ComputerName>web-0</ComputerName>"))
    assert refused.value.where == f"line {where}"
    assert what in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    "held",
    [
        "<DiskConfiguration><Disk><WillWipeDisk>True</WillWipeDisk></Disk></DiskConfiguration>",
        _commands("cmd /c diskpart /s x:\\d.txt"),
    ],
)  # fmt: skip
def test_a_pass_that_wipes_disks_is_refused(held: str) -> None:
    """A boot into any Windows medium beside our disc must wipe nothing; elsewhere the same words are harmless."""
    component = f'<component name="a" processorArchitecture="amd64">{held}</component>'
    wiping = f'<settings pass="windowsPE">\n{component}</settings>'
    with pytest.raises(AnswersInvalid, match="wipe") as refused:
        merge(_file("<a/>", more=wiping), _file("<ComputerName>web-0</ComputerName>"))
    assert refused.value.where == "line 4"
    merge(_file("<a/>", more=wiping.replace("windowsPE", "auditUser")), _file("<ComputerName>web-0</ComputerName>"))


# What is told -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ours"), CASES)
def test_nothing_that_is_told_shows_a_secret(name: str, ours: str) -> None:
    """Neither the decisions nor the masked change hold a password, key or blob, not even one in a comment."""
    theirs = _golden(f"{name}.theirs.xml")
    merged = merge(theirs, _golden(f"{ours}.xml"))
    told = "\n".join([*explain.lines(merged.decisions), explain.changes(theirs, merged.xml, "x"), repr(merged)])
    told += explain.masked(theirs) + explain.masked(merged.xml)
    for secret in ("Secret", "AAAAA-BBBBB", "cAB3AEEA", "UABhAHMA"):
        assert secret not in told
    assert "***" in told


def test_no_control_character_reaches_a_terminal() -> None:
    """XML may hold U+009B, which begins an escape sequence; it is shown as a question mark."""
    theirs = _file("<ComputerName>a\u009b31m</ComputerName>")
    merged = merge(theirs, _file("<ComputerName>web-0</ComputerName>"))
    told = "\n".join([*explain.lines(merged.decisions), explain.changes(theirs, merged.xml, "x")])
    assert "a?31m" in told
    assert "\u009b" not in told


# What a reader is told ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["administrators", "ADMINISTRATORS", "Administrators"])
def test_the_case_of_a_group_is_no_conflict(group: str) -> None:
    """Windows compares names of groups and of languages without it."""
    account = f'<LocalAccount wcm:action="add"><Name>OPS</Name><Group>{group}</Group></LocalAccount>'
    theirs = _file(oobe=f"<UserAccounts><LocalAccounts>{account}</LocalAccounts></UserAccounts>")
    merged = merge(theirs, render(ALL, MACHINE, lambda _: Secret("AAAAA-BBBBB-CCCCC-DDDDD-EEEEE")))
    assert not [one for one in merged.decisions if one.path.endswith("/Group")]
    assert f"<Group>{group}</Group>" in merged.xml.decode()


def test_what_is_his_is_not_called_ours() -> None:
    """A page that he answers in another pass is written where it counts, and told once, as his."""
    merged = merge(
        _file("<OOBE><ProtectYourPC>2</ProtectYourPC></OOBE>"), render(ALL, MACHINE, lambda _: Secret(_KEY))
    )
    decided = _decided(merged, "oobeSystem/Microsoft-Windows-Shell-Setup/OOBE/ProtectYourPC")
    assert (decided.kept, decided.theirs) == (Kept.THEIRS, "2")
    assert "written here too" in decided.why
    assert merged.xml.decode().count("<ProtectYourPC>2</ProtectYourPC>") == 2


def test_a_pass_with_blanks_around_its_name_is_that_pass() -> None:
    """As the check reads it: no second one is added."""
    theirs = _file("<TimeZone>UTC</TimeZone>").replace(b'pass="specialize"', b'pass=" specialize "')
    merged = merge(theirs, render(ALL, MACHINE, lambda _: Secret(_KEY)))
    assert len(re.findall(r'<settings pass="\s*specialize\s*"', merged.xml.decode())) == 1


def test_what_is_new_is_one_list_behind_what_was_decided() -> None:
    """Nobody reads thirty times that his file says nothing."""
    merged = merge(_file("<TimeZone>UTC</TimeZone>"), render(ALL, MACHINE, lambda _: Secret(_KEY)))
    lines = explain.lines(merged.decisions)
    at = lines.index("added, where your file says nothing:")
    assert "line 2: specialize/Microsoft-Windows-Shell-Setup/TimeZone: the service file's is taken" in lines[:at]
    assert "    specialize/Microsoft-Windows-Shell-Setup/ComputerName: web-0" in lines[at:]
    assert all(line.startswith("    ") for line in lines[at + 1 :])


_KEY = "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"

"""An answer file as bytes: what is read, what is not, and that nothing is lost on the way back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.windows import document
from vmrole_unattend.windows.document import Diagnostic, Severity

SAMPLE = (
    '<?xml version="1.0" encoding="utf-8"?>\r\n'
    "<!-- what stands before -->\r\n"
    '<u:unattend xmlns:u="urn:schemas-microsoft-com:unattend"\r\n'
    "   xmlns:w='http://schemas.microsoft.com/WMIConfig/2002/State'>\r\n"
    "  <u:servicing />\r\n"
    "  <u:settings pass=\"specialize\"><!-- in it --><u:a   b='1'>\u00fc<![CDATA[ <&> ]]></u:a></u:settings>\r\n"
    '  <cpi:offlineImage xmlns:cpi="urn:schemas-microsoft-com:cpi" cpi:source="" />\r\n'
    "</u:unattend>\r\n"
    "<!-- what stands after -->\r\n"
)
MARKED = b"\xef\xbb\xbf" + SAMPLE.encode()


def only(source: bytes) -> Diagnostic:
    found = document.read(source)[1]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    "source",
    [
        SAMPLE.encode(),
        MARKED,
        SAMPLE.replace("\r\n", "\n").encode(),
        SAMPLE.replace("utf-8", "utf-16").encode("utf-16"),
        b"\xfe\xff" + SAMPLE.replace("utf-8", "UTF-16").encode("utf-16-be"),
        SAMPLE.replace(' encoding="utf-8"', "").encode("utf-16-le"),
        SAMPLE.replace("utf-8", "windows-1252").encode("cp1252"),
        b"<unattend/>",
        b"<?xml version='1.0' standalone='yes' ?>\n<unattend/>",
    ],
)
def test_what_is_not_changed_keeps_its_bytes(source: bytes) -> None:
    """Byte-order mark, line ends, encoding, comments, prefixes and quotes survive reading and writing."""
    read = document.parse(source)
    assert read.dump() == source
    assert read.encode(read.text) == source


def test_a_change_keeps_all_around_it() -> None:
    """A changed tree is written with the byte-order mark, line ends, comments and prefixes that the file had."""
    read = document.parse(MARKED)
    read.root[0].set("x", "1")
    expected = SAMPLE
    for before, after in (
        ("<u:servicing />", '<u:servicing x="1"/>'),
        (
            "\r\n   xmlns:w='http://schemas.microsoft.com/WMIConfig/2002/State'",
            ' xmlns:w="http://schemas.microsoft.com/WMIConfig/2002/State"',
        ),
        ("   b='1'", ' b="1"'),
        ('source="" />', 'source=""/>'),
    ):
        assert before in expected
        expected = expected.replace(before, after)
    assert read.dump().decode("utf-8-sig") == expected


def test_a_letter_that_the_encoding_lacks_is_written_as_a_number() -> None:
    """A text in an old encoding takes any letter."""
    read = document.parse(b'<?xml version="1.0" encoding="iso-8859-1"?><a>\xfc</a>')
    assert read.root.text == "\u00fc"
    assert read.encode("<a>\u20ac</a>") == b"<a>&#8364;</a>"


@pytest.mark.parametrize(
    ("source", "code", "line"),
    [
        (b"", "empty", 1),
        (b" \r\n", "empty", 1),
        (b"<a/>" + b" " * document.SOURCE_BYTES_MAX, "too-large", 1),
        (b"\n\n" + SAMPLE.encode(), "leading-bytes", 1),
        (b"x" + SAMPLE.encode(), "leading-bytes", 1),
        (b'<?xml version="1.0"?>\n<!-- -->\n<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "dtd", 3),
        (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "dtd", 1),
        (b"<a>\n<b>R&D</b></a>", "not-xml", 2),
        (b"<a>\n&nbsp;</a>", "not-xml", 2),
        (b"<a>\n\n\x01</a>", "not-xml", 3),
        (b"<a>\x00</a>", "encoding", 1),
        (b"<a>" * 5000, "not-xml", 1),
        (b"<a/>\n<b/>", "not-xml", 2),
        (b"hello", "not-xml", 1),
        (b'<?xml encoding="utf-8"?><a/>', "not-xml", 1),
        (b'<?xml version="1.0" encoding=utf-8?><a/>', "not-xml", 1),
        (b"<a>\n\xff</a>", "encoding", 2),
        (b"<a>\xed\xa0\x80</a>", "encoding", 1),
        (b'<?xml version="1.0" encoding="ebcdic-us"?><a/>', "encoding", 1),
        (b'<?xml version="1.0" encoding="utf-16"?><a/>', "encoding", 1),
        ('<?xml version="1.0" encoding="utf-8"?><a/>'.encode("utf-16"), "encoding", 1),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(source: bytes, code: str, line: int) -> None:
    """Each way to spoil a file is one finding with a line and a mend, and an exception where one must be had."""
    found = only(source)
    assert (found.severity, found.code, found.line) == (Severity.ERROR, code, line)
    assert found.mend
    with pytest.raises(AnswersInvalid, match=f"line {line}"):
        document.parse(source)


def test_another_encoding_is_a_warning() -> None:
    """A declared encoding that is no Unicode is read, and said."""
    found = only('<?xml version="1.0" encoding="windows-1252"?><a>\u00fc</a>'.encode("cp1252"))
    assert (found.severity, found.code) == (Severity.WARNING, "encoding")


def test_lines_are_counted_behind_what_stands_before_the_declaration() -> None:
    """Bytes before the declaration hide nothing else and move no line."""
    read, _ = document.read(b"\n\n" + SAMPLE.encode())
    assert read is not None
    assert read.root[0].sourceline == 7


@pytest.mark.parametrize(
    "source",
    [
        b'<!DOCTYPE a [<!ENTITY b "bbbb">' + b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">' * 9 + b"]><a>&c;</a>",
        b"<!--" * 250_000,
        b"<?x " * 250_000,
        b"<a " + b"b='1' " * 150_000 + b"/>",
        b" " * 1_000_000 + b"<?xml ",
        b"<a>" + b"&amp;" * 200_000,
    ],
)
def test_no_file_keeps_us_busy(source: bytes) -> None:
    """A bomb is refused in about the time that reading it takes; what it would unfold to takes hours."""
    before_s = time.process_time()
    _, found = document.read(source)
    assert found
    assert time.process_time() - before_s < 20


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"<a>{text}</a>".encode(errors="ignore")))
def test_any_bytes_are_read_or_refused(source: bytes) -> None:
    """Nothing but a finding comes of any file, and what was read is given back."""
    read, found = document.read(source)
    assert (read is None) <= any(one.severity is Severity.ERROR for one in found)
    if read is not None:
        assert read.dump() == source

"""An answer file as bytes, as text and as a tree, and what keeps it from being read. Knows no setting of Windows'.

Here `read` says all that is wrong with the file as such; `check` says what is wrong with what it says.
"""

from __future__ import annotations

import dataclasses
import enum
import re

from lxml import etree

from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.windows import mistaken

SOURCE_BYTES_MAX = 1 << 20  # The largest public answer files have some 100 kB.


class Severity(enum.StrEnum):
    """How much a finding matters."""

    ERROR = "error"  # Windows refuses it, or it surely breaks
    WARNING = "warning"  # it may not do what was meant
    NOTE = "note"  # it does nothing any more


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One thing that is wrong with an answer file. No finding quotes a password."""

    severity: Severity
    line: int  # of the element's start tag; 1 is the first
    path: str  # "specialize/Microsoft-Windows-Shell-Setup/ComputerName"; "" for the file as such
    code: str  # a stable word, e.g. "computer-name"
    message: str
    mend: str

    def __str__(self) -> str:
        place = f"line {self.line}: " + (f"{self.path}: " if self.path else "")
        return f"{place}{self.message}" + (f" ({self.mend})" if self.mend else "")


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerFile:
    """A file that could be read. `text` is all of it but the byte-order mark, line ends as they stand."""

    source: bytes = dataclasses.field(repr=False)
    text: str = dataclasses.field(repr=False)
    root: etree._Element
    mark: bytes  # the byte-order mark, or b""
    codec: str  # Python's name of the encoding

    def encode(self, text: str) -> bytes:
        """The file with another text, in the encoding and with the byte-order mark that it had."""
        return self.mark + text.encode(self.codec, errors="xmlcharrefreplace")

    def dump(self) -> bytes:
        """The tree as a file: the very bytes that were read when it was not changed.

        A changed one keeps its byte-order mark, encoding, XML declaration, line ends, comments and prefixes; what
        stands between attributes is not kept (`splice` is for that).
        """
        if _serialized(self.root) == _serialized(_tree(_blanked(self.text), _parser())):
            return self.source
        start = _prolog(self.text)
        parts = [_serialized(self.root)]
        for after in self.root.itersiblings():
            parts += ["\n", _serialized(after)]
        parts += ["\n"] if self.text.endswith(("\n", "\r")) else []
        return self.encode(self.text[:start] + "".join(parts).replace("\n", _newline(self.text)))


def parse(source: bytes) -> AnswerFile:
    """Reads a file. Raises AnswersInvalid, with the line, for one that Windows could not read either."""
    document, findings = read(source)
    for finding in findings:
        if finding.severity is Severity.ERROR:
            raise AnswersInvalid(finding.message, where=f"line {finding.line}", hint=finding.mend)
    assert document is not None
    return document


def read(source: bytes) -> tuple[AnswerFile | None, list[Diagnostic]]:
    """Reads a file as far as it can be read; None when what it says cannot be told. Raises nothing."""
    found: list[Diagnostic] = []
    text = _decoded(source, found)
    if text is None:
        return None, found
    characters, mark, codec = text
    declaration = _declaration(characters)
    if declaration is not None and declaration.start() > 0:
        message, mend = "something stands before <?xml", "let the file begin with <?xml"
        if _LEADING_DIRECTIVES.fullmatch(characters, 0, declaration.start()):
            message, mend = "a template's directive stands before <?xml", f"fill it in first, and {mend}"
        found.append(_error(1, "leading-bytes", message, mend))
    blanked = _blanked(characters)
    if (other := mistaken.by_text(blanked)) is not None:
        found.append(_error(1, "no-answers", f"this is no answer file: it is {other[0]}", other[1]))
        return None, found
    start = _prolog(blanked)
    line = blanked.count("\n", 0, start) + 1
    if blanked[start : start + 9].upper() == "<!DOCTYPE":
        found.append(_error(line, "dtd", "the file has a document type declaration", "remove <!DOCTYPE …>"))
        return None, found
    if blanked.startswith("\ufeff", start):
        message = "a byte-order mark stands where the file has begun already"
        found.append(
            _error(line, "leading-bytes", message, "remove it: it is invisible, and Windows reads no further")
        )
        return None, found
    if declaration is not None and _SOUND_DECLARATION.fullmatch(declaration[0]) is None:
        mend = 'write <?xml version="1.0" encoding="utf-8"?>'
        found.append(_error(1, "not-xml", "the XML declaration is malformed", mend))
    parser = _parser()
    try:
        root = _tree(blanked, parser)
    except etree.XMLSyntaxError as error:
        found.append(_malformed(error, parser, blanked))
        return None, found
    return AnswerFile(source, characters, root, mark, codec), found


# Characters ---------------------------------------------------------------------------------------------------

_DECLARATION = re.compile(r"<\?xml\s[^<>]{0,200}?\?>")
_HEAD_CHARS = 4096  # A declaration that comes later is not looked for.
_LEADING_DIRECTIVES = re.compile(
    r"\s*(?:(?:\{#(?:(?!#\}).)*#\}|\{%(?:(?!%\}).)*%\}|\{\{(?:(?!\}\}).)*\}\}|%\{[^}]*\})\s*)+", re.S
)
_SOUND_DECLARATION = re.compile(
    r"""<\?xml\s+version\s*=\s*(["'])1\.0\1(\s+encoding\s*=\s*(["'])[A-Za-z][\w.-]*\3)?"""
    r"""(\s+standalone\s*=\s*(["'])(yes|no)\5)?\s*\?>"""
)
_ENCODING = re.compile(r"""<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z][\w.-]*)["']""")
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_UTF_32 = re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff|[<\s]\0\0\0|\0\0\0[<\s]")
_NO_MARK = ((re.compile(rb"[<\s]\0[!-~\s]\0"), "utf-16-le"), (re.compile(rb"\0[<\s]\0[!-~\s]"), "utf-16-be"))
_CUT = "\0\x1a"  # what a copy is padded with, or ended by
_UTF_16 = frozenset({"utf-16", "utf-16le", "utf-16be", "unicode", "ucs-2", "iso-10646-ucs-2"})
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_OTHERS = re.compile(r"iso-8859-\d\d?|windows-125\d|gb2312|gbk|gb18030|big5|shift_jis|euc-jp|euc-kr|koi8-[ru]")

_Text = tuple[str, bytes, str]  # characters, byte-order mark, codec


def _decoded(source: bytes, found: list[Diagnostic]) -> _Text | None:
    """The characters; None, with a finding, when there is no telling."""
    if len(source) > SOURCE_BYTES_MAX:
        mend = f"at most {SOURCE_BYTES_MAX >> 20} MiB is read"
        found.append(_error(1, "too-large", f"the file has {len(source)} bytes", mend))
        return None
    if (other := mistaken.by_bytes(source)) is not None:
        found.append(_error(1, "no-answers", f"this is no answer file: it is {other[0]}", other[1]))
        return None
    if _UTF_32.match(source):
        found.append(_error(1, "encoding", "the file is in UTF-32, which Windows does not read", "save it as UTF-8"))
        return None
    mark, codec = next(((mark, codec) for mark, codec in _MARKS if source.startswith(mark)), (b"", ""))
    if not codec:
        codec = next((codec for pattern, codec in _NO_MARK if pattern.match(source)), "utf-8")
    raw = source[len(mark) :]
    if not raw.strip():
        found.append(_error(1, "empty", "the file is empty", "write <unattend> with at least one <settings>"))
        return None
    head = raw[:1024].decode(codec, errors="ignore")
    declared = _ENCODING.search(head)
    name = declared[1].lower() if declared is not None else ""
    wide = codec != "utf-8"
    if name and (name in _UTF_16) is not wide:
        message = f"the declaration says {name}, but the file is in {'UTF-16' if wide else 'UTF-8'}"
        found.append(_error(1, "encoding", message, "make both the same; UTF-8 is the usual"))
    elif name and not wide and name not in _UTF_8:
        if mark or _OTHERS.fullmatch(name) is None:
            found.append(_error(1, "encoding", f"the encoding {name} is not known here", "save the file as UTF-8"))
            return None
        message = f"the file is in {name}; Windows Setup is told to read UTF-8"
        found.append(_warning(1, "encoding", message, "save the file as UTF-8"))
        codec = name
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError as error:
        line = raw[: error.start].decode(codec, errors="replace").count("\n") + 1
        message = f"byte {len(mark) + error.start} is not {codec.upper()}"
        found.append(_error(line, "encoding", message, "save the file as UTF-8"))
        return None
    return (text, mark, codec) if _is_whole(text, found) else None


def _is_whole(text: str, found: list[Diagnostic]) -> bool:
    """Whether no byte stands in the text that ends it for whoever reads it: NUL, and DOS' own end of a file."""
    body = text.rstrip(_CUT + " \t\r\n")
    tail = text[len(body) :]
    at = body.find("\0")
    if at >= 0:
        line = body.count("\n", 0, at) + 1
        mend = "write the file anew: it is damaged, or in another encoding than it says"
        found.append(_error(line, "encoding", "a NUL character stands in the text", mend))
    elif any(one in tail for one in _CUT):
        message = f"control characters stand behind the end, {sum(tail.count(one) for one in _CUT)} of them"
        mend = "cut them off: whoever wrote the file padded it"
        found.append(_error(body.count("\n") + 1, "trailing-bytes", message, mend))
    else:
        return True
    return False


def _declaration(text: str) -> re.Match[str] | None:
    """The XML declaration, with what may stand before it."""
    found = _DECLARATION.search(text, 0, _HEAD_CHARS)
    return found if found is not None and "<" not in text[: found.start()] else None


def _blanked(text: str) -> str:
    """The text as the parser is to see it: no declaration and nothing before it, ends of lines as XML wants them."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    declaration = _declaration(text)
    if declaration is not None:
        return re.sub(r"[^\n]", " ", text[: declaration.end()]) + text[declaration.end() :]
    return text


def _prolog(text: str) -> int:
    """Where the first that is no comment and no instruction stands: the root, or a DTD, which no parser is to see."""
    at = 0
    while True:
        while text[at : at + 1].isspace():
            at += 1
        closing = "-->" if text.startswith("<!--", at) else "?>" if text.startswith("<?", at) else ""
        end = text.find(closing, at + 2) if closing else -1
        if end < 0:
            return at
        at = end + len(closing)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


# The tree -----------------------------------------------------------------------------------------------------


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, strip_cdata=False
    )


def _tree(text: str, parser: etree.XMLParser) -> etree._Element:
    return etree.fromstring(text.encode("utf-8", errors="surrogatepass"), parser)


def _serialized(node: etree._Element) -> str:
    return etree.tostring(node, encoding="unicode", with_tail=False)


_NAMED = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)[A-Za-z][A-Za-z0-9]*;")
_AMPERSAND = re.compile(r"&(?!(?:#\d+|#x[0-9A-Fa-f]+|amp|lt|gt|quot|apos);)")


def _malformed(error: etree.XMLSyntaxError, parser: etree.XMLParser, text: str) -> Diagnostic:
    """What the parser says first, which is where the fault is; its later words are about what follows of it."""
    log = list(parser.error_log)
    line = max(log[0].line, 1) if log else 1
    message = str(log[0].message if log else error.msg).strip()
    lines = text.split("\n", line)
    said = lines[line - 1] if line <= len(lines) else ""
    mend = "mend the XML"
    if _NAMED.search(said):
        mend = "XML knows no such name: write the character itself, or its number, &#169;"
    elif _AMPERSAND.search(said):
        mend = "write &amp; for &"
    elif message.startswith("Namespace prefix wcm"):
        mend = 'declare it: xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State"'
    elif said.startswith(("<<<<<<<", "=======", ">>>>>>>", "|||||||")):
        mend = "two versions were merged here: keep one, and remove the lines that mark them"
    elif "<%" in said or "{%" in said:
        mend = "this is a template: fill it in first"
    else:
        mend = next((mend for words, mend in _MENDS if words in message), mend)
    return _error(line, "not-xml", f"this is not well-formed XML: {message}", mend)


_MENDS = (
    ("attributes construct error", "a blank is missing between two attributes"),
    ("Attribute redefined", "keep one of the two attributes"),
    ("redefined", "keep one of the two attributes"),
    ("Specification mandates value", 'write the attribute as name="value"'),
    ("AttValue: \" or ' expected", "put the attribute's value into quotes"),
    ("Unescaped '<' not allowed", "a closing quote is missing before it, or write &lt; for <"),
    ("tag mismatch", "close each element by its own name, with the same capitals, in the order of opening"),
    ("Premature end of data", "close the elements that are open, the first one last"),
    ("Couldn't find end of Start Tag", "a > is missing at the end of the tag"),
    ("expected '>'", "a > is missing at the end of the tag"),
    ("Extra content at the end", "one element holds all of a file, and nothing stands behind it"),
    ("Comment not terminated", "close the comment with -->"),
    ("Double hyphen within comment", "write no -- within a comment"),
    ("Comment must not contain '--'", "write no -- within a comment"),
    ("Namespace prefix", "declare the prefix at the first element, or remove it"),
    ("CData section not finished", "close it with ]]>"),
    ("Sequence ']]>' not allowed", "write ]]&gt; for ]]>"),
    ("PCDATA invalid Char", "remove the control character"),
    ("xmlParseCharRef", "remove the character: XML cannot hold it"),
    ("StartTag: invalid element name", "write &lt; for a < that begins no element"),
    ("XML declaration allowed only", "keep the first <?xml … ?> alone"),
    ("Invalid PI name", "write <?xml in small letters, as the first of the file"),
    ("Excessive depth", "close what was opened: elements stand in one another, more than 256 deep"),
    ("Start tag expected", "let the file begin with the element that holds all of it"),
)
"""What the parser says, and what would be right."""


def _error(line: int, code: str, message: str, mend: str) -> Diagnostic:
    return Diagnostic(severity=Severity.ERROR, line=line, path="", code=code, message=message, mend=mend)


def _warning(line: int, code: str, message: str, mend: str) -> Diagnostic:
    return dataclasses.replace(_error(line, code, message, mend), severity=Severity.WARNING)

"""User-data as MIME parts: what the user brought is checked and taken apart, ours is added, all joined.

What the parts do in a guest is not known here; only their types, their encoding and what is refused. That differs
with who reads them: a `Reader` says how.
"""

from __future__ import annotations

import base64
import dataclasses
import difflib
import email
import email.message
import hashlib
import re
from collections.abc import Iterator, Sequence
from email import errors

from vmrole_unattend.errors import AnswersInvalid

SIZE_MAX_BYTES = 512 * 1024  # cloud-init has no limit of its own; this keeps a disc under a megabyte
SCRIPT = "text/x-shellscript"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads the parts in the guest, and what means something to it.

    `words` are first words of a text and the content types that they name; `untyped` the content types whose text is
    typed by its first line, unless the part's file name ends in one of `endings`; parts of the types `deaf_to` would
    be passed over in silence, and are refused instead. `first_lines` says all that to a person.
    """

    name: str
    words: tuple[tuple[str, str], ...]
    untyped: frozenset[str]
    first_lines: str
    loose: bool = False  # a first word is known in any case, behind blanks, and whatever follows it
    endings: tuple[str, ...] = ()
    deaf_to: frozenset[str] = frozenset()


# By the first line, as cloud-init does (cloudinit/handlers, INCLUSION_TYPES_MAP).
CLOUD_INIT = Reader(
    name="cloud-init",
    words=(
        ("#cloud-config-archive", "text/cloud-config-archive"),
        ("#cloud-config-jsonp", "text/cloud-config-jsonp"),
        ("#cloud-config", "text/cloud-config"),
        ("#cloud-boothook", "text/cloud-boothook"),
        ("#include-once", "text/x-include-once-url"),
        ("#include", "text/x-include-url"),
        ("#part-handler", "text/part-handler"),
    ),
    untyped=frozenset({"text/plain", "text/x-not-multipart", SCRIPT}),
    first_lines="begin with #cloud-config, #!, #cloud-boothook, #include or #cloud-config-archive, or be MIME",
    loose=True,  # cloudinit/handlers, type_from_starts_with
)

_TEMPLATE_TYPE = "text/jinja2"
_COMPRESSED = re.compile(r"application/(x-)?(gzip(-compressed|ped)?|gunzip|compress(ed)?)")
_MIME_HEADER = re.compile(r"(content-type|mime-version)[ \t]*:", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_YAML_KEY = re.compile(r"""[A-Za-z_][\w-]*:(\s|$)|[{"]""")
# What other programs read when a machine is first set up, by what no text for cloud-init has.
_OTHERS = (
    (re.compile(r'\s*\{(?=.*"ignition"\s*:)', re.DOTALL), "Ignition's JSON"),
    (
        re.compile(r"(.*\n)?variant:[ \t]*[\"']?(fcos|flatcar|openshift|r4e|fiot)\b", re.DOTALL),
        "a Butane file, for Ignition",
    ),
    (re.compile(r"(.*\n)?d-i[ \t]+\S+/\S+", re.DOTALL), "a preseed file, for Debian's installer"),
    (re.compile(r"(.*\n)?%packages\b.*\n%end\b", re.DOTALL), "a kickstart file, for Anaconda"),
)
_MEANT = 0.8  # how alike two first lines are when the one was meant for the other
_AS_IT_IS = ("", "7bit", "8bit", "binary")  # transfer encodings
_LINE_MAX = 998  # RFC 5322 section 2.1.1; longer lines travel as base64
_BASE64_COLUMNS = 76  # RFC 2045 section 6.8


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One part as it travels: header fields in order, and the body in the transfer encoding that they name."""

    headers: tuple[tuple[str, str], ...]
    body: str = dataclasses.field(repr=False)

    @property
    def is_text(self) -> bool:
        """Whether its type is text."""
        types = [value for name, value in self.headers if name.lower() == "content-type"]
        return not types or types[0].strip().lower().startswith("text/")


def part(content_type: str, text: str, filename: str = "") -> Part:
    """A part that holds `text`, readable where it is plain ASCII, else as base64 of UTF-8."""
    encoding, body = _encoded(text)
    headers = [
        ("Content-Type", f'{content_type}; charset="utf-8"'),
        ("MIME-Version", "1.0"),
        ("Content-Transfer-Encoding", encoding),
    ]
    if filename:
        headers.append(("Content-Disposition", f'attachment; filename="{filename}"'))
    return Part(tuple(headers), body)


def text_of(part: Part) -> str:
    """The text of a part whose type is text, as the guest will see it."""
    message = email.message.Message()
    for name, value in part.headers:
        message[name] = value
    if str(message.get("content-transfer-encoding", "")).strip().lower() in _AS_IT_IS:
        return part.body
    message.set_payload(part.body)
    whole = message.get_payload(decode=True)
    assert isinstance(whole, bytes), type(whole)
    return whole.decode()


def user_parts(user_data: str, *, where: str = "user-data", reader: Reader = CLOUD_INIT) -> tuple[Part, ...]:
    """The user's parts in his order; () for nothing. AnswersInvalid says what is wrong, where and what to do instead.

    Text of one type becomes one part of that type. A MIME message is taken apart into its leaves, each with the
    headers that it came with, so that ours can stand beside them. `where` names the text in errors.
    """
    if not user_data.strip():
        return ()
    _refuse_compressed(user_data, where)
    _refuse_control_characters(user_data, where)
    size_bytes = len(user_data.encode())
    if size_bytes > SIZE_MAX_BYTES:
        raise AnswersInvalid(
            f"{size_bytes} bytes are more than {SIZE_MAX_BYTES}",
            where=where,
            hint="keep large files in the image, or let the guest fetch them by #include",
        )
    if is_mime(user_data):
        return tuple(_leaves(user_data, where, reader))
    return (part(type_by_first_line(user_data, where, reader), user_data),)


def is_mime(text: str) -> bool:
    """Whether the text begins as a MIME message does."""
    return _MIME_HEADER.match(text) is not None


def join(parts: Sequence[Part]) -> bytes:
    """One multipart/mixed message. Equal parts give equal bytes; the boundary occurs in no part."""
    rendered = ["\n".join([*(f"{name}: {value}" for name, value in part.headers), "", part.body]) for part in parts]
    boundary = _boundary(rendered)
    head = f'Content-Type: multipart/mixed; boundary="{boundary}"\nMIME-Version: 1.0\n'
    return "".join([head, *(f"\n--{boundary}\n{text}" for text in rendered), f"\n--{boundary}--\n"]).encode("ascii")


def _boundary(rendered: Sequence[str]) -> str:
    """Made from what it divides; whoever puts it into his part changes it."""
    content = "\n".join(rendered)
    for attempt in range(100):
        boundary = "vmrole-" + hashlib.sha256(f"{attempt}\n{content}".encode()).hexdigest()[:32]
        if boundary not in content:
            return boundary
    raise AssertionError("a hundred hashes of a text cannot all be in it")


def _encoded(text: str) -> tuple[str, str]:
    """Transfer encoding and body."""
    if text.isascii() and all(len(line) <= _LINE_MAX for line in text.split("\n")):
        return "7bit", text
    whole = base64.b64encode(text.encode()).decode("ascii")
    lines = [whole[at : at + _BASE64_COLUMNS] for at in range(0, len(whole), _BASE64_COLUMNS)]
    return "base64", "\n".join(lines)


def type_by_first_line(text: str, where: str, reader: Reader = CLOUD_INIT) -> str:
    """The content type that the first line names; AnswersInvalid when it names none or one that is refused."""
    first = (text.lstrip().lower() if reader.loose else text).split("\n", 1)[0].rstrip("\r")
    if first.lower().startswith("## template:"):
        raise AnswersInvalid(
            "templates are refused",
            where=f"{where}: line 1",
            hint="write the values out: answers are what the guest gets, not a program that makes them up there",
        )
    if first.startswith("#!"):
        return SCRIPT
    for word, content_type in reader.words:
        whole = reader.loose or word[-1] == ">" or first[len(word) : len(word) + 1].strip() == ""
        if first.startswith(word) and whole:
            return content_type
    if text.startswith("\ufeff"):
        raise AnswersInvalid("begins with a byte-order mark", where=f"{where}: line 1", hint="save it without")
    for other, what in _OTHERS:
        if other.match(text):
            raise AnswersInvalid(
                f"this is {what}, which {reader.name} does not read",
                where=f"{where}: line 1",
                hint="say it in cloud-config; an image that sets itself up otherwise takes `answers: none`",
            )
    raise AnswersInvalid(
        f"the first line names no type that {reader.name} knows",  # and is not shown: it may be a secret
        where=f"{where}: line 1",
        hint=_first_line(text, reader),
    )


def _first_line(text: str, reader: Reader) -> str:
    """What the first line should be: most often somebody forgot it, or wrote it from memory."""
    lines = (line for line in text.splitlines() if line.strip() not in ("", "---") and not line.startswith("#"))
    first = re.sub(r"[\s_-]", "", text.lstrip().split("\n", 1)[0].lower())[:20]
    meant = difflib.SequenceMatcher(None, first, "#cloudconfig").ratio() > _MEANT
    if meant or _YAML_KEY.match(next(lines, "")):
        return "the first line must be #cloud-config: these look like settings of cloud-init"
    return f"it must {reader.first_lines}"


def _leaves(user_data: str, where: str, reader: Reader) -> Iterator[Part]:
    """The parts of a MIME message that are not containers, each checked."""
    try:
        found_parts = list(email.message_from_string(user_data).walk())
    except RecursionError as error:
        hint = "put the parts beside each other: cloud-init runs them in the order in which they stand"
        raise AnswersInvalid("MIME messages within MIME messages, too deep", where=where, hint=hint) from error
    leaves = 0
    for number, found in enumerate(found_parts):
        place = f"{where}: MIME part {number}" if number else f"{where}: MIME"
        _refuse_defects(found, place)
        if found.get_content_maintype() != "multipart":
            leaves += 1
            yield _leaf(found, place, reader)
    if not leaves:
        raise AnswersInvalid("a MIME message without a part", where=where, hint="begin each with the line --BOUNDARY")


def _leaf(found: email.message.Message, where: str, reader: Reader) -> Part:
    content_type = found.get_content_type()
    if found.is_multipart() or content_type in reader.deaf_to:
        hint = "like text/cloud-config or text/x-shellscript"
        raise AnswersInvalid(f"{content_type} means nothing to {reader.name}", where=where, hint=hint)
    if _COMPRESSED.fullmatch(content_type):
        raise AnswersInvalid(f"{content_type}: compressed parts are refused", where=where, hint="send it as it is")
    headers = tuple((name, str(value)) for name, value in found.raw_items())
    for name, value in headers:
        if not (name + value).isascii():
            hint = "write it in letters without accents"
            raise AnswersInvalid(f"header {name[:40]!r} is not ASCII", where=where, hint=hint)
    body = found.get_payload()
    assert isinstance(body, str), type(body)
    if found.get_content_maintype() != "text":
        if not body.isascii():
            raise AnswersInvalid(f"{content_type} is not ASCII", where=where, hint="encode it as base64")
        return Part(headers, body)
    text = _decoded(found, body, where)
    _refuse_control_characters(text, where)
    by_first_line = content_type in reader.untyped and not (found.get_filename() or "").endswith(reader.endings)
    if by_first_line or text.startswith("## template:") or content_type == _TEMPLATE_TYPE:
        type_by_first_line(text if content_type != _TEMPLATE_TYPE else "## template:", where, reader)
    if body.isascii():
        return Part(headers, body)
    # cloud-init reads characters beyond ASCII only from an encoded body.
    encoding, body = _encoded(text)
    kept = tuple((name, value) for name, value in headers if name.lower() != "content-transfer-encoding")
    return Part((*kept, ("Content-Transfer-Encoding", encoding)), body)


def _decoded(found: email.message.Message, body: str, where: str) -> str:
    """The text of a leaf as the guest will see it."""
    if str(found.get("content-transfer-encoding", "")).strip().lower() in _AS_IT_IS:
        return body
    whole = found.get_payload(decode=True)
    assert isinstance(whole, bytes), type(whole)
    _refuse_defects(found, where)  # decoding finds what reading did not
    try:
        return whole.decode()
    except UnicodeDecodeError as error:
        raise AnswersInvalid(
            f"not UTF-8 at byte {error.start}", where=where, hint="text parts are UTF-8; compressed ones are refused"
        ) from error


def _refuse_defects(found: email.message.Message, where: str) -> None:
    for defect in found.defects:
        reason = " ".join((type(defect).__doc__ or type(defect).__name__).split())
        raise AnswersInvalid(f"broken MIME: {reason}", where=where, hint=_remedy(defect))


def _remedy(defect: errors.MessageDefect) -> str:
    """What to do about what Python's reader of mail finds."""
    match defect:
        case errors.CloseBoundaryNotFoundDefect():
            return "end it with the line --BOUNDARY--; without it nobody knows whether something was cut off"
        case errors.NoBoundaryInMultipartDefect():
            return 'name the line between the parts: Content-Type: multipart/mixed; boundary="BOUNDARY"'
        case errors.StartBoundaryNotFoundDefect() | errors.MultipartInvariantViolationDefect():
            return "begin each part with the line --BOUNDARY, spelt as behind boundary="
        case (
            errors.InvalidBase64PaddingDefect()
            | errors.InvalidBase64CharactersDefect()
            | errors.InvalidBase64LengthDefect()
        ):
            return "encode the part anew: base64 FILE"
        case errors.InvalidMultipartContentTransferEncodingDefect():
            return "say the encoding in each part, not for all of them"
        case errors.FirstHeaderLineIsContinuationDefect() | errors.MissingHeaderBodySeparatorDefect():
            return "write each header as NAME: VALUE, and an empty line below them"
        case _:
            return "make it anew: cloud-init devel make-mime, or write one cloud-config"


def _refuse_compressed(user_data: str, where: str) -> None:
    if user_data.startswith(("\x1f\x8b", "H4sI")):  # RFC 1952 section 2.3.1, and the same in base64
        raise AnswersInvalid(
            "compressed user-data is refused, because nothing in it could be checked",
            where=where,
            hint=f"give it as text; it may have {SIZE_MAX_BYTES // 1024} KiB",
        )


def _refuse_control_characters(text: str, where: str) -> None:
    found = _CONTROL.search(text)
    if found:
        before = text[: found.start()]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise AnswersInvalid(
            f"control character U+{ord(found[0]):04X}",
            where=f"{where}: line {line}, column {column}",
            hint="use text; only tab and line ends may stand in it",
        )

"""A text of XML and edits in it: whatever no edit names keeps its bytes. Knows nothing of what the elements mean.

Serialising a tree anew would change quotes, blanks between attributes and the ends of lines; here the tree says what
to change, and the change is made in the text.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import re
from collections.abc import Callable, Iterable

from lxml import etree

from vmrole_unattend.windows import markup
from vmrole_unattend.windows.markup import children, elements, text_of

_TOKEN = re.compile(
    r"""(?P<other><!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>)|(?P<end></[^>]*>)|<(?:[^<>"']++|"[^"]*"|'[^']*')*+>""",
    re.S,
)
_COMMENT = re.compile(r"<!--.*?-->|(?P<literal><!\[CDATA\[.*?\]\]>)", re.S)
_COMMENT_ON_LINE = re.compile(r"(?:[ \t]*<!--(?:(?!-->)[^\r\n])*-->)*")
_NEWLINE = re.compile(r"\r\n|\r|\n")
_BLANK = " \t\r\n"

New = etree._Element | str
"""What is put in: an element with all below it, or the text of a comment."""


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """Where an element stands, in characters: its start tag, what it holds, its end tag."""

    start: int
    content: int
    content_end: int
    end: int

    @property
    def empty(self) -> bool:
        """Whether it is one tag, `<a/>`."""
        return self.content == self.end


def spans(text: str) -> list[Span]:
    """Each element of a well-formed text without a DTD, in the order of the start tags."""
    found: list[Span | None] = []
    opened: list[tuple[int, int, int]] = []
    for token in _TOKEN.finditer(text):
        if token["other"] is not None:
            continue
        if token["end"] is not None:
            index, start, content = opened.pop()
            found[index] = Span(start, content, token.start(), token.end())
        elif token[0].endswith("/>"):
            found.append(Span(token.start(), token.end(), token.end(), token.end()))
        else:
            opened.append((len(found), token.start(), token.end()))
            found.append(None)
    return [span for span in found if span is not None]


def in_tags(text: str, change: Callable[[str], str]) -> str:
    """The text with each start tag as `change` makes it; what stands between tags stays."""
    return _TOKEN.sub(lambda found: change(found[0]) if found["other"] is None else found[0], text)


class Splice:
    """A text, the tree that was read from it, and the edits that were asked for."""

    def __init__(self, text: str, root: etree._Element) -> None:
        self._text = text
        self._root = root
        self._span = dict(zip(elements(root), spans(text), strict=True))
        self._newlines = [end.end() for end in _NEWLINE.finditer(text)]
        ends = collections.Counter(end[0] for end in _NEWLINE.finditer(text)).most_common(1)
        self._newline = ends[0][0] if ends else "\n"
        self._unit = self._usual_indent()
        self._comment: Callable[[str], str] = lambda text: text
        self._edits: list[tuple[int, int, str]] = []
        self._first: dict[etree._Element, list[New]] = {}
        self._last: dict[etree._Element, list[New]] = {}

    def line(self, element: etree._Element) -> int:
        """The line of its start tag; 1 is the first."""
        return bisect.bisect_right(self._newlines, self._span[element].start) + 1

    # What can be asked for ------------------------------------------------------------------------------------

    def put_first(self, parent: etree._Element, new: New) -> None:
        """Makes it the first in `parent`; of several, the first asked for comes first."""
        self._first.setdefault(parent, []).append(new)

    def put_last(self, parent: etree._Element, new: New) -> None:
        """Makes it the last in `parent`, behind its comments."""
        self._last.setdefault(parent, []).append(new)

    def put_after(self, sibling: etree._Element, new: New) -> None:
        """Puts it behind an element and the comments on that element's last line."""
        found = _COMMENT_ON_LINE.match(self._text, self._span[sibling].end)
        at = found.end() if found is not None else self._span[sibling].end
        parent = sibling.getparent()
        assert parent is not None
        self._edits.append((at, at, self._lines([new], parent, self._own_line(sibling))))

    def set_text(self, element: etree._Element, text: str) -> None:
        """Gives it another text; comments in it stay."""
        self._fill(element, markup.escaped(text) + "".join(self._comments(element)))

    def set_content(self, element: etree._Element, like: etree._Element) -> None:
        """Makes it hold what `like` holds; its tags stay as they are, and comments in it move to its start."""
        if not children(like):
            self.set_text(element, text_of(like))
            return
        own, below = self._own_line(element), children(element)
        if below and self._own_line(below[0]) is None:
            own = None  # He wrote it on one line.
        indent = None if own is None else own + self._unit
        before = "" if indent is None else self._newline + indent
        kept = "".join(before + comment for comment in self._comments(element))
        after = "" if own is None else self._newline + own
        self._fill(element, kept + self._lines(children(like), element, indent) + after)

    def change_comments(self, change: Callable[[str], str]) -> None:
        """Gives every comment the text that `change` makes of its own; to be asked for before anything else."""
        self._comment = change
        for found in _TOKEN.finditer(self._text):
            if found[0].startswith("<!--"):
                new = f"<!--{change(found[0][4:-3])}-->"
                if new != found[0]:
                    self._edits.append((*found.span(), new))

    def result(self) -> str:
        """The text with all edits; one within what another fills anew is done with it."""
        for parent in {**self._first, **self._last}:
            self._put(parent, self._first.get(parent, []), self._last.get(parent, []))
        pieces, at = [], 0
        for start, end, new in sorted(self._edits, key=lambda edit: (edit[0], edit[1] > edit[0], -edit[1])):
            if start >= at:
                pieces += [self._text[at:start], new]
                at = end
        return "".join([*pieces, self._text[at:]])

    # How it is made -------------------------------------------------------------------------------------------

    def _put(self, parent: etree._Element, first: list[New], last: list[New]) -> None:
        span, below = self._span[parent], children(parent)
        own = self._own_line(parent)
        if below:
            indent = self._own_line(below[-1])
        else:
            indent = None if own is None else own + self._unit
            first, last = [], [*first, *last]
        after = "" if indent is None else self._newline + (own or "")
        if span.empty:
            self._fill(parent, self._lines(last, parent, indent) + after)
            return
        if first:
            self._edits.append((span.content, span.content, self._lines(first, parent, indent)))
        if last:
            held = self._text[span.content : span.content_end]
            blank = held[len(held.rstrip(_BLANK)) :]
            at = span.content_end - len(blank)
            after = "" if _NEWLINE.search(blank) else after
            self._edits.append((at, at, self._lines(last, parent, indent) + after))

    def _fill(self, element: etree._Element, inner: str) -> None:
        span = self._span[element]
        if not span.empty:
            self._edits.append((span.content, span.content_end, inner))
            return
        tag = self._text[span.start : span.end]
        head = tag[:-2].rstrip(_BLANK)
        name = re.split(r"[\s/>]", tag[1:], maxsplit=1)[0]
        self._edits.append((span.start + len(head), span.end, f">{inner}</{name}>"))

    def _comments(self, element: etree._Element) -> list[str]:
        span = self._span[element]
        held = self._text[span.content : span.content_end]
        found = [one[0] for one in _COMMENT.finditer(held) if one["literal"] is None]
        return [f"<!--{self._comment(one[4:-3])}-->" for one in found]

    def _own_line(self, element: etree._Element) -> str | None:
        """The blanks before an element that begins its line, else None."""
        start = begin = self._span[element].start
        while begin and self._text[begin - 1] in " \t":
            begin -= 1
        return self._text[begin:start] if not begin or self._text[begin - 1] in "\r\n" else None

    def _usual_indent(self) -> str:
        steps: collections.Counter[str] = collections.Counter()
        for element in self._span:
            parent = element.getparent()
            if parent is None:
                continue
            own, above = self._own_line(element), self._own_line(parent)
            if own and above is not None and own.startswith(above) and own != above:
                steps[own[len(above) :]] += 1
        return steps.most_common(1)[0][0] if steps else "  "

    def _lines(self, new: Iterable[New], parent: etree._Element, indent: str | None) -> str:
        """Each on a line of its own, the line's end before it; all on one line when `indent` is None."""
        step = None if indent is None else self._newline + indent
        return "".join(
            (step or "")
            + (f"<!--{one}-->" if isinstance(one, str) else markup.written(one, parent.nsmap, step, self._unit))
            for one in new
        )

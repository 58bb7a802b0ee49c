"""What in a text is to be filled in by another program before Windows sees it. Says nothing about a file."""

from __future__ import annotations

import re

_PLACEHOLDER = re.compile(
    r"\{\{.{0,99}?\}\}|\{%.{0,99}?%\}|<%.{0,99}?%>|<#.{0,99}?#>|\$\{.{0,99}?\}|\$\(.{0,99}?\)|\$[A-Za-z_]"
    r"|@@?\w{1,60}@@?|\[%.{0,99}?%\]|%%\w{1,60}%%|__\w{1,60}__|#{2,3}\w{1,60}##|\{\d\}|\[\[\w{1,60}\]\]"
    r"|%\{~?\s?(?:if|else|endif|for|endfor)\b.{0,99}?\}",
    re.S,
)
_WHOLE = re.compile(
    r"%[\w.-]+%|<[^<>]+>|\[[^\[\]]+\]|\{[^{}]+\}|\$\w+\$?|#\w+#|!\w+!|~\w+~|@\w+|\|\w+\||\*{3,}.*|\$.*\$|[xX_?]{3}[xX_.?-]*"
)
_TEMPLATE = re.compile(
    r"\{\{.{0,99}?\}\}|#{2,3}\w{1,60}##|\{%.{0,99}?%\}|<%.{0,99}?%>|\[%.{0,99}?%\]|@@\w{1,60}@@|\$\{\w{1,60}\}"
    r"|%\{~?\s?(?:if|else|endif|for|endfor)\b.{0,99}?\}",
    re.S,
)
_DIRECTIVE = re.compile(
    r"\{%|<%|\[%|%\{~?\s?(?:if|else|endif|for|endfor)\b|\{\{[-~]?\s?(?:if|else|end|range|with|#|\^|/)"
)
_HANDLE = re.compile(r"@\w+")  # Nobody names a variable so who may not have meant a password.
_LOOKED_AT_CHARS = 400  # No name or number is longer.


def is_placeholder(text: str) -> bool:
    """Whether the text is to be filled in by another program before Windows sees it."""
    head = text[:_LOOKED_AT_CHARS]
    return _PLACEHOLDER.search(head) is not None or _WHOLE.fullmatch(head) is not None


def has_branches(text: str) -> bool:
    """Whether a template decides there what comes, so that not all that stands beside it is meant at once."""
    return _DIRECTIVE.search(text) is not None


def is_all_placeholder(text: str) -> bool:
    """As `is_placeholder`, for a password: Pa$$w0rd and @Sommer24 are none, $password and {{ password }} are."""
    head = text[:_LOOKED_AT_CHARS]
    whole = any(one.fullmatch(head) for one in (_WHOLE, _PLACEHOLDER)) and not _HANDLE.fullmatch(head)
    return whole or _TEMPLATE.search(head) is not None


def template(text: str) -> str:
    """The first thing in a text that only a template has; "" without one."""
    found = _TEMPLATE.search(text[:_LOOKED_AT_CHARS])
    return found[0] if found is not None else ""

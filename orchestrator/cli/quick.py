"""The quick way: plain `get` commands, which people and their scripts repeat all day, without importing click.

Only `[--socket PATH] get KIND [NAME] [-o FORM] [--no-headers]` is understood here. Whatever else a command line
holds, help and faults included, is left to click, which stays the one place that defines the options of `get`; a
test compares the two. click alone takes 20 ms, twice as long as Python needs to start.
"""

from __future__ import annotations

from orchestrator.cli.listing import KINDS, print_list
from orchestrator.cli.render import FORMATS
from orchestrator.client.client import Client


class Request:
    """A `get` that was understood."""

    def __init__(self, socket: str, kind: str, name: str, form: str, *, headers: bool) -> None:
        self.socket = socket
        self.kind = kind
        self.name = name
        self.form = form
        self.headers = headers

    def answer(self) -> None:
        """Asks the daemon and prints."""
        print_list(Client(self.socket), self.kind, self.name, self.form, headers=self.headers)


def understood(words: list[str]) -> Request | None:
    """The request that the words are, or None when click shall read them."""
    left = list(words)
    socket = ""
    if len(left) > 2 and left[0] == "--socket":
        socket = left[1]
        del left[:2]
    if not left or left.pop(0) != "get":
        return None
    form, headers, names = "table", True, []
    while left:
        word = left.pop(0)
        if word in ("-o", "--output") and left:
            form = left.pop(0)
        elif word == "--no-headers":
            headers = False
        elif word.startswith("-"):
            return None
        else:
            names.append(word)
    if not 1 <= len(names) <= 2 or form not in FORMATS:
        return None
    kind = names[0] if names[0] in KINDS else f"{names[0]}s"
    if kind not in KINDS:
        return None
    return Request(socket, kind, names[1] if len(names) == 2 else "", form, headers=headers)

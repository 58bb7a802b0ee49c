"""Passwords, keys and join blobs: where one comes from, and what keeps it from being shown.

A wish names its secret by a `SecretRef`, which may be stored and printed. Whoever makes the disc turns it into a
`Secret`, which may not: its text comes out by `reveal` alone, so that every place that reveals one can be found.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import NoReturn


class SecretSource(enum.StrEnum):
    """Where a secret comes from."""

    SECRET = "secret"  # noqa: S105 - a name in the directory of the host's owner
    FILE = "file"  # the same by its absolute path; one newline at a file's end does not belong to the secret
    ENV = "env"  # an environment variable of whoever makes the disc
    CREDENTIAL = "credential"  # a name below $CREDENTIALS_DIRECTORY; systemd.exec(5)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Names a secret and does not hold it."""

    source: SecretSource
    name: str

    def __str__(self) -> str:
        return f"{self.source} {self.name}"


class Secret:
    """A text that shows itself to nobody who does not ask for it by `reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    __hash__ = None  # type: ignore[assignment] # a hash would let a short secret be guessed

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is neither pickled nor copied into a message")


Reveal = Callable[[SecretRef], Secret]
"""Fetches a secret; raises AnswersInvalid, naming the reference and never the text, when there is none."""

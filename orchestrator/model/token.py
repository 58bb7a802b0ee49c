"""Those who may come from the network."""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from orchestrator.errors import InvalidInput
from orchestrator.model.right import Right

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Somebody who is let in from the network: by the secret of which this is the digest, or by a certificate of
    the configured authority whose common name is the name. The secret itself is kept nowhere.
    """

    name: str
    right: Right
    digest: str = dataclasses.field(default="", repr=False)  # SHA-256, hexadecimal; "": by a certificate
    made_at_s: float  # seconds since the epoch, as the next
    expires_at_s: float
    made_by: str  # "uid 0"
    revision: int = 0  # of the record

    @property
    def party(self) -> str:
        """As what the log names who comes by it."""
        return f"token {self.name}" if self.digest else f"certificate {self.name}"


def token_name(text: str) -> str:
    """The text, which may name a token; raises InvalidInput."""
    if _NAME.fullmatch(text) is None:
        hint = "letters, digits, '.', '_', '@' and '-', up to 63 of them, such as ci or alice@example.com"
        raise InvalidInput(f"{text[:80]!r} is no name of a token", hint=hint)
    return text

"""Tokens: made, listed, taken away, and known again by what somebody brings.

A secret has 256 random bits, so that its digest needs no salt and nobody can guess his way to it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import logging
import secrets
import threading
from typing import Final

from orchestrator.control import records
from orchestrator.control.present import Present
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.model.right import Right
from orchestrator.model.token import Token, token_name
from orchestrator.ports import Clock

PREFIX: Final = "vmrole_"  # what looks for secrets in files and logs knows one by it
SECRET_CHARS: Final = len(PREFIX) + 43  # 32 bytes in base64url
TOKENS_MAX: Final = 256
LIFE_MIN_S: Final = 60.0
LIFE_MAX_S: Final = 3650 * 86_400.0

log = logging.getLogger(__name__)


class Tokens:
    """All tokens. Thread-safe.

    Which ones there are is kept in one tuple: it is asked for in the event loop, before each message to whoever came
    by one, and must wait for no store. This daemon alone writes them.
    """

    def __init__(self, present: Present, clock: Clock) -> None:
        self._present = present
        self._clock = clock
        self._changing = threading.Lock()
        self._known = tuple(present.all(Token))

    def all(self) -> tuple[Token, ...]:
        """By name."""
        return self._known

    def create(
        self, name: str, right: Right, *, life_s: float, by: str, certificate: bool = False
    ) -> tuple[Token, str]:
        """A new token and its secret, which nobody sees again; "" for one that a certificate stands for.

        Raises InvalidInput, or Conflict when there is one of that name.
        """
        token_name(name)
        if not LIFE_MIN_S <= life_s <= LIFE_MAX_S:
            hint = "a minute at least, and ten years at most: 12h, 90d"
            raise InvalidInput(f"no token is for {life_s:.0f} seconds", hint=hint)
        secret = "" if certificate else PREFIX + secrets.token_urlsafe(32)
        now_s = self._clock.now_s()
        token = Token(
            name=name,
            right=right,
            digest=_digest(secret.encode()) if secret else "",
            made_at_s=now_s,
            expires_at_s=now_s + life_s,
            made_by=by,
        )
        with self._changing:
            if any(one.name == name for one in self._known):
                raise Conflict(f"there is a token {name!r}", hint=f"vmrole token rm {name}, or take another name")
            if len(self._known) >= TOKENS_MAX:
                hint = "remove those that nobody uses: vmrole token ls"
                raise Conflict(f"there are {TOKENS_MAX} tokens", hint=hint)
            token = dataclasses.replace(token, revision=self._present.commit([records.put(token)]))
            self._known = tuple(sorted((*self._known, token), key=lambda one: one.name))
        return token, secret

    def remove(self, name: str) -> Token:
        """Takes a token away: from now on it opens nothing, also where it had been let in. Raises NotFound."""
        with self._changing:
            token = next((one for one in self._known if one.name == name), None)
            if token is None:
                raise NotFound(f"there is no token {name[:80]!r}", hint="run: vmrole token ls")
            self._present.commit([records.drop(token)])
            self._known = tuple(one for one in self._known if one is not token)
        return token

    def by_secret(self, secret: bytes) -> Token | None:
        """The token with this secret, if it has not expired."""
        digest = _digest(secret)
        same = [one for one in self._known if one.digest and hmac.compare_digest(one.digest, digest)]
        return next((one for one in same if self.stands(one)), None)

    def by_certificate(self, name: str) -> Token | None:
        """What the certificate of this common name stands for, if it has not expired."""
        return next((one for one in self._known if not one.digest and one.name == name and self.stands(one)), None)

    def stands(self, token: Token) -> bool:
        """Whether it still opens anything: it was not taken away, and its time is not over."""
        return token in self._known and self._clock.now_s() < token.expires_at_s


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()

"""Who a visitor from the network is: a token or a certificate says so, and few tries are free."""

from __future__ import annotations

import collections
import dataclasses
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Final

from orchestrator.api.peers import Caller
from orchestrator.control.tokens import SECRET_CHARS, Tokens
from orchestrator.errors import Busy, Denied
from orchestrator.model.token import Token
from orchestrator.ports import Clock

FAILURES_FREE: Final = 20  # of one address, before it has to wait
FAILURE_EVERY_S: Final = 3.0  # one more is free again
_ADDRESSES_MAX: Final = 4096  # that are remembered; who failed longest ago is forgotten first
_PREFIX_BITS: Final = 64  # of an IPv6 address: whoever has one has the others
_BEARER: Final = re.compile(rb"(?i:bearer) +([!-~]+) *")  # RFC 6750
_HINT: Final = "vmrole token create, on the host; then here: vmrole context add"


class Failures:
    """How often each address has failed of late. Event loop only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._level: collections.OrderedDict[str, tuple[float, float]] = (
            collections.OrderedDict()
        )  # count, since when

    def check(self, address: str) -> None:
        """Raises Busy for one that has to wait: whatever it brings is not looked at."""
        left = self._now(address) - FAILURES_FREE + 1
        if left > 0:
            told = f"{address} has failed too often to say who asks"
            raise Busy(told, hint=f"try again in {int(left * FAILURE_EVERY_S) + 1} s, with the right token")

    def add(self, address: str) -> None:
        """One more."""
        self._level[address] = self._now(address) + 1, self._clock.monotonic_s()
        self._level.move_to_end(address)
        while len(self._level) > _ADDRESSES_MAX:
            self._level.popitem(last=False)

    def _now(self, address: str) -> float:
        count, since_s = self._level.get(address, (0.0, 0.0))
        return max(0.0, count - (self._clock.monotonic_s() - since_s) / FAILURE_EVERY_S)


class Gate:
    """Lets in who brings a token that stands, or a certificate that one stands for. Event loop only."""

    def __init__(self, tokens: Tokens, clock: Clock) -> None:
        self._tokens = tokens
        self._failures = Failures(clock)

    def caller(self, visitor: Visitor, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Who asks. Raises Denied when nothing says so, Busy for an address that has failed too often.

        Where a request brings a token, that alone counts, whatever certificate its connection has.
        """
        self._failures.check(visitor.party)
        said = [value for key, value in headers if key.lower() == b"authorization"]
        token = self._by_secret(said) if said else self._by_certificate(visitor.certificate)
        if token is None:
            self._failures.add(visitor.party)
            raise Denied("nothing that is known here says who asks", hint=_HINT)
        return Caller(
            party=token.party,
            whence=visitor.address,
            right=token.right,
            stands=lambda: self._tokens.stands(token),
        )

    def _by_secret(self, said: list[bytes]) -> Token | None:
        bearer = _BEARER.fullmatch(said[0]) if len(said) == 1 else None
        if bearer is None or len(bearer[1]) != SECRET_CHARS:
            return None
        return self._tokens.by_secret(bearer[1])

    def _by_certificate(self, name: str) -> Token | None:
        return self._tokens.by_certificate(name) if name else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A connection from the network. `certificate` is the common name in one that the configured authority signed."""

    gate: Gate
    address: str
    certificate: str
    hang_up: Callable[[], None]

    @property
    def party(self) -> str:
        """As which he fails and takes places while it is not known who he is."""
        return party_of(self.address)

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """See Gate.caller."""
        return self.gate.caller(self, headers)

    def __str__(self) -> str:
        return f"somebody ({self.address})"


def party_of(address: str) -> str:
    """An address, or the network of which somebody has all of them."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "address ?"
    if isinstance(known, ipaddress.IPv6Address):
        if known.ipv4_mapped is not None:
            return f"address {known.ipv4_mapped}"
        return f"network {ipaddress.IPv6Network((known, _PREFIX_BITS), strict=False)}"
    return f"address {known}"

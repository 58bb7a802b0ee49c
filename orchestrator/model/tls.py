"""How an endpoint proves to clients who it is: certificates by the names of their secrets, never by their texts."""

from __future__ import annotations

import dataclasses

from vmrole_unattend.secret import SecretRef


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Where a certificate with its chain is, as PEM, and where its key is; None: behind it in the same text."""

    certificate: SecretRef
    key: SecretRef | None = None

    def __str__(self) -> str:
        return str(self.certificate) if self.key is None else f"{self.certificate} with {self.key}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tls(Certificate):
    """The certificate of clients that ask for no name, or for one of its own, and those for other names."""

    more: tuple[Certificate, ...] = ()
    redirect_from: int | None = None  # a port of the VIP that sends clients on to the endpoint's

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """All of them; the first is for whoever asks for no name."""
        return (Certificate(certificate=self.certificate, key=self.key), *self.more)

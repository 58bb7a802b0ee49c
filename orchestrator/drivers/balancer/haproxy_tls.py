"""Certificates of endpoints: from their secrets into files that HAProxy loads, and anew when a secret has changed.

What was good once goes on to be served while its secret is away or does not fit together: who renews a certificate
and its key writes them one after the other. The files are the daemon's own user's alone; their names are of the
certificate's digest, so that a configuration with another certificate is another one.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from vmrole_unattend import AnswersInvalid
from vmrole_unattend.secret import Reveal, SecretRef

from orchestrator.drivers.tools.certificates import Bundle, fetch
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.model import Certificate, Frontend

_WRITABLE: Final = "HAProxy's directory must be writable for the daemon"


def no_secrets(_service: str) -> Reveal:
    """For a balancer that is given no endpoints with certificates."""

    def reveal(wanted: SecretRef) -> NoReturn:
        raise AnswersInvalid("no secrets are kept for this balancer", where=str(wanted))

    return reveal


class Certificates:
    """The files of one HAProxy's certificates, in a directory of their own.

    Not thread-safe, but for `faults`, which anybody may ask at any time.
    """

    def __init__(self, place: Path, secrets: Callable[[str], Reveal]) -> None:
        """`secrets`: whence a service, by its name, has its secrets."""
        self._place = place
        self._secrets = secrets
        self._faults: dict[Frontend, str] = {}

    def files(self, frontend: Frontend) -> tuple[Path, ...]:
        """What HAProxy loads for the endpoint, the certificate for whoever asks for no name first; () without any.

        () as well while one of its certificates has never been good.
        """
        held = [self._held(frontend, wanted) for wanted in frontend.certificates]
        return tuple(path for path in held if path is not None) if None not in held else ()

    def faults(self) -> Sequence[str]:
        """What keeps certificates from being renewed or believed, a sentence each."""
        return [f"the certificate of {frontend.pool}: {why}" for frontend, why in self._faults.items()]

    def fault(self, frontend: Frontend) -> str:
        """Why the endpoint cannot be served at all; "" when it can."""
        if not frontend.certificates or self.files(frontend):
            return ""
        return f"no certificate for {frontend.pool}: {self._faults.get(frontend, 'it is not looked at yet')}"

    def renew(self, frontends: Iterable[Frontend]) -> None:
        """Looks at the secrets, and has a file of each certificate that HAProxy can serve with."""
        faults: dict[Frontend, str] = {}
        for frontend in frontends:
            for wanted in frontend.certificates:
                if why := self._renew(frontend, wanted):
                    faults[frontend] = why
        self._faults = faults  # at once: who asks meanwhile hears of the former look, never of half of this one

    def sweep(self, frontends: Iterable[Frontend]) -> None:
        """Removes what none of these endpoints shows any more."""
        used = {path for frontend in frontends for path in self.files(frontend)}
        with contextlib.suppress(FileNotFoundError):
            for path in self._place.iterdir():
                if path not in used:
                    path.unlink()
            if not used:
                self._place.rmdir()

    def _renew(self, frontend: Frontend, wanted: Certificate) -> str:
        try:
            bundle = fetch(wanted, self._secrets(frontend.service))
        except AnswersInvalid as error:
            return f"{error.where}: {error.message}"
        if bundle.loads:
            self._keep(frontend, wanted, bundle)
        return f"{wanted}: {bundle.fault}" if bundle.fault else ""

    def _keep(self, frontend: Frontend, wanted: Certificate, bundle: Bundle) -> None:
        """The file of this certificate as the newest of its place. Nobody else could read it at any moment."""
        path = self._place / f"{self._stem(frontend, wanted)}{bundle.digest}.pem"
        content = bundle.pem.reveal().encode()
        with file_faults(path, _WRITABLE):
            self._place.mkdir(exist_ok=True, mode=0o700)
            if self._held(frontend, wanted) == path and path.read_bytes() == content:
                return
            fresh = path.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            fresh.touch(mode=0o600, exist_ok=False)
            fresh.write_bytes(content)
            fresh.rename(path)

    def _held(self, frontend: Frontend, wanted: Certificate) -> Path | None:
        """The newest file of it."""
        found = self._place.glob(f"{self._stem(frontend, wanted)}*.pem")
        return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)

    @staticmethod
    def _stem(frontend: Frontend, wanted: Certificate) -> str:
        """By service and secrets: a certificate of several endpoints is one file."""
        named = f"{frontend.service}\0{wanted}"
        return hashlib.sha256(named.encode()).hexdigest()[:16] + "-"

"""SSH host keys that belong to an instance and not to its generation: made once, by ssh-keygen, kept as a secret.

They lie in STATE/identity/NAME, mode 0600 below 0700. A rebuild and a removal take them away.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import Permanent
from orchestrator.model import InstanceName

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "ed25519": (),
    "ecdsa": ("-b", "256"),
    "rsa": ("-b", "3072"),
}
"""Those that sshd looks for, and what ssh-keygen is told of each."""
_HINT = "the keys of instances must be writable for the daemon"


class HostKeys:
    """At most one thread asks for the same instance at a time."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def of(self, name: InstanceName) -> Mapping[str, str]:
        """The instance's keys as cloud-init's `ssh_keys` takes them; made when it has none.

        Raises Permanent without ssh-keygen, NoSpace or Transient when the disk fails.
        """
        place = self._layout.identity(name)
        with file_faults(place, _HINT):
            if not place.exists():
                self._make(place, name)
            return {
                key: (place / file).read_text()
                for kind in KINDS
                for key, file in ((f"{kind}_private", kind), (f"{kind}_public", f"{kind}.pub"))
            }

    def public(self, name: InstanceName) -> Mapping[str, bytes]:
        """The public halves, by kind; none when it has no keys. They come and go as one."""
        place = self._layout.identity(name)
        with file_faults(place, _HINT), contextlib.suppress(FileNotFoundError):
            return {kind: (place / f"{kind}.pub").read_bytes() for kind in KINDS}
        return {}

    def erase(self, name: InstanceName) -> None:
        """Removes the keys of the instance; absent is fine."""
        place = self._layout.identity(name)
        with file_faults(place, _HINT), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(place)

    def inventory(self) -> frozenset[InstanceName]:
        """Instances that keep keys on this host."""
        with file_faults(self._layout.identities, _HINT), contextlib.suppress(FileNotFoundError):
            return frozenset(
                InstanceName(place.name)
                for place in self._layout.identities.iterdir()
                if not place.name.startswith(".")
            )
        return frozenset()

    def _make(self, place: Path, name: InstanceName) -> None:
        """All of them or none: a crash leaves no instance with half its keys."""
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=place.parent) as unfinished:
            made = Path(unfinished) / "made"
            made.mkdir(mode=0o700)
            for kind, options in KINDS.items():
                words = ("-q", "-t", kind, *options, "-N", "", "-C", f"root@{name}", "-f", str(made / kind))
                _keygen(words)
            for file in made.iterdir():
                file.chmod(0o600)
                _sync(file)
            _sync(made)
            made.rename(place)
            _sync(place.parent)


def _keygen(words: tuple[str, ...]) -> None:
    try:
        run(["ssh-keygen", *words])
    except Permanent as error:
        hint = "identity.sshHostKeys: keep needs ssh-keygen on the host: apt-get install openssh-client"
        raise Permanent(f"SSH host keys cannot be made: {error}", hint=hint) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Stand-ins of the systems that distributions publish: `python -m tests.lab.long.distributions`, as root.

They are built outside of labs, which have no way to an archive; `make test-long` does it first.

All are Debian 12's packages: what a system is known by is how it is put together, first of all by who writes its
network. cloud-init, its renderers and the agent are the real ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from vmrole_images import builder, debian
from vmrole_images.report import BuildError

from tests.world.places import REPOSITORY

PLACE: Final = REPOSITORY / "build" / "images" / "distributions"
AGENT: Final = "qemu-guest-agent"
# As RHEL's package forbids them, in /etc/sysconfig/qemu-ga.
BLOCKED: Final = (
    "guest-file-open", "guest-file-close", "guest-file-read", "guest-file-write", "guest-file-seek",
    "guest-file-flush", "guest-exec", "guest-exec-status",
)  # fmt: skip
_BLOCKING: Final = f"[Service]\nExecStart=\nExecStart=/usr/sbin/qemu-ga --block-rpcs={','.join(BLOCKED)}\n"
_BY_IFUPDOWN: Final = ("ifupdown", "isc-dhcp-client")
_OF_NETWORKD: Final = ("systemd-networkd.service", "systemd-resolved.service")


@dataclasses.dataclass(frozen=True, slots=True)
class Distribution:
    """How it differs from the debian image, as which system does; `finish` has the last hand on its files."""

    like: str
    with_packages: Sequence[str]
    without_packages: Sequence[str]
    finish: Callable[[Path], None]

    def kind(self) -> debian.Kind:
        """For the debian image's recipe, without systemd-networkd and its resolver."""
        packages = sorted((set(debian.PACKAGES) | set(self.with_packages)) - set(self.without_packages))
        enabled = [unit for unit in debian.ENABLED if unit not in _OF_NETWORKD]
        return debian.Kind(packages=packages, enabled=enabled, finish=self.finish)


def _resolve_by_a_file(tree: Path) -> None:
    """Nobody has the file of name servers but who writes it."""
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    (tree / "etc/resolv.conf").write_text("")


def _block_what_rhel_does(tree: Path) -> None:
    _resolve_by_a_file(tree)
    (tree / "etc/systemd/system" / f"{AGENT}.service.d" / "block.conf").write_text(_BLOCKING)


ALL: Final = {
    "ifupdown": Distribution(
        "Debian 11 and others with ifupdown, without net-tools and resolvconf",
        _BY_IFUPDOWN, ("systemd-resolved",), _resolve_by_a_file,
    ),
    "network-manager": Distribution(
        "Fedora, Rocky: NetworkManager, and an agent that may neither read files nor run programs",
        ("network-manager",), ("systemd-resolved",), _block_what_rhel_does,
    ),
}  # fmt: skip


def image(name: str) -> Path:
    """Where it lies. Raises AssertionError where it is not what would be made now."""
    found = PLACE / f"{name}.qcow2"
    made = found.with_suffix(".made")
    recipe = made.read_text() if made.exists() else ""
    assert recipe == _recipe(), "first: sudo .venv/bin/python -m tests.lab.long.distributions"
    return found


def _recipe() -> str:
    """What tells whether it is to be built anew: the debian image's recipe, and this file."""
    recipe = builder.fingerprint("debian")["recipe"]
    return hashlib.sha256(f"{recipe} {Path(__file__).read_text()}".encode()).hexdigest()


def ensure(names: Sequence[str]) -> None:
    """Builds those that are not there; a minute each. Raises BuildError."""
    PLACE.mkdir(parents=True, exist_ok=True)
    for name in names:
        target = PLACE / f"{name}.qcow2"
        made = target.with_suffix(".made")
        if target.exists() and made.exists() and made.read_text() == _recipe():
            continue
        made.unlink(missing_ok=True)
        print(f"building {name}: {ALL[name].like}", flush=True)
        with tempfile.TemporaryDirectory(dir=PLACE, prefix=f".build-{name}-") as place:
            work = Path(place).resolve()
            debian.build(work / "image.qcow2", work, lambda line: None, ALL[name].kind())
            (work / "image.qcow2").chmod(0o644)
            (work / "image.qcow2").replace(target)
        made.write_text(_recipe())


def main(arguments: Sequence[str]) -> int:
    """All, or the ones that are named. Returns 1 where one could not be built, 2 where there is none of that name."""
    if unknown := set(arguments) - set(ALL):
        print(f"no such stand-in: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("images are built as root: sudo", file=sys.stderr)
        return 2
    try:
        ensure(arguments or list(ALL))
    except BuildError as error:
        print(f"error: {error}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

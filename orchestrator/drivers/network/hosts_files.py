"""The names of roles, for dnsmasq: a directory per service, which it watches, with a file for each role.

libvirt's own entries cannot say them: it takes no second address for a name (virNetworkUpdate). What changes in the
directory is known to dnsmasq at once, without a signal, and one file is exchanged for another as a whole.
"""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.model import Service, label, made_label, service_of

_HINT: Final = "look at who may change it, and at the file system"


def directory(root: Path, service_name: str) -> Path:
    """Where those of a service lie."""
    return root / made_label(service_name, "service")


def make(root: Path, service_name: str) -> None:
    """Makes the directory, before dnsmasq begins to watch it."""
    place = directory(root, service_name)
    with file_faults(place, _HINT):
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        place.mkdir(mode=0o755, exist_ok=True)


def write(root: Path, service: Service, ready: Mapping[str, Collection[str]]) -> None:
    """Writes what differs. A role of which nobody is ready has no file, and so no such name.

    Without the directory, which the network has from its beginning to its end, nothing is done.
    """
    place = directory(root, service.name)
    wanted = {label(role, "role"): _lines(service, role, ready[role]) for role in ready if ready[role]}
    with file_faults(place, _HINT), contextlib.suppress(FileNotFoundError):
        for file in list(place.iterdir()):
            if file.name not in wanted:
                file.unlink()
        for role, lines in wanted.items():
            file, beside = place / role, place / f".{role}"  # dnsmasq reads none that begins with a dot.
            if not file.exists() or file.read_text() != lines:
                beside.write_text(lines)
                beside.chmod(0o644)
                beside.rename(file)


def remove(root: Path, service_name: str) -> None:
    """Takes all of it away."""
    with file_faults(root, _HINT):
        if (place := directory(root, service_name)).exists():
            shutil.rmtree(place)


def services(root: Path) -> Iterator[str]:
    """Whose there are."""
    if root.is_dir():
        yield from (one.name for one in root.iterdir())


def _lines(service: Service, role: str, addresses: Collection[str]) -> str:
    """`web` and `web.shop`; in a second deployment, whose instances are called so, `web.shop--b` as well."""
    names = " ".join(dict.fromkeys((role, f"{role}.{service_of(service.name)}", f"{role}.{service.name}")))
    return "".join(f"{one} {names}\n" for one in sorted(addresses, key=ipaddress.ip_address))

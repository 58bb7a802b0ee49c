"""What a lab holds at one moment, so that two moments can be compared: the proof that nothing was left behind."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.lab.harness.places import CLIENT, HOST, Place

# libvirt makes these once, for NAT, and keeps its empty chains in them for good.
_LIBVIRT_TABLES = frozenset({"filter", "nat", "mangle", "libvirt_network"})
_DAEMONS = frozenset({"libvirtd", "virtlogd"})  # The lab's own; a test may restart them.


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Thing:
    """Something that can be left over; `removals` are the commands that take it away, each harmless if it is gone."""

    what: str
    place: Place = dataclasses.field(default=HOST, compare=False)
    removals: tuple[tuple[str, ...], ...] = dataclasses.field(default=(), compare=False)

    def remove(self) -> None:
        """Takes it away."""
        for argv in self.removals:
            self.place.run(argv, check=False)


def look(state: Path | None = None) -> frozenset[Thing]:
    """Everything in the lab now; `state` adds the files below that directory. libvirtd must be up."""
    return frozenset(_everything(state))


def _everything(state: Path | None) -> Iterator[Thing]:
    yield from _libvirt()
    yield from _links_and_addresses(HOST)
    yield from _links_and_addresses(CLIENT)
    yield from _tables()
    yield from _processes()
    for line in Path("/proc/self/mounts").read_text().splitlines():
        yield Thing(f"mount {line.split()[1]}", removals=(("umount", line.split()[1]),))
    for path in Path("/run/netns").iterdir():
        yield Thing(f"network namespace {path.name}", removals=(("ip", "netns", "del", path.name),))
    if state is not None and state.exists():
        for path in state.rglob("*"):
            if not path.is_dir():
                yield Thing(f"file {path}", removals=(("rm", "-f", str(path)),))


def _libvirt() -> Iterator[Thing]:
    """Domains, networks and filter bindings, running or only defined."""
    for name in HOST.run(["virsh", "list", "--all", "--name"]).stdout.split():
        undefine = ("virsh", "undefine", name, "--nvram", "--managed-save", "--snapshots-metadata")
        yield Thing(f"domain {name}", removals=(("virsh", "destroy", name), undefine))
    for name in HOST.run(["virsh", "net-list", "--all", "--name"]).stdout.split():
        yield Thing(
            f"libvirt network {name}", removals=(("virsh", "net-destroy", name), ("virsh", "net-undefine", name))
        )
    for line in HOST.run(["virsh", "nwfilter-binding-list"]).stdout.splitlines()[2:]:
        if line.strip():
            tap = line.split()[0]
            yield Thing(f"filter binding {tap}", removals=(("virsh", "nwfilter-binding-delete", tap),))


def _links_and_addresses(place: Place) -> Iterator[Thing]:
    for link in json.loads(place.run(["ip", "-j", "address"]).stdout):
        name = link["ifname"]
        yield Thing(f"{place.name}: link {name}", place, (("ip", "link", "del", name),))
        for address in link["addr_info"]:
            if address["scope"] == "link":
                continue  # The kernel makes these by itself, a second or two after a link came up.
            whole = f"{address['local']}/{address['prefixlen']}"
            yield Thing(
                f"{place.name}: address {whole} on {name}", place, (("ip", "address", "del", whole, "dev", name),)
            )


def _tables() -> Iterator[Thing]:
    for entry in json.loads(HOST.run(["nft", "-j", "list", "tables"]).stdout)["nftables"]:
        table = entry.get("table")
        if table is not None and table["name"] not in _LIBVIRT_TABLES:
            family, name = table["family"], table["name"]
            yield Thing(f"nft table {family} {name}", removals=(("nft", "delete", "table", family, name),))


def _processes() -> Iterator[Thing]:
    """Every process of the lab, less PID 1, libvirt's daemons, and the one that asks with its ancestors."""
    ours = {1, *_ancestry(os.getpid())}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in ours:
            continue
        try:
            name, rest = (entry / "stat").read_text().split(" (", 1)[1].rsplit(") ", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended while we looked.
        if not rest.startswith("Z") and name not in _DAEMONS:
            yield Thing(f"process {entry.name} {name}", removals=(("kill", "-KILL", entry.name),))


def _ancestry(pid: int) -> list[int]:
    """`pid` and its parents, up to PID 1."""
    line = []
    while pid > 0:
        line.append(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[1])
    return line

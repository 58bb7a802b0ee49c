"""Rows of the API as lines: which columns each kind has, how `get` asks for it. Knows nothing of click.

As in `client`, nothing is imported that `get` does not need.
"""

from __future__ import annotations

from orchestrator.cli import render
from orchestrator.cli.render import ago, clock, size
from orchestrator.cli.standstills import noted
from orchestrator.client import states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeVar

    from orchestrator.cli.render import Column, Row
    from orchestrator.client import wire
    from orchestrator.client.client import Client

    T = TypeVar("T")
    Columns = tuple[list[Column[T]], list[Column[T]]]  # narrow ones, and those of the wide form

_NAMED_MOST = 5
LABELLED = ("services", "instances")
KINDS = ("services", "instances", "images", "operations", "events")


def _waits(row: wire.InstanceView) -> str:
    told = row["failure"] if states.has_failed(row["phase"]) else row["waiting"]
    return told or ("a rollout: its VM is not as the file says" if row["stale"] else "")


def progress_of(row: wire.Operation | wire.Rollout) -> str:
    """How far an operation is, in a word."""
    return "paused" if row["paused"] and row["progress"] == "running" else row["progress"]


def _roles(row: wire.ServiceView) -> str:
    return ",".join(role["name"] for role in row["roles"])


def _wanted(row: wire.ServiceView) -> int:
    return sum(role["instances"] for role in row["roles"])


def _seats(row: wire.ServiceView) -> int:
    """How many members its pools shall have."""
    return sum(role["instances"] for role in row["roles"] if role["endpoints"])


def _up(row: wire.ServiceView) -> str:
    """How many of them the balancer has up; "" where there are none to be."""
    return f"{'?' if row['up'] is None else row['up']}/{_seats(row)}" if _seats(row) else ""


def warnings(row: wire.InstanceView) -> str:
    """What is wrong with an instance that goes on all the same."""
    agent = f"its agent is broken: {row['agent_fault']}" if row["agent_fault"] else ""
    clock_off = f"its clock is off by {row['clock_off_s']:.0f} s" if row["clock_off_s"] else ""
    return "; ".join(filter(None, (row["warning"], agent, clock_off)))


def _service_state(row: wire.ServiceView) -> str:
    if row["removing"]:
        return "removing"
    if row["serving"] + row["stopped"] != row["instances"] or row["instances"] != _wanted(row):
        return "changing"
    if row["stopped"] and not row["serving"]:
        return "stopped"
    return "serving" if row["up"] is None or row["up"] + row["stopped"] >= _seats(row) else "degraded"


_SERVICES: Columns[wire.ServiceView] = (
    [
        ("NAME", lambda row: row["name"]),
        ("VIP", lambda row: row["vip"]),
        ("SERVING", lambda row: f"{row['serving']}/{_wanted(row)}"),
        ("UP", _up),
        ("STATE", _service_state),
        ("AGE", lambda row: ago(row["created_at_s"])),
    ],
    [
        ("ROLES", _roles),
        ("NETWORK", lambda row: row["network"]["subnet"]),
        ("REVISION", lambda row: str(row["revision"])),
    ],
)
_INSTANCES: Columns[wire.InstanceView] = (
    [
        ("NAME", lambda row: row["name"]),
        ("PHASE", lambda row: row["phase"]),
        ("SINCE", lambda row: ago(row["phase_since_s"])),
        ("GENERATION", lambda row: str(row["generation"])),
        ("BOOT", lambda row: str(row["boot"])),
        ("ADDRESS", lambda row: row["address"]),
    ],
    [
        ("POOL", lambda row: row["standing"] or ""),
        ("CONNECTIONS", lambda row: "" if row["connections"] is None else str(row["connections"])),
        ("IMAGE", lambda row: row["image"]),
        ("MAC", lambda row: row["mac"]),
        ("BRIDGES", lambda row: ",".join(f"{one['bridge']}={one['address']}" for one in row["cards"])),
        ("IPV6", lambda row: row["address6"]),
        ("DOMAIN", lambda row: "" if row["domain"] is None else str(row["domain"])),
        ("DOORS", lambda row: ",".join(f"{end}={place}" for end, place in row["doors"].items())),
        ("WAITS FOR", _waits),
        ("WARNING", warnings),
    ],
)


def _reimages(row: wire.Image) -> str:
    """The warmest road that was tried, and that with local storage where it is another; see `image test --warm`."""
    tried = row["tried"]
    if tried is None:
        return ""
    plain, storage = tried["plain"]["warmest"], (tried["storage"] or tried["plain"])["warmest"]
    return plain if plain == storage else f"{plain}, {storage} with storage"


_IMAGES: Columns[wire.Image] = (
    [
        ("NAME", lambda row: ",".join(row["names"])),
        ("DIGEST", lambda row: row["sha256"][:12]),
        ("OS", lambda row: row["os"]),
        ("FORMAT", lambda row: row["format"]),
        ("SIZE", lambda row: size(row["size_bytes"])),
        ("VIRTUAL", lambda row: size(row["virtual_size_bytes"])),
        ("STATE", lambda row: "suspect" if row["suspect"] else "ok"),
        ("AGE", lambda row: ago(row["added_at_s"])),
    ],
    [("REIMAGES", _reimages), ("SHA256", lambda row: row["sha256"]), ("SUSPECT BECAUSE", lambda row: row["suspect"])],
)
_OPERATIONS: Columns[wire.Operation] = (
    [
        ("ID", lambda row: row["id"]),
        ("VERB", lambda row: row["verb"]),
        ("SUBJECT", lambda row: row["subject"]),
        ("TARGETS", lambda row: str(len(row["targets"]))),
        ("PROGRESS", progress_of),
        ("AGE", lambda row: ago(row["created_at_s"])),
    ],
    [("TOGETHER", lambda row: str(row["together"])), ("MESSAGE", lambda row: row["message"])],
)
_EVENTS: Columns[wire.Event] = (
    [
        ("TIME", lambda row: clock(row["at_s"])),
        ("SUBJECT", lambda row: row["subject"]),
        ("MESSAGE", lambda row: row["message"]),
    ],
    [
        ("PHASE", lambda row: row["phase"]),
        ("AT", lambda row: f"{row['generation']}.{row['boot']}" if row["generation"] else ""),
        ("NUMBER", lambda row: str(row["number"])),
    ],
)
_COLUMNS: dict[str, Columns[Any]] = {
    "services": _SERVICES,
    "instances": _INSTANCES,
    "images": _IMAGES,
    "operations": _OPERATIONS,
    "events": _EVENTS,
}


def columns(kind: str, form: str, *, shows_labels: bool = False) -> list[Column[Any]]:
    """The columns of a table; wide ones come after the others, before the last one of events."""
    narrow, more = _COLUMNS[kind]
    labels: list[Column[Any]] = [("LABELS", labels_of)] if shows_labels else []
    return [*narrow, *(more if form == "wide" else ()), *labels]


def lines(kind: str, rows: Sequence[Row], form: str, *, headers: bool = True) -> list[str]:
    """The rows in the form that was asked for."""
    if form in ("json", "yaml"):
        return [render.dump(list(rows), form)]
    if form == "name":
        return [name_of(kind, row) for row in rows]
    return render.table(columns(kind, form), rows, headers=headers)


def name_of(kind: str, row: Row) -> str:
    """What other verbs take for it."""
    match kind:
        case "operations":
            return str(row["id"])
        case "events":
            return str(row["number"])
        case "images":
            return str((row["names"] or [row["sha256"]])[0])
        case _:
            return str(row["name"])


def fetch(client: Client, kind: str, name: str, *, seats: bool = False) -> Sequence[Any]:
    """The rows of a kind, or those that the name narrows to."""
    match kind:
        case "services":
            return [client.service(name, seats=True)] if name else client.services(seats=True)
        case "images":
            return [client.image(name)] if name else client.images()
        case "operations":
            return [client.operation(name)] if name else client.operations()
        case "events":
            return client.events(name)
        case _:
            return client.instances(name, seats=seats)


def labels_of(row: wire.ServiceView | wire.InstanceView) -> str:
    """As `-l` takes them."""
    return ",".join(f"{key}={value}" for key, value in row["labels"].items())


def _selected(client: Client, kind: str, name: str, selector: str, *, seats: bool) -> Sequence[Any]:
    if kind == "services":
        return client.services(seats=True, labels=selector)
    return client.instances(name, seats=seats, labels=selector)


def _require(client: Client, subject: str) -> None:
    """Raises NotFound for a subject of which there is neither an event nor anything else: a slip of the pen."""
    from orchestrator.errors import NotFound

    try:
        client.service(subject)
    except NotFound:
        client.instances(subject)


def print_list(
    client: Client,
    kind: str,
    name: str,
    form: str,
    *,
    headers: bool,
    selector: str = "",
    shows_labels: bool = False,
    last: int | None = None,
) -> None:
    """All of `get` that is not watching; of events only the `last` so many. That automation is paused is talk,
    whatever the form is, and who is protected is, behind a table of instances.
    """
    shape = {"headers": headers, "shows_labels": shows_labels}
    for line in (*_print_list(client, kind, name, form, selector=selector, last=last, **shape), *noted(client)):
        render.say(line)


def _protected(rows: Sequence[wire.InstanceView]) -> list[str]:
    """That some are protected, which is easily forgotten; nothing where none is."""
    names = [row["name"] for row in rows if row["protected"]]
    more = f" and {len(names) - _NAMED_MOST} more" if len(names) > _NAMED_MOST else ""
    told = f"protected, so that no verb, apply or healing touches them: {', '.join(names[:_NAMED_MOST])}{more}"
    return [told] if names else []


def _print_list(
    client: Client,
    kind: str,
    name: str,
    form: str,
    *,
    headers: bool,
    selector: str,
    shows_labels: bool,
    last: int | None,
) -> list[str]:
    """Prints it, and returns what is to be said behind it."""
    if (kind, form) == ("services", "yaml"):  # Of these people make files.
        names = [name] if name else [row["name"] for row in client.services()]
        render.show(["---\n".join(client.service_file(each) for each in names).rstrip("\n")])
        return []
    seats = form not in ("table", "name")
    if last is not None:
        rows: Sequence[Any] = client.events(name, limit=last)
    elif selector:
        rows = _selected(client, kind, name, selector, seats=seats)
    else:
        rows = fetch(client, kind, name, seats=seats)
    if shows_labels and rows and form in ("table", "wide"):
        render.show(render.table(columns(kind, form, shows_labels=True), rows, headers=headers))
    elif rows or form in ("json", "yaml"):
        render.show(lines(kind, rows, form, headers=headers))
    elif kind == "events" and name:
        _require(client, name)
        render.say(f"no events of {name}")
    elif form != "name":
        render.say(f"no {kind}" + (f" of {name}" if name else ""))
    return _protected(rows) if kind == "instances" and form in ("table", "wide") else []

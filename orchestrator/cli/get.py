"""`vmrole get`: lists of nouns, once or as they change. With -o json the answer of the API, always a list."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from orchestrator.cli import render
from orchestrator.cli.names import any_name
from orchestrator.cli.render import Column, Row, ago, clock, size
from orchestrator.client import Client

KINDS = ("services", "instances", "images", "operations", "events")
_WATCHED = ("instances", "events", "operations")


def _waits(row: Row) -> str:
    return str(row["failure"] if row["phase"] == "failed" else row["waiting"])


def _roles(row: Row) -> str:
    return ",".join(role["name"] for role in row["roles"])


def _wanted(row: Row) -> int:
    return sum(int(role["instances"]) for role in row["roles"])


def _service_state(row: Row) -> str:
    if row["removing"]:
        return "removing"
    return "serving" if row["serving"] == row["instances"] == _wanted(row) else "changing"


_COLUMNS: dict[str, tuple[list[Column], list[Column]]] = {
    "services": (
        [
            ("NAME", lambda row: row["name"]),
            ("VIP", lambda row: row["vip"]),
            ("SERVING", lambda row: f"{row['serving']}/{_wanted(row)}"),
            ("STATE", _service_state),
            ("AGE", lambda row: ago(row["created_at_s"])),
        ],
        [
            ("ROLES", _roles),
            ("NETWORK", lambda row: row["network"]["subnet"]),
            ("REVISION", lambda row: str(row["revision"])),
        ],
    ),
    "instances": (
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
            ("WAITS FOR", _waits),
        ],
    ),
    "images": (
        [
            ("NAME", lambda row: ",".join(row["names"])),
            ("DIGEST", lambda row: row["sha256"][:12]),
            ("OS", lambda row: row["os"]),
            ("FORMAT", lambda row: row["format"]),
            ("SIZE", lambda row: size(row["size_bytes"])),
            ("VIRTUAL", lambda row: size(row["virtual_size_bytes"])),
            ("AGE", lambda row: ago(row["added_at_s"])),
        ],
        [("SHA256", lambda row: row["sha256"])],
    ),
    "operations": (
        [
            ("ID", lambda row: row["id"]),
            ("VERB", lambda row: row["verb"]),
            ("SUBJECT", lambda row: row["subject"]),
            ("TARGETS", lambda row: str(len(row["targets"]))),
            ("PROGRESS", lambda row: row["progress"]),
            ("AGE", lambda row: ago(row["created_at_s"])),
        ],
        [("TOGETHER", lambda row: str(row["together"])), ("MESSAGE", lambda row: row["message"])],
    ),
    "events": (
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
    ),
}
# Where a watch cannot know what is still to come, columns are at least as wide as this.
_LEAST = {"NAME": 16, "PHASE": 10, "SINCE": 5, "ADDRESS": 15, "SUBJECT": 16, "TIME": 8, "MESSAGE": 40, "MAC": 17}


def columns(kind: str, form: str) -> list[Column]:
    """The columns of a table; wide ones come after the others, before the last one of events."""
    narrow, more = _COLUMNS[kind]
    return [*narrow, *more] if form == "wide" else narrow


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
            return [client.service(name)] if name else client.services()
        case "images":
            return [client.image(name)] if name else client.images()
        case "operations":
            return [client.operation(name)] if name else client.operations()
        case "events":
            return client.events(name)
        case _:
            return client.instances(name, seats=seats)


def changes(client: Client, kind: str, name: str) -> Iterator[Row]:
    """Rows as they change, without an end."""
    match kind:
        case "events":
            messages = client.watch_events(name)
        case "operations":
            messages = client.watch_operation(name)
        case _:
            messages = client.watch_instances(_full(client, name))
    for told, value, _ in messages:
        if told == kind.removesuffix("s"):
            yield value
        elif told == "gone":
            yield value | {"phase": "gone"}


def _full(client: Client, name: str) -> str:
    found = client.instances(name) if name else []
    return found[0]["name"] if len(found) == 1 and found[0]["hostname"] == name else name


def watch(client: Client, kind: str, name: str, form: str, *, headers: bool) -> None:
    """Prints rows as they change, each by itself: JSON is one object a line."""
    if kind not in _WATCHED or (kind == "operations" and not name):
        raise click.UsageError("what can be watched: instances, events, and one operation by its ID")
    shape = columns(kind, form)
    widths = [max(len(header), _LEAST.get(header, 0)) for header, _ in shape]
    if headers and form in ("table", "wide"):
        render.show([render.pad([header for header, _ in shape], widths)])
    for row in changes(client, kind, name):
        if form == "json":
            render.show([json.dumps(row, ensure_ascii=False)])
        elif form == "yaml":
            render.show(["---", render.dump(row, form)])
        elif form == "name":
            render.show([name_of(kind, row)])
        else:
            render.show([render.pad([render.plain(cell(row)) or "-" for _, cell in shape], widths)])


class Kind(click.Choice[str]):
    """A kind, in the plural or the singular."""

    def __init__(self) -> None:
        super().__init__(KINDS)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """`instance` means `instances`."""
        return super().convert(f"{value}s" if f"{value}s" in KINDS else value, param, ctx)


@click.command()
@click.argument("kind", type=Kind())
@click.argument("name", default="", shell_complete=any_name)
@render.output_option
@click.option("-w", "--watch", "watching", is_flag=True, help="Go on and print what changes.")
@click.option("--no-headers", is_flag=True, help="Only rows.")
@click.pass_obj
def get(client: Client, kind: str, name: str, form: str, watching: bool, no_headers: bool) -> None:
    """Lists services, instances, images, operations or events.

    NAME narrows: instances and events to an instance, a role (web.shop) or a service.
    """
    if watching:
        watch(client, kind, name, form, headers=not no_headers)
        return
    rows = fetch(client, kind, name, seats=form not in ("table", "name"))
    if not rows and form in ("table", "wide"):
        render.say(f"no {kind}" + (f" of {name}" if name else ""))
        return
    render.show(lines(kind, rows, form, headers=not no_headers))

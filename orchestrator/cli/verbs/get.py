"""`vmrole get`: lists of nouns, once or as they change. With -o json the answer of the API, always a list."""

from __future__ import annotations

from collections.abc import Iterator

import click

from orchestrator.cli import render
from orchestrator.cli.listing import KINDS, LABELLED, columns, name_of, print_list
from orchestrator.cli.names import any_name
from orchestrator.cli.options import examples, output_option, selector_option
from orchestrator.cli.standstills import noted
from orchestrator.client import states
from orchestrator.client.client import Client
from orchestrator.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator.cli.render import Row

_WATCHED = ("instances", "events", "operations")
# Where a watch cannot know what is still to come, columns are at least as wide as this.
_LEAST = {"NAME": 16, "PHASE": 10, "SINCE": 5, "ADDRESS": 15, "SUBJECT": 16, "TIME": 8, "MESSAGE": 40, "MAC": 17}


def changes(client: Client, kind: str, name: str, selector: str) -> Iterator[Row]:
    """Rows as they change, without an end."""
    match kind:
        case "events":
            messages = client.watch_events(name)
        case "operations":
            messages = client.watch_operation(name)
        case _:
            messages = client.watch_instances(_full(client, name), labels=selector)
    for told, value, _ in messages:
        if told == kind.removesuffix("s"):
            yield value
        elif told == "gone" and kind == "instances":
            yield value | {"phase": states.GONE}
        elif told == "end" and isinstance(value, str):
            raise NotFound(value)


def _full(client: Client, name: str) -> str:
    """`web-0` as `web-0.shop`; a watch may also begin before there is anything to see."""
    try:
        found = client.instances(name) if name else []
    except NotFound:
        return name
    return found[0]["name"] if len(found) == 1 and found[0]["hostname"] == name else name


def watch(
    client: Client,
    kind: str,
    name: str,
    form: str,
    *,
    headers: bool,
    selector: str = "",
    shows_labels: bool = False,
) -> None:
    """Prints rows as they change, each by itself: JSON is one object a line."""
    if kind not in _WATCHED or (kind == "operations" and not name):
        raise click.UsageError("what can be watched: instances, events, and one operation by its ID")
    for line in noted(client, unasked=False):
        render.say(line)
    shape = columns(kind, form, shows_labels=shows_labels)
    widths = [max(len(header), _LEAST.get(header, 0)) for header, _ in shape]
    if headers and form in ("table", "wide"):
        render.show([render.pad([header for header, _ in shape], widths)])
    for row in changes(client, kind, name, selector):
        if form == "json":
            render.show([render.as_json(row)])
        elif form == "yaml":
            render.show(["---", render.dump(row, form)])
        elif form == "name":
            render.show([name_of(kind, row)])
        else:
            render.show([render.pad([render.plain(cell(row)) or "-" for _, cell in shape], widths)])


_OR = ", ".join(kind for kind in KINDS[:-1] if kind != "instances") + f" or {KINDS[-1]}"


class KindParam(click.Choice[str]):
    """A kind, in the plural or the singular."""

    def __init__(self) -> None:
        super().__init__(KINDS)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """`instance` means `instances`."""
        kind = value if value in KINDS else f"{value}s"
        if kind not in KINDS:
            self.fail(f"{value!r} is no kind; write: get instances {value}, with {_OR} likewise", param, ctx)
        return kind


@click.command(epilog=examples("vmrole get instances shop -o wide", "vmrole get events web-0.shop --watch"))
@click.argument("kind", type=KindParam(), metavar="KIND")
@click.argument("name", default="", shell_complete=any_name)
@output_option
@click.option("-w", "--watch", "watching", is_flag=True, help="Go on and print what changes.")
@click.option("--no-headers", is_flag=True, help="Only rows.")
@selector_option("services or instances")
@click.option("--show-labels", is_flag=True, help="A column with the labels of services or instances.")
@click.pass_obj
def get(
    client: Client,
    kind: str,
    name: str,
    form: str,
    watching: bool,
    no_headers: bool,
    selector: str | None,
    show_labels: bool,
) -> None:
    """Lists services, instances, images, operations or events.

    KIND is one of them, in the plural or the singular. NAME narrows: instances and events to an instance, a role
    (web.shop) or a service. Services in YAML are files that `apply` takes.
    """
    if (selector or show_labels) and kind not in LABELLED:
        raise click.UsageError(f"{kind} have no labels; {' and '.join(LABELLED)} do")
    if selector and kind == "services" and name:
        raise click.UsageError("-l selects among services: leave the name out")
    if watching:
        watch(client, kind, name, form, headers=not no_headers, selector=selector or "", shows_labels=show_labels)
    else:
        print_list(
            client, kind, name, form, headers=not no_headers, selector=selector or "", shows_labels=show_labels
        )

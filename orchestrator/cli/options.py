"""Options that several verbs share: --wait, --timeout, -o, and lengths of time as people write them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.refusals import exit_status, report
from orchestrator.cli.render import FORMATS
from orchestrator.errors import VmroleError

if TYPE_CHECKING:
    from orchestrator.client import wire

_UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)")


class Duration(click.ParamType[float]):
    """Seconds from "90", "90s", "1.5m", "10 min" or "2h"."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds; a usage error otherwise."""
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(value)
        if found is None or found[2] not in _UNITS_S:
            self.fail(f"{value!r} is no length of time; write 90s, 10m, 2h or 7d", param, ctx)
        return float(found[1]) * _UNITS_S[found[2]]


class WithLength(click.Command):
    """A command that takes `--for 30 min` in two words as well, as people write it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The usual, of the length in one word: where nothing else could be meant."""
        for at, (option, number, unit) in enumerate(zip(args, args[1:], args[2:], strict=False)):
            if option == "--":
                break
            if option == "--for" and unit in _UNITS_S and _DURATION.fullmatch(f"{number}{unit}"):
                after = args[at + 3 : at + 4]
                if number[-1:].isdigit() and (not after or after[0].startswith("-")):
                    args = [*args[: at + 1], f"{number}{unit}", *args[at + 3 :]]
                    break
        return super().parse_args(ctx, args)


class Labels(click.ParamType[str]):
    """What selects by labels; an empty one, as of a variable that is not set, is never taken for everything."""

    name = "labels"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; whether it is a selector is the daemon's to say."""
        if not value.strip():
            self.fail("an empty selector would select everything; leave -l out for that", param, ctx)
        return value


def selector_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option -l; None unless it was given."""
    return click.option(
        "-l", "--selector", type=Labels(), metavar="LABELS", help=f"Only {what} with: tier=front,env!=prod."
    )


by_bridge_option = click.option(
    "--by-bridge", is_flag=True, help="The address on a bridge of the host's, of instances that have one."
)


def bridge_address(instance: wire.InstanceView) -> str:
    """Its address on a bridge of the host's, the first of them; "": it has none."""
    return next((card["address"] for card in instance["cards"] if card["address"]), "")


def examples(*lines: str) -> str:
    """Command lines, as the end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  $ {line}" for line in lines)


def wait_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--wait and --timeout."""
    timeout = click.option("--timeout", type=Duration(), help="Wait at most so long: 90s, 10m. Exit status 4 then.")
    wait = click.option("--wait", "waits", is_flag=True, help="Return when it is done; show progress on stderr.")
    return wait(timeout(command))


def finding(command: Callable[..., int]) -> Callable[..., int]:
    """For verbs whose exit status 1 means that they have found something: an error of theirs has status 2 instead.

    An error with a status of its own keeps that.
    """

    @functools.wraps(command)
    def told_apart(*args: Any, **options: Any) -> int:  # noqa: ANN401
        try:
            return command(*args, **options)
        except VmroleError as error:
            status = exit_status(error)
            if status != 1:
                raise
            report(error)
            return 2

    return told_apart


def format_option(*forms: str, default: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option -o, of these forms: the first one unless given, or the default."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(forms),
        default=default or forms[0],
        show_default=True,
        help="How to print it.",
    )


output_option = format_option(*FORMATS)

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The daemon's configuration; VMROLE_CONFIG or /etc/vmrole/vmrole.toml unless given.",
)

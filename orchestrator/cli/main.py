"""The entry point: which verbs there are, where each lives, and which exit status an error has. No verb's work."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.client import Client

if TYPE_CHECKING:
    from orchestrator.errors import InvalidInput, VmroleError

INTERRUPTED = 130  # 128 + SIGINT, as shells count

# verb: the module that has it. The order is that of the help.
_VERBS = {
    "apply": "documents",
    "diff": "documents",
    "scale": "documents",
    "delete": "documents",
    "get": "get",
    "describe": "describe",
    "wait": "act",
    "restart": "act",
    "reimage": "act",
    "rebuild": "act",
    "why": "look",
    "events": "look",
    "console": "look",
    "image": "image",
    "verify": "look",
    "doctor": "host",
    "daemon": "host",
    "completion": "host",
    "version": "host",
}


class Verbs(click.Group):
    """A group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All verbs."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb, or None."""
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"orchestrator.cli.{_VERBS[cmd_name]}")
        found = getattr(module, cmd_name)
        assert isinstance(found, click.Command)
        return found


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--socket", metavar="PATH", envvar="VMROLE_SOCKET", default="", help="The daemon's socket.")
@click.pass_context
def vmrole(ctx: click.Context, socket: str) -> None:
    """Named instances from read-only images on plain Linux hosts.

    Exit status: 0 done, 1 error, 2 usage or a faulty file, 3 not found, 4 the time was over, 5 conflict, 6 denied,
    78 faulty configuration.
    """
    ctx.obj = Client(socket)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        status = vmrole.main(words, prog_name="vmrole", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except BrokenPipeError:  # `vmrole get … | head`: nobody reads on, and the flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from orchestrator.errors import VmroleError

        if not isinstance(error, VmroleError):
            raise
        report(error)
        return exit_status(error)
    return status if isinstance(status, int) else 0


def exit_status(error: VmroleError) -> int:
    """The exit status of an error; the table is in `errors`."""
    from orchestrator.errors import ConfigError, Conflict, Denied, InvalidInput, NotFound, WaitedTooLong

    match error:
        case InvalidInput():
            return 2
        case NotFound():
            return 3
        case WaitedTooLong():
            return 4
        case Conflict():
            return 5
        case Denied():
            return 6
        case ConfigError():
            return 78
        case _:
            return 1


def report(error: VmroleError) -> None:
    """Says on stderr what went wrong, then what to do."""
    from orchestrator.errors import InvalidInput

    print(f"error: {error}", file=sys.stderr)
    if isinstance(error, InvalidInput) and not (len(error.problems) == 1 and error.problems[0].message == str(error)):
        report_problems(error, "")
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


def report_problems(error: InvalidInput, file: str) -> None:
    """A line for each problem, in the manner of compilers: `shop.yaml:12: roles.web.size: what is wrong`."""
    for one in error.problems:
        place = ":".join(str(part) for part in (file, one.line) if part)
        words = [word for word in (place, one.key, one.message) if word]
        hint = f" ({one.hint})" if one.hint else ""
        print(": ".join(words) + hint, file=sys.stderr)

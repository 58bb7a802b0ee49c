"""The entry point: the quick way or click's. No verb's work.

As in `client`, nothing is imported that `get` does not need.
"""

from __future__ import annotations

import io
import os
import sys

from orchestrator.cli import quick, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

COMPLETE = "_VMROLE_COMPLETE"  # set by the shell's completion script; see `vmrole completion`
INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # A terminal that knows no UTF-8 must not end a command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(words)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # `vmrole get … | head`: nobody reads on.
        render.abandon(sys.stdout)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        return refusal
    return status


def daemon() -> int:
    """The program `vmroled`: the verb `daemon` under the name that a host's list of processes is searched for."""
    return main(["daemon", *sys.argv[1:]])


def _run(words: list[str]) -> int:
    request = None if COMPLETE in os.environ else quick.understood(words)
    if request is not None:
        request.answer()
        return 0
    import click

    from orchestrator.cli.table import vmrole

    try:
        status = vmrole.main(words, prog_name="vmrole", standalone_mode=False, complete_var=COMPLETE)
    except click.ClickException as error:
        render.say(_usage(error))
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _refusal(error: Exception) -> int | None:
    """The exit status of an error that is told here; None for a bug. Not where it was caught: a name there would
    keep it, with all that it met open.
    """
    from orchestrator.cli import refusals
    from orchestrator.errors import VmroleError

    refusal = render.unwritable(error) if isinstance(error, OSError) and _printing(error) else error
    if not isinstance(refusal, VmroleError):
        return None
    refusals.report(refusal)
    return refusals.exit_status(refusal)


def _usage(error: click.ClickException) -> str:
    text = io.StringIO()
    error.show(text)
    return text.getvalue().removesuffix("\n") + _example(error)


def _example(error: click.ClickException) -> str:
    """What the command looks like, behind the word that something of it is missing."""
    import click

    if not isinstance(error, click.MissingParameter) or error.ctx is None:
        return ""
    lines = [line.strip() for line in (error.ctx.command.epilog or "").splitlines()]
    shown = next((line.removeprefix("$ ") for line in lines if line.startswith("$ ")), "")
    return f"\nSuch as: {shown}" if shown else ""


def _printing(error: OSError) -> bool:
    """Whether it was raised where click prints help or a version: it leaves that to whoever calls it."""
    import traceback

    import click

    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_code is click.echo.__code__

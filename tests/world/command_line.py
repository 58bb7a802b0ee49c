"""The command line as tests call it and take it apart."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from orchestrator.cli.main import main
from orchestrator.cli.table import vmrole


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it, groups included."""
    left: list[tuple[str, click.Command]] = [("vmrole", vmrole)]
    while left:
        words, command = left.pop()
        yield words, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None, f"{words} {name}"
                left.append((f"{words} {name}", found))


def parsed(line: str) -> str:
    """The words of the command that a line calls; raises click's error when the command line refuses it."""
    command, (name, *arguments) = vmrole, shlex.split(line, comments=True)
    words, context = name, vmrole.make_context(name, arguments)
    while isinstance(command, click.Group):
        name, found, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None
        assert found is not None
        words, command = f"{words} {name}", found
        context = command.make_context(name, arguments, parent=context)
    return words


VMROLE = (sys.executable, "-m", "orchestrator.cli")
Run = Callable[..., tuple[int, str, str]]
"""Runs a command line; gives exit status, stdout and stderr."""


def runner(capsys: pytest.CaptureFixture[str], *first: str) -> Run:
    """Runs what begins with the words `first`, in this process."""

    def running(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([*first, *map(str, words)])
        out, err = capsys.readouterr()
        return status, out, err

    return running

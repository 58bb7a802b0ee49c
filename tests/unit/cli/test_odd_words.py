"""Words of a command line that are no text: bytes beyond UTF-8, which a shell hands over as they are."""

from __future__ import annotations

import io
import sys

import click
import pytest

from tests.world.command_line import Run, commands

NO_TEXT = "\udcff\x1b[31m"
"""As Python gives a program the byte FF, and what colours a terminal."""
_APART = ("daemon", "init", "backup", "restore", "support-bundle")  # they run, or a file may be called anything
CALLS = [
    [*words.split()[1:], *(NO_TEXT for one in command.params if isinstance(one, click.Argument))]
    for words, command in commands()
    if not isinstance(command, click.Group) and words.split()[1] not in _APART
]


@pytest.mark.parametrize("call", [call for call in CALLS if NO_TEXT in call], ids=lambda call: "-".join(call[:-1]))
def test_no_verb_breaks_on_what_is_no_text(run: Run, monkeypatch: pytest.MonkeyPatch, call: list[str]) -> None:
    """It says what it does not find, in words that can be printed."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    status, out, err = run(*call)
    assert status != 0
    assert out + err
    (out + err).encode()
    assert "\x1b" not in out + err


@pytest.mark.parametrize("verb", ["stop", "protect", "restart"])
def test_a_name_of_no_text_is_not_found(run: Run, verb: str) -> None:
    """And is no fault of the request's form."""
    status, _, err = run(verb, NO_TEXT)
    assert status in (2, 3)
    assert "traceback" not in err.lower()

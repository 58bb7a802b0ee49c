"""The command line's help: every command says in whole sentences what it does, and shows how it is used."""

from __future__ import annotations

import re

import click
import pytest

from orchestrator.cli.groups import first_sentence
from orchestrator.cli.table import vmrole
from tests.world.command_line import commands, parsed
from tests.world.places import REPOSITORY

VERBS = REPOSITORY / "orchestrator" / "cli" / "verbs"
EXAMPLE = re.compile(r"^ +\$ (vmrole .+)$", re.MULTILINE)
ALL = dict(commands())


def help_of(command: click.Command, words: str) -> str:
    """As `--help` prints it."""
    return command.get_help(click.Context(command, info_name=words))


def test_each_verb_lives_in_a_file_of_its_name() -> None:
    """A file in cli/verbs is called as its verb, or as a part of its group (`image_add.py` of `image`)."""
    verbs = {words.split()[1].replace("-", "_"): command for words, command in ALL.items() if words.count(" ") == 1}
    files = {path.stem.removesuffix("_") for path in VERBS.glob("*.py")} - {"__init_"}
    groups = tuple(f"{verb}_" for verb, command in verbs.items() if isinstance(command, click.Group))
    assert set(verbs) <= files
    assert not [file for file in files - set(verbs) if not file.startswith(groups)]


def test_every_command_is_looked_at() -> None:
    """Groups are gone into."""
    assert {"vmrole apply", "vmrole image add", "vmrole answers diff", "vmrole import"} <= set(ALL)


@pytest.mark.parametrize("words", ALL)
def test_help_is_whole_sentences(words: str) -> None:
    """What a command does and what each option means begin with a capital letter and end with a period."""
    command = ALL[words]
    paragraphs = re.split(r"\n\s*\n", (command.help or "").strip())
    said = {f"paragraph {number}": text.strip() for number, text in enumerate(paragraphs)}
    options = [one for one in command.params if isinstance(one, click.Option)]
    said |= {one.opts[0]: (one.help or "").strip() for one in options}
    assert {what: text for what, text in said.items() if not re.fullmatch(r"[A-Z-].*\.", text, re.DOTALL)} == {}


def in_full(words: str) -> str:
    """As `--help` prints it below the commands that it belongs to, on one line."""
    context = click.Context(vmrole, info_name="vmrole")
    for name in words.split()[1:]:
        group = context.command
        assert isinstance(group, click.Group)
        command = group.get_command(context, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=context)
    return " ".join(context.get_help().split())


@pytest.mark.parametrize("words", ALL)
def test_help_says_what_holds_unless_an_option_is_given(words: str) -> None:
    """Each option that has a default shows it; a flag's is that it was not given."""
    shown = in_full(words)
    for option in ALL[words].params:
        if isinstance(option, click.Option) and not option.is_flag and not option.multiple:
            default = option.to_info_dict()["default"]
            assert not default or f"default: {default}" in shown, option.opts


@pytest.mark.parametrize(
    ("words", "default"),
    [
        ("vmrole", "/run/vmrole/vmrole.sock"),
        ("vmrole", "VMROLE_SOCKET"),
        ("vmrole daemon", "/etc/vmrole/vmrole.toml"),
        ("vmrole doctor", "/etc/vmrole/vmrole.toml"),
        ("vmrole backup", "/etc/vmrole/vmrole.toml"),
        ("vmrole restore", "/etc/vmrole/vmrole.toml"),
        ("vmrole image test", "20 min"),
    ],
)
def test_help_says_what_the_program_finds_out_by_itself(words: str, default: str) -> None:
    """Defaults that no option holds."""
    assert default in in_full(words)


@pytest.mark.parametrize("words", ALL)
def test_help_has_examples_that_the_command_line_takes(words: str) -> None:
    """The first is of this command, or for a group of one of its own, and none is a fault of usage."""
    found = EXAMPLE.findall(help_of(ALL[words], words))
    assert found, f"no example: add examples(…) to {words}"
    called = [parsed(line) for line in found]
    assert f"{called[0]} ".startswith(f"{words} "), found


@pytest.mark.parametrize("words", [words for words, command in ALL.items() if isinstance(command, click.Group)])
def test_a_groups_help_cuts_no_sentence_off(words: str) -> None:
    """What its commands do stands there whole."""
    group = ALL[words]
    assert isinstance(group, click.Group)
    context = click.Context(group, info_name=words)
    said = " ".join(group.get_help(context).split())
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        assert f" {name} {first_sentence(command)} " in said
        assert first_sentence(command).endswith(".")


def test_a_wrong_example_is_seen() -> None:
    """An option that there is not, a missing word, another command's name."""
    for line in ("vmrole apply --fast", "vmrole reimage", "vmrole image addd x", "vmrole get nothing"):
        with pytest.raises(click.UsageError):
            parsed(line)

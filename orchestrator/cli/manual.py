"""The manual pages and completion scripts: `python -m orchestrator.cli.manual DIRECTORY` writes them below share/.

A page is made of what the program itself goes by: click's commands, the keys of vmrole.toml with their defaults, the
keys of service files with what their reader takes, the exit statuses. It has no words of its own about any of them.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from orchestrator import __version__
from orchestrator.cli import roff
from orchestrator.cli.groups import first_sentence
from orchestrator.cli.refusals import STATUSES, statuses
from orchestrator.cli.table import vmrole
from orchestrator.cli.verbs.completion import SHELLS, script
from orchestrator.host import config, config_file
from orchestrator.host.config_keys import KEYS
from orchestrator.servicefile import reference

COMPLETIONS: Final = {
    "bash": "share/bash-completion/completions/vmrole",
    "zsh": "share/zsh/site-functions/_vmrole",
    "fish": "share/fish/vendor_completions.d/vmrole.fish",
}
_OF_ROOT: Final = ("daemon",)  # verbs of section 8; all others are of section 1
_SEE_ALSO: Final = (("vmrole", 1), ("vmrole.toml", 5), ("vmrole-service", 5), ("vmrole-daemon", 8))


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A manual page, as roff."""

    name: str
    section: int
    text: str

    @property
    def file(self) -> str:
        """Where it belongs, below a prefix such as /usr."""
        return f"share/man/man{self.section}/{self.name}.{self.section}"


def pages() -> Iterator[Page]:
    """All of them: the program's, one for each verb with what belongs to it, and those of the two files."""
    program = _context("vmrole", vmrole)
    yield _page("vmrole", 1, vmrole, _of_program(program))
    for verb in _below(program):
        name = f"vmrole-{verb.info_name}"
        section = 8 if verb.info_name in _OF_ROOT else 1
        yield _page(name, section, verb.command, _of_verb(verb))
    yield Page("vmroled", 8, ".so man8/vmrole-daemon.8\n")
    yield _page("vmrole.toml", 5, config_file.ABOUT, _of_configuration())
    yield _page("vmrole-service", 5, "the file of a service", _of_service_file())


def write(prefix: Path) -> None:
    """Writes pages and completion scripts below a directory such as /usr, in place of those that are there."""
    texts = {page.file: page.text for page in pages()}
    texts |= {COMPLETIONS[shell]: f"{script(vmrole, shell)}\n" for shell in SHELLS}
    for place, text in texts.items():
        file = prefix / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _page(name: str, section: int, about: click.Command | str, body: Iterator[str]) -> Page:
    """With what every page begins and ends with."""
    summary = first_sentence(about).removesuffix(".") if isinstance(about, click.Command) else about
    if summary[1:2].islower():
        summary = summary[0].lower() + summary[1:]
    others = [f"{roff.bold(other)}({number})" for other, number in _SEE_ALSO if other != name]
    lines = itertools.chain(
        roff.head(name, section, f"vmrole {__version__}"),
        # Plain, on one line: whatis(1) reads it.
        (roff.section("NAME"), rf"{roff.escaped(name)} \- {roff.escaped(summary.replace('`', ''))}"),
        body,
        (roff.section("SEE ALSO"), ", ".join(others)),
    )
    return Page(name, section, "\n".join(lines) + "\n")


def _of_program(context: click.Context) -> Iterator[str]:
    yield roff.section("SYNOPSIS")
    yield _usage(context)
    yield roff.section("DESCRIPTION")
    yield from roff.paragraphs((context.command.help or "").replace(statuses(), ""))
    yield from _options(context)
    yield roff.section("COMMANDS")
    yield from roff.terms((_reference(verb), [first_sentence(verb.command)]) for verb in _below(context))
    yield from _exit_status("")
    yield roff.section("ENVIRONMENT")
    variables = [option for option in context.command.params if isinstance(option, click.Option) and option.envvar]
    yield from roff.terms((roff.bold(str(option.envvar)), [option.help or ""]) for option in variables)
    yield from _files()
    yield from _epilog(context)


def _of_verb(context: click.Context) -> Iterator[str]:
    """A verb; of a group, each of its commands below a heading of its own."""
    every = list(_with_those_below(context))
    yield roff.section("SYNOPSIS")
    for number, each in enumerate(every):
        yield from ((".br",) if number else ())
        yield _usage(each)
    yield roff.section("DESCRIPTION")
    yield from roff.paragraphs(context.command.help or "")
    yield from _options(context)
    if len(every) > 1:
        yield roff.section("COMMANDS")
    for each in every[1:]:
        yield roff.subsection(each.command_path)
        yield from roff.paragraphs(each.command.help or "")
        yield from _options(each, headed=False)
        yield from _epilog(each, headed=False)
    yield from _exit_status(" ".join(each.command.help or "" for each in every))
    if context.info_name in _OF_ROOT:
        yield roff.section("ENVIRONMENT")
        yield from _environment()
        yield from _files()
    yield from _epilog(context)


def _of_configuration() -> Iterator[str]:
    yield roff.section("DESCRIPTION")
    yield from roff.paragraphs(f"{config.DEFAULT_FILE}: {config_file.ABOUT}. {config_file.layers()}")
    yield roff.section("KEYS")
    unsaid = config.defaults()
    rows = []
    for name, key in KEYS.items():
        facts = [key.about]
        facts += [f"Unless given: `{config.written(unsaid[name])}`."] if unsaid[name] != "" else []
        facts += [f"Such as: `{key.sample}`."] if key.sample else []
        facts += [f"Takes: {', '.join(f'`{each}`' for each in key.choices)}."] if key.choices else []
        facts += [f"Takes: {key.bounds[0]} to {key.bounds[1]}."] if key.bounds else []
        facts += [f"Environment: `{key.environment}`."] if key.environment else []
        rows.append((roff.bold(name), facts))
    yield from roff.terms(rows)
    yield roff.section("ENVIRONMENT")
    yield from _environment()
    yield from _files()


def _of_service_file() -> Iterator[str]:
    yield roff.section("DESCRIPTION")
    yield from roff.paragraphs("\n\n".join((reference.ABOUT, reference.KEPT, reference.NAMES, reference.EFFECTS)))
    for part in reference.parts():
        yield roff.section(part.title.upper())
        if part.above:
            yield from roff.paragraphs(part.intro)
        rows = []
        for row in part.rows:
            facts = [row.described] + ([f"Takes: {row.takes}."] if row.takes else [])
            facts += [f"A change {row.effect}."] if row.effect else []
            rows.append((roff.bold(row.key), facts))
        yield from roff.terms(rows)


def _below(context: click.Context) -> Iterator[click.Context]:
    """The commands of a group, in the order of its help; of another command none."""
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                yield _context(name, command, context)


def _context(name: str, command: click.Command, above: click.Context | None = None) -> click.Context:
    """As click makes it when the command is called."""
    return click.Context(command, above, name, **command.context_settings)


def _with_those_below(context: click.Context) -> Iterator[click.Context]:
    yield context
    for each in _below(context):
        yield from _with_those_below(each)


def _reference(context: click.Context) -> str:
    """The name of a verb's page."""
    section = 8 if context.info_name in _OF_ROOT else 1
    return f"{roff.bold(f'vmrole-{context.info_name}')}({section})"


def _usage(context: click.Context) -> str:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return f"{roff.bold(context.command_path)} {roff.escaped(pieces)}"


def _options(context: click.Context, *, headed: bool = True) -> Iterator[str]:
    """As --help has them, with what holds unless they are given."""
    options = [each for each in context.command.get_params(context) if isinstance(each, click.Option)]
    records = [record for each in options if (record := each.get_help_record(context))]
    if headed:
        yield roff.section("OPTIONS")
    yield from roff.terms((_forms(forms), [meaning]) for forms, meaning in records)


def _forms(forms: str) -> str:
    """`-f, --file FILE`: the options as they are typed, the value as what it stands for."""
    kinds = (roff.bold(word) if word.startswith("-") else roff.italic(word) for word in re.split(r"(, | )", forms))
    return "".join(kinds)


def _epilog(context: click.Context, *, headed: bool = True) -> Iterator[str]:
    """The examples; their own first line is the heading."""
    title, _, rest = (context.command.epilog or "").removeprefix("\b\n").partition("\n")
    if rest:
        if headed:
            yield roff.section(title.rstrip(":").upper())
        yield from roff.literal(line.removeprefix("  ") for line in rest.splitlines())


def _exit_status(told: str) -> Iterator[str]:
    yield roff.section("EXIT STATUS")
    if "xit status" in told:
        yield from roff.paragraphs("Unless it is said otherwise above:")
    yield from roff.terms((roff.bold(str(status)), [meaning]) for status, meaning in STATUSES.items())


def _environment() -> Iterator[str]:
    named = {config.NAMED_BY: f"Where the configuration is, unless it is {config.DEFAULT_FILE}."}
    named |= {key.environment: f"Instead of the key `{name}`." for name, key in KEYS.items() if key.environment}
    yield from roff.terms((roff.bold(variable), [meaning]) for variable, meaning in named.items())


def _files() -> Iterator[str]:
    """Where everything is, unless the configuration says otherwise."""
    unsaid = config.defaults()
    rows = [(str(unsaid[name]), key.about) for name, key in KEYS.items() if isinstance(unsaid[name], Path)]
    parts = config.DEFAULT_FILE.parent / config.PARTS / "*.toml"
    yield roff.section("FILES")
    yield from roff.terms([(roff.italic(f"{config.DEFAULT_FILE}, {parts}"), ["See vmrole.toml(5)."])])
    yield from roff.terms((roff.italic(place), [about]) for place, about in rows)


def main(arguments: list[str]) -> int:
    """Writes them below the directory that is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m orchestrator.cli.manual DIRECTORY\n")
        return 2
    write(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

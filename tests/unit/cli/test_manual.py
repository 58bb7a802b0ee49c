"""The manual pages, as groff prints them, have all that --help, the configuration and the service file have."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from orchestrator.cli import manual, roff
from orchestrator.cli.main import INTERRUPTED
from orchestrator.cli.manual import pages
from orchestrator.cli.refusals import STATUSES
from orchestrator.cli.verbs.completion import SHELLS
from orchestrator.host import config_keys
from orchestrator.host.config import defaults, written
from orchestrator.servicefile import keys
from orchestrator.servicefile.schema import keys_of, schema
from tests.world.command_line import VMROLE, commands

COMMANDS = dict(commands())
PAGES = {page.name: page for page in pages()}
GROFF = ("groff", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=3000n")
PATIENCE_S = 120


def printed(text: str, place: Path | None = None) -> tuple[str, str]:
    """What groff makes of a page, on long lines, and what it has to say against it."""
    done = subprocess.run(
        GROFF, input=text, capture_output=True, text=True, check=True, cwd=place, timeout=PATIENCE_S
    )
    return done.stdout, done.stderr


@functools.cache
def read(name: str) -> tuple[str, str]:
    """A page's words, with a blank between them, and what groff has to say against it."""
    text, warnings = printed(PAGES[name].text)
    return " ".join(text.split()), warnings


def shown(name: str) -> str:
    """A page's words."""
    return read(name)[0]


def plain(text: str) -> str:
    """A text as a page has it: what is typed is not between backquotes but bold."""
    return " ".join(text.replace("`", "").split())


def page_of(words: str) -> str:
    """The name of the page that has a command."""
    return "-".join(words.split()[:2])


@pytest.mark.parametrize("name", [name for name in PAGES if name != "vmroled"])
def test_groff_has_nothing_to_say(name: str) -> None:
    """No page makes it warn of anything, and each begins and ends as pages do, with a name that whatis(1) reads."""
    text, warnings = read(name)
    assert warnings == ""
    assert re.search(rf"^{re.escape(name.upper())}\({PAGES[name].section}\) .* NAME {re.escape(name)} - [^`]+ ", text)
    assert " SEE ALSO " in text


def test_a_page_that_is_another_is_found_where_pages_are(tmp_path: Path) -> None:
    """`vmroled` is `vmrole daemon`."""
    manual.write(tmp_path)
    text, warnings = printed(PAGES["vmroled"].text, tmp_path / "share" / "man")
    assert (" ".join(text.split()), warnings) == (shown("vmrole-daemon"), "")


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_stands_in_a_page(words: str) -> None:
    """With what it does, how it is called, and its examples."""
    page, command = shown(page_of(words)), COMMANDS[words]
    about, *others = re.split(r"\n\s*\n", command.help or "")
    assert f"{words} [OPTIONS]" in page
    assert plain(about) in page
    assert [text for text in others if plain(text) not in page and not text.startswith("Exit status: ")] == []
    examples = [line.strip() for line in (command.epilog or "").splitlines() if line.startswith("  $ ")]
    assert examples
    assert [line for line in examples if " ".join(line.split()) not in page] == []


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_stands_in_a_page(words: str) -> None:
    """In all its forms, beside the words of --help."""
    page, context = shown(page_of(words)), click.Context(COMMANDS[words], help_option_names=["-h", "--help"])
    options = [each for each in COMMANDS[words].get_params(context) if isinstance(each, click.Option)]
    assert len(options) > 0
    for option in options:
        record = option.get_help_record(context)
        assert record is not None
        assert f"{record[0]} {plain(record[1])}" in page


@pytest.mark.parametrize("key", config_keys.KEYS)
def test_every_key_of_the_configuration_stands_in_its_page(key: str) -> None:
    """With what it means, what holds without it, what it takes, and the variable that is laid over it."""
    page, about = shown("vmrole.toml"), config_keys.KEYS[key]
    begins = [page.index(f" {name} {plain(each.about)}") for name, each in config_keys.KEYS.items()]
    here = begins[list(config_keys.KEYS).index(key)]
    own = page[here : min((each for each in begins if each > here), default=page.index(" ENVIRONMENT "))]
    unsaid = defaults()[key]
    facts = [f"Unless given: {written(unsaid)}."] if unsaid != "" else []
    facts += [f"Such as: {about.sample}."] if about.sample else []
    facts += [f"Takes: {', '.join(about.choices)}."] if about.choices else []
    facts += [f"Takes: {about.bounds[0]} to {about.bounds[1]}."] if about.bounds else []
    facts += [f"Environment: {about.environment}."] if about.environment else []
    assert facts
    assert own.removeprefix(f" {key} {plain(about.about)} ").strip() == " ".join(facts)


def within(key: str) -> str:
    """A key of a service file as its part of the page has it."""
    for above in ("roles.NAME.answers.unattend.", "roles.NAME."):
        if key.startswith(above):
            return key.removeprefix(above)
    return key


@pytest.mark.parametrize(("key", "shape"), list(keys_of(schema())), ids=str)
def test_every_key_of_a_service_file_stands_in_its_page(key: str, shape: dict[str, object]) -> None:
    """In the words that an editor shows."""
    assert f" {within(key)} {plain(str(shape['description']))}" in shown("vmrole-service")


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ("vmroled", "vmrole.toml", "vmrole-service")])
def test_every_exit_status_stands_in_the_page(name: str) -> None:
    """Those of the table; an interrupt's is one of them."""
    assert INTERRUPTED in STATUSES
    rows = " ".join(f"{status} {meaning}" for status, meaning in STATUSES.items())
    assert f"EXIT STATUS {rows}" in shown(name).replace("Unless it is said otherwise above: ", "")


def texts() -> Iterator[str]:
    """What the tables say."""
    for command in COMMANDS.values():
        yield from re.split(r"\n\s*\n", command.help or "")
        yield from (option.help or "" for option in command.params if isinstance(option, click.Option))
    yield from (key.about for key in config_keys.KEYS.values())
    yield from (key.about for key in keys.KEYS.values())
    yield from STATUSES.values()


def test_no_text_is_copied() -> None:
    """What a page says of a command, an option, a key or a status stands in its table alone."""
    source = " ".join(Path(module.__file__).read_text() for module in (manual, roff) if module.__file__)
    source = " ".join(source.split())
    assert [text for text in texts() if len(text.split()) > 2 and plain(text) in plain(source)] == []


@pytest.mark.parametrize(
    "text",
    [
        ".SH no heading",
        "'br no request",
        ". . .",
        r"C:\local\NAME \fB \n(.x \*(Aq \" no comment",
        "--wait -f, a-b",
        '"quoted" ~user ^top $HOME %d @x #1',
        "20 °C … naïve ü",
        "\\",
        "",
    ],
)
def test_a_text_is_printed_as_it_is(text: str) -> None:
    """Whatever roff would take for its own: prose, a line of an example, a term, a heading."""
    body = [*roff.paragraphs(text), *roff.literal([text]), *roff.terms([(roff.bold(text), [text])])]
    lines = [*roff.head("x", 1, "y"), roff.section(f"A {text}"), *body, roff.section("END")]
    result, warnings = printed("\n".join(lines) + "\n")
    assert warnings == ""
    words = " ".join(result.replace("\u2212", "-").split())
    assert " ".join(f"A {' '.join([text] * 5)} END".split()) in words


def test_they_are_written_with_the_completion_scripts(tmp_path: Path) -> None:
    """Below share/ of the directory, in place of those of before; completion as it prints."""
    stale = tmp_path / "share/man/man1/vmrole.1"
    stale.parent.mkdir(parents=True)
    stale.write_text("stale")
    command = [sys.executable, "-m", "orchestrator.cli.manual", tmp_path]
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    there = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    expected = {page.file: page.text for page in PAGES.values()}
    for shell in SHELLS:
        done = subprocess.run(
            [*VMROLE, "completion", shell], capture_output=True, text=True, check=True, timeout=PATIENCE_S
        )
        expected[manual.COMPLETIONS[shell]] = done.stdout
    assert there == expected


def test_a_directory_must_be_named() -> None:
    """A fault of usage; nothing is written anywhere."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli.manual"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "DIRECTORY" in done.stderr

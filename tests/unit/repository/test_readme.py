"""The README claims only what a test keeps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator import servicefile
from tests.world.command_line import parsed
from tests.world.images import MICRO
from tests.world.places import REPOSITORY

README = REPOSITORY / "README.md"


def promises() -> list[tuple[str, str]]:
    """Each promise with the tests that the table names for it."""
    section = README.read_text().split("## Promises", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [(row[0].strip(), row[1].strip()) for row in rows[1:]]


def test_every_promise_names_a_test_that_exists() -> None:
    """A promise without its test is not made."""
    assert len(promises()) > 15
    for promise, kept_by in promises():
        named = re.findall(r"`(\S+?)::(test_\w+)`", kept_by)
        assert named, f"no test keeps: {promise}"
        for file, name in named:
            # Not `ast`: when a log line formats a traceback meanwhile, CPython 3.11 mixes the two up (SystemError).
            source = (REPOSITORY / "tests" / file).read_text()
            assert re.search(rf"^ *def {name}\(", source, re.MULTILINE), f"{promise}: there is no {file}::{name}"


def test_every_test_that_the_threat_model_names_exists() -> None:
    """SECURITY.md says no more than what is kept, either."""
    named = re.findall(r"`(\S+?)::(test_\w+)`", (REPOSITORY / "SECURITY.md").read_text())
    assert len(named) > 10
    for file, name in named:
        assert re.search(rf"^ *def {name}\(", (REPOSITORY / "tests" / file).read_text(), re.MULTILINE), (file, name)


def test_every_row_of_the_images_that_were_met_has_its_test() -> None:
    """Of whole machines each names one that is there; what no test has met stands below the tables."""
    page = (REPOSITORY / "docs" / "cloud-images.md").read_text()
    machines = page.split("## As whole machines", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in machines.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 5
    assert [row for row in rows if "::test_" not in row] == []
    for file, name in re.findall(r"`(\S+?)::(\w+)`", page):
        assert re.search(rf"^def {name}\(", (REPOSITORY / "tests" / file).read_text(), re.MULTILINE), (file, name)


def test_its_service_file_is_one() -> None:
    """The example with everything that may stand in a service file is accepted."""
    example = README.read_text().split("```yaml\n", 1)[1].split("```", 1)[0]
    spec = servicefile.parse(example, lambda _: MICRO)
    assert spec.roles[0].ready.units == ("page.service",)


PAGES = [README, *sorted((REPOSITORY / "docs").glob("*.md")), *sorted((REPOSITORY / "images").rglob("*.md"))]
PAGES += [REPOSITORY / "SECURITY.md", REPOSITORY / "CHANGELOG.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    """No link leads nowhere."""
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert links or page.parent != REPOSITORY
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_command_that_a_page_shows_is_one(page: Path) -> None:
    """What stands after a prompt is taken by the command line."""
    whole = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^ *\$ (vmrole .+)$", whole, re.MULTILINE):
        parsed(line)


@pytest.mark.parametrize(
    "example", sorted((REPOSITORY / "docs" / "examples").glob("*.yaml")), ids=lambda one: one.name
)
def test_every_example_is_a_service_file(example: Path) -> None:
    """Each is accepted as it stands."""
    assert servicefile.parse(example.read_text(), lambda _: MICRO).name in example.name

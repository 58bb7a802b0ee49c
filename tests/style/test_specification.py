"""The specification promises nothing that no test keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = REPOSITORY / "tests"
INVARIANTS = 11


class Row(NamedTuple):
    """A line of one of its tables, as it is written."""

    section: str
    promise: str
    number: str
    kept_by: str
    last_value: str


def rows(text: str) -> list[Row]:
    """Every promise in a specification."""
    found = []
    for section in text.split("\n## ")[1:]:
        lines = [line for line in section.splitlines() if line.startswith("|")]
        for line in lines[2:]:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
            found.append(Row(section.split("\n", 1)[0], *cells))
    return found


def faults(row: Row) -> list[str]:
    """What the row names and there is not."""
    named = re.findall(r"`([^`]+?)::(\w+)`", row.kept_by)
    if not named:
        return [f"no test keeps: {row.promise}"]
    return [f"{row.promise}: there is no {place}::{name}" for place, name in named if not exists(place, name)]


def exists(place: str, name: str) -> bool:
    """Whether there is such a test, or for `bench` such a measure."""
    if place == "bench":
        return any(f'"{name}"' in file.read_text() for file in (TESTS / "bench").rglob("*.py"))
    file = TESTS / place
    return file.is_file() and re.search(rf"^ *def {name}\(", file.read_text(), re.MULTILINE) is not None


ALL = rows((REPOSITORY / "SPECIFICATION.md").read_text())


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.promise[:50])
def test_every_promise_is_kept_by_what_exists(row: Row) -> None:
    """Each names a test, or a measure of the bench, and there is one of that name."""
    assert faults(row) == []


def test_it_holds_what_a_reader_looks_for() -> None:
    """Every invariant in order; every measure with its limit and its last value; no promise twice."""
    assert len(ALL) > 80
    numbers = [row.promise.split(".")[0] for row in ALL if row.section == "Invariants"]
    assert numbers == [str(number) for number in range(1, INVARIANTS + 1)]
    measured = [row for row in ALL if row.section == "Numbers"]
    assert measured
    assert [row.promise for row in measured if not (row.number and row.last_value)] == []
    assert len({row.promise for row in ALL}) == len(ALL)


@pytest.mark.parametrize(
    "kept_by", ["", "unit/cli/test_cli.py", "`unit/cli/test_cli.py::test_nothing`", "`bench::speed`"]
)
def test_a_promise_that_nothing_keeps_is_seen(kept_by: str) -> None:
    """No test, a file without a test, a test that there is not, a measure that there is not."""
    text = (
        f"# x\n\n## Use\n\n| promise | number | kept by | last value |\n|---|---|---|---|\n| it | 1 | {kept_by} | |\n"
    )
    (row,) = rows(text)
    assert faults(row)

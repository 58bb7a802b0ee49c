"""Style as tests: the linters, the types, the direction of imports, and the sizes that keep a reader's courage."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PRODUCT = ("orchestrator", "unattend", "images")
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400
SHELL = sorted(
    path
    for path in [
        *REPOSITORY.glob("vagrant/**/*.sh"),
        *(REPOSITORY / "vagrant" / "deb" / name for name in ("postinst", "prerm", "postrm")),
        REPOSITORY / ".ci" / "run",
        *REPOSITORY.glob("images/**/*.sh"),
    ]
    if path.exists()
)


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
    ],
    ids=lambda command: "-".join(command),
)
def test_linters_have_nothing_to_say(command: list[str]) -> None:
    """The linters, as configured in pyproject.toml, find nothing."""
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run([str(tool), *command[1:]], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shell_scripts_are_clean() -> None:
    """shellcheck finds nothing in what prepares a host."""
    assert SHELL
    done = subprocess.run(["shellcheck", *map(str, SHELL)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def sources() -> list[Path]:
    """Every Python file of the product."""
    return [path for package in PRODUCT for path in sorted((REPOSITORY / package).rglob("*.py"))]


def test_files_are_short() -> None:
    """No file of the product is longer than a reader can hold."""
    long = {str(path.relative_to(REPOSITORY)): lines(path) for path in sources() if lines(path) > FILE_LINES_MAX}
    assert not long


def test_functions_are_short() -> None:
    """No function of the product is longer than a screen."""
    long = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    long[f"{path.relative_to(REPOSITORY)}:{node.name}"] = length
    assert not long


def test_names_say_what_they_do() -> None:
    """No module or class is called manager, handler, helper or util."""
    empty = ("manager", "handler", "helper", "util")
    named = []
    for path in sources():
        classes = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
        named += [name for name in (path.stem, *classes) if any(word in name.lower() for word in empty)]
    assert not named


def test_no_driver_sleeps_by_itself() -> None:
    """What a driver waits for it waits for by the clock that it was given (drivers.tools.patience), to an end."""
    sleeping = {
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path in sources()
        if path.is_relative_to(REPOSITORY / "orchestrator" / "drivers")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep")
        or (isinstance(node, ast.ImportFrom) and node.module == "time")
    }
    assert not sleeping


def test_nothing_of_ours_is_mocked() -> None:
    """Tests use fakes that pass the contract suites, never unittest.mock."""
    mocking = [
        str(path.relative_to(REPOSITORY))
        for path in sorted((REPOSITORY / "tests").rglob("*.py"))
        if path != Path(__file__) and "unittest.mock" in path.read_text()
    ]
    assert not mocking


def lines(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text().splitlines())

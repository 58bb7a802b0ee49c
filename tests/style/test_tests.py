"""The house of the tests: who looks for the tests of a package finds them, and tests know no other tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.world.places import REPOSITORY

TESTS = REPOSITORY / "tests"
OF_THE_REPOSITORY = "repository"  # the folder for what no package holds: README, unit file, wheel


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of everything that a file imports from another of the tests."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.startswith("tests"))


def is_a_test(module: str, name: str) -> bool:
    """Whether what is imported is a module of tests, or is in one."""
    return any(part.startswith("test_") for part in (*module.split("."), name))


def test_no_test_imports_another() -> None:
    """What two of them need stands in tests/world, or beside them in a module that is no test."""
    found = [
        f"{path.relative_to(REPOSITORY)}: {module} {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for module, name in imports(path)
        if is_a_test(module, name)
    ]
    assert not found


def test_no_test_takes_what_another_keeps_to_itself() -> None:
    """A name with an underscore is its own module's."""
    found = [
        f"{path.relative_to(REPOSITORY)}: {module} {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for module, name in imports(path)
        if name.startswith("_")
    ]
    assert not found


def test_the_world_of_the_tests_knows_no_ring() -> None:
    """It is what all rings stand on."""
    found = [
        f"{path.relative_to(REPOSITORY)}: {module}"
        for path in sorted((TESTS / "world").rglob("*.py"))
        for module, _ in imports(path)
        if not f"{module}.".startswith("tests.world.")
    ]
    assert not found


def test_what_all_need_is_made_in_one_place() -> None:
    """An instance, which gets a field now and then, and the waiting for what is to come true."""
    trees = {path.relative_to(TESTS).as_posix(): ast.parse(path.read_text()) for path in sorted(TESTS.rglob("*.py"))}
    makers = {path for path, tree in trees.items() if any(map(makes_an_instance, ast.walk(tree)))}
    waiters = {path for path, tree in trees.items() if any(map(waits, tree.body))}
    assert (makers, waiters) == ({"world/instances.py"}, {"world/waiting.py"})


def makes_an_instance(node: ast.AST) -> bool:
    """Whether it is a call of the class."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Instance"


def waits(node: ast.stmt) -> bool:
    """Whether it is a function that is called as one that waits."""
    return isinstance(node, ast.FunctionDef) and node.name in {"until", "wait_until", "comes_true", "eventually"}


# What is measured there is disturbed by each look, or has no tests beside it.
WAIT_BY_THEMSELVES = {
    "bench/busy.py",
    "bench/floor.py",
    "bench/first_answer.py",
    "bench/hung_agents.py",
    "bench/kept.py",
}


def test_who_waits_does_so_by_the_one_that_all_have() -> None:
    """A loop that sleeps between two looks has no end, or says nothing at it."""
    paths = [path for ring in ("world", "unit", "bench") for path in sorted((TESTS / ring).rglob("*.py"))]
    loops = {path.relative_to(TESTS).as_posix() for path in paths if sleeps_in_a_loop(path.read_text())}
    assert loops == {"world/waiting.py", *WAIT_BY_THEMSELVES}


def test_a_loop_of_ones_own_is_seen() -> None:
    """With whatever condition; who answers slowly, or drips, waits for nothing."""
    own = "import time\nwhile not there():\n    time.sleep(0.1)\n"
    server = "import time\nwhile True:\n    with accept() as talk:\n        time.sleep(1)\n"
    drips = "import time\nwhile True:\n    client.sendall(piece)\n    time.sleep(1)\n"
    assert [sleeps_in_a_loop(text) for text in (own, server, drips)] == [True, False, False]


def sleeps_in_a_loop(text: str) -> bool:
    """Whether a `while` has a sleep among its own statements, and does not send something between two."""
    loops = [node.body for node in ast.walk(ast.parse(text)) if isinstance(node, ast.While)]
    steps = [[ast.unparse(step) for step in body] for body in loops]
    return any(
        any(step.startswith("time.sleep(") for step in body) and not any(".sendall(" in step for step in body)
        for body in steps
    )


def test_the_unit_tests_mirror_the_packages() -> None:
    """Each folder of tests/unit is called as the package that it is about."""
    product = {path.parent.relative_to(REPOSITORY / "orchestrator") for path in packages("orchestrator")}
    others = {path.parent.relative_to(REPOSITORY / top) for top in ("unattend", "images") for path in packages(top)}
    units = {path.parent.relative_to(TESTS / "unit") for path in packages("tests/unit")}
    assert units <= product | others | {Path(OF_THE_REPOSITORY)}


def packages(top: str) -> list[Path]:
    """The `__init__` of each package in it."""
    return sorted((REPOSITORY / top).rglob("__init__.py"))

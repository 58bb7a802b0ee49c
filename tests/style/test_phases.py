"""A new phase touches three files: nobody else names one, and a copy of the product with one more lives with it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.model import Phase

REPOSITORY = Path(__file__).resolve().parents[2]
PRODUCT = ("orchestrator", "unattend/vmrole_unattend", "images/vmrole_images")
TABLES = ("orchestrator/model/phase.py", "orchestrator/lifecycle.py")
OF_CLIENTS = "orchestrator/client/states.py"  # kept equal to the table by a test of its own
STEPS = "orchestrator/steps/"
NAMES = frozenset(str(phase) for phase in Phase)

ONE_MORE = {
    "orchestrator/model/phase.py": (
        ("    READY = ", '    SETTLING = "settling"\n    READY = '),
        (
            "    P.READY: ",
            "    P.SETTLING: Traits(has_overlay=True, has_vm=True, keeps_vm=True, boots=True),\n    P.READY: ",
        ),
    ),
    "orchestrator/lifecycle.py": (
        ("(P.READY, P.SAVING), ", "(P.SETTLING, P.SAVING), "),
        (
            "    P.READY: ",
            '    P.SETTLING: Line(steps.settle, MINUTE, (P.READY,), "it comes to rest"),\n    P.READY: ',
        ),
    ),
    "orchestrator/steps/phases.py": (
        (
            "def join_pool(",
            "def settle(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:\n"
            '    """settling: for five seconds."""\n'
            "    if host.clock.now_s() - instance.phase_since_s > 5.0:\n"
            "        return Done(instance)\n"
            "    return Wait(instance, None, SHORTLY_S)\n\n\n"
            "def join_pool(",
        ),
    ),
}
LIFE = """
import orchestrator
from orchestrator.control import explain, verify
from orchestrator.model import Phase, Verb
from tests.world.fabric import Fabric, whole_life
from tests.world.simulation import simulate

print(orchestrator.__file__)
fabric = Fabric()
fabric.deploy()
fabric.until(lambda: fabric.instance().phase is Phase.SETTLING)
print(explain.why(fabric.instance(), [], fabric.world.now_s())[0])
whole_life(Fabric())
simulate(1)
"""


def named(text: str, path: str) -> Iterator[str]:
    """What of the text names a phase: a member, or a string where a phase is meant. A step may say what follows."""
    tree = ast.parse(text)
    aliases = {"Phase", "P"}
    aliases |= {name.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names
                if name.name in aliases and name.asname}  # fmt: skip
    follows = {
        id(word.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for word in node.keywords
        if word.arg == "then" and path.startswith(STEPS)
    }
    for node in ast.walk(tree):
        if id(node) not in follows and (_is_member(node, aliases) or _is_spelled(node)):
            yield f"{path}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)}"


def _is_member(node: ast.AST, aliases: set[str]) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=member):
            return name in aliases and member in Phase.__members__
        case ast.Attribute(value=ast.Attribute(attr=name), attr=member):
            return name in aliases and member in Phase.__members__
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str())):
            return name in aliases
        case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str())]):
            return name in aliases
        case _:
            return False


def _is_spelled(node: ast.AST) -> bool:
    match node:
        case ast.Compare():
            parts = [node.left, *node.comparators]
            return any(_is_phase(one) for one in parts) and any(_has_name(one) for one in parts)
        case ast.Match(subject=subject, cases=cases):
            return _is_phase(subject) and any(_has_name(one.pattern) for one in cases)
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            spelled = any(key is not None and _is_word(key, "phase") and _has_name(value) for key, value in pairs)
            return spelled or sum(key is not None and _has_name(key) for key in keys) > 2
        case ast.keyword(arg="phase", value=value):
            return _has_name(value)
        case ast.Subscript(value=value, slice=key):
            return False if not _has_name(key) else "phase" in ast.unparse(value)
        case _:
            return False


def _is_phase(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr="phase") | ast.Name(id="phase"):
            return True
        case ast.Subscript(slice=key):
            return _is_word(key, "phase")
        case ast.Call(args=args):
            return any(_is_phase(one) for one in args)
        case _:
            return False


def _is_word(node: ast.AST, word: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == word


def _has_name(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Constant) and one.value in NAMES for one in ast.walk(node))


def sources(house: Path) -> Iterator[tuple[str, str]]:
    """Each file of the product that may not name a phase, with its text."""
    for package in PRODUCT:
        for path in sorted((house / package).rglob("*.py")):
            name = path.relative_to(house).as_posix()
            if name not in (*TABLES, OF_CLIENTS):
                yield name, path.read_text()


def test_nobody_else_names_a_phase() -> None:
    """Who wants to know what is so in a phase asks the phase; the lifecycle's table has the road."""
    assert [found for name, text in sources(REPOSITORY) for found in named(text, name)] == []


@pytest.mark.parametrize(
    "text",
    [
        "x = instance.phase is Phase.SERVING",
        "from orchestrator.model import Phase as Stage\nx = Stage.READY",
        "x = model.Phase.READY",
        "x = lifecycle.P.READY",
        "x = Phase('ready')",
        "x = Phase['READY']",
        "x = row['phase'] == 'failed'",
        "x = str(row['phase']) in ('stopped', 'requested')",
        "x = instance.phase != 'gone'",
        "match instance.phase:\n    case 'serving' | 'failed':\n        pass",
        "match instance.phase:\n    case Phase.READY:\n        pass",
        "x = {'phase': 'gone'}",
        "x = dict(row, phase='gone')",
        "x = {'serving': 1, 'failed': 2, 'draining': 3}",
        "x = lap.phases_s['starting']",
        "x = Done(instance, then=Phase.STARTING)",
    ],
)
def test_a_phase_that_is_named_is_seen(text: str) -> None:
    """Each way to name one."""
    assert list(named(text, "orchestrator/control/turns.py"))


@pytest.mark.parametrize(
    "text",
    [
        "x = Progress.FAILED, Standing.DRAINING, Kind.STARTING",
        "x = told == 'gone'",
        "def f(phase: Phase) -> Phase: ...",
        "x = last['progress'] == 'failed'",
    ],
)
def test_what_is_no_phase_is_let_be(text: str) -> None:
    """Other enumerations have the same words."""
    assert not list(named(text, "orchestrator/control/turns.py"))


def test_a_step_says_what_follows_it_and_no_more() -> None:
    """A step may lead elsewhere than the table's first; what is so in its phase it asks."""
    assert not list(named("x = Done(instance, then=Phase.STARTING)", "orchestrator/steps/phases.py"))
    assert list(named("x = instance.phase is Phase.STARTING", "orchestrator/steps/phases.py"))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product with a phase more, which a member, two lines of tables and a step have brought."""
    copy = tmp_path_factory.mktemp("house")
    for part in (*PRODUCT, "tests/world"):
        name = part if part.startswith("tests") else Path(part).name
        shutil.copytree(REPOSITORY / part, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "tests" / "__init__.py").touch()
    for path, edits in ONE_MORE.items():
        text = (copy / path).read_text()
        for before, after in edits:
            assert text.count(before) == 1, (path, before)
            text = text.replace(before, after)
        (copy / path).write_text(text)
    return copy


def test_a_new_phase_touches_three_files(house: Path) -> None:
    """Whole lives go through it: deployed, restarted, reimaged, struck, removed; and `why` tells of it."""
    assert set(ONE_MORE) == {*TABLES, f"{STEPS}phases.py"}
    environment = os.environ | {"PYTHONPATH": str(house), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", LIFE]
    done = subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    place, sentence = done.stdout.splitlines()
    assert Path(place).is_relative_to(house)
    assert sentence.startswith("web-0.shop is settling ")

"""The files for CI systems: what they know, what they run, and that they leave no ring out."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import rings
from tests.world import ci_files
from tests.world.ci_files import ACTION, GITLAB, WORKFLOW, Tree
from tests.world.places import REPOSITORY

EVERY_RING = {*rings.EVERY_TIME, rings.PACKAGE}
SCHEMAS = {WORKFLOW: ci_files.OF_WORKFLOW, ACTION: ci_files.OF_ACTION, GITLAB: ci_files.OF_GITLAB}
FAULTS = {WORKFLOW: ci_files.github_faults, ACTION: ci_files.github_faults, GITLAB: ci_files.gitlab_faults}
OF_FILE = pytest.mark.parametrize("file", SCHEMAS, ids=lambda file: file.name)


def faults(file: Path, tree: Tree) -> list[str]:
    """All that is wrong with a file's tree."""
    return ci_files.shape_faults(tree, SCHEMAS[file]) or FAULTS[file](tree)


@OF_FILE
def test_the_file_is_one_that_is_understood(file: Path) -> None:
    """Its keys are known, and what it refers to is there."""
    assert faults(file, ci_files.read(file)) == []


@OF_FILE
def test_its_scripts_are_clean(file: Path) -> None:
    """shellcheck finds nothing, and every program of ours that they call is there and can be run."""
    scripts = ci_files.scripts(file)
    assert scripts
    assert {place: told for place, text in scripts.items() if (told := ci_files.shell_faults(text))} == {}
    for program in re.findall(r"(?:^|[\s/])((?:\.ci|vagrant)/[\w.]+)", "\n".join(scripts.values())):
        assert os.access(REPOSITORY / program, os.X_OK), program


def ring_words(text: str) -> set[str]:
    """The names of rings among the words."""
    return set(re.findall(r"[a-z]+", text)) & EVERY_RING


def test_no_ring_is_left_out() -> None:
    """What `make test` runs is a job of both, and so is the package's ring."""
    workflow = ci_files.read(WORKFLOW)
    runs = " ".join(
        text.partition("tests.rings")[2].partition("|")[0].partition("2>")[0]
        for text in ci_files.scripts(WORKFLOW).values()
        if "tests.rings" in text
    )
    assert ring_words(runs) | {*workflow["jobs"]["labs"]["strategy"]["matrix"]["ring"]} == EVERY_RING
    jobs = ci_files.gitlab_jobs(ci_files.read(GITLAB))
    assert ring_words(" ".join(job.get("variables", {}).get("RING", "") for job in jobs.values())) == EVERY_RING


def test_what_fails_leaves_its_reports() -> None:
    """Each job that runs rings keeps what they wrote, when it fails."""
    for name, steps in ci_files.steps(ci_files.read(WORKFLOW)):
        if any("tests.rings" in step.get("run", "") for step in steps):
            kept = [step["with"]["path"] for step in steps if step.get("if") == "failure()" and "with" in step]
            assert kept == ["build/rings"], name
    for name, job in ci_files.gitlab_jobs(ci_files.read(GITLAB)).items():
        if "tests.rings" in " ".join(job["script"]):
            assert job["artifacts"]["paths"] == ["build/rings"], name


def test_guests_run_with_kvm_where_there_is_kvm() -> None:
    """Wherever virtual machines run, the device is opened before."""
    labs = [steps for name, steps in ci_files.steps(ci_files.read(WORKFLOW)) if name == "labs"]
    action = ci_files.read(ACTION)["runs"]["steps"]
    for steps in (*labs, action):
        assert ".ci/kvm" in [step.get("run") for step in steps]
    assert ".ci/kvm" in ci_files.read(GITLAB)["default"]["before_script"]


def job(tree: Tree, name: str = "fast") -> Tree:
    """A job of a workflow."""
    found: Tree = tree["jobs"][name]
    return found


BREAKS: tuple[tuple[Path, Callable[[Tree], object], str], ...] = (
    (WORKFLOW, lambda tree: job(tree).update({"timeout-minute": 5}), "timeout-minute"),
    (WORKFLOW, lambda tree: job(tree).pop("timeout-minutes"), "timeout-minutes"),
    (WORKFLOW, lambda tree: job(tree).update({"needs": "nothing"}), "needs nothing"),
    (WORKFLOW, lambda tree: tree.update({"permissions": {"contents": "write"}}), "permissions"),
    (WORKFLOW, lambda tree: job(tree)["steps"][0].update({"uses": "actions/checkout"}), "name a version"),
    (WORKFLOW, lambda tree: job(tree)["steps"][0].update({"uses": "actions/checkout@main"}), "name a version"),
    (WORKFLOW, lambda tree: job(tree)["steps"][0].update({"run": "true"}), "valid under each"),
    (WORKFLOW, lambda tree: job(tree)["steps"].append({"run": "echo ${{ github.ref }}"}), "give it by env"),
    (WORKFLOW, lambda tree: job(tree)["steps"][1]["with"].update({"key": "${{ env.ImageOS }}"}), "env.ImageOS"),
    (WORKFLOW, lambda tree: job(tree)["steps"][1]["with"].update({"key": "${{ hashFiles('no.lock') }}"}), "no.lock"),
    (WORKFLOW, lambda tree: job(tree, "action")["steps"][1].update({"id": "other"}), "no step vmrole"),
    (ACTION, lambda tree: tree["runs"]["steps"][0].pop("shell"), "shell"),
    (ACTION, lambda tree: tree["runs"]["steps"][-1].update({"id": "down"}), "no step up"),
    (ACTION, lambda tree: tree["inputs"].pop("file"), "no input file"),
    (ACTION, lambda tree: tree["inputs"]["file"].pop("description"), "description"),
    (GITLAB, lambda tree: tree["fast"].update({"stage": "slow"}), "no stage slow"),
    (GITLAB, lambda tree: tree["lab"].update({"extends": ".none"}), "no template .none"),
    (GITLAB, lambda tree: tree["images"].pop("script"), "runs nothing"),
    (GITLAB, lambda tree: tree["fast"].update({"scripts": ["true"]}), "scripts"),
    (GITLAB, lambda tree: tree["images"]["cache"][1]["key"].update({"files": ["no.lock"]}), "no.lock"),
    (GITLAB, lambda tree: tree["images"]["cache"][1]["key"].update({"files": ["a", "b", "c"]}), "too long"),
)


@pytest.mark.parametrize(("file", "break_it", "said"), BREAKS, ids=[said for _, _, said in BREAKS])
def test_what_is_broken_is_seen(file: Path, break_it: Callable[[Tree], object], said: str) -> None:
    """A key that is mistyped, a reference to nothing, a version that moves, an expression in a script."""
    tree = copy.deepcopy(ci_files.read(file))
    break_it(tree)
    found = faults(file, tree)
    assert found
    assert said in " ".join(found)


def test_a_script_that_is_not_clean_is_seen() -> None:
    """shellcheck looks at what it is given."""
    assert "SC2164" in ci_files.shell_faults("cd /nowhere\nrm x\n")

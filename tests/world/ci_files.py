"""What CI systems are told: the files, their scripts, and what is wrong with them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
from ruamel.yaml import YAML

from tests.world.places import REPOSITORY

WORKFLOW = REPOSITORY / ".github" / "workflows" / "ci.yml"
ACTION = REPOSITORY / "action.yml"
GITLAB = REPOSITORY / ".gitlab-ci.yml"
Tree = dict[str, Any]
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_OF_STEPS = re.compile(r"\bsteps\.([\w-]+)\.outputs\.\w+")
_FILES = re.compile(r"hashFiles\(([^)]*)\)")
# What GitHub knows where these files use an expression; `env` has what the file itself sets, nothing of the runner.
_KNOWN = re.compile(
    r"github\.(?:ref|action_path)|inputs\.\w+|matrix\.\w+|runner\.(?:os|arch)|steps\.[\w-]+\.outputs\.\w+|hashFiles\(.*\)"
)
_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": ["string", "boolean", "number"]}}


def _table(must: tuple[str, ...] = (), /, **properties: object) -> Tree:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(must),
        "properties": {key.replace("_", "-"): value for key, value in properties.items()},
    }


def _list(items: object) -> Tree:
    return {"type": "array", "minItems": 1, "items": items}


_STEP: Tree = {
    **_table((), id=_TEXT, name=_TEXT, uses=_TEXT, run=_TEXT, env=_TEXTS, shell={"enum": ["bash"]}, **{"if": _TEXT}),
    "oneOf": [{"required": ["uses"]}, {"required": ["run"]}],
}
_STEP["properties"] |= {"with": _TEXTS, "working-directory": _TEXT}
_JOB = _table(
    ("runs-on", "steps", "timeout-minutes"),
    needs=_TEXT,
    runs_on=_TEXT,
    timeout_minutes={"type": "integer", "minimum": 1, "maximum": 360},
    strategy=_table(("matrix",), fail_fast={"type": "boolean"}, matrix={"type": "object"}),
    steps=_list(_STEP),
)
OF_WORKFLOW = _table(
    ("name", "on", "permissions", "jobs"),
    name=_TEXT,
    on=_table((), push={"type": "object"}, pull_request={}, workflow_dispatch={}),
    permissions={"const": {"contents": "read"}},
    concurrency=_table(("group",), group=_TEXT, cancel_in_progress={"type": "boolean"}),
    jobs={"type": "object", "minProperties": 1, "additionalProperties": _JOB},
)
OF_WORKFLOW["properties"]["on"]["properties"] = {
    key.replace("-", "_"): value for key, value in OF_WORKFLOW["properties"]["on"]["properties"].items()
}
_INPUT = _table(("description", "required"), description=_TEXT, required={"type": "boolean"}, default=_TEXT)
OF_ACTION = _table(
    ("name", "description", "runs"),
    name=_TEXT,
    description=_TEXT,
    author=_TEXT,
    branding=_table((), icon=_TEXT, color={"enum": ["white", "black", "yellow", "blue", "green", "orange", "red"]}),
    inputs={"type": "object", "additionalProperties": _INPUT},
    outputs={
        "type": "object",
        "additionalProperties": _table(("description", "value"), description=_TEXT, value=_TEXT),
    },
    runs=_table(("using", "steps"), using={"const": "composite"}, steps=_list(_STEP)),
)
_LINES = _list(_TEXT)
_CACHE = _table(
    ("key", "paths"),
    key=_table(("files",), prefix=_TEXT, files={"type": "array", "minItems": 1, "maxItems": 2}),
    paths=_LINES,
    policy={"enum": ["pull", "push", "pull-push"]},
)
_GITLAB_JOB = _table((), image=_TEXT, interruptible={"type": "boolean"}, extends=_TEXT, stage=_TEXT, timeout=_TEXT)
_GITLAB_JOB["properties"] |= {
    "before_script": _LINES,
    "script": _LINES,
    "tags": _LINES,
    "cache": _list(_CACHE),
    "variables": _TEXTS,
    "parallel": _table(("matrix",), matrix=_list({"type": "object"})),
    "artifacts": _table(
        ("when", "paths"), when={"const": "on_failure"}, expire_in=_TEXT, paths=_LINES, reports={"type": "object"}
    ),
}
_GITLAB_JOB["properties"]["artifacts"]["properties"]["expire_in"] = _TEXT
OF_GITLAB: Tree = {
    "type": "object",
    "required": ["stages"],
    "properties": {
        "stages": _LINES,
        "default": _GITLAB_JOB,
        "variables": _TEXTS,
        "workflow": _table(("rules",), rules=_list(_table(("if",), **{"if": _TEXT}))),
    },
    "additionalProperties": _GITLAB_JOB,
}


def read(file: Path) -> Tree:
    """The file, as YAML 1.2: `on` is a word."""
    found: Tree = YAML(typ="safe", pure=True).load(file.read_text())
    return found


def shape_faults(tree: Tree, schema: Tree) -> list[str]:
    """What keys there are not, or are missing, and what no value can be."""
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(tree)]


def steps(tree: Tree) -> Iterator[tuple[str, list[Tree]]]:
    """The steps of each job of a workflow, or those of an action."""
    if "runs" in tree:
        yield "action", tree["runs"]["steps"]
    for name, job in tree.get("jobs", {}).items():
        yield name, job["steps"]


def github_faults(tree: Tree) -> list[str]:
    """What GitHub would not take, or would take for something else, of a workflow or an action."""
    faults = [
        f"expression {text!r} is none that is known" for text in expressions(tree) if not _KNOWN.fullmatch(text)
    ]
    jobs = tree.get("jobs", {})
    faults += [f"{name} needs {job['needs']}" for name, job in jobs.items() if job.get("needs", name) not in jobs]
    for name, listed in steps(tree):
        ids = {step["id"] for step in listed if "id" in step}
        told = [*listed, tree.get("outputs", {})]
        faults += [f"{name}: there is no step {one}" for one in _OF_STEPS.findall(str(told)) if one not in ids]
        for step in listed:
            faults += [f"{name}: {fault}" for fault in _step_faults(step)]
            if "runs" in tree and "run" in step and "shell" not in step:
                faults.append("a step of an action says its shell")
    for files in _FILES.findall(str(tree)):
        patterns = re.findall(r"'([^']+)'", files)
        faults += [f"no file is {pattern}" for pattern in patterns if not list(REPOSITORY.glob(pattern))]
    inputs = tree.get("inputs", {})
    faults += [f"there is no input {one}" for one in re.findall(r"\binputs\.(\w+)", str(tree)) if one not in inputs]
    return faults


def _step_faults(step: Tree) -> Iterator[str]:
    if "uses" in step and not re.fullmatch(r"\./|[\w.-]+/[\w./-]+@v[0-9]+(?:\.[0-9]+)*", step["uses"]):
        yield f"{step['uses']}: name a version, such as actions/checkout@v4"
    if "${{" in step.get("run", ""):
        yield "an expression in a script is a command of whoever can name a branch: give it by env"


def expressions(value: object) -> Iterator[str]:
    """What stands in ${{ }}, anywhere."""
    if isinstance(value, str):
        yield from _EXPRESSION.findall(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def gitlab_faults(tree: Tree) -> list[str]:
    """What GitLab would not take: stages and templates that there are not, jobs without a script, absent files."""
    jobs = gitlab_jobs(tree)
    faults = []
    for name, job in jobs.items():
        if job.get("stage") not in tree["stages"]:
            faults.append(f"{name}: there is no stage {job.get('stage')}")
        if not job.get("script"):
            faults.append(f"{name} runs nothing")
        if (parent := job.get("extends")) is not None:
            faults.append(f"{name}: there is no template {parent}")
        files = [file for cache in job.get("cache", []) for file in cache["key"]["files"]]
        faults += [f"{name}: no file is {file}" for file in files if not (REPOSITORY / file).is_file()]
    return faults


def gitlab_jobs(tree: Tree) -> dict[str, Tree]:
    """The jobs, with what they extend; `extends` stays where there is no such template."""
    words = {"stages", "default", "variables", "workflow"}

    def whole(job: Tree) -> Tree:
        parent = tree.get(job.get("extends", ""))
        if parent is None:
            return job
        own = {key: value for key, value in job.items() if key != "extends"}
        merged = {**whole(parent), **own}
        if "variables" in own or "variables" in parent:
            merged["variables"] = {**whole(parent).get("variables", {}), **own.get("variables", {})}
        return merged

    return {name: whole(job) for name, job in tree.items() if name not in words and not name.startswith(".")}


def scripts(file: Path) -> dict[str, str]:
    """Every script of a file, by where it stands."""
    tree = read(file)
    if file == GITLAB:
        default = tree["default"]["before_script"]
        return {
            name: "\n".join([*default, *job["script"]]) for name, job in gitlab_jobs(tree).items() if "script" in job
        }
    return {
        f"{name}, step {number}": step["run"]
        for name, listed in steps(tree)
        for number, step in enumerate(listed)
        if "run" in step
    }


def shell_faults(script: str) -> str:
    """What shellcheck says of a script as bash runs it there."""
    command = ["shellcheck", "--shell=bash", "--exclude=SC2086", "-"]  # words of $RING are words on purpose
    return subprocess.run(command, input=script, capture_output=True, text=True, check=False).stdout

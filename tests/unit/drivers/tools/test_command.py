"""Commands: what they get of the daemon's environment, their limits, and what is told when they fail."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from orchestrator.drivers.tools.command import Limits, follow, run
from orchestrator.errors import CommandFailed, Permanent
from tests.world.places import REPOSITORY

How = Callable[[list[str], Limits | None], str]
ORDINARY = Limits(cpu_s=60)


def by_run(argv: list[str], limits: Limits | None) -> str:
    """What it prints, by `run`."""
    return run(argv, limits=limits)


def by_follow(argv: list[str], limits: Limits | None) -> str:
    """The same by `follow`."""
    heard: list[str] = []
    follow(argv, heard.append, within_s=60.0, limits=limits or ORDINARY)
    return "".join(heard)


@pytest.mark.parametrize("how", [by_run, by_follow])
@pytest.mark.parametrize("limits", [None, ORDINARY])
def test_a_command_gets_nothing_of_the_daemons_environment(
    how: How, limits: Limits | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a service file may name as a variable must not stand in the environment of HAProxy or qemu-img."""
    monkeypatch.setenv("ADMIN_PASSWORD", "canary-hunter2")
    monkeypatch.setenv("LD_PRELOAD", "")
    names = {line.split("=")[0].split()[-1] for line in how(["env"], limits).splitlines()}
    assert names == {"PATH", "LC_ALL"}


@pytest.mark.parametrize("how", [by_run, by_follow])
def test_limits_hold_for_the_command(how: How) -> None:
    """Seconds of CPU, memory and file size, as the command itself finds them (KiB, and blocks of 512 bytes)."""
    limits = Limits(cpu_s=7, memory_bytes=512 << 20, file_bytes=1 << 20)
    assert how(["sh", "-c", "ulimit -t; ulimit -v; ulimit -f"], limits).split() == ["7", str(512 << 10), "2048"]


@pytest.mark.parametrize("how", [by_run, by_follow])
@pytest.mark.parametrize("limits", [None, ORDINARY])
def test_what_fails_is_told_as_the_command_and_not_as_what_limits_it(how: How, limits: Limits | None) -> None:
    """A command that is not there, and one that ends badly."""
    with pytest.raises(Permanent, match="no-such-command: no such command"):
        how(["no-such-command", "x"], limits)
    with pytest.raises(CommandFailed, match="gone wrong") as caught:
        how(["sh", "-c", "echo gone wrong >&2; exit 3"], limits)
    assert "prlimit" not in str(caught.value)


def test_no_program_is_started_in_another_way() -> None:
    """Each start of a program names its environment, and nothing runs between fork and exec: there are threads."""
    calls = []
    for path in (REPOSITORY / "orchestrator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("subprocess.run", "subprocess.Popen"):
                calls.append((path.name, {word.arg for word in node.keywords}))
            assert "preexec_fn" not in {word.arg for word in getattr(node, "keywords", [])}, path
    assert len(calls) >= 3
    assert [name for name, words in calls if "env" not in words] == []

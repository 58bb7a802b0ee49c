"""The plugin of pytest, in runs of pytest of its own, against a daemon whose fake world lives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.world.api_daemon import SHOP, Daemon
from tests.world.places import REPOSITORY
from tests.world.waiting import until

Run = Callable[..., str]

FILE = SHOP.replace("instances: 3", "instances: 2")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose world lives, with the image `micro`."""
    with Daemon(tmp_path_factory.mktemp("daemon"), alive=True) as running:
        running.give_image()
        yield running


@pytest.fixture
def run(daemon: Daemon, tmp_path: Path) -> Iterator[Run]:
    """Runs pytest on the text of a file of tests; gives what it prints."""
    (tmp_path / "shop.yaml").write_text(FILE)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\nvmrole_timeout = 60\n")

    def running(text: str, *options: str, status: int = 0, **environment: str) -> str:
        (tmp_path / "test_it.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-p", "orchestrator.testing.plugin", *options]
        settings = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "VMROLE_SOCKET": str(daemon.socket)}
        settings |= {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", **environment}
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    yield running
    for service in daemon.client().services():
        daemon.client().remove(service["name"])
    until(lambda: not daemon.client().services(), 60.0, what="the deletion")


WHOLE = """
def test_a_whole_life(vmrole_service):
    shop = vmrole_service("shop.yaml")
    assert shop.name.startswith("shop-")
    assert [one.name for one in shop] == [f"web-0.{shop.name}", f"web-1.{shop.name}"]
    assert shop.vip == "203.0.113.10"
    web = shop["web-0"]
    assert (web.phase, web.generation, web.boot, web.address) == ("serving", 1, 2, "10.90.0.10")
    assert web.run("echo hello").stdout == "hello\\n"
    assert web.run(["cat"], stdin="given").stdout == "given"
    assert web.run("exit 3", check=False).status == 3
    web.restart()
    assert (web.generation, web.boot) == (1, 3)
    web.reimage()
    assert (web.generation, web.boot) == (2, 2)
    web.rebuild()
    web.stop()
    assert web.phase == "stopped"
    web.start()
    assert web.phase == "serving"
    shop.wait()
    assert "serving" in web.why()
    assert web.console() == ""
"""


def test_a_service_is_deployed_used_and_deleted(run: Run, daemon: Daemon) -> None:
    """With everything that an instance can be asked for."""
    assert "1 passed" in run(WHOLE)
    assert daemon.client().services() == []


SCOPES = """
import pytest

@pytest.fixture(scope="module")
def shop(module_vmrole_service):
    return module_vmrole_service("shop.yaml")

names = set()

def test_one(shop):
    names.add(shop.name)

def test_two(shop, session_vmrole_service):
    assert names == {shop.name}
"""


def test_a_service_lives_as_long_as_its_scope(run: Run, daemon: Daemon) -> None:
    """Two tests of a module share one, which costs one deployment."""
    assert "2 passed" in run(SCOPES)
    assert daemon.client().services() == []


FAILING = """
def test_it(vmrole_service):
    vmrole_service("shop.yaml")["web-1"].run("echo out; echo trouble >&2; exit 5")
"""


@pytest.mark.parametrize(("keep", "left"), [("never", 0), ("failed", 1), ("always", 1)])
def test_what_fails_is_told_and_kept_where_that_is_asked_for(run: Run, daemon: Daemon, keep: str, left: int) -> None:
    """The command with its status and both outputs, why each instance is as it is, and how to delete what is kept."""
    out = run(FAILING, f"--vmrole-keep={keep}", status=1)
    assert re.search(r"CommandFailed: web-1.shop-\w+: 'echo out; .*' has exit status 5\nE +out\nE +trouble", out)
    assert re.search(r"-+ vmrole: web-0.shop-\w+ -+\nweb-0.shop-\w+ is serving", out)
    assert ("vmrole delete service shop-" in out) is (keep != "never")
    assert len(daemon.client().services()) == left


def test_what_passes_is_kept_only_where_all_is(run: Run, daemon: Daemon) -> None:
    """`failed` keeps nothing of a test that passes; `always` does."""
    passing = FAILING.replace("exit 5", "exit 0")
    run(passing, "--vmrole-keep=failed")
    assert daemon.client().services() == []
    run(passing, "--vmrole-keep=always")
    assert len(daemon.client().services()) == 1


def test_a_service_that_does_not_come_up_says_why(run: Run, daemon: Daemon) -> None:
    """And is deleted: the time is over, or it has failed."""
    daemon.world.faults.no_agent = True
    try:
        out = run(FAILING.replace('"shop.yaml"', '"shop.yaml", timeout_s=1'), status=1)
    finally:
        daemon.world.faults.no_agent = False
    assert re.search(r"NotServing: the time was over: web-0.shop-\w+ is \w+, web-1", out)
    assert "not connected" in out
    assert daemon.client().services() == []


def test_a_name_that_is_taken_is_somebodys(run: Run, daemon: Daemon) -> None:
    """Without a suffix nothing of another is changed, nor deleted."""
    daemon.client().apply(FILE.replace("203.0.113.10", "203.0.113.77"))
    out = run(FAILING.replace('"shop.yaml"', '"shop.yaml", unique=False'), status=1)
    assert "shop.yaml: there is a service of that name" in out
    assert [service["vip"] for service in daemon.client().services()] == ["203.0.113.77"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("service: shop\nroles: {web: {image: nowhere, instances: 1, size: {vcpus: 1, memory: 1 GiB}}}\n", "nowhere"),
        ("service: shop\nfrobs: 1\n", "line 2"),
        ("", "shop.yaml: "),
    ],
)
def test_a_file_that_cannot_be_meant_is_told(run: Run, tmp_path: Path, text: str, said: str) -> None:
    """With line, key and remedy, and without a trace through the plugin."""
    (tmp_path / "shop.yaml").write_text(text)
    out = run(FAILING, status=1)
    assert said in out
    assert "hint: " in out
    assert "plugin.py" not in out


def test_a_file_that_is_not_there_is_told(run: Run) -> None:
    """With the places that were looked at."""
    assert "there is no " in run(FAILING.replace("shop.yaml", "mall.yaml"), status=1)


def test_a_daemon_that_is_not_there_fails_and_skips_nothing(run: Run, tmp_path: Path) -> None:
    """A missing tool is a failure."""
    out = run(FAILING, VMROLE_SOCKET=str(tmp_path / "none.sock"), status=1)
    assert "no daemon answers on" in out
    assert "hint: start it with" in out
    assert "skipped" not in out
    out = run(FAILING, f"--vmrole-socket={tmp_path}/other.sock", status=1)
    assert "other.sock" in out


def test_without_its_fixtures_nothing_is_asked(run: Run, tmp_path: Path) -> None:
    """Other people's unit tests need no daemon."""
    assert "1 passed" in run("def test_it():\n    pass\n", VMROLE_SOCKET=str(tmp_path / "none.sock"))


def test_instances_that_there_are_not(run: Run) -> None:
    """Their names are told."""
    out = run('def test_it(vmrole_service):\n    vmrole_service("shop.yaml")["web-9"]\n', status=1)
    assert "KeyError: 'web-9: shop-" in out
    assert "has web-0.shop-" in out

"""Verbs that wait, against a daemon whose fake world lives: they return when it is done, and say what happens."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.options import Duration
from orchestrator.cli.progress import progress
from orchestrator.cli.waiting import hopeless, settled, until_gone
from orchestrator.errors import WaitedTooLong
from orchestrator.model import Incarnation, InstanceName, Phase
from tests.world.api_daemon import SHOP, Daemon
from tests.world.command_line import Run
from tests.world.places import REPOSITORY
from tests.world.waiting import until


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose world lives, with the image `micro`."""
    with Daemon(tmp_path_factory.mktemp("daemon"), alive=True) as running:
        running.give_image()
        yield running


def document(tmp_path: Path, name: str, vip: str, **changes: str) -> str:
    """A service file of its own."""
    text = SHOP.replace("service: shop", f"service: {name}").replace("203.0.113.10", vip)
    for before, after in changes.items():
        text = text.replace(f"{before}: ", f"{after}\n    {before}: " if after.endswith("}") else f"{before}: ", 1)
    (tmp_path / f"{name}.yaml").write_text(text)
    return str(tmp_path / f"{name}.yaml")


def test_a_whole_life(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """Apply, restart, reimage, scale, wait and delete return when it is done, with the way there told on stderr."""
    file = document(tmp_path, "shop", "203.0.113.10")
    status, out, err = run("apply", "-f", file, "--wait", "--timeout", "60s")
    assert (status, out.splitlines()[0]) == (0, "shop: applied")
    assert {one.phase for one in daemon.control.instances("shop")} == {Phase.SERVING}
    assert "  web-1.shop         serving" in err
    assert "         setup " in err, "a phase that lasts is told; one that passes between two looks need not be"

    status, out, err = run("restart", "web-0", "--wait", "--timeout", "60s")
    assert (status, len(out.splitlines())) == (0, 1)
    assert daemon.control.instance("web-0").at == Incarnation(1, 3)
    assert "  web-0.shop         serving    generation 1, boot 3" in err
    assert "web-1" not in err

    status, _, err = run("reimage", "shop", "--together", "3", "--wait", "--timeout", "60s")
    assert (status, "reimage of shop: " in err) == (0, False)
    assert {one.generation for one in daemon.control.instances("shop")} == {2}

    run("protect", "web-2")
    status, _, err = run("restart", "shop", "--wait", "--timeout", "60s")
    assert (status, err.splitlines()[-1]) == (
        0,
        "restart of shop: 2 of 3 serving, 1 protected and left as it is",
    )
    run("unprotect", "web-2")

    assert run("scale", "shop", "web=1", "--wait", "--timeout", "60s")[0] == 0
    assert [one.name for one in daemon.control.instances("shop")] == ["web-0.shop"]
    assert run("wait", "web-0", "--timeout", "60s")[0] == 0
    assert run("wait", "web-2.shop", "--for", "gone")[0] == 0

    status, out, err = run("delete", "service", "shop", "--wait", "--timeout", "60s")
    assert (status, out) == (0, "shop: being deleted\nshop: gone\n")
    assert "  web-0.shop         gone" in err
    assert run("get", "services", "shop")[0] == 3
    daemon.world.nothing_is_left()


def test_by_which_road_it_was_reimaged_is_told(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """And why by no warmer one, where the role would have one."""
    file = Path(document(tmp_path, "roads", "203.0.113.27"))
    file.write_text(file.read_text().replace("    image: ", "    reimage: prepared\n    image: "))
    _, _, err = run("apply", "-f", str(file), "--wait", "--timeout", "60s")
    assert "web-0.roads: " not in err, "nobody has asked for another"
    assert daemon.control.instance("web-0.roads").checkpoint is not None
    _, _, err = run("reimage", "web-0.roads", "--wait", "--timeout", "60s")
    assert "\nweb-0.roads: prepared, a boot from its checkpoint\n" in err
    _, _, err = run("reimage", "web-0.roads", "--cold", "--wait", "--timeout", "60s")
    assert "\nweb-0.roads: cold: that was asked for\n" in err
    _, _, err = run("restart", "web-0.roads", "--wait", "--timeout", "60s")
    assert "web-0.roads: " not in err
    run("delete", "service", "roads", "--wait", "--timeout", "60s")


def test_stopped_and_started(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """Each verb returns when it is done; what is stopped is shown as that everywhere, and no wait lasts for ever."""
    file = document(tmp_path, "still", "203.0.113.71")
    assert run("apply", "-f", file, "--wait", "--timeout", "60s")[0] == 0
    status, _, err = run("stop", "web-1.still", "--wait", "--timeout", "60s")
    assert status == 0
    assert "  web-1.still        stopped    generation 1, boot 2" in err
    assert "stopped" in run("get", "instances", "web-1.still")[1]
    assert '"stop_asked": true' in run("get", "instances", "web-1.still", "-o", "json")[1]
    assert "2 of 3 serve, 1 stopped" in run("describe", "still")[1]
    assert "vmrole start web-1.still" in run("why", "web-1.still")[1]
    assert "serving" in run("get", "services", "still")[1]
    assert run("wait", "still", "--timeout", "60s")[0] == 0, "what is off on purpose is not waited for"
    status, _, err = run("wait", "web-1.still", "--timeout", "60s")
    assert (status, "hint: run: vmrole start web-1.still" in err) == (5, True)
    assert run("wait", "still", "--for", "stopped", "--timeout", "1s")[0] == 4

    assert run("stop", "web.still", "--together", "3", "--wait", "--timeout", "60s")[0] == 0
    assert run("wait", "still", "--for", "stopped", "--timeout", "60s")[0] == 0
    assert "stopped" in run("get", "services", "still", "--no-headers")[1].split()
    status, _, err = run("restart", "still")
    assert (status, "hint: run: vmrole start still" in err) == (5, True)
    changed = Path(file).read_text().replace("memory: 128 MiB", "memory: 192 MiB")
    Path(file).write_text(changed)
    assert run("apply", "-f", file, "--wait", "--timeout", "60s")[0] == 0, "a rollout over what is off ends"
    assert run("start", "still", "--together", "3", "--wait", "--timeout", "60s")[0] == 0
    assert {one.role.size.memory_mib for one in daemon.control.instances("still")} == {192}
    assert run("delete", "service", "still", "--wait", "--timeout", "60s")[0] == 0


def test_protected(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """What is protected is shown so, refused by name with a hint, and passed by otherwise; no wait hangs on it."""
    file = document(tmp_path, "kept", "203.0.113.72")
    assert run("apply", "-f", file, "--wait", "--timeout", "60s")[0] == 0
    assert run("protect", "web-1.kept")[:2] == (0, "web-1.kept: protected\n")
    status, _, err = run("reimage", "web-1.kept", "--wait")
    assert (status, "hint: run: vmrole unprotect web-1.kept" in err) == (5, True)
    assert run("delete", "service", "kept")[0] == 5
    assert run("scale", "kept", "web=1")[0] == 5
    assert "Protected:" in run("describe", "web-1.kept")[1]
    assert '"protected": true' in run("get", "instances", "web-1.kept", "-o", "json")[1]
    changed = Path(file).read_text().replace("memory: 128 MiB", "memory: 192 MiB")
    Path(file).write_text(changed)
    status, out, _ = run("apply", "-f", file, "--wait", "--timeout", "60s")
    assert (status, "+ web-1.kept: protected (keeps the VM that it has" in out) == (0, True)
    assert [one.generation for one in daemon.control.instances("kept")] == [2, 1, 2]
    assert run("protect", "nosuch")[0] == 3
    assert run("unprotect", "kept")[0] == 0
    assert run("apply", "-f", file, "--wait", "--timeout", "60s")[0] == 0
    assert [one.generation for one in daemon.control.instances("kept")] == [2, 2, 2]
    assert run("delete", "service", "kept", "--wait", "--timeout", "60s")[0] == 0


def test_selected_by_labels(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """`-l` picks among instances, `--show-labels` shows what there is to pick by."""
    file = document(tmp_path, "tags", "203.0.113.73", size="labels: {tier: front}")
    assert run("apply", "-f", file, "--wait", "--timeout", "60s")[0] == 0
    out = run("get", "instances", "tags", "--show-labels")[1]
    assert (out.splitlines()[0].split()[-1], out.count("tier=front")) == ("LABELS", 3)
    assert len(run("get", "instances", "tags", "-l", "tier=front", "-o", "name")[1].splitlines()) == 3
    assert run("get", "instances", "tags", "-l", "tier!=front", "-o", "name")[1] == ""
    assert run("get", "services", "-l", "tier=front", "-o", "name")[:2] == (0, ""), "its role has it, not the service"
    assert run("restart", "tags", "-l", "tier=")[0] == 5
    assert run("restart", "tags", "-l", "tier in")[0] == 2
    assert run("restart", "tags", "-l", "tier in (front)", "--together", "3", "--wait", "--timeout", "60s")[0] == 0
    assert {one.boot for one in daemon.control.instances("tags")} == {3}
    assert run("delete", "service", "tags", "--wait", "--timeout", "60s")[0] == 0


def test_services_are_selected_by_their_own_labels(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """`-l` of `get services` and `delete service`: those that have them all, and nothing where none has."""
    for number, (name, labels) in enumerate(
        {"a": "{env: test}", "b": "{env: prod}", "c": "{env: test, tier: x}"}.items()
    ):
        file = Path(document(tmp_path, name, f"203.0.113.{110 + number}"))
        file.write_text(f"labels: {labels}\n{file.read_text()}")
        assert run("apply", "-f", str(file))[0] == 0
    assert run("get", "services", "-l", "env=test", "-o", "name")[1] == "a\nc\n"
    assert "env=test,tier=x" in run("get", "services", "-l", "tier", "--show-labels")[1]
    assert run("delete", "service", "-l", "env=stage")[::2] == (
        5,
        "error: no service has the labels 'env=stage'\nhint: run: vmrole get services --show-labels\n",
    )
    assert run("delete", "service", "-l", "env in")[0] == 2
    assert [one.name for one in daemon.control.services() if one.removing] == []
    status, out, _ = run("delete", "service", "-l", "env=test", "--wait", "--timeout", "60s")
    assert (status, out) == (0, "a: being deleted\nc: being deleted\na: gone\nc: gone\n")
    assert [one.name for one in daemon.control.services()] == ["b"]
    assert run("delete", "service", "-l", "env notin (test)", "--wait", "--timeout", "60s")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        "delete service -l ''", "delete service shop -l env=x", "delete -l env=x",
        "delete service -l env=x -f x.yaml",
        "restart shop -l ''", "stop shop -l ' '", "protect shop -l ''", "unprotect shop -l ''",
        "get instances -l ''",
        "get services shop -l env=x", "get images -l env=x", "get operations -l env=x", "get events -l env=x",
        "get events -w -l env=x", "get operations --show-labels", "get services -w -l env=x",
    ],
)  # fmt: skip
def test_a_selector_that_cannot_be_meant_is_refused(run: Run, words: str) -> None:
    """One that is empty would be all; beside a name or for what has no labels it says nothing. A fault of usage."""
    status, out, err = run(*shlex.split(words))
    assert (status, out) == (2, "")
    assert "No such option" not in err


def test_protection_goes_by_labels(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """Of a service, those that have them, and only these are told of."""
    file = Path(document(tmp_path, "mixed", "203.0.113.120"))
    file.write_text(
        file.read_text().replace("    image: micro", "    labels: {tier: front}\n    image: micro")
        + "  db: {image: micro, labels: {tier: back}}\n"
    )
    assert run("apply", "-f", str(file), "--wait", "--timeout", "60s")[0] == 0
    assert run("protect", "mixed", "-l", "tier=back")[:2] == (0, "db-0.mixed: protected\n")
    assert [one.name for one in daemon.control.instances("mixed") if one.goal.protected] == ["db-0.mixed"]
    assert run("protect", "mixed", "-l", "tier=none")[0] == 5
    assert run("unprotect", "mixed", "-l", "tier=front")[0] == 0
    assert [one.name for one in daemon.control.instances("mixed") if one.goal.protected] == ["db-0.mixed"]
    assert run("unprotect", "mixed", "-l", "tier")[0] == 0
    assert not any(one.goal.protected for one in daemon.control.instances("mixed"))
    assert run("delete", "service", "mixed", "--wait", "--timeout", "60s")[0] == 0


def test_labels_stand_in_a_description(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """A service's own, and an instance's with them."""
    file = Path(document(tmp_path, "told", "203.0.113.121", size="labels: {tier: front}"))
    file.write_text(f"labels: {{env: test}}\n{file.read_text()}")
    assert run("apply", "-f", str(file))[0] == 0
    assert "Labels:    env=test\n" in run("describe", "told")[1]
    assert "Labels:      env=test,tier=front\n" in run("describe", "web-0.told")[1]
    assert run("delete", "service", "told", "--wait", "--timeout", "60s")[0] == 0


def test_a_time_that_is_over_says_who_is_not_there(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """With the phase he is in, by whatever verb it was waited for; so does who interrupts the wait."""
    file = document(tmp_path, "late", "203.0.113.122", size="stop: {within: 4 h}")  # of a world that hurries
    assert run("apply", "-f", file, "--wait", "--timeout", "60s")[0] == 0
    daemon.world.faults.shutdown_takes_s.update(
        dict.fromkeys((InstanceName(f"web-{n}.late") for n in range(3)), 90_000.0)
    )
    for words in (["stop", "late", "--together", "3", "--wait"], ["wait", "late", "--for", "stopped"]):
        status, _, err = run(*words, "--timeout", "0.5s")
        assert status == 4
        assert re.search(r"error: the time was over: web-\d.late is \w+, and 2 more are not there\n", err), err
        assert re.search(r"hint: ask: vmrole why web-\d.late", err)
    heeds = ["env", "--default-signal=INT"]  # Who runs the tests in a shell's background has it ignored.
    words = [*heeds, sys.executable, "-m", "orchestrator.cli", "wait", "late", "--for", "stopped"]
    environment = os.environ | {"VMROLE_SOCKET": str(daemon.socket)}
    with subprocess.Popen(words, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True) as waits:
        assert waits.stderr is not None
        assert "web-" in waits.stderr.readline()
        waits.send_signal(signal.SIGINT)
        err = waits.communicate(timeout=60)[1]
    assert waits.returncode == 130
    assert "only the waiting ends: what was asked for goes on; ask: vmrole why web-" in err
    daemon.world.faults.shutdown_takes_s.clear()
    with daemon.world.lock:
        for machine in daemon.world.machines.values():
            if machine.going_down_at_s is not None:
                machine.going_down_at_s = daemon.world.time_s
    assert run("delete", "service", "late", "--wait", "--timeout", "400s")[0] == 0


def test_what_a_restart_cost_is_said(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """A guest that had to be reset: who waits for the restart is warned, once, and it is done all the same."""
    file = document(tmp_path, "slow", "203.0.113.70", instances="stop: {within: 20 s}")
    assert run("apply", "-f", file, "--wait", "--timeout", "60s")[0] == 0
    daemon.world.faults.shutdown_takes_s[InstanceName("web-0.slow")] = 3600.0
    status, _, err = run("restart", "web-0.slow", "--wait", "--timeout", "90s")
    assert status == 0
    assert err.count("warning: web-0.slow: the guest did not shut down within 20 s") == 1
    status, _, err = run("delete", "service", "slow", "--wait", "--timeout", "90s")
    assert status == 0
    assert err.count("warning: ") == err.count("ended it") == 1
    assert run("events", "web-0.slow")[1].count("ended it") == 1


def test_waiting_for_a_rollout(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """An apply that makes instances stale waits until each of them is of the new generation."""
    file = document(tmp_path, "roll", "203.0.113.20")
    assert run("apply", "-f", file, "--wait", "--timeout", "60s")[0] == 0
    changed = Path(file).read_text().replace("memory: 128 MiB", "memory: 192 MiB")
    Path(file).write_text(changed)
    status, out, _ = run("apply", "-f", file, "--wait", "--timeout", "90s")
    assert status == 0
    assert "rolling reimage" in out
    assert {one.generation for one in daemon.control.instances("roll")} == {2}
    assert {one.role.size.memory_mib for one in daemon.control.instances("roll")} == {192}
    assert run("delete", "service", "roll", "--wait", "--timeout", "60s")[0] == 0


def test_a_rollout_that_is_superseded_is_a_conflict(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """Who waits for an apply hears that somebody else has applied something newer; the newer one is rolled out."""
    file = Path(document(tmp_path, "race", "203.0.113.60"))
    assert run("apply", "-f", str(file), "--wait", "--timeout", "60s")[0] == 0
    last = InstanceName("web-2.race")
    daemon.world.faults.services_never_start.add(last)
    newer = file.read_text().replace("memory: 128 MiB", "memory: 256 MiB")
    file.write_text(file.read_text().replace("memory: 128 MiB", "memory: 192 MiB"))
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "apply", "-f", str(file), "--wait", "--timeout", "60s"],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"VMROLE_SOCKET": str(daemon.socket)},
    ) as first:
        until(lambda: any(one.service == "race" for one in daemon.control.operations()), 30)
        file.write_text(newer)
        assert run("apply", "-f", str(file))[0] == 0
        daemon.world.faults.services_never_start.clear()
        _, err = first.communicate(timeout=60)
    assert first.returncode == 5
    assert "error: reimage of race was superseded: the service was applied anew" in err
    assert run("wait", "web-0.race", "--timeout", "60s")[0] == 0, "an instance's rollout is waited for, too"
    assert daemon.control.instance("web-0").role.size.memory_mib == 256
    assert run("wait", "race", "--timeout", "60s")[0] == 0
    assert {one.role.size.memory_mib for one in daemon.control.instances("race")} == {256}
    assert run("delete", "service", "race", "--wait", "--timeout", "60s")[0] == 0


def test_waiting_for_a_role_of_a_service_with_a_hyphen(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """A rollout of `my-shop` is one of `web.my-shop`."""
    file = Path(document(tmp_path, "my-shop", "203.0.113.61"))
    assert run("apply", "-f", str(file), "--wait", "--timeout", "60s")[0] == 0
    file.write_text(file.read_text().replace("memory: 128 MiB", "memory: 192 MiB"))
    assert run("apply", "-f", str(file))[0] == 0
    assert run("wait", "web.my-shop", "--timeout", "60s")[0] == 0
    assert {one.role.size.memory_mib for one in daemon.control.instances("my-shop")} == {192}
    assert run("wait", "my-shop", "--timeout", "0s")[0] == 0, "a wait of no time is a question"
    assert run("delete", "service", "my-shop", "--wait", "--timeout", "60s")[0] == 0


def test_a_service_that_is_made_anew_is_another(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """Who waits for a deletion does not wait for what somebody else has made under the same name since."""
    file = document(tmp_path, "twice", "203.0.113.62")
    assert run("apply", "-f", file, "--wait", "--timeout", "60s")[0] == 0
    until_gone(daemon.client(), "twice", time.monotonic() + 20, progress(), removed=True)
    with pytest.raises(WaitedTooLong):
        until_gone(daemon.client(), "twice", time.monotonic() + 0.5, progress())
    assert run("delete", "service", "twice", "--wait", "--timeout", "60s")[0] == 0


def test_a_watch_prints_what_changes(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """`get instances -w -o json` prints an object a line; it may begin before there is anything."""
    file = document(tmp_path, "seen", "203.0.113.30")
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "get", "instances", "seen", "-w", "-o", "json"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"VMROLE_SOCKET": str(daemon.socket)},
    ) as watch:
        assert watch.stdout is not None
        until(lambda: daemon.app.state.watchers.places.taken > 0, 30)
        assert run("apply", "-f", file)[0] == 0
        phases = []
        killer = threading.Timer(60, watch.kill)
        killer.start()
        for line in watch.stdout:
            row = json.loads(line)
            if row["hostname"] == "web-0":
                phases.append(row["phase"])
            if row["phase"] == "serving" and row["hostname"] == "web-0":
                break
        killer.cancel()
        watch.terminate()
    assert phases[-1] == "serving"
    assert "setup" in phases
    assert run("delete", "service", "seen", "--wait", "--timeout", "60s")[0] == 0


def test_a_failed_instance_ends_the_wait(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """Waiting for an instance that has failed for good is over, with its reason and exit status 1."""
    file = document(tmp_path, "sick", "203.0.113.40", size="setup: {within: 10 s}")
    name = "web-1.sick"
    daemon.world.faults.setup_never_ends.add(name)  # type: ignore[arg-type]
    status, _, err = run("apply", "-f", file, "--wait", "--timeout", "100s")
    assert status == 1
    assert f"error: {name} failed: " in err
    assert f"hint: ask: vmrole why {name}" in err
    assert run("wait", "sick", "--timeout", "10s")[0] == 1
    status, _, err = run("reimage", name, "--wait", "--timeout", "100s")
    assert (status, f"error: reimage of {name} failed: " in err, f"hint: ask: vmrole why {name}\n" in err) == (
        1,
        True,
        True,
    )
    daemon.world.faults.setup_never_ends.clear()
    assert run("reimage", name, "--wait", "--timeout", "60s")[0] == 0, run("describe", name)[1]
    assert run("wait", "sick", "--timeout", "60s")[0] == 0
    assert run("delete", "service", "sick", "--wait", "--timeout", "60s")[0] == 0


def test_progress_on_a_terminal_is_a_table(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """On a terminal the phases change in place; what is on stdout stays the same."""
    file = document(tmp_path, "live", "203.0.113.50")
    ours, theirs = pty.openpty()
    shown = bytearray()
    late = InstanceName("web-2.live")
    daemon.world.faults.services_never_start.add(late)  # until the table has been drawn once

    def read() -> None:
        try:
            while chunk := os.read(ours, 4096):
                shown.extend(chunk)
                if late.encode() in shown:
                    daemon.world.faults.services_never_start.discard(late)
        except OSError:  # EIO: nobody has the other side open any more
            return

    reader = threading.Thread(target=read)
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "apply", "-f", file, "--wait", "--timeout", "60s"],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env=os.environ | {"VMROLE_SOCKET": str(daemon.socket), "TERM": "xterm-256color", "NO_COLOR": "1"},
    ) as applying:
        os.close(theirs)
        reader.start()
        out, _ = applying.communicate(timeout=90)
    reader.join()
    os.close(ours)
    assert applying.returncode == 0, shown.decode()
    assert out.splitlines()[0] == "live: applied"
    assert "\x1b[2K" in shown.decode()
    assert "web-2.live" in shown.decode()
    assert "\x1b[32m" not in shown.decode()  # NO_COLOR
    assert run("delete", "service", "live", "--wait", "--timeout", "60s")[0] == 0


@pytest.mark.parametrize(
    ("phase", "at", "wanted", "removing", "serves", "failed"),
    [
        ("serving", (1, 1), (1, 1), False, True, False),
        ("serving", (1, 2), (1, 1), False, True, False),
        ("serving", (1, 9), (2, 1), False, False, False),
        ("serving", (1, 1), (1, 1), True, False, False),
        ("ready", (1, 1), (1, 1), False, False, False),
        ("failed", (1, 1), (1, 1), False, False, True),
        ("failed", (1, 1), (2, 1), False, False, False),
        ("failed", (1, 1), (1, 1), True, False, False),
    ],
)
def test_what_is_waited_for(
    phase: str, at: tuple[int, int], wanted: tuple[int, int], removing: bool, serves: bool, failed: bool
) -> None:
    """An instance serves when it is in rotation, as new as wished and to stay; hopeless when nobody wished anew."""
    row = {
        "phase": phase,
        "generation": at[0],
        "boot": at[1],
        "wanted_generation": wanted[0],
        "wanted_boot": wanted[1],
        "removing": removing,
        "stop_asked": False,
    }
    assert (settled(row), hopeless(row)) == (serves, failed)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5m", 90), ("10 min", 600), ("2h", 7200), ("200ms", 0.2)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    """As people write them."""
    assert Duration().convert(text, None, None) == pytest.approx(seconds)

"""`vmrole lease` against a daemon whose fake world lives: COMMAND, its environment and its end; and without one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import jobs
from tests.world.api_daemon import Daemon
from tests.world.command_line import VMROLE, Run, runner
from tests.world.living import serving
from tests.world.waiting import until

WITHIN_S = 120.0
PYTHON = sys.executable


@pytest.fixture(scope="module")
def alive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a service whose one instance serves."""
    with serving(tmp_path_factory.mktemp("lease")) as running:
        yield running


@pytest.fixture
def run(alive: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command line; in the end nothing is leased and the instance serves."""
    monkeypatch.setenv("VMROLE_SOCKET", str(alive.socket))
    yield runner(capsys)
    client = alive.client()
    for lease in client.leases():
        client.end_lease(lease["id"])
    until(lambda: client.instance("web-0")["phase"] == "serving", WITHIN_S, what="the instance")


def background(alive: Daemon, *words: str) -> subprocess.Popen[str]:
    """The same as a process of its own."""
    environment = {**os.environ, "VMROLE_SOCKET": str(alive.socket)}
    return subprocess.Popen([*VMROLE, *words], env=environment, text=True, stderr=subprocess.PIPE)


def test_command_has_an_instance_and_its_status_is_the_verb_s(alive: Daemon, run: Run, tmp_path: Path) -> None:
    """It finds it in its environment; afterwards there is no lease, and another generation."""
    generation = alive.client().instance("web-0")["generation"]
    told = tmp_path / "told"
    script = f"import json, os, sys; json.dump(dict(os.environ), open({str(told)!r}, 'w')); sys.exit(7)"
    status, out, err = run("lease", "shop", "--for", "30m", "--", PYTHON, "-c", script)
    assert (status, out) == (7, ""), err
    found = {key: text for key, text in json.loads(told.read_text()).items() if key.startswith("VMROLE_")}
    assert found["VMROLE_LEASE"].startswith("lease-")
    assert found["VMROLE_UNTIL"].isdigit()
    assert {key: found[f"VMROLE_{key}"] for key in ("SERVICE", "ROLE", "INSTANCE", "HOSTNAME", "SSH")} == {
        "SERVICE": "shop",
        "ROLE": "web",
        "INSTANCE": "web-0.shop",
        "HOSTNAME": "web-0",
        "SSH": "vmrole ssh web-0.shop",
    }
    assert found["VMROLE_ADDRESS"] == alive.client().instance("web-0")["address"]
    assert alive.client().leases() == []
    until(lambda: alive.client().instance("web-0")["generation"] == generation + 1, WITHIN_S, what="a new one")


def test_without_command_it_is_printed_and_kept(alive: Daemon, run: Run) -> None:
    """As a table, or as JSON; listed, and ended by its id."""
    status, out, _ = run("lease", "shop", "--for", "30m", "--json")
    assert status == 0
    lease = json.loads(out)
    assert (lease["instance"], lease["ssh"], lease["attended"]) == ("web-0.shop", "vmrole ssh web-0.shop", False)
    assert run("lease", "ls", "-o", "name")[1] == f"{lease['id']}\n"
    listed = run("lease", "ls", "shop")[1].splitlines()
    assert listed[0].split()[:3] == ["LEASE", "INSTANCE", "ADDRESS"]
    assert listed[1].split()[:2] == [lease["id"], "web-0.shop"]
    refused = run("reimage", "web-0.shop")
    assert refused[0] == 5
    assert f"vmrole lease end {lease['id']}" in refused[2]
    assert run("wait", "web-0.shop", "--timeout", "0s")[0] == 0  # It is where it shall be.
    assert run("lease", "end", lease["id"])[:2] == (0, f"{lease['id']}: ended; web-0.shop is made anew\n")
    assert run("lease", "end", lease["id"])[0] == 3
    assert alive.client().leases() == []


def test_who_waits_is_told_his_place_and_may_have_enough_of_it(alive: Daemon, run: Run) -> None:
    """Exit status 4, and his place is nobody's any more."""
    mine = json.loads(run("lease", "shop", "--for", "30m", "--json")[1])
    status, _, err = run("lease", "take", "shop", "--for", "30m", "--timeout", "0.5s", "--", "true")
    assert (status, "place 1 in the queue: 1 leased" in err) == (4, True), err
    assert [one["id"] for one in alive.client().leases()] == [mine["id"]]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("shop", "--for", "3h", "--", "true"), 2, "roles.web.lease.longest of shop is 2 h"),
        (("shop", "--", "true"), 2, "--for"),
        (("shop", "--for", "0s", "--", "true"), 2, "a lease of 0 s is none"),
        (("shop", "--for", "0s", "--", "true"), 2, "ask for 2 h at most, and for 1 s at least"),
        (("shop", "--for", "soon", "--", "true"), 2, "no length of time"),
        (("shop", "--for", "30", "min", "true"), 2, "'30 min'"),
        (("other", "--for", "30m", "--", "true"), 3, "other"),
        (("shop", "--role", "db", "--for", "30m", "--", "true"), 3, "no role"),
        (("shop", "--for", "30m", "--", "no-such-program"), 2, "no program"),
        (("shop", "--for", "30m", "--json", "--", "true"), 2, "--json"),
    ],
)
def test_what_is_refused(alive: Daemon, run: Run, words: tuple[str, ...], status: int, told: str) -> None:
    """Before anybody waits, and nothing is left of it."""
    got, _, err = run("lease", *words)
    assert (got, told in err) == (status, True), err
    assert alive.client().leases() == []


def test_command_that_never_ends_is_ended_with_all_that_it_has_begun(
    alive: Daemon, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody ends the lease: SIGTERM, which it does not heed, then SIGKILL for its whole group."""
    del run
    monkeypatch.setenv("VMROLE_SOCKET", str(alive.socket))
    begun = tmp_path / "begun"
    script = f"trap '' TERM; sleep 600 & echo $! > {begun}.new; mv {begun}.new {begun}; while :; do sleep 0.1; done"
    with background(alive, "lease", "shop", "--for", "30m", "--", "/bin/sh", "-c", script) as process:
        until(begun.exists, WITHIN_S, what="the command")
        child = int(begun.read_text())
        (lease,) = alive.client().leases()
        alive.client().end_lease(lease["id"])
        _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 128 + signal.SIGKILL
    assert f"{lease['id']}: it was ended; /bin/sh was ended" in err
    until(lambda: not Path(f"/proc/{child}").exists() or is_dead(child), WITHIN_S, what="the end of its child")


def is_dead(pid: int) -> bool:
    """Whether it waits for nothing but its parent."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_goes_to_command_and_the_lease_ends(
    alive: Daemon, run: Run, tmp_path: Path, number: signal.Signals
) -> None:
    """As a runner of CI cancels a job."""
    del run
    begun = tmp_path / "begun"
    script = f"trap 'exit 9' TERM INT HUP; touch {begun}; while :; do sleep 0.1; done"
    with background(alive, "lease", "shop", "--for", "30m", "--", "/bin/sh", "-c", script) as process:
        until(begun.exists, WITHIN_S, what="the command")
        process.send_signal(number)
        process.communicate(timeout=WITHIN_S)
    assert process.returncode == 9
    assert alive.client().leases() == []


def test_who_is_interrupted_while_he_waits_waits_no_more(alive: Daemon, run: Run) -> None:
    """Nothing is kept for him."""
    mine = json.loads(run("lease", "shop", "--for", "30m", "--json")[1])
    with background(alive, "lease", "shop", "--for", "30m", "--", "true") as process:
        assert process.stderr is not None
        assert "place 1 in the queue" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130
    assert [one["id"] for one in alive.client().leases()] == [mine["id"]]


def test_a_daemon_that_starts_again_ends_no_command(alive: Daemon, run: Run, tmp_path: Path) -> None:
    """Its client goes on to say that he is there."""
    del run
    begun, go = tmp_path / "begun", tmp_path / "go"
    script = f"touch {begun}; while ! [ -e {go} ]; do sleep 0.1; done; exit 3"
    with background(alive, "lease", "shop", "--for", "30m", "--", "/bin/sh", "-c", script) as process:
        until(begun.exists, WITHIN_S, what="the command")
        alive.restart_api()
        go.touch()
        process.communicate(timeout=WITHIN_S)
    assert process.returncode == 3
    assert alive.client().leases() == []


def test_a_job_ends_by_itself_or_by_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status, or 128 and the signal's number; a grace before the last one."""
    monkeypatch.setattr(jobs, "GRACE_S", 0.5)
    assert jobs.run(["/bin/sh", "-c", "exit $WORD"], {"WORD": "5"}, lambda: "") == 5
    assert jobs.run(["/bin/sh", "-c", "kill -9 $$"], {}, lambda: "") == 137
    assert jobs.run(["sleep", "600"], {}, lambda: "over") == 128 + signal.SIGTERM
    heeds = f"trap 'touch {tmp_path}/heard; exit 4' TERM; touch {tmp_path}/up; while :; do sleep 0.05; done"
    over = lambda: "over" if (tmp_path / "up").exists() else ""  # noqa: E731
    assert jobs.run(["/bin/sh", "-c", heeds], {}, over) == 4
    assert (tmp_path / "heard").exists()


@pytest.mark.parametrize("number", jobs.FORWARDED)
def test_a_job_that_heeds_no_signal_is_ended_when_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Who interrupts us waits for no longer than the grace, and what it has begun goes with it."""
    monkeypatch.setattr(jobs, "GRACE_S", 0.5)
    up = tmp_path / "up"
    deaf = f"trap '' TERM INT HUP; sleep 600 & echo $! > {up}.new; mv {up}.new {up}; while :; do sleep 0.05; done"
    sent = list[signal.Signals]()

    def interrupt_once() -> str:
        if up.exists() and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return ""

    assert jobs.run(["/bin/sh", "-c", deaf], {}, interrupt_once) == 128 + signal.SIGKILL
    child = int(up.read_text())
    until(lambda: not Path(f"/proc/{child}").exists() or is_dead(child), WITHIN_S, what="the end of its child")


@pytest.mark.parametrize("words", [("--for", "30 min"), ("--for", "30", "min"), ("--for", "30m")])
def test_a_length_in_two_words(alive: Daemon, run: Run, words: tuple[str, ...]) -> None:
    """As people write it."""
    assert run("lease", "shop", *words, "--", "true")[0] == 0
    assert run("lease", "shop", "--json", *words)[0] == 0
    assert [one["for_s"] for one in alive.client().leases()] == [1800.0]

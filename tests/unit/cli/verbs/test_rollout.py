"""`vmrole rollout` and its routes against a daemon whose world stands still."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.control import records
from orchestrator.model import (
    Frontend,
    Instance,
    InstanceName,
    Mode,
    Phase,
    PoolName,
    Progress,
    Seat,
    Standing,
    Traffic,
)
from orchestrator.model.cause import recorded
from tests.world.api_daemon import SECRET, SHOP, Daemon
from tests.world.command_line import Run

MORE = SHOP.replace("memory: 128 MiB", "memory: 256 MiB")


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """It, with the service `shop`, whose three instances serve."""
    daemon.client().apply(SHOP)
    for one in daemon.present.all(Instance):
        daemon.present.commit([records.put_state(dataclasses.replace(one, phase=Phase.SERVING, boot=2, set_up=True))])
    return daemon


def test_status_says_how_far_it_is_and_who_is_of_which_revision(run: Run, daemon: Daemon) -> None:
    """Without a rollout, with one that runs, and with one that is paused."""
    status, out, _ = run("rollout", "status", "shop")
    assert (status, out.splitlines()[0]) == (0, "shop: revision 1")
    assert [line.split()[:3] for line in out.splitlines()[2:]] == [
        [f"web-{n}.shop", "1", "serving"] for n in range(3)
    ]
    daemon.client().apply(MORE)
    [head, *_] = run("rollout", "status", "shop")[1].splitlines()
    words = "3 of 3 instances not as the file says"
    assert head == f"shop: revision 2; the rollout from 1 to 2 is running; {words}"
    assert run("rollout", "pause", "shop")[:2] == (0, "shop: its rollout is paused\n")
    assert run("rollout", "status", "shop")[1].splitlines()[0] == head.replace("running", "paused")
    assert run("get", "operations", "--no-headers")[1].split()[4] == "paused"
    [operation] = daemon.client().operations()
    assert "Progress:   paused" in run("describe", operation["id"])[1]
    assert "File:      revision 2" in run("describe", "shop")[1]
    assert "File:        revision 1 (newest: 2)" in run("describe", "web-0")[1]
    assert "vmrole rollout resume shop" in run("why", "web-0.shop")[1]
    assert run("rollout", "resume", "shop")[:2] == (0, "shop: its rollout goes on\n")
    assert run("rollout", "status", "shop")[1].splitlines()[0] == head
    assert daemon.client().service("shop")["file_revision"] == 2


def test_status_calls_one_that_failed_halted(run: Run, daemon: Daemon) -> None:
    """With why, and from where when that is not known any more."""
    daemon.client().apply(MORE)
    [begun] = daemon.present.rollouts_of("shop")
    over = dataclasses.replace(begun, progress=Progress.FAILED, message="web-0.shop: no", from_revision=0)
    daemon.present.commit([records.put(over)])
    [head, *_] = run("rollout", "status", "shop")[1].splitlines()
    assert "; the rollout from ? to 2 is halted (web-0.shop: no); 3 of 3 instances" in head
    assert "vmrole rollout resume shop, or undo" in run("why", "web-0.shop")[1]
    assert run("rollout", "resume", "shop")[0] == 0
    [*_, resumed] = sorted(daemon.present.rollouts_of("shop"), key=lambda one: one.progress is Progress.RUNNING)
    assert (resumed.to_revision, resumed.progress) == (2, Progress.RUNNING)


def test_history_tells_each_file(run: Run, daemon: Daemon) -> None:
    """When, by whom, what changed in the words of diff, who has it; no text that may hold a secret."""
    daemon.client().apply(MORE)
    daemon.client().apply(MORE.replace(SECRET, "another one"))
    status, out, _ = run("rollout", "history", "shop")
    lines = out.splitlines()
    assert status == 0
    assert [line.split(":")[0] for line in lines if line.startswith("revision")] == [
        "revision 1",
        "revision 2",
        "revision 3",
    ]
    assert all(line.endswith(f" by uid {os.getuid()}") for line in lines if line.startswith("revision"))
    assert "  + shop: new service (3 instances are deployed)" in lines
    assert "  ~ roles.web.size.memory: 128 MiB -> 256 MiB (rolling reimage, one instance at a time)" in lines
    assert "  of it are: web-0.shop, web-1.shop, web-2.shop" in lines
    assert lines.count("  no instance is of it") == 2
    assert SECRET not in out
    assert "another one" not in json.dumps(daemon.client().revisions("shop"))
    daemon.client().undo("shop", to=2)
    assert ", back to revision 2" in run("rollout", "history", "shop")[1]


def test_undo_says_what_it_does(run: Run, daemon: Daemon) -> None:
    """As apply does; a dry run only tells; by whom is in the record."""
    daemon.client().apply(MORE)
    told = "~ roles.web.size.memory: 256 MiB -> 128 MiB (rolling reimage, one instance at a time)"
    assert run("rollout", "undo", "shop", "--dry-run")[:2] == (0, f"{told}\n")
    assert daemon.client().service("shop")["file_revision"] == 2
    assert run("rollout", "undo", "shop")[:2] == (0, f"shop: applied\n{told}\n")
    [*_, last] = daemon.client().revisions("shop")
    assert (last["number"], last["restores"], last["applied_by"]) == (3, 1, os.getuid())
    assert run("rollout", "undo", "shop", "--to", "3")[:2] == (0, "shop: unchanged\n")
    assert run("rollout", "undo", "shop", "--to", "3", "--dry-run")[1] == "nothing would change\n"
    assert run("rollout", "undo", "shop", "--to", "1", "--expect", "1")[0] == 5


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("undo", "shop"), 5, "service shop has no revision before 1"),
        (("undo", "shop", "--to", "7"), 3, "revision 7 of service shop has never been"),
        (("undo", "mall"), 3, "there is no service 'mall'"),
        (("pause", "shop"), 5, "no rollout of service shop is running"),
        (("resume", "shop"), 5, "no rollout of service shop is paused or has left anything to do"),
        (("status", "mall"), 3, "there is no service 'mall'"),
        (("history", "mall"), 3, "there is no service 'mall'"),
        (("undo", "shop", "--to", "0"), 2, "0 is not in the range x>=1"),
    ],
)
def test_what_cannot_be_is_refused_with_a_word(run: Run, words: tuple[str, ...], status: int, told: str) -> None:
    """And the exit status of its kind."""
    found, out, err = run("rollout", *words)
    assert (found, out) == (status, "")
    assert told in err


def test_undo_waits_until_all_serve_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --wait it returns when each instance is of the old file."""
    with Daemon(tmp_path, alive=True) as daemon:
        monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
        daemon.give_image()
        (tmp_path / "shop.yaml").write_text(SHOP)
        assert main(["apply", "-f", str(tmp_path / "shop.yaml"), "--wait", "--timeout", "5m"]) == 0
        (tmp_path / "shop.yaml").write_text(MORE)
        assert main(["apply", "-f", str(tmp_path / "shop.yaml"), "--wait", "--timeout", "5m"]) == 0
        assert {one.role.size.memory_mib for one in daemon.control.instances("shop")} == {256}
        assert main(["rollout", "undo", "shop", "--wait", "--timeout", "5m"]) == 0
        instances = daemon.control.instances("shop")
        assert {one.role.size.memory_mib for one in instances} == {128}
        assert {one.phase for one in instances} == {Phase.SERVING}


def test_who_waits_is_told_that_it_is_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And by which command it goes on; the time that he gives it is his own matter."""
    with Daemon(tmp_path, alive=True) as daemon:
        monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
        daemon.give_image()
        daemon.client().apply(SHOP)
        assert main(["wait", "shop", "--timeout", "5m"]) == 0
        daemon.client().apply(MORE)
        assert main(["rollout", "pause", "shop"]) == 0
        capsys.readouterr()
        assert main(["wait", "shop", "--timeout", "2s"]) == 4
        assert "shop: its rollout is paused until: vmrole rollout resume shop" in capsys.readouterr().err
        assert main(["rollout", "resume", "shop"]) == 0
        assert main(["wait", "shop", "--timeout", "5m"]) == 0
        assert {one.role.size.memory_mib for one in daemon.control.instances("shop")} == {256}


def conducted(daemon: Daemon) -> None:
    """The turn of the rollout, which it has not by itself here."""
    for one in daemon.present.running_operations("shop"):
        daemon.reconciler.attend(("operation", one.id))


def test_next_lets_a_domain_go_and_what_is_shown_of_domains(run: Run, daemon: Daemon) -> None:
    """Each instance's domain, what the rollout waits for, the canary beside the others; refused where none waits."""
    manual = MORE.replace("roles:", "upgrade: {domains: 2, mode: manual, canary: 1, soak: 30 s}\nroles:", 1)
    assert run("rollout", "next", "shop")[0] == 5
    daemon.client().apply(manual)
    conducted(daemon)
    head, columns, first, *_ = run("rollout", "status", "shop")[1].splitlines()
    assert "the canary (web-0.shop) waits for: vmrole rollout next shop" in head
    assert (columns.split()[-1], first.split()[-1]) == ("DOMAIN", "0")
    wide = run("get", "instances", "-o", "wide", "--no-headers")[1]
    assert [row["domain"] for row in daemon.client().instances("shop")] == [0, 1, 0], wide
    assert "Domain:      1" in run("describe", "web-1.shop")[1]
    watched = daemon.client().watch_instances("shop", until=time.monotonic() + 60.0)
    assert [next(watched)[1]["domain"] for _ in range(3)] == [0, 1, 0]
    waits = dataclasses.replace(daemon.control.instance("web-1.shop"), waits_for=recorded("x"))
    daemon.present.commit([records.put_state(waits)])
    assert next(row["domain"] for kind, row, _ in watched if kind == "instance" and row["waiting"] == "x") == 1
    assert [row["domain"] for row in daemon.client().protect("web-1.shop", on=True)] == [1]
    daemon.client().protect("web-1.shop", on=False)
    told = run("describe", "shop")[1]
    assert "Upgrade:   2 domains, each domain when it is let go, soak 30 s, canary 1" in told
    assert "Rollout:   to revision 2, running: 0 of 3 serving" in told
    assert [line.split()[2] for line in told.splitlines() if line.startswith("the ")] == ["1/1", "2/2"]
    carried(daemon, {"web-0.shop": 3, "web-1.shop": 0, "web-2.shop": 1})
    compared = run("rollout", "status", "shop")[1].splitlines()[-3:]
    assert [line.split()[-1] for line in compared] == ["ERRORS", "3/10", "1/20"]
    daemon.world.traffic.clear()
    assert [row["errors"] for row in daemon.client().rollout("shop")["compared"]] == [None, None]
    assert run("rollout", "next", "shop")[:2] == (0, "shop: the next domain may go\n")
    conducted(daemon)
    status, _, err = run("rollout", "next", "shop")
    assert status == 5
    assert "the canary is under way: web-0.shop" in err


def carried(daemon: Daemon, failures: dict[str, int]) -> None:
    """Has each member of the pool answer ten requests, so many of them with an error."""
    pool = PoolName("shop.web.http")
    daemon.world.frontends = (Frontend(pool=pool, vip="203.0.113.10", port=80, mode=Mode.HTTP, probe=None),)
    for name, errors in failures.items():
        member = InstanceName(name)
        daemon.world.seats_taken[member] = Seat(address="", standing=Standing.UP, connections=0, pools=(pool,))
        daemon.world.traffic[member] = Traffic(open=0, begun=10, errors=errors)


def test_who_waits_is_told_which_domain_waits_for_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a manual rollout: it goes on with the next domain when somebody says so."""
    with Daemon(tmp_path, alive=True) as daemon:
        monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
        daemon.give_image()
        daemon.client().apply(SHOP)
        assert main(["wait", "shop", "--timeout", "5m"]) == 0
        daemon.client().apply(MORE.replace("roles:", "upgrade: {domains: 1, mode: manual}\nroles:", 1))
        capsys.readouterr()
        assert main(["wait", "shop", "--timeout", "3s"]) == 4
        assert "waits for: vmrole rollout next shop" in capsys.readouterr().err
        assert main(["rollout", "next", "shop"]) == 0
        assert main(["wait", "shop", "--timeout", "5m"]) == 0
        assert {one.role.size.memory_mib for one in daemon.control.instances("shop")} == {256}


def test_who_waits_is_told_by_the_record_not_by_its_words(run: Run, daemon: Daemon) -> None:
    """What a message happens to say holds nobody up; which part waits is a field."""
    daemon.client().apply(MORE)
    [begun] = daemon.present.rollouts_of("shop")
    words = "0 of 3 serving; web-0.shop: its script asks for vmrole rollout next shop"
    daemon.present.commit([records.put(dataclasses.replace(begun, message=words))])
    assert "rollout next" not in run("wait", "shop", "--timeout", "2s")[2]
    [begun] = daemon.present.rollouts_of("shop")
    walk = dataclasses.replace(begun.walk, unreleased="domain 1")
    daemon.present.commit([records.put(dataclasses.replace(begun, message="", walk=walk))])
    assert "shop: domain 1 waits for: vmrole rollout next shop" in run("wait", "shop", "--timeout", "2s")[2]


def test_operations_say_how_many_of_a_rollout_go_together(run: Run, daemon: Daemon) -> None:
    """As the service's file says."""
    daemon.client().apply(MORE.replace("roles:", "upgrade: {maxUnavailable: 67 %}\nroles:", 1))
    columns, row = run("get", "operations", "-o", "wide")[1].splitlines()
    assert row[columns.index("TOGETHER") :].split()[0] == "2"


@pytest.mark.parametrize(("together", "told"), [("3", True), ("2", False)])
def test_fewer_than_were_asked_for_at_a_time_are_told(run: Run, daemon: Daemon, together: str, told: bool) -> None:
    """With the key that says so; the id stands on stdout as ever."""
    daemon.client().apply(SHOP.replace("    image: micro", "    image: micro\n    healing: {maxUnavailable: 2}"))
    status, out, err = run("restart", "web.shop", "--together", together)
    assert status == 0
    assert daemon.client().operation(out.strip())["together"] == 2
    assert err == ("not 3 but 2 at a time: healing.maxUnavailable of the role says so\n" if told else "")

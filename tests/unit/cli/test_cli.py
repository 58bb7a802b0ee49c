"""The command line against a daemon whose world stands still: what it prints, where, and with which exit status."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from orchestrator import errors
from orchestrator.cli import render
from orchestrator.cli.main import main
from orchestrator.cli.refusals import exit_status
from orchestrator.control import records
from orchestrator.drivers.fake.world import FakeMachine, World
from orchestrator.model import (
    Frontend,
    InstanceName,
    Mode,
    Phase,
    PoolName,
    Power,
    Seat,
    Standing,
    Traffic,
    Unit,
    UnitState,
)
from orchestrator.model.cause import Cause, Kind
from tests.world.api_daemon import SECRET, SHOP, Daemon
from tests.world.command_line import VMROLE, Run
from tests.world.disk_files import Vhd, content, dynamic
from tests.world.places import REPOSITORY


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """It, with the image `micro` and the service `shop`; the environment names its socket."""
    daemon.control.apply(SHOP)
    return daemon


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The service file."""
    (tmp_path / "shop.yaml").write_text(SHOP)
    return tmp_path / "shop.yaml"


def test_instances_are_a_table(run: Run) -> None:
    """Aligned columns with headers; `wide` has more of them; `name` feeds other commands."""
    status, out, err = run("get", "instances")
    rows = [re.split(r"\s{2,}", line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert rows[0] == ["NAME", "PHASE", "SINCE", "GENERATION", "BOOT", "ADDRESS"]
    assert [row[:2] for row in rows[1:]] == [[f"web-{index}.shop", "requested"] for index in range(3)]
    assert [line.split() for line in run("get", "instances", "--no-headers")[1].splitlines()] == rows[1:]
    assert "MAC" in run("get", "instances", "-o", "wide")[1].splitlines()[0]
    assert run("get", "instances", "shop", "-o", "name")[1] == "web-0.shop\nweb-1.shop\nweb-2.shop\n"


@pytest.mark.parametrize("kind", ["services", "instances", "images", "operations", "events"])
@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
def test_the_quick_way_and_clicks_say_the_same(run: Run, kind: str, form: str) -> None:
    """`-o json` is answered without click, `--output=json` with it: not a byte may differ."""
    run("restart", "web-0")
    quick = run("get", kind, "-o", form)
    assert quick[0] == 0
    assert quick == run("get", kind, f"--output={form}")
    assert run("get", kind.removesuffix("s"), "-o", form, "--no-headers") == run(
        "get", kind.removesuffix("s"), "--no-headers", f"--output={form}"
    )


def test_json_is_the_apis_answer(run: Run, daemon: Daemon) -> None:
    """A list of what the API says, whole, also for a single name; YAML holds the same, but of services: see below."""
    out = run("get", "instances", "web-1", "-o", "json")[1]
    assert json.loads(out) == daemon.client().instances("web-1", seats=True)
    assert YAML(typ="safe").load(run("get", "operations", "-o", "yaml")[1]) == daemon.client().operations()
    assert json.loads(run("get", "services", "shop", "-o", "json")[1]) == daemon.client().services(seats=True)
    daemon.wipe()
    assert run("get", "services", "-o", "json")[:2] == (0, "[]\n")


def test_what_is_wrong_with_what_goes_on_is_a_warning(run: Run, daemon: Daemon) -> None:
    """An agent that makes no sense, and what the last stop cost: in `describe`, in the wide table, in the API."""
    fault = {"agent_fault": "it sent garbage", "agent_fault_since_s": 1.0}
    changed = dataclasses.replace(daemon.control.instances("shop")[1], warning="reset it", **fault)  # type: ignore[arg-type]
    daemon.store.commit([records.put_state(changed)])
    warning = "reset it; its agent is broken: it sent garbage"
    _, well, broken, _ = run("get", "instances", "-o", "wide")[1].splitlines()
    assert broken.endswith(f"   {warning}")
    assert "agent" not in well
    assert re.search(rf"Warning: +{warning}\n", run("describe", "web-1")[1])
    assert "Warning" not in run("describe", "web-0")[1]
    (row,) = json.loads(run("get", "instances", "web-1", "-o", "json")[1])
    assert row["agent_fault"] == "it sent garbage"
    assert "Its agent is broken since" in run("why", "web-1")[1]


def test_a_service_counts_its_seats(run: Run, daemon: Daemon) -> None:
    """An instance that serves and that the balancer has down, for a wrong probe, is not up: the state says so."""
    for instance in daemon.control.instances("shop"):
        daemon.store.commit([records.put_state(dataclasses.replace(instance, phase=Phase.SERVING))])
        seat = Seat(address=instance.nic.address, standing=Standing.UP, connections=0, pools=())
        daemon.world.seats_taken[instance.name] = seat
        daemon.world.machines[instance.name] = FakeMachine(instance, power=Power.RUNNING, has_port=True)
    row = re.split(r"\s{2,}", run("get", "services", "--no-headers")[1])
    assert row[:5] == ["shop", "203.0.113.10", "3/3", "3/3", "serving"]
    daemon.world.faults.check_fails = {"web-1.shop"}
    row = re.split(r"\s{2,}", run("get", "services", "shop", "--no-headers")[1])
    assert row[:5] == ["shop", "203.0.113.10", "3/3", "2/3", "degraded"]
    assert "3 of 3 serve, 2 up at the balancer" in run("describe", "shop")[1]


def test_a_service_shows_what_its_endpoints_carry(run: Run, daemon: Daemon) -> None:
    """Each, and each member of it; what a balancer does not count stays empty, and so does one that says nothing."""
    pool = PoolName("shop.web.http")
    daemon.world.frontends = (Frontend(pool=pool, vip="203.0.113.10", port=80, mode=Mode.HTTP, probe=None),)
    names = [one.name for one in daemon.control.instances("shop")]
    for name in names[:2]:
        daemon.world.seats_taken[name] = Seat(address="", standing=Standing.UP, connections=0, pools=(pool,))
    one = Traffic(open=3, begun=40, received_bytes=2048, sent_bytes=5 << 20, refusals=2, errors=1)
    daemon.world.traffic = dict.fromkeys(names, one)
    daemon.world.connections = {names[1]: 3}
    [http] = daemon.client().endpoints("shop")
    assert http["whole"] == dataclasses.asdict(
        Traffic(open=3, begun=80, received_bytes=4096, sent_bytes=10 << 20, refusals=4, errors=2)
    )
    out = run("describe", "shop")[1]
    [_, table] = out.split("\nTraffic:\n")
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.split("\n\n")[0].splitlines()]
    assert rows == [
        ["ENDPOINT", "MEMBER", "OPEN", "BEGUN", "RECEIVED", "SENT", "REFUSALS", "ERRORS"],
        ["web.http", "-", "3", "80", "4.0 KiB", "10.0 MiB", "4", "2"],
        ["-", "web-0.shop", "0", "40", "2.0 KiB", "5.0 MiB", "2", "1"],
        ["-", "web-1.shop", "3", "40", "2.0 KiB", "5.0 MiB", "2", "1"],
    ]
    del daemon.world.traffic[names[1]]
    assert daemon.client().endpoints("shop")[0]["whole"] == {**dataclasses.asdict(Traffic(open=3))}
    daemon.world.faults.refuses["balancer"] = errors.Busy("not now")
    assert daemon.client().endpoints("shop")[0]["whole"] is None
    assert "Traffic" not in run("describe", "shop")[1]
    daemon.world.faults.check_fails = set()
    daemon.world.seats_taken.clear()
    daemon.world.machines.clear()


def test_describe_shows_how_the_last_checks_went(run: Run, daemon: Daemon) -> None:
    """A line for each member of a service, every check of an instance; nothing while the balancer says nothing."""
    pool = PoolName("shop.web.http")
    daemon.world.frontends = (Frontend(pool=pool, vip="203.0.113.10", port=80, mode=Mode.HTTP, probe=None),)
    for instance in daemon.control.instances("shop")[:2]:
        daemon.world.seats_taken[instance.name] = Seat(address="", standing=Standing.UP, connections=0, pools=(pool,))
        daemon.world.machines[instance.name] = FakeMachine(instance, power=Power.RUNNING, has_port=True)
        daemon.world.joined_at_s[instance.name] = daemon.world.time_s - 100.0
    daemon.world.faults.check_fails = {"web-1.shop"}
    at = render.clock(daemon.world.now_s())
    [_, table] = run("describe", "shop")[1].split("\nProbes:\n")
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.split("\n\n")[0].splitlines()]
    assert rows == [
        ["ENDPOINT", "MEMBER", "PASSED", "LAST", "FAILED LAST"],
        ["web.http", "web-0.shop", "1 of 1", at, "-"],
        ["web.http", "web-1.shop", "0 of 1", at, f"{at} the answer is 503"],
    ]
    for name, result in (("web-0", "passed"), ("web-1", "the answer is 503")):
        [_, table] = run("describe", name)[1].split("\nProbes:\n")
        assert re.split(r"\s{2,}", table.splitlines()[1].strip()) == [at, "http", result]
    [http] = daemon.client().endpoints("shop")
    assert http["probed"]["web-1.shop"] == [{"at_s": daemon.world.now_s(), "why": "the answer is 503"}]
    daemon.world.faults.refuses["balancer"] = errors.Busy("not now")
    assert daemon.client().endpoints("shop")[0]["probed"] == {}
    assert "Probes" not in run("describe", "shop")[1]
    daemon.world.faults.check_fails = set()
    daemon.world.seats_taken.clear()
    daemon.world.machines.clear()


def test_an_empty_list_is_said_on_stderr(run: Run, daemon: Daemon) -> None:
    """Nothing on stdout that a script could take for a name."""
    daemon.wipe()
    assert run("get", "services") == (0, "", "no services\n")
    assert run("get", "services", "-o", "name") == (0, "", "")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["get", "instances", "nope"], 3),
        (["get", "services", "nope"], 3),
        (["reimage", "nope"], 3),
        (["why", "nope"], 3),
        (["describe", "nope"], 3),
        (["delete", "service", "nope"], 3),
        (["wait", "nope"], 3),
        (["image", "show", "nope"], 3),
        (["apply", "-f", "/nonexistent.yaml"], 3),
        (["image", "add", "/nonexistent.qcow2", "--name", "x"], 3),
        (["get", "nothing"], 2),
        (["get"], 2),
        (["fly"], 2),
        (["get", "instances", "-o", "xml"], 2),
        (["restart", "web-0", "--together", "0"], 2),
        (["restart", "shop", "--together", "1000"], 2),
        (["scale", "shop", "web"], 2),
        (["scale", "web.shop"], 2),
        (["scale", "shop", "web=101"], 2),
        (["scale", "shop", "db=1"], 3),
        (["wait", "web-0", "--timeout", "soon"], 2),
        (["wait", "web-0", "--timeout", "0.2s"], 4),
        (["wait", "shop", "--for", "gone", "--timeout", "200ms"], 4),
        (["restart", "web-0", "--wait", "--timeout", "0.2"], 4),
        (["image", "rm", "micro"], 5),
        (["scale", "shop", "web=1", "--expect", "1"], 5),
        (["image", "add", "/dev/null", "--name", "x"], 2),
        (["get", "services", "-w"], 2),
        (["--help"], 0),
        (["get", "--help"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_exit_statuses(run: Run, words: list[str], status: int) -> None:
    """Each kind of end has its exit status; faults are told on stderr, in words, without a traceback."""
    found, out, err = run(*words)
    assert found == status, (out, err)
    assert "Traceback" not in err
    if status:
        assert "rror: " in err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("aply -f x", "Did you mean apply?"),
        ("logs web-0", "Did you mean console?"),
        ("image lst", "Did you mean ls?"),
        ("image remove x", "Did you mean rm?"),
        ("image xyzzy", "There are: add, build, "),
        ("xyzzy", "Try 'vmrole --help' for help."),
        ("token delete ci", "Did you mean rm?"),
        ("image describe micro", "Did you mean show?"),
        ("shell web-0", "Did you mean ssh?"),
        ("why", "Such as: vmrole why web-0.shop"),
        ("reimage -l tier=front", "Such as: vmrole reimage web-0.shop --wait"),
        ("image add x", "Such as: vmrole image add web.qcow2 --name web"),
        ("exec web-0", "Such as: vmrole exec web-0.shop uname -a"),
        ("get shop", "write: get instances shop"),
        ("delete shop", "write: delete service shop"),
        ("delete service", "write: delete service NAME"),
        ("delete web-0 shop", "write: delete service shop"),
    ],
)
def test_a_slip_is_answered_with_what_may_be_meant(run: Run, line: str, told: str) -> None:
    """A newcomer's words, and other tools'."""
    status, _, err = run(*line.split())
    assert (status, told in err) == (2, True), err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidInput("x"), 2),
        (errors.ImageRejected("x", reason="size"), 1),
        (errors.NotFound("x"), 3),
        (errors.WaitedTooLong("x"), 4),
        (errors.StaleRevision("x"), 5),
        (errors.Denied("x"), 6),
        (errors.NoSpace("x"), 1),
        (errors.ConfigError("x"), 78),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_the_exit_status_of_the_table(error: errors.VmroleError, status: int) -> None:
    """An error's exit status is the one that the docstring of `errors` promises."""
    assert exit_status(error) == status


def test_a_missing_daemon_and_a_refusal_have_their_exit_statuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 with what to do when no daemon answers; --socket has the last word about where."""
    assert main(["--socket", str(tmp_path / "none"), "get", "instances"]) == 1
    told = capsys.readouterr().err
    assert "no daemon answers" in told
    assert "hint: start it with: vmrole daemon" in told


def test_apply_diff_and_apply_again(run: Run, shop: Path) -> None:
    """Apply says what it did, diff what it would do with diff's exit status, and the same file twice does nothing."""
    assert run("apply", "-f", str(shop)) == (0, "shop: unchanged\n", "")
    assert run("diff", "-f", str(shop)) == (0, "", "")
    shop.write_text(SHOP.replace("instances: 3", "instances: 5"))
    change = "~ roles.web.instances: 3 -> 5 (2 instances are deployed)\n"
    assert run("diff", "-f", str(shop)) == (1, change, "")
    assert run("apply", "-f", str(shop), "--dry-run") == (0, change, "")
    assert run("apply", "-f", str(shop)) == (0, "shop: applied\n" + change, "")
    assert run("apply", "-f", str(shop), "--dry-run") == (0, "nothing would change\n", "")


def test_what_get_prints_in_yaml_is_applied_without_a_change(run: Run, daemon: Daemon, shop: Path) -> None:
    """Each service a document; nothing of its user-data is printed, and it stays, whatever else is changed."""
    shop.write_text(SHOP.replace("service: shop", "service: other").replace("203.0.113.10", "203.0.113.11"))
    assert run("apply", "-f", str(shop))[0] == 0
    status, text, _ = run("get", "services", "-o", "yaml")
    assert status == 0
    assert SECRET not in text
    assert text.count("\n---\n") == 1
    shop.write_text(text)
    assert run("apply", "-f", str(shop)) == (0, "other: unchanged\nshop: unchanged\n", "")
    shop.write_text(run("get", "service", "shop", "-o", "yaml")[1].replace("instances: 3", "instances: 2"))
    assert run("apply", "-f", str(shop))[1].splitlines()[1:] == [
        "~ roles.web.instances: 3 -> 2 (1 instance is removed)"
    ]
    shop.write_text(SHOP.replace("instances: 3", "instances: 2"))
    assert run("apply", "-f", str(shop))[1] == "shop: unchanged\n"  # Its user-data is what it was.
    shop.write_text(text.replace("service: other", "service: third").replace("203.0.113.11", "203.0.113.12"))
    status, _, told = run("apply", "-f", str(shop))
    assert status == 2
    assert "no userData that could be kept" in told
    assert {one["name"] for one in daemon.client().services()} == {"other", "shop"}


def test_secrets_are_not_printed(run: Run, shop: Path) -> None:
    """User data is in no output, neither in a difference nor in a description."""
    shop.write_text(SHOP.replace(SECRET, "another-" + SECRET))
    told = [*run("diff", "-f", str(shop)), *run("apply", "-f", str(shop)), *run("describe", "shop")]
    told += [
        *run("get", "services", "-o", "json"),
        *run("get", "services", "-o", "yaml"),
        *run("events"),
        *run("describe", "web-0"),
    ]
    assert SECRET not in "".join(str(one) for one in told)


def test_problems_look_as_compilers_print_them(run: Run, shop: Path) -> None:
    """FILE:LINE: KEY: what is wrong (what would be right), one line each; exit status 2."""
    shop.write_text(SHOP.replace("memory: 128 MiB", "memory: lots").replace("localStorage", "localstorage"))
    status, out, err = run("apply", "-f", str(shop))
    assert (status, out) == (2, "")
    assert re.search(rf"^{re.escape(str(shop))}:7: roles\.web\.size\.memory: .+$", err, re.MULTILINE)
    assert re.search(rf"^{re.escape(str(shop))}:10: roles\.web\.localstorage: .*localStorage.*$", err, re.MULTILINE)


def test_a_service_file_may_come_through_a_pipe(daemon: Daemon) -> None:
    """`-f -` reads stdin; its faults are those of "stdin"."""
    text = SHOP.replace("203.0.113.10", "nowhere")
    done = vmrole("apply", "-f", "-", stdin=text)
    assert done.returncode == 2
    assert "stdin:2: vip: " in done.stderr
    assert vmrole("apply", "-f", "-", stdin=SHOP).stdout == "shop: unchanged\n"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * (2 << 20), b"- [" * 10_000], ids=["0", "ff", "2M", "["])
def test_files_that_are_no_service_are_refused(run: Run, tmp_path: Path, content: bytes) -> None:
    """Empty, no text, too large, nested too deep: exit status 2, in words, soon."""
    (tmp_path / "x.yaml").write_bytes(content)
    status, _, err = run("apply", "-f", str(tmp_path / "x.yaml"))
    assert status == 2
    assert "error: " in err


def test_scaling_in_both_spellings(run: Run, daemon: Daemon) -> None:
    """`scale web.shop --instances 5` and `scale shop web=4` mean what they say; a stale --expect changes nothing."""
    assert run("scale", "web.shop", "--instances", "5")[:2] == (0, "web.shop: 5 instances\n")
    assert len(daemon.control.instances("shop")) == 5
    revision = daemon.control.service("shop").revision
    assert run("scale", "shop", "web=4", "--expect", str(revision))[0] == 0
    assert run("scale", "shop", "web=1", "--expect", str(revision))[0] == 5
    assert sum(one.goal.serve for one in daemon.control.instances("shop")) == 4


def test_acting_prints_the_operation(run: Run, daemon: Daemon) -> None:
    """What restart, reimage and rebuild print on stdout is the ID of the operation, for `describe` and `get`."""
    for verb in ("restart", "reimage", "rebuild"):
        status, out, _ = run(verb, "web.shop", "--together", "2")
        operation = daemon.control.operation(out.strip())
        assert (status, operation.verb, operation.subject, operation.together) == (0, verb, "web.shop", 2)
        assert "Targets:\n  web-0.shop to " in run("describe", out.strip())[1]


def test_whose_turn_it_is_is_shown(run: Run, daemon: Daemon) -> None:
    """In `describe` and `why` in words, to scripts with the kind and what it is about; of one that waits for nothing,
    nothing.
    """
    pending = Cause(Kind.SERVICES_PENDING, names=("app.service", "db.service"))
    late = Cause(Kind.OVERDUE, subject="starting", reason=pending)
    for index, cause in ((0, late), (1, Cause(Kind.FROZEN, detail="a backup")), (2, None)):
        changed = dataclasses.replace(daemon.control.instances("shop")[index], waits_for=cause)
        daemon.store.commit([records.put_state(changed)])
    zero, one, two = (json.loads(run("get", "instances", f"web-{n}", "-o", "json")[1])[0]["cause"] for n in range(3))
    assert zero == {"kind": "services-pending", "whose": "guest", "subject": "app.service, db.service"}
    assert one == {"kind": "frozen", "whose": "host", "subject": "web-1.shop"}
    assert two is None
    assert re.search(r"Whose turn: +guest\n", run("describe", "web-0")[1])
    assert "Whose turn" not in run("describe", "web-2")[1]
    assert "It is the guest's turn.\n" in run("why", "web-0")[1]
    assert "turn" not in run("why", "web-2")[1]


def test_what_has_not_started_is_shown(run: Run, daemon: Daemon) -> None:
    """To scripts unit by unit, with its state and the guest's word for it; to people as lists."""
    units = (
        Unit("W3SVC", UnitState.FAILED, "access was denied (5)"),
        Unit("app.service", UnitState.PENDING, "activating"),
    )
    changed = dataclasses.replace(daemon.control.instances("shop")[0], units=units)
    daemon.store.commit([records.put_state(changed)])
    (row,) = json.loads(run("get", "instances", "web-0", "-o", "json")[1])
    assert row["units"] == [
        {"name": "W3SVC", "state": "failed", "detail": "access was denied (5)"},
        {"name": "app.service", "state": "pending", "detail": "activating"},
    ]
    assert (row["services_failed"], row["services_pending"]) == (
        ["W3SVC: access was denied (5)"],
        ["app.service (activating)"],
    )
    described = run("describe", "web-0")[1]
    assert re.search(r"Failed: +W3SVC: access was denied \(5\)\n", described)
    assert re.search(r"Starting: +app.service \(activating\)\n", described)


def test_describe_tells_everything(run: Run) -> None:
    """A service with its roles, instances and events; an instance; an image."""
    told = run("describe", "shop")[1]
    assert "VIP:       203.0.113.10" in told
    assert "http 80 -> 8080 (http)" in told
    assert "cache 64 MiB" in told
    assert "web-2.shop" in told
    assert "applied: shop" in told
    assert re.search(r"^Asked for: +generation 1, boot 1$", run("describe", "web-0")[1], re.MULTILINE)
    assert "sha256:" + "a" * 64 in run("describe", "micro")[1]


def test_why_and_events_tell_the_past(run: Run) -> None:
    """Sentences of the core; the ledger of one subject."""
    assert run("why", "web-0")[1].startswith("web-0.shop is requested (generation 1, boot 0)")
    run("restart", "web-1")
    assert "restart was asked for" in run("events", "web-1")[1]
    assert run("events", "web-2")[2] == "no events of web-2\n"


def test_the_console_cannot_command_the_terminal(run: Run, daemon: Daemon) -> None:
    """What a guest wrote is printed without escapes, unless asked for raw."""
    log = daemon.layout.console(daemon.control.instance("web-0").name)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"boot\tok\r\n\x1b]0;owned\x07\xff\n")
    told = run("console", "web-0")[1]
    assert "boot    ok\n" in told
    assert "\x1b" not in told
    assert "\x07" not in told
    raw = subprocess.run([*VMROLE, "console", "web-0", "--log", "--raw"], capture_output=True, check=True)
    assert raw.stdout == log.read_bytes()


def test_verify_says_what_it_finds(run: Run, daemon: Daemon) -> None:
    """Exit status 0 when all is as recorded, 1 with a table when not."""
    assert run("verify") == (0, "", "all is as recorded\n")
    daemon.world.networks["ghost"] = frozenset()
    status, out, _ = run("verify")
    del daemon.world.networks["ghost"]
    assert status == 1
    assert "NETWORK-STRAY   ghost" in out


@contextlib.contextmanager
def time_goes_on(world: World) -> Iterator[None]:
    """Guests live meanwhile."""
    over = threading.Event()

    def live() -> None:
        while not over.wait(0.02):
            with world.lock:
                world.pass_time(1.0)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_no_vm_is_removed_without_a_yes(run: Run, daemon: Daemon) -> None:
    """After records came back from a backup, what was applied later is running and known to none of them."""
    served = daemon.control.instances()[0]
    stranger = dataclasses.replace(served, name=InstanceName("web-0.later"))
    daemon.world.networks["ghost"] = frozenset()
    daemon.world.machines[stranger.name] = FakeMachine(stranger, power=Power.RUNNING, has_port=True)
    status, out, err = run("verify", "--repair")
    assert (status, out) == (5, "")
    assert "VMs would be ended and erased: web-0.later; nothing was removed" in err
    assert "apply that again" in err
    assert (stranger.name in daemon.world.machines, "ghost" in daemon.world.networks) == (True, True)
    with time_goes_on(daemon.world):
        status, _, err = run("verify", "--repair", "--yes")
    assert "shutting down web-0.later: it may take some minutes" in err
    assert "removed web-0.later: a VM of no instance; it was shut down" in err
    assert (stranger.name in daemon.world.machines, "ghost" in daemon.world.networks) == (False, False)
    daemon.world.networks["ghost"] = frozenset()
    assert "removed ghost" in run("verify", "--repair")[2]


def test_images_are_added_listed_and_removed(run: Run, tmp_path: Path) -> None:
    """A raw disk that is said to be one goes in by `image add`, is listed and verified, and goes by `image rm`."""
    (tmp_path / "disk").write_bytes(bytes(2 << 20))
    status, out, _ = run("image", "add", str(tmp_path / "disk"), "--name", "blank", "--format", "raw")
    assert status == 0
    assert re.fullmatch(r"blank sha256:[0-9a-f]{64}\n", out)
    assert "blank" in run("image", "ls")[1]
    assert run("image", "verify", "blank")[1] == "blank: ok\n"
    assert "names:" in run("image", "show", "blank", "-o", "yaml")[1]
    assert run("image", "rm", "blank")[:2] == (0, "blank: removed\n")
    assert "blank" not in run("image", "ls")[1]


def test_a_vhd_and_its_parent_are_added(run: Run, tmp_path: Path) -> None:
    """`--convert --parent`, with what the image is for; forgetting either is told with the way out."""
    (tmp_path / "base.vhd").write_bytes(dynamic(bytes(content())))
    (tmp_path / "disk.vhd").write_bytes(Vhd(kind=4, identity=b"c" * 16, parent=b"i" * 16).bytes())
    add = ["image", "add", str(tmp_path / "disk.vhd"), "--name", "win", "--os", "windows"]
    parent = ["--parent", str(tmp_path / "base.vhd")]
    status, _, err = run(*add)
    assert (status, "--convert" in err) == (1, True)
    status, _, err = run(*add, "--convert")
    assert (status, "--parent" in err) == (1, True)
    status, _, err = run(*add, *parent)
    assert (status, "--convert" in err) == (2, True)
    status, out, err = run(*add, *parent, "--convert", "--firmware", "uefi", "--disk", "nvme", "--tpm")
    assert (status, err) == (0, "")
    assert out.startswith("win sha256:")
    shown = run("image", "show", "win", "-o", "yaml")[1]
    for line in ("answers: unattend", "firmware: uefi", "disk_bus: nvme", "tpm: true", "format: qcow2"):
        assert line in shown
    assert run("image", "rm", "win")[0] == 0


def test_a_fifo_is_no_image(run: Run, tmp_path: Path) -> None:
    """A pipe in the place of a file is refused at once instead of being waited for."""
    os.mkfifo(tmp_path / "pipe")
    status, _, err = run("image", "add", str(tmp_path / "pipe"), "--name", "x")
    assert status == 2
    assert "not a regular file" in err


# As a process of its own ------------------------------------------------------------------------------------------

# `get instances` may need nothing of these; each would cost as much as Python's own start.
SLOW = {
    "click",
    "rich",
    "pydantic",
    "ruamel",
    "fastapi",
    "uvicorn",
    "http.client",
    "importlib.metadata",
    "typing",
    "ssl",
    "tomllib",
}
SLOW |= {
    "dataclasses",
    "inspect",
    "email",
    "ssl",
    "tomllib",
    "asyncio",
    "logging",
    "urllib.parse",
    "orchestrator.model",
}


def vmrole(*words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the program."""
    return subprocess.run(
        [*VMROLE, *words],
        input=stdin,
        env=os.environ | environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_get_imports_next_to_nothing(daemon: Daemon) -> None:
    """What is slow to import is not imported for the command that is run most."""
    code = (
        "import sys; from orchestrator.cli.main import main; s = main(sys.argv[1:]); print(*sys.modules); sys.exit(s)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, "get", "instances", "shop", "-o", "json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *out, modules = done.stdout.splitlines()
    assert len(json.loads("\n".join(out))) == 3
    assert SLOW & set(modules.split()) == set()


def test_no_colour_where_there_is_no_terminal(daemon: Daemon) -> None:
    """Nothing that is piped holds an escape, help included, whatever TERM says."""
    for words in (["get", "instances"], ["describe", "shop"], ["--help"], ["wait", "shop", "--timeout", "0.2"]):
        done = vmrole(*words, TERM="xterm-256color")
        assert "\x1b" not in done.stdout + done.stderr, words


def test_a_terminal_without_utf8_ends_nothing(daemon: Daemon) -> None:
    """What cannot be shown in the terminal's encoding is shown as an escape."""
    log = daemon.layout.console(daemon.control.instance("web-0").name)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes("grüße\x07".encode())
    done = vmrole("console", "web-0", "--log", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "gr\\xfc\\xdfe\\ufffd\n")


def test_a_reader_that_goes_away_is_no_fault(daemon: Daemon) -> None:
    """`vmrole get instances | true` ends without a complaint."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        for words in (["get", "instances"], ["describe", "shop"]):
            done = subprocess.run(
                [*VMROLE, *words], stdout=writer, stderr=subprocess.PIPE, cwd=REPOSITORY, check=False, timeout=60
            )
            assert (done.returncode, done.stderr) == (1, b"")
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    ("words", "redirected", "status", "said"),
    [
        ("get services", ">&-", 1, "stdout is closed"),
        ("get services", ">/dev/full", 1, "stdout cannot be written: No space left on device"),
        ("--help", ">/dev/full", 1, "stdout cannot be written: No space left on device"),
        ("image add --help", ">/dev/full", 1, "stdout cannot be written: No space left on device"),
        ("--version", ">/dev/full", 1, "stdout cannot be written: No space left on device"),
        ("apply -f -", "<&-", 2, "stdin is closed"),
        ("get instances $'\\xff'", "", 3, "there is no instance"),
        ("image add . --name x", "", 2, "is not a regular file"),
        ("get operations nosuch --watch", "", 3, "there is no operation 'nosuch'"),
        ("reimage ''", "", 2, "no instance, role or service is named"),
    ],
)
def test_odd_words_and_files_end_in_a_sentence(
    daemon: Daemon, words: str, redirected: str, status: int, said: str
) -> None:
    """What a shell can hand over is refused by one line, and by no traceback."""
    command = f"exec {sys.executable} -m orchestrator.cli {words} {redirected}"
    environment = os.environ | {"VMROLE_SOCKET": str(daemon.socket)}
    done = subprocess.run(
        ["/bin/bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    assert said in done.stderr


HOSTILE = "a\x1b[31m\nerror: forged\u202e"


@pytest.mark.parametrize(
    "words",
    [
        "apply -f",
        "check",
        "diff -f",
        "delete -f",
        "image add --name x",
        "image add --name",
        "image show",
        "image test",
        "answers check",
        "answers diff",
        "answers check /dev/null --schema",
        "import",
        "get instances",
        "restart",
        "scale",
        "restore",
        "config show --config",
        "daemon --config",
        "init --vip-interface lo --config",
        "--socket",
        "get -o",
        "",
    ],
)
@pytest.mark.parametrize("is_there", [False, True])
def test_no_name_commands_the_terminal_or_forges_a_line(
    words: str,
    is_there: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Files are called whatever whoever made them liked: an archive that was unpacked, a home of somebody else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMROLE_SOCKET", str(tmp_path / "nobody"))
    if is_there:
        (tmp_path / HOSTILE).write_bytes(b"\xff\x1b[31m: [")
    main([*words.split(), HOSTILE])
    told = "".join([*capfd.readouterr(), *(f"{one.getMessage()}\n" for one in caplog.records)])
    assert told
    assert [char for char in told if not char.isprintable() and char != "\n"] == []
    assert not [line for line in told.splitlines() if line.startswith("error: forged")]


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("get instances nosuch", 3),
        ("get pods", 2),
        ("get operations", 0),
        ("apply -f nosuch.yaml", 3),
        ("restart web-9.shop --wait", 3),
        ("wait shop --timeout 0.1s", 4),
        ("image add nosuch --name x", 3),
    ],
)
def test_who_hears_no_talk_still_has_the_exit_status(
    daemon: Daemon, words: str, status: int, redirected: str
) -> None:
    """Talk that cannot be written ends nothing, and does not go to stdout, where data is read."""
    command = f"exec {sys.executable} -m orchestrator.cli {words} {redirected}"
    environment = os.environ | {"VMROLE_SOCKET": str(daemon.socket)}
    done = subprocess.run(
        ["/bin/bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout) == (status, "")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("why shop", 3, ("shop is a service, not an instance", "such as web-0.shop")),
        ("console web.shop", 3, ("web.shop is a role, not an instance", "such as web-0.shop")),
        ("why db.shop", 3, ("there is no instance 'db.shop'",)),
        ("restart nosuch", 3, ("there is no instance, role or service 'nosuch'",)),
        ("get instances db.shop", 3, ("there is no instance, role or service 'db.shop'",)),
        ("scale web.shop --instances 1000", 2, ("role web cannot have 1000 instances", "0 to 100")),
        ("restore nosuch", 3, ("there is no file nosuch",)),
    ],
)
def test_an_error_says_what_was_meant_instead(run: Run, words: str, status: int, said: tuple[str, ...]) -> None:
    """What was named, what it is, and a name that would do."""
    found, _, err = run(*words.split())
    assert (found, [one for one in said if one not in err]) == (status, []), err


def test_who_expects_another_revision_is_told_of_both(run: Run, daemon: Daemon, shop: Path) -> None:
    """The one there is and the one that was expected; also where there should be none, or is none."""
    revision = daemon.control.service("shop").revision
    status, _, err = run("apply", "-f", str(shop), "--expect", "99999")
    assert (status, f"shop is at revision {revision}; revision 99999 was expected" in err) == (5, True)
    status, _, err = run("apply", "-f", str(shop), "--expect", "0")
    assert (status, f"shop is at revision {revision}; none was expected" in err) == (5, True)
    shop.write_text(SHOP.replace("service: shop", "service: other"))
    status, _, err = run("apply", "-f", str(shop), "--expect", "7")
    assert (status, "other does not exist; revision 7 was expected" in err) == (5, True)


@pytest.mark.parametrize(
    ("before", "after", "line", "words"),
    [
        ("    image: micro", "   image: micro", 6, "indentation"),
        ("    image: micro", "\timage: micro", 5, "a tab"),
        ("    image: micro", "    image: mi: cro", 5, "in quotes"),
        ("    image: micro", "    image: 'micro", 5, "never closed"),
        ("cache: {size: 64 MiB}", "cache: {size: 64 MiB", 12, "not closed"),
        ("    image: micro", "    image: @micro", 5, "into quotes"),
        ("    image: micro", "    image: - micro", 5, "on the next line"),
    ],
)
def test_a_slip_of_the_pen_is_told_once_and_in_plain_words(
    run: Run, shop: Path, before: str, after: str, line: int, words: str
) -> None:
    """One sentence with file and line, one with what would be right; nothing of it twice."""
    shop.write_text(SHOP.replace(before, after, 1))
    status, _, err = run("apply", "-f", str(shop))
    first, second = err.splitlines()
    assert status == 2
    assert first.startswith(f"error: {shop}:{line}: "), err
    assert second.startswith("hint: ")
    assert words in err
    assert "README" not in err


@pytest.mark.parametrize("verb", ["apply", "diff"])
def test_a_file_without_its_option_is_told_of_it(run: Run, shop: Path, verb: str) -> None:
    """Who forgets -f, before or behind other words, is given the line to type."""
    for words in ([verb, str(shop)], [verb, "-f", str(shop), str(shop)]):
        status, _, err = run(*words)
        assert (status, f"vmrole {verb} -f {shop}" in err) == (2, True), err


def test_events_of_nothing_are_no_empty_list(run: Run, daemon: Daemon) -> None:
    """A name that nothing has is told; what exists may have none yet, and what is gone has its own."""
    assert run("events", "nosuch")[0] == 3
    assert run("get", "events", "web-9.shop")[0] == 3
    assert run("events", "web-0.shop")[0] == 0
    assert run("events", "web.shop")[0] == 0
    assert run("events", "shop")[0] == 0


def test_nothing_to_prune_is_said_so(run: Run, daemon: Daemon) -> None:
    """In words; what was not added so long ago is not said to be in use."""
    assert run("image", "prune") == (0, "", "nothing to remove: every image is in use by a service\n")
    assert "added so long ago" in run("image", "prune", "--older-than", "30d", "--yes")[2]


@contextlib.contextmanager
def answering(path: Path, status: bytes, body: bytes) -> Iterator[None]:
    """A daemon that gives the first question this answer, and knows nothing else."""
    answers = itertools.chain([(status, body)], itertools.repeat((b"404 Not Found", b"{}")))

    def answer(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # It is shut when the test is over.
            for what, told in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"HTTP/1.0 %b\r\ncontent-length: %d\r\n\r\n" % (what, len(told)) + told)

    with socket.create_server(str(path), family=socket.AF_UNIX) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_version_is_told_to_who_may_not_ask_the_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """This program's on stdout, and why the daemon's is missing on stderr; that is no failure."""
    body = b'{"error": "Denied", "message": "you may not", "hint": "be root"}'
    with answering(tmp_path / "s", b"403 Forbidden", body):
        status = main(["--socket", str(tmp_path / "s"), "version"])
    out, err = capsys.readouterr()
    assert (status, out.count("\n"), out.startswith("vmrole ")) == (0, 1, True)
    assert "the daemon's is not known: you may not (be root)" in err


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_daemon_that_is_older_is_told_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """What it does not tell ends in a sentence, and what it tells is printed as it came."""
    body = b'[{"name": "shop", "labels": {"env": "test"}}]'
    with answering(tmp_path / "s", b"200 OK", body):
        status = main(["--socket", str(tmp_path / "s"), "get", "services", "-o", form])
    out, err = capsys.readouterr()
    if form == "json":
        assert (status, json.loads(out)) == (0, json.loads(body))
    else:
        assert (status, "the daemon does not tell 'vip': it is older than this command" in err) == (1, True)
        assert "hint: restart it: " in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str) -> None:
    """The script of each shell asks this program."""
    done = vmrole("completion", shell)
    assert done.returncode == 0, done.stderr
    assert "_VMROLE_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vmrole re", {"restart", "reimage", "rebuild", "restore", "resume"}),
        ("vmrole reimage web-", {"web-0.shop", "web-1.shop", "web-2.shop"}),
        ("vmrole restart web.", {"web.shop"}),
        ("vmrole delete service ", {"shop"}),
        ("vmrole get instances web-1", {"web-1.shop"}),
        ("vmrole get im", {"images"}),
        ("vmrole drive re", {"restore"}),
        ("vmrole image show ", {"micro"}),
    ],
)
def test_completion_knows_the_names_that_there_are(daemon: Daemon, line: str, expected: set[str]) -> None:
    """Verbs, and the names that the daemon has now."""
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "VMROLE_COMPLETE_WITHIN": "45"}
    done = vmrole(_VMROLE_COMPLETE="bash_complete", **asked)
    assert {one.partition(",")[2] for one in done.stdout.splitlines()} == expected, done.stderr


def test_completion_without_a_daemon_says_nothing(tmp_path: Path) -> None:
    """A shell must not show errors in the middle of a line."""
    environment = {"VMROLE_SOCKET": str(tmp_path / "none"), "COMP_WORDS": "vmrole why w", "COMP_CWORD": "2"}
    done = vmrole(_VMROLE_COMPLETE="bash_complete", **environment)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_version_is_told_with_and_without_a_daemon(daemon: Daemon, tmp_path: Path) -> None:
    """The program's version on stdout, and the daemon's if it answers."""
    assert re.fullmatch(r"vmrole \S+\ndaemon \S+\n", vmrole("version").stdout)
    assert vmrole("version").stdout.startswith(vmrole("--version", VMROLE_SOCKET="/nonexistent").stdout)
    alone = vmrole("version", VMROLE_SOCKET=str(tmp_path / "none"))
    assert (alone.returncode, alone.stdout.startswith("vmrole "), "daemon" in alone.stdout) == (0, True, False)


def test_the_doctor_is_shown_as_text_and_as_json(tmp_path: Path) -> None:
    """A line per check with its remedy, or all of them as JSON; exit status 1 where programs are missing."""
    (tmp_path / "vmrole.toml").write_text(
        f'accelerator = "tcg"\nstate_dir = "{tmp_path}/state"\nrun_dir = "{tmp_path}/run"\n'
    )
    words = ("doctor", "--config", str(tmp_path / "vmrole.toml"))
    text = vmrole(*words, PATH="/nonexistent")
    rows = json.loads(vmrole(*words, "-o", "json", PATH="/nonexistent").stdout)
    assert text.returncode == 1, text.stderr
    assert {"verdict", "name", "message", "remedy"} == set(rows[0])
    haproxy = next(row for row in rows if row["name"] == "haproxy")
    assert f"FAIL  haproxy: {haproxy['message']}\n      -> {haproxy['remedy']}\n" in text.stdout
    assert vmrole("doctor", "--config", "/nonexistent").returncode == 78


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_no_form_of_data_commands_a_terminal(form: str) -> None:
    """What guests and others have said reads back as it was, and is nothing that a terminal obeys on its way."""
    said = {"a\x1b[2J": '\x9b31m \x7f\x07 \u202e \x85 \u2028 \U000e0001 ä €😀\n\t"\\'}
    text = render.dump([said], form)
    assert [char for char in text if not char.isprintable() and char not in "\n\u202e\U000e0001"] == []
    if form == "yaml":
        assert YAML(typ="safe").load(text) == [said]
    else:
        assert json.loads(text) == [said]
        assert "\u202e" not in text

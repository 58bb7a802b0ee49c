"""What only an HAProxy that is killed, reloaded and adopted can show: nothing is lost, and nobody comes back."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import resource
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from orchestrator.drivers.balancer import haproxy_config, haproxy_process
from orchestrator.drivers.balancer.desired import Shape
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.haproxy_host import Surroundings
from orchestrator.drivers.balancer.haproxy_process import HaproxyProcess
from orchestrator.drivers.clock import SystemClock
from orchestrator.errors import Busy, ConfigError, EndpointRefused, Permanent, Transient, Unreachable
from orchestrator.model import Frontend, HttpProbe, InstanceName, Member, Mode, PoolName, Standing, TcpProbe
from tests.contract.suites.balancer import (
    ADDRESSES,
    ADMIN,
    CORNER,
    HTTP,
    ONE,
    POOL,
    PORT,
    VIP,
    ZERO,
    member,
    patiently,
)
from tests.world.balancing import answered, ask, kill_all, origins, place, start
from tests.world.origin import Origin
from tests.world.waiting import until

__all__ = ["origins", "place", "start"]  # fixtures

TCP = Frontend(pool=PoolName("shop.db.sql"), vip=VIP, port=PORT + 2, mode=Mode.TCP, probe=None)
SQL = 8079


def test_a_refused_configuration_is_told_in_haproxy_s_words(tmp_path: Path) -> None:
    """Which line, and what is wrong with it."""
    config = tmp_path / "haproxy.cfg"
    config.write_text("global\n    bogus 1\n")
    with pytest.raises(Permanent, match=r"its configuration: parsing .*haproxy.cfg:2.*unknown keyword 'bogus'"):
        haproxy_process.try_config("haproxy", config)


@pytest.fixture
def haproxy(start: Callable[[], HaproxyBalancer]) -> HaproxyBalancer:
    """The first daemon's."""
    return start()


@pytest.fixture
def echo() -> Iterator[Member]:
    """A TCP server that says what it hears, as a member."""
    with socket.create_server((ADDRESSES[ZERO], SQL)) as listener:

        def serve() -> None:
            while True:
                try:
                    talk, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=repeat, args=(talk,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield Member(name=ZERO, address=ADDRESSES[ZERO], pools=((TCP.pool, SQL),))
        listener.shutdown(socket.SHUT_RDWR)


def repeat(talk: socket.socket) -> None:
    """Says what it hears."""
    with talk, contextlib.suppress(OSError):
        while said := talk.recv(64):
            talk.sendall(said)


def says(talk: socket.socket, word: bytes) -> bytes:
    """What comes back; nothing when the connection was cut."""
    try:
        talk.sendall(word)
        return talk.recv(64)
    except OSError:
        return b""


def takes(port: int) -> socket.socket:
    """A listener of another program, as soon as the killed HAProxy has let go of the port."""
    end = time.monotonic() + 5.0
    while True:
        try:
            return socket.create_server((VIP, port), reuse_port=True)
        except OSError:
            assert time.monotonic() < end, "the port is still held"
            time.sleep(0.01)


def connect(port: int) -> socket.socket:
    """A TCP connection through the VIP."""
    return socket.create_connection((VIP, port), timeout=5)


def test_only_other_endpoints_are_a_reload(haproxy: HaproxyBalancer) -> None:
    """Endpoints that are as they were, and members that come, drain and go, leave the same process at work."""
    haproxy.shape([HTTP])
    worker = haproxy.process.worker()
    assert worker is not None
    for _ in range(2):
        haproxy.shape([HTTP])
        haproxy.join(member(ZERO))
        haproxy.drain(ZERO)
        patiently(lambda: haproxy.leave(ZERO))
    assert haproxy.process.worker() == worker
    haproxy.shape([HTTP, ADMIN])
    assert haproxy.process.worker() != worker


@pytest.mark.parametrize("command", ["add server", "weight 0", "weight 1"])
@pytest.mark.parametrize("answer", ["", "Some other answer.\n"], ids=["silent", "refused"])
def test_what_haproxy_does_not_show_has_not_happened(
    haproxy: HaproxyBalancer, monkeypatch: pytest.MonkeyPatch, command: str, answer: str
) -> None:
    """A command that HAProxy refuses, or takes without effect, is told, and asked again by the next turn."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    if command == "weight 1":
        haproxy.drain(ZERO)
    before = haproxy.seats()[ZERO].standing
    ask = haproxy.process.ask
    monkeypatch.setattr(haproxy.process, "ask", lambda line: answer if command in line else ask(line))
    verbs = {"add server": lambda: haproxy.join(member(ONE)), "weight 0": lambda: haproxy.drain(ZERO)}
    with pytest.raises(Busy):
        verbs.get(command, lambda: haproxy.join(member(ZERO)))()
    assert (haproxy.seats()[ZERO].standing, ONE in haproxy.seats()) == (before, False)
    monkeypatch.setattr(haproxy.process, "ask", ask)
    verbs.get(command, lambda: haproxy.join(member(ZERO)))()


def test_a_connection_outlives_reloads_and_is_counted_and_cut(haproxy: HaproxyBalancer, echo: Member) -> None:
    """A long connection goes on through reloads; draining still sees it, and leaving ends it."""
    haproxy.shape([TCP])
    haproxy.join(echo)
    with connect(TCP.port) as talk:
        assert says(talk, b"a") == b"a"
        haproxy.shape([TCP, HTTP])
        haproxy.drain(ZERO)
        haproxy.shape([TCP, HTTP, ADMIN])
        seat = haproxy.seats()[ZERO]
        assert (seat.standing, seat.connections) == (Standing.DRAINING, 1)
        assert says(talk, b"b") == b"b"
        patiently(lambda: haproxy.leave(ZERO))
        assert says(talk, b"c") == b""
    assert haproxy.seats() == {}


def test_the_next_daemon_counts_what_an_old_worker_holds(
    haproxy: HaproxyBalancer, start: Callable[[], HaproxyBalancer], echo: Member
) -> None:
    """Connections from before a reload from before a restart of the daemon are seen, until they end."""
    haproxy.shape([TCP])
    haproxy.join(echo)
    with connect(TCP.port) as talk:
        assert says(talk, b"a") == b"a"
        haproxy.shape([TCP, HTTP])
        successor = start()
        assert successor.seats()[ZERO].connections == 1
    until(lambda: successor.seats()[ZERO].connections == 0)


@pytest.mark.usefixtures("origins")
def test_reloads_under_load_lose_no_request(haproxy: HaproxyBalancer) -> None:
    """Four clients ask without a pause while endpoints come and go: every answer is a 200, none is missing."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    haproxy.join(member(ONE))
    stop = threading.Event()
    answers: list[tuple[int, str]] = []

    def client() -> None:
        while not stop.is_set():
            answers.append(answered())

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    for number in range(6):
        haproxy.shape([HTTP, ADMIN] if number % 2 == 0 else [HTTP])
        time.sleep(0.1)
    stop.set()
    for one in clients:
        one.join()
    assert len(answers) > 100
    assert set(answers) == {(200, "zero"), (200, "one")}


@pytest.mark.usefixtures("origins")
def test_a_member_that_joins_after_a_reload_joins_the_new_worker(haproxy: HaproxyBalancer) -> None:
    """A change that leaves the names of the endpoints as they were is waited for like any other."""
    haproxy.shape([HTTP])
    for path in ("/a", "/b", "/c"):
        haproxy.shape([dataclasses.replace(HTTP, probe=HttpProbe(path=path))])
        haproxy.join(member(ZERO))
        time.sleep(0.3)  # Long enough for an old worker to be gone.
        assert haproxy.seats()[ZERO].standing is Standing.UP
        assert ask() == (200, "zero")
        patiently(lambda: haproxy.leave(ZERO))


@pytest.mark.usefixtures("origins")
def test_who_was_draining_when_haproxy_died_can_be_taken_back(haproxy: HaproxyBalancer) -> None:
    """It comes back draining, gets nothing, and gets traffic again after it has joined."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    haproxy.join(member(ONE))
    haproxy.drain(ZERO)
    kill_all(haproxy)
    until(lambda: answered() == (200, "one"))
    assert {ask()[1] for _ in range(6)} == {"one"}
    haproxy.join(member(ZERO))
    assert {ask()[1] for _ in range(6)} == {"zero", "one"}
    haproxy.drain(ONE)
    assert {ask()[1] for _ in range(6)} == {"zero"}


@pytest.mark.usefixtures("origins")
def test_killed_again_as_soon_as_it_answers_it_comes_back_again(haproxy: HaproxyBalancer) -> None:
    """A death during the start is seen as one, not waited for as a start that takes long."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    for _ in range(4):
        kill_all(haproxy)
        until(lambda: answered() == (200, "zero"), 8.0)


@pytest.mark.usefixtures("origins")
def test_a_member_may_leave_while_haproxy_is_dead(place: Path) -> None:
    """And does not come back with it."""
    balancer = HaproxyBalancer(place, "haproxy", lambda *_: None, SystemClock())  # Not entered: nobody watches.
    try:
        balancer.shape([HTTP])
        balancer.join(member(ZERO))
        balancer.join(member(ONE))
        kill_all(balancer)
        until(lambda: balancer.process.pid() is None)  # A kernel that is busy takes a moment to end it.
        balancer.leave(ZERO)
        with HaproxyBalancer(place, "haproxy", lambda *_: None, SystemClock()) as successor:
            assert set(successor.seats()) == {ONE}
    finally:
        balancer.shape([])


@pytest.mark.usefixtures("origins")
def test_a_vip_that_is_not_on_the_host_keeps_nobody_else_from_being_served(
    place: Path, start: Callable[[], HaproxyBalancer]
) -> None:
    """After a restart of the host one service's address may come late, or never."""
    haproxy = start()
    absent = dataclasses.replace(ADMIN, vip="192.0.2.77")
    with pytest.raises(Transient, match="not on this host yet"):
        haproxy.shape([HTTP, absent])
    haproxy.join(member(ZERO))
    shape = dataclasses.replace(haproxy.desired.shape, frontends=(*haproxy.desired.shape.frontends, absent))
    haproxy.load(shape)
    haproxy.desired.keep(shape)
    kill_all(haproxy)
    until(lambda: answered() == (200, "zero"))


def test_a_port_that_was_taken_meanwhile_does_not_keep_the_daemon_from_starting(
    start: Callable[[], HaproxyBalancer],
) -> None:
    """Guests can be looked after; other endpoints are served, and this one when its port is free again."""
    first = start()
    first.shape([HTTP, ADMIN])
    first.__exit__()
    kill_all(first)
    with takes(PORT):
        successor = start()
        assert successor.process.pid() is None
        with pytest.raises(EndpointRefused, match="taken by another program"):
            successor.shape([HTTP, ADMIN])
        connect(ADMIN.port).close()
    successor.shape([HTTP, ADMIN])
    until(lambda: answered()[0] == 503)


def test_a_failed_reload_is_told_at_once_and_loses_nothing(
    haproxy: HaproxyBalancer, origins: dict[InstanceName, Origin]
) -> None:
    """HAProxy itself finds the port taken: the endpoints that were go on, and a later reload works."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    with socket.create_server((VIP, ADMIN.port)):
        wanted = dataclasses.replace(haproxy.desired.shape, frontends=(*haproxy.desired.shape.frontends, ADMIN))
        began = time.monotonic()
        with pytest.raises(Permanent, match="goes on with the endpoints it had"):
            haproxy.load(wanted)
        assert time.monotonic() - began < 10
        assert ask() == (200, "zero")
        with pytest.raises(EndpointRefused):  # Not taken for a place where HAProxy listens already.
            haproxy.shape([HTTP, ADMIN])
        assert ask() == (200, "zero")
    haproxy.shape([HTTP, ADMIN])
    assert ask() == (200, "zero")


def test_an_old_worker_that_answers_late_is_not_taken_for_the_new_one(
    haproxy: HaproxyBalancer, origins: dict[InstanceName, Origin]
) -> None:
    """On a busy host it says nothing when the reload begins; it is the same one that answers after the failure."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    wanted = dataclasses.replace(haproxy.desired.shape, frontends=(*haproxy.desired.shape.frontends, ADMIN))
    (worker,) = workers(haproxy)
    os.kill(worker, signal.SIGSTOP)
    goes_on = threading.Timer(haproxy_process.ANSWER_S + 1.0, os.kill, (worker, signal.SIGCONT))
    goes_on.start()
    with (
        socket.create_server((VIP, ADMIN.port)),
        pytest.raises(Permanent, match="goes on with the endpoints it had"),
    ):
        haproxy.load(wanted)
    goes_on.join()
    assert ask() == (200, "zero")


def workers(haproxy: HaproxyBalancer) -> set[int]:
    """The process ids of all that its master has started and that live, be they of this reload or of one before."""
    master = haproxy.process.pid()
    assert master is not None
    return {int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()}


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[HaproxyBalancer, Callable[[float], None]]]:
    """An HAProxy of which every reload takes so many seconds longer, and nobody watches it."""
    program, pause = tmp_path / "slow", tmp_path / "pause"
    pause.write_text("0")
    program.write_text(
        f"#!/bin/bash\ncase \" $* \" in *' -sf '*) read -r s < {pause}; sleep $s;; esac\n"
        f'exec -a {program} {shutil.which("haproxy")} "$@"\n'
    )
    program.chmod(0o755)
    haproxy = HaproxyBalancer(tmp_path / "haproxy", str(program), lambda *_: None, SystemClock())
    yield haproxy, lambda seconds: cast(None, pause.write_text(str(seconds)))
    pause.write_text("0")
    haproxy.shape([])


@pytest.mark.parametrize("name", ["haproxy.cfg", "haproxy.was", "haproxy.pid"])
def test_a_file_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, name: str) -> None:
    """What HAProxy has, or whether it runs, is not known then; where there is no file it is known."""
    process = HaproxyProcess(tmp_path / "haproxy", "haproxy", SystemClock())
    unreadable = tmp_path / "haproxy" / name
    unreadable.symlink_to(name)
    look = process.pid if name.endswith("pid") else process.listening
    with pytest.raises(Transient, match="Too many levels"):
        look()
    HaproxyProcess(tmp_path / "haproxy", "haproxy", SystemClock())  # A daemon begins all the same.
    unreadable.unlink()
    assert not look()


@pytest.mark.usefixtures("origins")
def test_without_descriptors_haproxy_is_not_taken_for_dead(haproxy: HaproxyBalancer) -> None:
    """Nobody can be looked at then: it goes on as the one that it was, and nobody starts another."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    before = haproxy.process.pid()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(Transient):
            haproxy.process.pid()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert haproxy.process.pid() == before
    assert ask() == (200, "zero")


def test_a_reload_that_nobody_saw_the_end_of_is_believed_by_nobody(
    slow: tuple[HaproxyBalancer, Callable[[float], None]],
    origins: dict[InstanceName, Origin],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What such a load was given counts as what HAProxy has only when a later one has seen that it has it."""
    haproxy, pause = slow
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    pause(4.0)
    with monkeypatch.context() as patch, socket.create_server((VIP, ADMIN.port)):
        patch.setattr(haproxy_process, "START_S", 1.0)
        wanted = dataclasses.replace(haproxy.desired.shape, frontends=(HTTP, ADMIN))
        with pytest.raises(Unreachable, match="does not come back"):
            haproxy.load(wanted)
        patch.undo()
        pause(0)
        with pytest.raises(Permanent, match="goes on with the endpoints it had"):
            haproxy.load(wanted)
        assert f"{VIP}:{ADMIN.port}" not in haproxy.process.listening()
    assert ask() == (200, "zero")
    haproxy.shape([HTTP, ADMIN])
    assert haproxy.process.settled()


@pytest.mark.parametrize("name", ["with space", "q'uote", "x" * 100])
def test_a_run_directory_that_cannot_be_written_into_the_configuration_is_refused(tmp_path: Path, name: str) -> None:
    """Before anything is made."""
    with pytest.raises(ConfigError, match="cannot be HAProxy's socket"):
        HaproxyBalancer(tmp_path / name, "haproxy", lambda *_: None, SystemClock())
    assert not (tmp_path / name).exists()


def test_its_files_are_its_owners_alone(haproxy: HaproxyBalancer, place: Path) -> None:
    """Who can write to the runtime socket rules the balancer."""
    haproxy.shape([HTTP])
    assert place.stat().st_mode & 0o077 == 0
    for path in (haproxy.process.socket, haproxy.process.master, haproxy.process.config):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.usefixtures("origins")
def test_watching_costs_next_to_nothing(haproxy: HaproxyBalancer) -> None:
    """Ten members, nobody asks: this process and HAProxy together stay below one percent of a core."""
    haproxy.shape([HTTP])
    for number in range(10):
        name = InstanceName(f"web-{number}.shop")
        haproxy.join(Member(name=name, address=ADDRESSES[ONE], pools=((POOL, 8077),)))
    time.sleep(1.0)
    before, own_before, began = cpu_s(haproxy), own_s(), time.monotonic()
    time.sleep(2.0)
    took = time.monotonic() - began
    origin_share = 0.5  # The two origins answer ten checks a second in this very process.
    assert (cpu_s(haproxy) - before) / took < 0.02
    assert (own_s() - own_before) / took < 0.02 + origin_share


def own_s() -> float:
    """Seconds of processor time that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_s(haproxy: HaproxyBalancer) -> float:
    """Seconds of processor time of all of HAProxy's processes."""
    config, ticks = str(haproxy.process.config).encode(), 0
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and config in (entry / "cmdline").read_bytes().split(b"\0"):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    "probe",
    [HttpProbe(path=path) for path in ("/", "/a?b=c#d", "/%20$HOME", "/'\"\\x", "/{}()")] + [TcpProbe(port=9)],
)
def test_any_probe_can_be_configured(haproxy: HaproxyBalancer, probe: HttpProbe | TcpProbe) -> None:
    """What the service file allows as a probe is taken by HAProxy as it is written."""
    haproxy.shape([dataclasses.replace(HTTP, probe=probe)])
    assert ask()[0] == 503


def test_a_probe_asks_for_its_path_as_it_was_written(haproxy: HaproxyBalancer) -> None:
    """Nothing in it is taken for syntax, and no mark against that reaches the instance."""
    path = "/a$b?x=\"q\"&y='z'\\w#f~`{,}%20"
    with socket.create_server((ADDRESSES[ZERO], 8078)) as listener:
        listener.settimeout(30)
        haproxy.shape([dataclasses.replace(HTTP, probe=HttpProbe(path=path))])
        haproxy.join(dataclasses.replace(member(ZERO), pools=((HTTP.pool, 8078),)))
        check, _ = listener.accept()
        with check:
            assert check.recv(1000).split(b"\r\n")[0].decode() == f"GET {path} HTTP/1.0"


@pytest.mark.parametrize(
    "line", ["show stat -1 4 -1", "show info", "set server shop.web.http/web-0.shop state ready"]
)
def test_an_answer_that_was_cut_short_is_none(haproxy: HaproxyBalancer, tmp_path: Path, line: str) -> None:
    """HAProxy may die while it speaks: what it had said by then is no list of members, and no consent."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    process, path = haproxy.process, tmp_path / "cut.sock"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as talk:
        talk.connect(str(process.socket))
        talk.sendall(line.encode() + b"\n")
        talk.shutdown(socket.SHUT_WR)
        whole = b"".join(iter(lambda: talk.recv(65536), b""))
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as dying:
        dying.bind(str(path))
        dying.listen()
        answers = iter([*(whole[:end] for end in range(0, len(whole), 11)), whole])

        def serve() -> None:
            for answer in answers:
                talk, _ = dying.accept()
                with talk:
                    talk.recv(1000)
                    talk.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        for _ in range(0, len(whole), 11):
            with pytest.raises(Unreachable):
                process.converse(path, line)
        assert process.converse(path, line) == whole.decode().strip()


def test_the_watcher_outlives_a_fault_of_its_own(
    haproxy: HaproxyBalancer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and an HAProxy that dies afterwards is started again."""
    haproxy.shape([HTTP])

    def fault() -> None:
        raise AttributeError("a fault")

    monkeypatch.setattr(haproxy.members, "seats", fault)
    until(lambda: "error of its own" in caplog.text)
    kill_all(haproxy)
    until(lambda: answered()[0] == 503)


def test_a_sick_member_is_never_both_up_and_checked(haproxy: HaproxyBalancer) -> None:
    """Nobody is at its address: until the check has found that out it counts as up, and is told to be unchecked."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    seen = set()
    end = time.monotonic() + 30
    while Standing.DOWN not in {standing for standing, _ in seen}:
        assert time.monotonic() < end, seen
        seat = haproxy.seats()[ZERO]
        seen.add((seat.standing, seat.checked))
    assert (Standing.UP, True) not in seen


def test_connections_of_an_endpoint_that_has_gone_are_seen(haproxy: HaproxyBalancer, echo: Member) -> None:
    """A role that is taken out of the service drains: its open connections are counted until it leaves."""
    haproxy.shape([TCP, HTTP])
    haproxy.join(echo)
    with connect(TCP.port) as talk:
        assert says(talk, b"a") == b"a"
        haproxy.shape([HTTP])
        seat = haproxy.seats()[ZERO]
        assert (seat.standing, seat.connections, seat.pools) == (Standing.DRAINING, 1, ())
        haproxy.drain(ZERO)
        assert says(talk, b"b") == b"b"
        patiently(lambda: haproxy.leave(ZERO))
        assert says(talk, b"c") == b""
    assert haproxy.seats() == {}


def test_where_haproxy_does_not_run_nobody_is_served(start: Callable[[], HaproxyBalancer]) -> None:
    """What is to be drained then is drained; a restart or removal does not wait for HAProxy."""
    haproxy = start()
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    haproxy.__exit__()
    kill_all(haproxy)
    with takes(PORT):
        assert haproxy.seats() == {}
        haproxy.leave(ZERO)


@pytest.mark.usefixtures("origins")
def test_a_full_disk_does_not_end_the_watcher(
    start: Callable[[], HaproxyBalancer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on trying, and starts HAProxy again when there is room."""
    haproxy = start()
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    write_text, refused = Path.write_text, threading.Event()

    def full(path: Path, *_: object, **__: object) -> int:
        refused.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    kill_all(haproxy)
    assert refused.wait(30)
    monkeypatch.setattr(Path, "write_text", write_text)
    until(lambda: answered() == (200, "zero"))


def test_what_is_in_the_configuration_was_checked() -> None:
    """No name, address, port or path can add a line or a word."""
    good = Shape(frontends=(HTTP,), members={ZERO: member(ZERO)})
    text = haproxy_config.render(good, Path("/run/x.sock"), Surroundings())
    assert text.count(f"\n    server web-0.shop {ADDRESSES[ZERO]}:8077 ") == 1
    bad: list[Shape] = [
        dataclasses.replace(good, frontends=(dataclasses.replace(HTTP, pool=PoolName("a\nglobal")),)),
        dataclasses.replace(good, frontends=(dataclasses.replace(HTTP, port=0),)),
        dataclasses.replace(good, frontends=(dataclasses.replace(HTTP, probe=HttpProbe(path="/ x")),)),
        dataclasses.replace(good, frontends=(dataclasses.replace(HTTP, probe=HttpProbe(path="/", port=70000)),)),
        dataclasses.replace(good, members={"web 0": member(ZERO)}),
    ]
    for one in bad:
        with pytest.raises(Permanent):
            haproxy_config.render(one, Path("/run/x.sock"), Surroundings())
    with pytest.raises(ValueError, match="permitted"):
        haproxy_config.server_address(dataclasses.replace(member(ZERO), address="1.2.3.4 weight 0"), 80)


def test_the_process_is_told_from_others(place: Path, haproxy: HaproxyBalancer) -> None:
    """A process id that another program has got meanwhile is not taken for HAProxy, and never killed."""
    (place / "haproxy.pid").write_text(str(os.getpid()))
    assert haproxy.process.pid() is None
    haproxy.process.stop()


def test_a_reload_without_a_pid_file_is_a_reload(place: Path, haproxy: HaproxyBalancer) -> None:
    """HAProxy takes its pid file away before it writes it anew: nobody who looks then takes it for dead."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    pid = haproxy.process.pid()
    (place / "haproxy.pid").unlink()
    assert haproxy.process.pid() == pid
    assert set(haproxy.seats()) == {ZERO}
    haproxy.shape([HTTP, ADMIN])
    assert haproxy.process.pid() == pid
    assert (place / "haproxy.pid").read_text().strip() == str(pid)


@pytest.mark.usefixtures("origins")
def test_a_request_that_meets_a_dying_member_is_asked_elsewhere(
    haproxy: HaproxyBalancer, origins: dict[InstanceName, Origin]
) -> None:
    """Until the check has failed, a GET to a member that is gone is answered by the other."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    haproxy.join(member(ONE))
    haproxy.join(Member(name=InstanceName("web-2.shop"), address=f"{CORNER}.12", pools=((POOL, 8077),)))
    answers = [ask() for _ in range(30)]
    assert {status for status, _ in answers} == {200}

"""HAProxy is what the outside meets: as whom it works, what it hands on, and how much one client can have of it."""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import pwd
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer import haproxy_config, haproxy_host, haproxy_process
from orchestrator.drivers.balancer.desired import Shape
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.haproxy_host import Surroundings
from orchestrator.drivers.clock import SystemClock
from orchestrator.errors import Permanent
from orchestrator.host.config import Config
from orchestrator.host.doctor import programs
from orchestrator.host.doctor.check import Verdict
from orchestrator.model import Frontend, InstanceName, Member, Mode, PoolName, Standing
from tests.contract.suites.balancer import ADDRESSES, ADMIN, CORNER, HTTP, POOL, PORT, VIP, ZERO, member, patiently
from tests.contract.suites.limits import Front, LimitsContract
from tests.world.balancing import answered, kill_all
from tests.world.raw_server import RawServer, echo, fine
from tests.world.waiting import until

TCP = Frontend(pool=PoolName("shop.db.sql"), vip=VIP, port=PORT + 2, mode=Mode.TCP, probe=None)
UNCHECKED = replace(HTTP, probe=None)
Begin = Callable[..., HaproxyBalancer]
LIES = (
    "X-Forwarded-For X_Forwarded_For x-forwarded-for X-Forwarded X-Forwarded-Proto X-Forwarded-Host X_FORWARDED_HOST "
    "X-Forwarded-Port X-Forwarded-RawServer X-Forwarded-Prefix X-Forwarded-Client-Cert Forwarded Forwarded-For "
    "X-Real-IP X_Real_IP X-Client-IP Client-IP True-Client-IP X-Cluster-Client-IP CF-Connecting-IP Fastly-Client-IP "
    "Proxy X-Forward-For X-Original-Forwarded-For X-Original-URL X-Rewrite-URL X-Host X-ProxyUser-Ip X-Remote-Addr "
    "X-Originating-IP WL-Proxy-Client-IP X-Envoy-External-Address X-HTTP-Host-Override X-Scheme"
)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begins a daemon's balancer; each call is the next daemon. All end with the test, HAProxy too."""
    place = tmp_path / "haproxy"
    with contextlib.ExitStack() as stack:

        def begun(binary: str = "haproxy", **more: Callable[[Path], Surroundings]) -> HaproxyBalancer:
            return stack.enter_context(HaproxyBalancer(place, binary, lambda *_: None, SystemClock(), **more))

        last = HaproxyBalancer(place, "haproxy", lambda *_: None, SystemClock())
        stack.callback(lambda: last.shape([]))
        yield begun


def at(address: str, name: str, *pools: PoolName, port: int = 8077) -> Member:
    """A member of the test's own."""
    return Member(name=InstanceName(name), address=address, pools=tuple((pool, port) for pool in pools or (POOL,)))


def raw(request: bytes, port: int = PORT, within_s: float = 30.0) -> bytes:
    """The beginning of the answer to these very bytes; b"" when it hangs up without one."""
    with socket.create_connection((VIP, port), timeout=within_s) as talk:
        talk.sendall(request)
        try:
            return talk.recv(4096)
        except ConnectionResetError:
            return b""


def lines_of(status: str) -> dict[str, str]:
    """The lines of /proc/PID/status."""
    return dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)


def worker_of(balancer: HaproxyBalancer) -> int:
    """The process that takes new connections."""
    worker = balancer.process.worker()
    assert worker is not None
    return worker.pid


def assert_without_root(balancer: HaproxyBalancer) -> None:
    """The worker is the package's user, has no capability, and sees no file of the host.

    Where the tests are not root HAProxy is not either, and stays who it is.
    """
    process = Path(f"/proc/{worker_of(balancer)}")
    status = lines_of((process / "status").read_text())
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    if os.geteuid() != 0:
        assert status["Uid"].split() == [str(os.geteuid())] * 4
        return
    user, group = pwd.getpwnam("haproxy").pw_uid, grp.getgrnam("haproxy").gr_gid
    assert status["Uid"].split() == [str(user)] * 4
    assert status["Gid"].split() == [str(group)] * 4
    assert status["Groups"].split() in ([], [str(group)])
    assert not list(Path(f"{process}/root").iterdir())


def test_the_outside_meets_no_root(begin: Begin) -> None:
    """After a start, a reload, a kill -9 of all of it, and with the next daemon; members come and go as ever."""
    with RawServer(ADDRESSES[ZERO], 8077, fine):
        first = begin()
        first.shape([UNCHECKED])
        first.join(member(ZERO))
        assert_without_root(first)
        first.shape([UNCHECKED, ADMIN])
        assert_without_root(first)
        assert answered() == (200, "ok")
        kill_all(first)
        until(lambda: answered() == (200, "ok"), 30.0)
        assert_without_root(first)
        first.__exit__()
        second = begin()
        assert second.seats()[ZERO].standing is Standing.UP
        second.shape([UNCHECKED])
        assert_without_root(second)
        patiently(lambda: second.leave(ZERO))
        assert answered()[0] == 503


def test_where_there_is_nobody_to_be_it_is_said_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root without the package's user does not fall back to root."""
    monkeypatch.setattr(haproxy_host, "USER", "no-such-user")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    balancer = HaproxyBalancer(tmp_path / "haproxy", "haproxy", lambda *_: None, SystemClock())
    with pytest.raises(Permanent, match="no user or group 'no-such-user'") as refused:
        balancer.shape([HTTP])
    assert "adduser --system --group" in refused.value.hint
    assert balancer.process.pid() is None


def test_the_haproxy_of_a_former_version_is_replaced_and_loses_nothing(begin: Begin) -> None:
    """One that works as root goes on with its open connections; new ones meet the new one."""
    with RawServer(ADDRESSES[ZERO], 8077, echo):
        former = begin(surroundings=lambda _: Surroundings())
        former.shape([TCP])
        former.join(at(ADDRESSES[ZERO], ZERO, TCP.pool))
        old = worker_of(former)
        assert lines_of(Path(f"/proc/{old}/status").read_text())["Uid"].split()[0] == str(os.geteuid())
        with socket.create_connection((VIP, TCP.port), timeout=30) as talk:
            talk.sendall(b"a")
            assert talk.recv(1) == b"a"
            former.__exit__()
            present = begin()
            assert_without_root(present)
            assert present.seats()[ZERO].connections == 1
            talk.sendall(b"b")
            assert talk.recv(1) == b"b"
        worker = worker_of(present)
        present.__exit__()
        assert worker_of(begin()) == worker, "what is as it should be is left alone"


def test_a_replaced_program_is_told_and_renewed_by_the_next_daemon(begin: Begin, tmp_path: Path) -> None:
    """An update of the package leaves the old program at work until then."""
    binary, fresh, place = tmp_path / "program", tmp_path / "fresh", tmp_path / "haproxy"
    shutil.copy2("/usr/sbin/haproxy", binary)
    former = begin(str(binary))
    former.shape([HTTP])
    former.revive()  # Its first look renews what is outdated: it is not to come in between.
    assert (former.faults(), haproxy_process.outdated(place, str(binary), SystemClock())) == ([], "")
    shutil.copy2(binary, fresh)
    fresh.rename(binary)
    assert f"{binary} as it was before it was replaced" in former.faults()[0]
    assert "before it was replaced" in haproxy_process.outdated(place, str(binary), SystemClock())
    said = programs.haproxy(Config(run_dir=tmp_path, haproxy=str(binary)))
    assert (said.verdict, "before it was replaced" in said.message) == (Verdict.WARN, True), said
    former.__exit__()
    with socket.create_connection((VIP, PORT), timeout=30):
        present = begin(str(binary))
        assert present.faults() == []


def test_another_version_is_told(begin: Begin, tmp_path: Path) -> None:
    """By the numbers of both, where the program is started by a name that stays."""
    teller = tmp_path / "teller"
    teller.write_text(
        '#!/bin/sh\n[ "$1" = -v ] && echo "HAProxy version 9.8.7-6 2031/01/01" && exit\nexec haproxy "$@"\n'
    )
    teller.chmod(0o755)
    balancer = begin(str(teller))
    balancer.shape([HTTP])
    (told,) = balancer.faults()
    assert re.search(r"HAProxy \d+\.\d+\S* runs, and 9\.8\.7-6 is installed", told)


@pytest.mark.parametrize("pools", [(HTTP,), (HTTP, ADMIN)], ids=["one endpoint", "two endpoints"])
def test_a_member_that_is_down_is_drained_and_taken_back(begin: Begin, pools: tuple[Frontend, ...]) -> None:
    """A reimage of a sick instance takes no detour; a healthy one that falls sick while it drains stays drained."""
    balancer = begin()
    balancer.shape(pools)
    balancer.join(member(ZERO, *(one.pool for one in pools)))
    until(lambda: balancer.seats()[ZERO].standing is Standing.DOWN, 30.0)
    balancer.drain(ZERO)
    assert balancer.seats()[ZERO].standing is Standing.DRAINING
    with RawServer(ADDRESSES[ZERO], 8077, fine):
        balancer.join(member(ZERO, *(one.pool for one in pools)))
        until(lambda: balancer.seats()[ZERO].standing is Standing.UP, 30.0)
        until(lambda: answered() == (200, "ok"), 30.0)
        balancer.drain(ZERO)
        assert answered()[0] == 503
    until(lambda: "L4" in str(balancer.process.ask("show stat -1 4 -1")), 30.0)
    time.sleep(1.0)  # Long enough for its checks to fail.
    assert balancer.seats()[ZERO].standing is Standing.DRAINING


@pytest.mark.parametrize("members", [1, 2, 3, 6])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_kills_spares_the_others(begin: Begin, members: int, method: str) -> None:
    """It reaches one member and one more at most, and never the last."""
    with contextlib.ExitStack() as stack:
        killed: list[int] = []

        def server(number: int) -> RawServer:
            def answer(said: bytes) -> bytes | None:
                if b"/die" in said:
                    killed.append(number)
                    return None
                return fine(said)

            return stack.enter_context(RawServer(f"{CORNER}.{20 + number}", 8077, answer))

        balancer = begin()
        balancer.shape([UNCHECKED])
        for number in range(members):
            server(number)
            balancer.join(at(f"{CORNER}.{20 + number}", f"web-{number}.shop"))
        body = b"Content-Length: 0\r\n" if method == "POST" else b""
        assert b" 502 " in raw(method.encode() + b" /die HTTP/1.1\r\nHost: x\r\n" + body + b"\r\n").split(b"\r\n")[0]
        most = 1 if method == "POST" else max(1, min(2, members - 1))
        assert 1 <= len(set(killed)) <= most


def test_where_a_client_comes_from_is_our_word_alone(begin: Begin) -> None:
    """Whatever he writes of it in whatever spelling, the member hears his address once, and nothing of his."""
    with RawServer(ADDRESSES[ZERO], 8077, fine) as server:
        balancer = begin()
        balancer.shape([UNCHECKED])
        balancer.join(member(ZERO))
        head = "".join(f"{lie}: 6.6.6.6\r\n" for lie in LIES.split())
        kept = "X-Request-ID: 7\r\nVia: 1.1 office\r\nX-Forwarding: yes\r\nClient: me\r\n"
        assert b" 200 " in raw(f"GET /a HTTP/1.1\r\nHost: shop\r\n{head}{kept}\r\n".encode())
        (heard,) = [one.decode().lower() for one in server.heard if b"/a" in one]
        assert "6.6.6.6" not in heard
        assert re.findall(r"^.*forwarded.*$", heard.replace("\r", ""), re.MULTILINE) == ["x-forwarded-for: 127.0.0.1"]
        for line in ("x-forwarding: yes", "host: shop", "x-request-id: 7", "via: 1.1 office", "client: me"):
            assert line in heard


@pytest.mark.parametrize(
    "head",
    [b"Host: x\r\nA: b%cc\r\n" % one for one in (0, 1, 8, 11, 27, 127)]
    + [b"", b"A: b\r\n", b"Host: x\r\nHost: y\r\n", b"Host: x\r\nA: \0b\r\n"],
)
def test_what_no_standard_allows_reaches_no_member(begin: Begin, head: bytes) -> None:
    """Control characters in a header; HTTP/1.1 without a Host, or with two."""
    with RawServer(ADDRESSES[ZERO], 8077, fine) as server:
        balancer = begin()
        balancer.shape([UNCHECKED])
        balancer.join(member(ZERO))
        assert raw(b"GET /bad HTTP/1.1\r\n" + head + b"\r\n").split(b"\r\n")[0].endswith(b"400 Bad request")
        assert not server.heard
        assert b" 200 " in raw(b"GET /good HTTP/1.0\r\n\r\n")
        assert b" 200 " in raw(b"GET /good HTTP/1.1\r\nHost: x\r\nA: \tb \xc3\xa4\r\n\r\n")


@pytest.mark.parametrize(
    "ambiguous",
    [
        b"Content-Length: 0\r\nContent-Length: 37",
        b"Content-Length: 37, 0",
        b"Content-Length:",
        b"Content-Length: +37",
        b"Content-Length: 0x25",
        b"Content-Length: 3 7",
        b"Content-Length : 0",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ],
)
def test_no_request_is_hidden_in_another(begin: Begin, ambiguous: bytes) -> None:
    """What two readers could take for bodies of two lengths reaches no member, nor does what stands behind it."""
    hidden = b"GET /hidden HTTP/1.1\r\nHost: shop\r\n\r\n"
    with RawServer(ADDRESSES[ZERO], 8077, fine) as server:
        balancer = begin()
        balancer.shape([UNCHECKED])
        balancer.join(member(ZERO))
        answer = raw(b"POST /bad HTTP/1.1\r\nHost: shop\r\n" + ambiguous + b"\r\n\r\n" + hidden)
        assert answer.split(b"\r\n")[0].endswith(b"400 Bad request")
        assert b" 200 " in raw(b"POST /good HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\n\r\nx")
        assert [one.split()[1] for one in server.heard] == [b"/good"]


def test_nobody_speaks_http_2_to_it(begin: Begin) -> None:
    """It is configured nowhere, and a client's preface does not switch it on."""
    balancer = begin()
    balancer.shape([UNCHECKED])
    settings = b"\0\0\0\4\0\0\0\0\0"
    assert raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)[:9] != settings[:3] + b"\4"
    assert raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings).startswith((b"HTTP/1.", b""))
    assert b"\4" not in raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)[:4]


def hold(count: int, port: int, stack: contextlib.ExitStack, source: str = "") -> list[socket.socket]:
    """Opens connections and keeps them, a byte each; those that are not echoed count as refused and are left out."""
    held = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            talk = socket.create_connection((VIP, port), timeout=30, source_address=(source, 0) if source else None)
            stack.enter_context(talk)
            talk.settimeout(2.0)
            talk.sendall(b"x")
            if talk.recv(1) == b"x":
                held.append(talk)
    return held


def test_one_client_of_one_endpoint_starves_nobody(begin: Begin) -> None:
    """He gets half of the endpoint's share; his neighbour is served at it, and so is another endpoint."""
    few = 40
    with (
        RawServer(ADDRESSES[ZERO], 8077, echo),
        RawServer(f"{CORNER}.20", 8077, fine),
        contextlib.ExitStack() as stack,
    ):
        balancer = begin(surroundings=lambda jail: replace(haproxy_host.surroundings(jail), connections_max=1_000))
        balancer.shape([replace(TCP, connections_max=few), UNCHECKED])
        balancer.join(at(ADDRESSES[ZERO], ZERO, TCP.pool))
        balancer.join(at(f"{CORNER}.20", "web-1.shop"))
        assert len(hold(few, TCP.port, stack)) == few // 2
        assert len(hold(3, TCP.port, stack, source=f"{CORNER}.99")) == 3
        assert answered() == (200, "ok")


def test_the_shares_of_all_endpoints_leave_room_for_each() -> None:
    """All endpoints but one may be full, each with many clients: the last is served."""
    shape = Shape(frontends=tuple(replace(TCP, pool=PoolName(f"shop.db.sql{n}"), port=20000 + n) for n in range(10)))
    text = haproxy_config.render(
        shape, Path("/run/x.sock"), Surroundings(connections_max=50_000, files_max=1_000_000)
    )
    shares = [int(one) for one in re.findall(r"^frontend[^§]*?^    maxconn (\d+)", text, re.MULTILINE)]
    assert shares == [5_000] * 10
    assert "\n    maxconn 50000\n" in text


def test_limits_of_the_service_file_hold(begin: Begin) -> None:
    """So many connections in all, so many of one client."""
    with RawServer(ADDRESSES[ZERO], 8077, echo), contextlib.ExitStack() as stack:
        balancer = begin()
        balancer.shape([replace(TCP, connections_max=7, client_connections_max=5)])
        balancer.join(at(ADDRESSES[ZERO], ZERO, TCP.pool))
        assert len(hold(9, TCP.port, stack)) == 5
        assert len(hold(4, TCP.port, stack, source=f"{CORNER}.99")) == 2


class TestLimits(LimitsContract):
    """What every balancer keeps that carries connections."""

    @pytest.fixture
    def front(self, begin: Begin) -> Iterator[Front]:
        """Clients are addresses of this host."""

        def connect(client: int) -> socket.socket:
            return socket.create_connection((VIP, TCP.port), 30.0, (f"{CORNER}.{98 + client}", 0))

        with RawServer(ADDRESSES[ZERO], 8077, echo):
            balancer = begin()
            addresses = f"{CORNER}.98", f"{CORNER}.99"
            join = functools.partial(balancer.join, at(ADDRESSES[ZERO], ZERO, TCP.pool))
            yield Front(balancer, TCP, join, connect, addresses)


@pytest.mark.parametrize(("mode", "timeout_s", "answers"), [(Mode.HTTP, 1.0, False), (Mode.HTTP, 20.0, True)])
def test_how_long_an_answer_may_take_is_the_endpoint_s(
    begin: Begin, mode: Mode, timeout_s: float, answers: bool
) -> None:
    """An answer that comes after three seconds is a 504 where one may wait, and itself where twenty."""

    def slowly(said: bytes) -> bytes:
        time.sleep(3.0)
        return fine(said)

    with RawServer(ADDRESSES[ZERO], 8077, slowly):
        balancer = begin()
        balancer.shape([replace(UNCHECKED, mode=mode, timeout_s=timeout_s)])
        balancer.join(member(ZERO))
        assert (b" 200 " if answers else b" 504 ") in raw(b"GET / HTTP/1.0\r\n\r\n").split(b"\r\n")[0] + b" "


def test_a_silent_connection_ends_when_the_endpoint_says_so(begin: Begin) -> None:
    """Also one on which both sides have spoken."""
    with RawServer(ADDRESSES[ZERO], 8077, echo):
        balancer = begin()
        balancer.shape([replace(TCP, timeout_s=1.0)])
        balancer.join(at(ADDRESSES[ZERO], ZERO, TCP.pool))
        with socket.create_connection((VIP, TCP.port), timeout=30) as talk:
            talk.sendall(b"x")
            assert talk.recv(1) == b"x"
            assert talk.recv(1) == b""


def test_what_the_time_limits_are_where_nobody_says_one() -> None:
    """A minute for http, an hour where both sides of a connection have spoken; dead peers are found out sooner."""
    text = haproxy_config.render(Shape(frontends=(TCP, HTTP)), Path("/run/x.sock"), Surroundings())
    for line in (
        "timeout client 60s",
        "timeout server 60s",
        "timeout tunnel 1h",
        "option clitcpka",
        "option srvtcpka",
    ):
        assert text.count(f"\n    {line}\n") == 1
    assert text.count("timeout server") == text.count("timeout tunnel") == 1


@pytest.mark.slow
def test_workers_of_former_configurations_are_few(begin: Begin) -> None:
    """A connection that nobody ends does not keep one for each change of an endpoint."""
    with RawServer(ADDRESSES[ZERO], 8077, echo), contextlib.ExitStack() as stack:
        balancer = begin()
        balancer.shape([TCP])
        balancer.join(at(ADDRESSES[ZERO], ZERO, TCP.pool))
        for number in range(haproxy_config.OLD_WORKERS_MAX + 4):
            assert hold(1, TCP.port, stack)
            patiently(lambda number=number: balancer.shape([TCP, HTTP] if number % 2 == 0 else [TCP]), 30.0)
        until(lambda: len(balancer.process.old_pids()) <= haproxy_config.OLD_WORKERS_MAX + 1, 30.0)

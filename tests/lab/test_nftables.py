"""Pools in the kernel, on real nftables and conntrack: a client outside, members in namespaces behind a bridge."""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer import conntrack, nft_pools, nft_words
from orchestrator.drivers.balancer.desired import Desired, Shape
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.balancer.per_endpoint import PerEndpoint
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.network.vip import VipAddresses
from orchestrator.drivers.tools.libnftables import Nftables
from orchestrator.errors import Busy, CommandFailed, EndpointRefused
from orchestrator.model import (
    Carrier,
    Endpoint,
    Frontend,
    HttpProbe,
    InstanceName,
    Member,
    Mode,
    PoolName,
    Standing,
    TcpProbe,
)
from orchestrator.ports import Balancer
from tests.contract.suites.balancer import ADDRESSES, ONE, ZERO, BalancerContract, patiently
from tests.contract.suites.exchange import NEW, OLD, ExchangeContract, Pair, Talk
from tests.contract.suites.limits import Front, LimitsContract
from tests.contract.suites.network import make_service
from tests.lab.harness.places import CLIENT_ADDRESS, CLIENT_NAMESPACE, HOST, OUTSIDE_LINK
from tests.lab.kernel_pools import (
    DIPS,
    DNS,
    POOL,
    SPACES,
    TCP,
    UDP,
    VIP,
    WITHIN_S,
    Begin,
    Serving,
    Ways,
    ask,
    ask_udp,
    asking,
    begin,
    by_either,
    connect,
    member,
    members,
    outside,
    says,
    second_client,
    ways,
    wire,
    woken,
)
from tests.lab.stand_in import LAN, LAN_ADDRESS, StandIn, in_namespace, private_network, reaches
from tests.world.balancing import ask as http_ask
from tests.world.origin import Origin
from tests.world.waiting import comes_true

__all__ = ["begin", "members", "outside", "second_client", "ways", "wire", "woken"]  # fixtures


class TestNftables(BalancerContract):
    """What every Balancer keeps."""

    @pytest.fixture
    def balancer(self, tmp_path: Path) -> Iterator[Balancer]:
        """The real one, with members on loopback."""
        with (
            Origin("zero", ADDRESSES[ZERO], 8077),
            Origin("one", ADDRESSES[ONE], 8077),
            NftablesBalancer(tmp_path / "pools", lambda *_: None, SystemClock()) as balancer,
        ):
            yield balancer
            balancer.shape([])

    @pytest.fixture
    def send(self) -> Callable[[], None]:
        """From the host itself, as its members are."""

        def sent() -> None:
            assert http_ask()[0] == 200

        return sent


@by_either
class TestLimits(LimitsContract):
    """What every balancer keeps that carries connections."""

    @pytest.fixture
    def front(self, begin: Begin, second_client: str, ways: Ways) -> Iterator[Front]:
        """Clients are outside; to whom a network of IPv6 belongs, all its addresses do."""
        balancer = begin()
        with Serving(ZERO, here=ways.here):
            addresses = ways.client, second_client
            yield Front(
                balancer,
                ways.tcp,
                lambda: balancer.join(ways.member(ZERO, POOL)),
                lambda client: ways.connect(source=addresses[client]),
                addresses,
            )


def opened(balancer: NftablesBalancer, pool: PoolName) -> dict[InstanceName, int]:
    """How many connections each member of a pool has open."""
    return {name: one.open for name, one in balancer.traffic([pool])[pool].members.items()}


@pytest.mark.usefixtures("members")
@by_either
def test_members_see_the_client_and_an_empty_pool_refuses(begin: Begin, ways: Ways) -> None:
    """By TCP and UDP: refused at once without a member, then both in turn, and each sees the client's own address."""
    balancer = begin()
    balancer.shape([ways.tcp, ways.udp])
    assert (ways.ask(), ways.ask_udp()) == ("refused", "refused")
    balancer.join(ways.member(ZERO))
    assert {ways.ask() for _ in range(4)} == {ways.ask_udp() for _ in range(4)} == {f"web-0 {ways.client}"}
    balancer.join(ways.member(ONE))
    assert {ways.ask() for _ in range(8)} == {ways.ask_udp() for _ in range(8)} == ways.both
    for name in (ZERO, ONE):
        patiently(lambda name=name: balancer.leave(name))
    assert (ways.ask(), ways.ask_udp()) == ("refused", "refused")
    assert balancer.seats() == {}


@pytest.mark.usefixtures("members")
@by_either
def test_a_drain_keeps_what_is_open_and_leaving_tells_its_client(begin: Begin, ways: Ways) -> None:
    """New connections go to the other; open ones are counted, go on, and are reset when the member leaves."""
    balancer = begin()
    balancer.shape([ways.tcp, ways.udp])
    balancer.join(ways.member(ZERO))
    with ways.connect() as talk:
        assert says(talk) == f"web-0 {ways.client} x"
        balancer.join(ways.member(ONE))
        balancer.drain(ZERO)
        assert {ways.ask() for _ in range(6)} == {f"web-1 {ways.client}"}
        seat = balancer.seat(ZERO)
        assert seat is not None
        assert (seat.standing, seat.connections) == (Standing.DRAINING, 1)
        # The six are over in a moment.
        assert comes_true(lambda: opened(balancer, ways.tcp.pool) == {ZERO: 1, ONE: 0}, WITHIN_S)
        carried = balancer.traffic([ways.tcp.pool, ways.udp.pool])
        assert {pool: (one.whole.open, one.whole.begun) for pool, one in carried.items()} == {
            ways.tcp.pool: (1, None),
            ways.udp.pool: (0, None),
        }
        assert says(talk, "y") == f"web-0 {ways.client} y"
        balancer.leave(ZERO)
        assert balancer.seat(ZERO) is None
        # Its kernel may be told before it writes: by a late acknowledgement of what it had read.
        with pytest.raises(ConnectionResetError):  # noqa: PT012
            talk.sendall(b"z")
            talk.recv(100)
    with ways.connect() as talk:
        says(talk)
        balancer.drain(ONE)
        assert balancer.seats()[ONE].connections == 1
    assert comes_true(lambda: balancer.seats()[ONE].connections == 0, WITHIN_S), "an ended connection still counts"


@pytest.mark.usefixtures("members")
@by_either
def test_a_conversation_by_udp_stays_where_it_is_until_it_is_cut(begin: Begin, ways: Ways) -> None:
    """Its datagrams go to the draining member, and to another when that has left."""
    balancer = begin()
    balancer.shape([ways.udp])
    balancer.join(ways.member(ZERO, DNS))
    with ways.conversation() as talk:
        assert ways.ask_udp(talk=talk) == f"web-0 {ways.client}"
        balancer.join(ways.member(ONE, DNS))
        balancer.drain(ZERO)
        assert ways.ask_udp(talk=talk) == f"web-0 {ways.client}"
        balancer.leave(ZERO)
        assert ways.ask_udp(talk=talk) == f"web-1 {ways.client}"


@pytest.mark.usefixtures("members")
@by_either
def test_members_and_host_reach_the_vip_as_well(begin: Begin, ways: Ways) -> None:
    """A member is answered also when it is itself who answers; so is the host."""
    balancer = begin()
    balancer.shape([ways.tcp, ways.udp])
    balancer.join(ways.member(ZERO))
    assert comes_true(lambda: ways.ask(SPACES[ZERO]).startswith("web-0"), WITHIN_S), (
        "a member that is alone does not answer itself"
    )
    balancer.join(ways.member(ONE))
    for space in (*SPACES.values(), ""):
        assert {ways.ask(space).split(" ")[0] for _ in range(6)} == {"web-0", "web-1"}
        assert {ways.ask_udp(space).split(" ")[0] for _ in range(6)} == {"web-0", "web-1"}


@pytest.mark.usefixtures("members")
@by_either
def test_a_client_keeps_its_member_for_a_time(begin: Begin, ways: Ways) -> None:
    """By its address; another joins and nothing moves, its own drains and it does, and after the time it may."""
    balancer = begin()
    balancer.shape([replace(ways.tcp, affinity_s=3.0)])
    balancer.join(ways.member(ZERO, POOL))
    balancer.join(ways.member(ONE, POOL))
    (first,) = {ways.ask() for _ in range(8)}
    other = ways.both - {first}
    mine, its = (ZERO, ONE) if first.startswith("web-0") else (ONE, ZERO)
    patiently(lambda: balancer.leave(its))
    balancer.join(ways.member(its, POOL))
    assert {ways.ask() for _ in range(8)} == {first}, "a change of others moved it"
    balancer.drain(mine)
    assert {ways.ask() for _ in range(4)} == other
    balancer.join(ways.member(mine, POOL))
    assert {ways.ask() for _ in range(4)} == other
    assert comes_true(lambda: _rests(4.0) or ways.ask() == first, WITHIN_S), "it is kept for ever"


def _rests(seconds: float) -> bool:
    time.sleep(seconds)
    return False


@pytest.mark.parametrize("probe", [TcpProbe(), HttpProbe(path="/healthz"), None], ids=["tcp", "http", "none said"])
@by_either
def test_who_is_sick_gets_nothing_new_and_is_told(
    begin: Begin, woken: list[str], probe: TcpProbe | HttpProbe | None, ways: Ways
) -> None:
    """Its server ends: the other gets all; it comes back, and gets its share."""
    balancer = begin()
    balancer.shape([replace(ways.tcp, probe=probe)])
    with Serving(ONE, here=ways.here):
        with Serving(ZERO, here=ways.here):
            balancer.join(ways.member(ZERO, POOL))
            balancer.join(ways.member(ONE, POOL))
            assert comes_true(lambda: all(seat.checked for seat in balancer.seats().values()), WITHIN_S)
            assert {ways.ask() for _ in range(6)} == ways.both
        assert comes_true(lambda: balancer.seats()[ZERO].standing is Standing.DOWN, WITHIN_S)
        assert comes_true(lambda: ZERO in woken, WITHIN_S)
        assert {ways.ask() for _ in range(6)} == {f"web-1 {ways.client}"}
        balancer.drain(ZERO)
        assert balancer.seats()[ZERO].standing is Standing.DRAINING
        balancer.join(ways.member(ZERO, POOL))
        with Serving(ZERO, here=ways.here):
            assert comes_true(lambda: balancer.seats()[ZERO].standing is Standing.UP, WITHIN_S)
            assert comes_true(lambda: {ways.ask() for _ in range(6)} == ways.both, WITHIN_S)


@pytest.mark.usefixtures("members")
@by_either
def test_changes_lose_no_connection(begin: Begin, ways: Ways) -> None:
    """Members come and go under clients that never stop: each request is answered."""
    balancer = begin()
    balancer.shape([ways.tcp])
    balancer.join(ways.member(ZERO, POOL))
    balancer.join(ways.member(ONE, POOL))
    with asking(ways, clients=2) as answers:
        for number in range(20):
            name = (ZERO, ONE)[number % 2]
            balancer.drain(name)
            assert comes_true(lambda name=name: balancer.seats()[name].connections == 0, WITHIN_S)
            balancer.leave(name)
            balancer.shape([ways.tcp, ways.udp] if number % 4 == 0 else [ways.tcp])
            balancer.join(ways.member(name, POOL))
    assert len(answers) > 50
    assert set(answers) <= ways.both


@pytest.mark.usefixtures("members")
@by_either
def test_whoever_has_his_share_is_refused_at_once(begin: Begin, second_client: str, ways: Ways) -> None:
    """By a reset or by ICMP; no change of members or endpoints gives him another, and he keeps what is open."""
    balancer = begin()
    limited = {"connections_max": 3, "client_connections_max": 2}
    balancer.shape([replace(ways.tcp, **limited), replace(ways.udp, **limited)])  # type: ignore[arg-type] # numbers
    balancer.join(ways.member(ZERO))
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(ways.connect()) for _ in range(2))
        assert says(first)
        assert says(second)
        assert ways.ask_udp()
        assert ways.ask_udp()
        assert (ways.ask(), ways.ask_udp()) == ("refused", "refused")
        balancer.join(ways.member(ONE))
        balancer.leave(ONE)
        web = replace(ways.tcp, pool=PoolName("shop.web.more"), port=81)
        balancer.shape([replace(ways.tcp, **limited), replace(ways.udp, **limited), web])  # type: ignore[arg-type] # numbers
        balancer.drain(ZERO)
        balancer.join(ways.member(ZERO))
        assert (ways.ask(), ways.ask_udp()) == ("refused", "refused")
        with ways.connect(source=second_client) as third:
            assert says(third)
            assert ways.ask(source=second_client) == "refused"
        assert says(first, "y") == f"web-0 {ways.client} y"
    assert comes_true(lambda: ways.ask() == f"web-0 {ways.client}", WITHIN_S)
    assert comes_true(lambda: "ct count" not in elements(ways), WITHIN_S), "clients that are gone are remembered"


@pytest.mark.usefixtures("members")
def test_who_may_not_come_is_refused_at_once_and_is_nobody_s_client(begin: Begin, second_client: str) -> None:
    """By a reset or by ICMP, whatever he has of a limit; by networks that meet, and a member by its own address."""
    balancer = begin()
    only = {"allow": (f"{CLIENT_ADDRESS}/32", f"{CLIENT_ADDRESS}/31"), "connections_max": 2}
    balancer.shape([replace(TCP, **only), replace(UDP, **only)])  # type: ignore[arg-type] # each is its own
    balancer.join(member(ZERO))
    for _ in range(4):
        assert (ask(source=second_client), ask_udp(SPACES[ONE])) == ("refused", "refused")
    assert (ask(SPACES[ONE]), ask("")) == ("refused", "refused")
    assert {ask(), ask_udp()} == {f"web-0 {CLIENT_ADDRESS}"}
    balancer.shape([replace(TCP, allow=("10.91.0.0/24",))])
    assert ask(SPACES[ONE]).startswith("web-0 ")
    assert ask() == "refused"


@pytest.mark.usefixtures("wire")
@pytest.mark.parametrize(("most", "his"), [(None, 40), (40, 80)], ids=["his", "of all"])
def test_whoever_knocks_at_a_limit_is_counted_seldom(most: int | None, his: int) -> None:
    """Each count is a walk through all that is open: what knocks on is refused without, by the rules themselves."""
    place = nft_pools.Place(pool=DNS, address=DIPS[ZERO], port=5353)
    endpoint = replace(UDP, connections_max=most, client_connections_max=his)
    text = nft_pools.transaction(nft_pools.pools([endpoint], [place], [place]), nft_pools.Names())
    HOST.run(["nft", "-f", "-"], text=text.replace(" return\n", " counter return\n"))
    ports = iter(range(20_000, 60_000))
    try:
        began_s = time.monotonic()
        knock(itertools.islice(ports, 4000))
        took_s = time.monotonic() - began_s
        unseen, counted = passed("limit rate over"), passed("ct count over")
        assert unseen + counted >= 3900
        assert counted <= nft_pools.KNOCKS_PER_S * (took_s + 2)
        conntrack.cut(lambda _: True)
        assert comes_true(lambda: gets_in(next(ports)), WITHIN_S), "nobody gets what is free"
        known = len(conntrack.flows())
        knock(itertools.islice(ports, 20))
        assert len(conntrack.flows()) == known + 20
    finally:
        HOST.run(["nft", "-f", "-"], text=nft_pools.removal())


def knock(ports: Iterable[int]) -> None:
    """A datagram from each of these ports to the endpoint."""

    def send() -> None:
        for port in ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as fresh:
                fresh.bind(("", port))
                fresh.sendto(b"x", (VIP, 53))

    in_namespace(CLIENT_NAMESPACE, send)


def gets_in(port: int) -> bool:
    """Whether the first datagram of all is let through."""
    knock([port])
    return bool(conntrack.flows())


def passed(words: str) -> int:
    """How many packets rules with these words have counted."""
    rules = HOST.run(["nft", "list", "table", "ip", nft_words.TABLE]).stdout.splitlines()
    counts = [rule.partition("counter packets ")[2] for rule in rules if words in rule]
    return sum(int(count.split()[0]) for count in counts if count)


def elements(ways: Ways) -> str:
    """What the table's sets of tcp hold, once nothing is open."""
    conntrack.cut(lambda _: True)
    return HOST.run(["nft", "list", "sets", ways.table.partition(" ")[0]]).stdout


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize(
    "harm",
    [
        "flush ruleset",
        "delete table {table}",
        "flush chain {table} dispatch",
        "flush map {table} pools",
        "insert rule {table} dispatch return",
    ],
)
@by_either
def test_a_table_that_somebody_took_away_or_changed_is_laid_again(begin: Begin, harm: str, ways: Ways) -> None:
    """At once, and without being asked; what is open goes on."""
    balancer = begin()
    balancer.shape([ways.tcp])
    balancer.join(ways.member(ZERO, POOL))
    with ways.connect() as talk:
        assert says(talk)
        subprocess.run(["nft", *harm.format(table=ways.table).split()], check=True)
        assert comes_true(lambda: ways.ask() == f"web-0 {ways.client}", WITHIN_S)
        assert says(talk, "y") == f"web-0 {ways.client} y"


def test_a_change_sends_what_changes_and_lists_nothing(wire: None, tmp_path: Path) -> None:
    """A member more among a hundred is as much as among three, whatever somebody does to tables of his own."""
    sent: list[str] = []

    def apply(text: str) -> None:
        sent.append(text)
        HOST.run(["nft", "-f", "-"], text=text)

    balancer = NftablesBalancer(tmp_path / "pools", lambda *_: None, SystemClock(), apply=apply)
    table = balancer.table
    known = [nft_pools.Place(pool=POOL, address=f"10.91.0.{20 + number}", port=8080) for number in range(100)]
    try:
        with table:
            table.lay([TCP, UDP], known[:2], known[:2])
            whole = len(sent.pop())
            for number in range(3, 101):
                HOST.run(["nft", "-f", "-"], text="add table ip theirs; delete table ip theirs\n")
                table.lay([TCP, UDP], known[:number], known[:number])
            assert len(sent) == 98
            assert max(map(len, sent)) < whole / 2
            assert max(map(len, sent)) - min(map(len, sent)) <= 16
            assert table.is_known()
            laid = HOST.run(["nft", "list", "table", "ip", nft_words.TABLE]).stdout
            assert laid.count("dnat to") == 100
            assert "numgen inc mod 100 vmap" in laid
            sent.clear()
            table.lay([TCP, UDP], known[1:], known)
            assert len(sent) == 1
            assert len(sent[0]) < whole / 2
            HOST.run(["nft", "delete", "element", "ip", nft_words.TABLE, "pools", "{ 203.0.113.20 . tcp . 80 }"])
            assert not table.is_known()
            table.lay([TCP, UDP], known[1:], known)
            assert len(sent[1]) > len(sent[0]) * 10
            assert table.is_known()
    finally:
        HOST.run(["nft", "-f", "-"], text=nft_pools.removal())


@pytest.mark.usefixtures("wire")
def test_a_program_in_place_of_the_library_says_the_same() -> None:
    """All or nothing, and what nft says of it, by either."""
    for one in (Nftables(), Nftables("libabsent.so")):
        one.apply("add table ip tried; add chain ip tried here\n")
        with pytest.raises(CommandFailed, match="No such file"):
            one.apply("add chain ip tried there\nadd rule ip tried nowhere accept\n")
        assert "there" not in HOST.run(["nft", "list", "table", "ip", "tried"]).stdout
        one.apply("delete table ip tried\n")
        one.close()


@pytest.mark.usefixtures("members")
@by_either
def test_it_outlives_its_daemon_and_the_next_one_knows_it(begin: Begin, ways: Ways) -> None:
    """Without a daemon connections begin and go on; the next one drains who was drained, and counts what is open."""
    first = begin()
    first.shape([ways.tcp])
    first.join(ways.member(ZERO, POOL))
    first.join(ways.member(ONE, POOL))
    first.drain(ONE)
    first.__exit__()
    with ways.connect() as talk:
        assert says(talk) == f"web-0 {ways.client} x"
        second = begin()
        seats = second.seats()
        assert (seats[ZERO].standing, seats[ZERO].connections) == (Standing.UP, 1)
        assert seats[ONE].standing is Standing.DRAINING
        assert says(talk, "y") == f"web-0 {ways.client} y"
        second.join(ways.member(ONE, POOL))
        assert {ways.ask() for _ in range(6)} == ways.both


class Starved(SystemClock):
    """A clock of a host on which half a minute passes between any two things that are done."""

    def __init__(self) -> None:
        self._looks = 0

    def monotonic_s(self) -> float:
        """See ports.Clock."""
        self._looks += 1
        return super().monotonic_s() + 30.0 * self._looks


@pytest.mark.usefixtures("members")
def test_a_count_is_as_fresh_on_a_host_that_has_no_time(begin: Begin, tmp_path: Path) -> None:
    """What a count takes is what it takes of a processor, not how long it waited for one."""
    balancer = begin()
    balancer.shape([TCP])
    balancer.join(member(ZERO, POOL))
    starved = NftablesBalancer(tmp_path / "pools", lambda *_: None, Starved())
    assert starved.seats()[ZERO].connections == 0
    with connect() as talk:
        says(talk)
        assert starved.seats()[ZERO].connections == 1


@pytest.mark.usefixtures("members")
@by_either
def test_the_kernel_lists_nothing_but_what_was_sent_on(begin: Begin, ways: Ways) -> None:
    """Of all that a host has open, checks of members among it, nothing else has to be read."""
    heard: list[bytes] = []

    class Counting(conntrack.Ear):
        def ask(self, message: bytes, *, absent_is_fine: bool = False) -> list[bytes]:
            answers = super().ask(message, absent_is_fine=absent_is_fine)
            heard.extend(answers)
            return answers

    balancer = begin()
    balancer.shape([ways.tcp])
    balancer.join(ways.member(ZERO, POOL))
    family = socket.AF_INET6 if ":" in ways.vip else socket.AF_INET
    with socket.create_server((ways.vip, 9000), family=family), ways.connect(port=9000), ways.connect() as talk:
        assert says(talk)
        flows = conntrack.flows(Counting())
    assert len(flows) == len(heard) > 0


@pytest.mark.usefixtures("members")
@by_either
def test_connections_of_an_endpoint_that_has_gone_are_seen_and_cut(begin: Begin, ways: Ways) -> None:
    """They are counted until the member leaves."""
    balancer = begin()
    balancer.shape([ways.tcp, ways.udp])
    balancer.join(ways.member(ZERO, POOL))
    with ways.connect() as talk:
        assert says(talk)
        balancer.shape([ways.udp])
        seat = balancer.seats()[ZERO]
        assert (seat.standing, seat.connections, seat.pools) == (Standing.DRAINING, 1, ())
        assert says(talk, "y")
        balancer.leave(ZERO)
        assert says(talk, "z") == ""
    assert balancer.seats() == {}


def test_a_place_that_is_taken_is_told(begin: Begin) -> None:
    """Another program listens there: that endpoint is refused, and the other is served."""
    balancer = begin()
    with socket.create_server((VIP, TCP.port)):
        with pytest.raises(EndpointRefused, match="taken by another program") as refused:
            balancer.shape([TCP, UDP])
        assert refused.value.pools == {POOL}
        with Serving(ZERO):
            with pytest.raises(Exception, match="taken by another program"):
                balancer.join(member(ZERO))
            assert ask_udp() == f"web-0 {CLIENT_ADDRESS}"
    balancer.shape([TCP, UDP])


def test_nothing_of_it_is_left(begin: Begin) -> None:
    """After the last endpoint there is no table."""
    balancer = begin()
    balancer.shape([TCP])
    balancer.join(member(ZERO, POOL))
    balancer.shape([])
    assert nft_words.TABLE not in HOST.run(["nft", "list", "tables"]).stdout


@pytest.mark.usefixtures("members")
def test_each_endpoint_has_its_own_carrier(begin: Begin) -> None:
    """A member behind HAProxy and nftables is one seat; it comes, drains and goes in both."""
    kernel = begin()
    web = Frontend(pool=PoolName("shop.web.http"), vip=VIP, port=8080, mode=Mode.HTTP, probe=None)
    everywhere = Member(name=ZERO, address=DIPS[ZERO], pools=((web.pool, 8080), (POOL, 8080), (DNS, 5353)))
    with (
        tempfile.TemporaryDirectory(dir="/run") as run,  # HAProxy's sockets take short names alone.
        HaproxyBalancer(Path(run) / "haproxy", "haproxy", lambda *_: None, SystemClock()) as haproxy,
    ):
        balancer = PerEndpoint(haproxy, kernel, SystemClock())
        with pytest.raises(Busy):
            balancer.join(everywhere)
        balancer.shape([web, TCP, UDP])
        balancer.join(everywhere)
        assert set(balancer.seats()[ZERO].pools) == {web.pool, POOL, DNS}
        assert (ask(), ask_udp(), status(8080)) == (f"web-0 {CLIENT_ADDRESS}", f"web-0 {CLIENT_ADDRESS}", 200)
        balancer.drain(ZERO)
        assert balancer.seats()[ZERO].standing is Standing.DRAINING
        assert (ask(), ask_udp(), status(8080)) == ("refused", "refused", 503)
        balancer.join(everywhere)
        with connect() as talk:
            assert says(talk)
            seat = balancer.seat(ZERO)
            assert seat is not None
            assert (seat.standing, seat.connections, set(seat.pools)) == (Standing.UP, 1, {web.pool, POOL, DNS})
        with socket.create_server((VIP, 81)), socket.create_server((VIP, 82)):
            taken = [replace(web, port=81), replace(TCP, port=82), UDP]
            with pytest.raises(EndpointRefused) as refused:
                balancer.shape(taken)
            assert refused.value.pools == {web.pool, POOL}
            assert ask_udp() == f"web-0 {CLIENT_ADDRESS}"
        patiently(lambda: balancer.shape([web, UDP]))
        patiently(lambda: balancer.leave(ZERO))
        assert (balancer.seats(), balancer.seat(ZERO), ask_udp()) == ({}, None, "refused")
        assert list(balancer.faults()) == []
        balancer.shape([])


def status(port: int) -> int:
    """Of an HTTP answer at the VIP."""
    with connect(port=port) as talk:
        talk.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return int(talk.recv(100).split()[1])


class Killed(BaseException):
    """The daemon dies here. No error of ours, so that nothing on the way handles it."""


VERBS: list[tuple[str, Callable[[Ways, NftablesBalancer], None], set[str]]] = [
    ("join", lambda ways, it: it.join(ways.member(ONE, POOL)), {"web-0", "web-1"}),
    ("drain", lambda _, it: it.drain(ZERO), {"refused"}),
    ("leave", lambda _, it: it.leave(ZERO), {"refused"}),
    ("shape", lambda ways, it: it.shape([ways.udp, ways.tcp]), {"web-0"}),
]


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize(("verb", "answers"), [verb[1:] for verb in VERBS], ids=[verb[0] for verb in VERBS])
@by_either
def test_killed_at_any_step_the_next_daemon_sets_it_right(
    begin: Begin,
    tmp_path: Path,
    verb: Callable[[Ways, NftablesBalancer], None],
    answers: set[str],
    ways: Ways,
) -> None:
    """The daemon dies before each transaction and each note; repeating the verb ends as if it had not."""
    for step in range(20):
        setter = begin()
        for name in (ZERO, ONE):
            setter.leave(name)
        setter.shape([ways.tcp])
        setter.join(ways.member(ZERO, POOL))
        with ways.connect() as talk:
            assert says(talk)
            setter.__exit__()
            left = [step]

            def strike(left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed

            class Noting(Desired):
                def keep(self, shape: Shape, strike: Callable[[], None] = strike) -> None:
                    strike()
                    super().keep(shape)

            def apply(text: str, strike: Callable[[], None] = strike) -> None:
                strike()
                subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)

            victim = NftablesBalancer(tmp_path / "pools", lambda *_: None, SystemClock(), desired=Noting, apply=apply)
            with victim.table:  # What it lays from here on is a change, and not all of it.
                left[0] = 1_000
                victim.join(ways.member(ZERO, POOL))  # Who is there: all is laid, and noted.
                left[0] = step
                with contextlib.suppress(Killed):
                    verb(ways, victim)
            successor = begin()
            verb(ways, successor)
            assert {ways.ask().split(" ")[0] for _ in range(6)} == answers
            if answers == {"refused"} and ZERO not in successor.seats():
                assert says(talk) == "", "a member has left, and its connection goes on"
            successor.__exit__()
        if left[0] >= 0:
            assert step > 0
            return
    raise AssertionError("the verb never ended")


# With the firewall of a service --------------------------------------------------------------------------------


def test_a_service_s_firewall_lets_its_endpoints_through_and_nothing_else(
    network: HostNetwork, tmp_path: Path
) -> None:
    """By the VIP a client, another service's guest, the member itself and the host reach it; its DIP stays closed.

    So does a client of a network to which a guest may begin nothing: the member answers the client's own address.
    """
    ends = (
        Endpoint(name="tcp", port=80, target=8080, balancer=Carrier.NFTABLES),
        Endpoint(name="dns", port=53, target=5353, mode=Mode.UDP, balancer=Carrier.NFTABLES),
    )
    shop, (web,) = make_service("shop", VIP, 1)
    role = replace(shop.spec.roles[0], endpoints=ends)
    shop = replace(shop, spec=replace(shop.spec, roles=(role,)))
    blog, (guest,) = make_service("blog", "203.0.113.21", 1, [shop])
    network.lay(shop, [web])
    network.lay(blog, [guest])
    vips = VipAddresses(OUTSIDE_LINK, SystemClock())
    vips.hold({VIP, blog.spec.vip})
    with (
        StandIn(shop, web).plugged() as inside,
        StandIn(blog, guest).plugged() as other,
        private_network(),
        NftablesBalancer(tmp_path / "pools", lambda *_: None, SystemClock()) as balancer,
    ):
        inside.configure()
        other.configure()
        SPACES[web.name] = inside.namespace
        with Serving(web.name):
            balancer.shape([TCP, UDP])
            spaces = {CLIENT_NAMESPACE: CLIENT_ADDRESS, LAN: LAN_ADDRESS, other.namespace: guest.nic.address, "": VIP}
            for space in spaces:
                assert (ask(space), ask_udp(space)) == ("refused", "refused")
            ports = ((POOL, 8080), (DNS, 5353))
            balancer.join(Member(name=web.name, address=web.nic.address, pools=ports))
            for space, sees in spaces.items():
                assert (ask(space), ask_udp(space)) == (f"web-0 {sees}", f"web-0 {sees}")
            gateway = shop.network.gateway
            assert comes_true(lambda: ask(inside.namespace) == f"web-0 {gateway}", WITHIN_S)
            assert not reaches(CLIENT_NAMESPACE, web.nic.address, 8080)
            assert not other.reaches(web.nic.address, 8080)
            assert not inside.reaches(LAN_ADDRESS, 80)
            with connect() as talk:
                assert says(talk)
                balancer.leave(web.name)
                assert says(talk) == ""
            balancer.join(Member(name=web.name, address=web.nic.address, pools=((DNS, 5354),)))
            assert ask_udp(LAN) == "refused"  # The member's word, for nobody listens there.
        balancer.shape([])
    SPACES[ZERO] = "member0"
    vips.hold(())
    network.lift(shop)
    network.lift(blog)


class Said(Talk):
    """A connection on which a word follows another."""

    def __init__(self, ways: Ways, port: int) -> None:
        self._socket = ways.connect(port=port)

    def __enter__(self) -> Said:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def says(self) -> str:
        """See Talk."""
        return _deployment(says(self._socket))


def _deployment(said: str) -> str:
    return {"web-0": "old", "web-1": "new", "": ""}[said.partition(" ")[0]]


def _ask_port(ways: Ways, port: int) -> str:
    with ways.connect(port=port) as talk:
        if not (said := says(talk)):
            raise ConnectionResetError(f"cut at port {port}")
        return _deployment(said)


@by_either
class TestExchange(ExchangeContract):
    """Two deployments exchange their VIP in the kernel."""

    @pytest.fixture
    def pair(self, begin: Begin, members: dict[InstanceName, Serving], ways: Ways) -> Pair:
        """By two endpoints of tcp; the members are on one bridge, which balancers do not see."""
        old = (ways.tcp, replace(ways.tcp, port=81, pool=PoolName("shop.web.more")))
        new = tuple(replace(one, pool=PoolName(one.pool.replace("shop.", "shop--b."))) for one in old)
        balancer = begin()
        return Pair(
            balancer=balancer,
            shape_beside=balancer.shape,
            old=old,
            new=new,
            members=tuple(
                replace(ways.behind(at, *((one.pool, 8080) for one in ends)), name=name)
                for name, at, ends in ((OLD, ZERO, old), (NEW, ONE, new))
            ),
            ask=functools.partial(_ask_port, ways),
            talk=functools.partial(Said, ways),
        )

"""The name of a role at the real dnsmasq of a service's network, and in a real guest of a service without a VIP."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.model import Instance, Part, Service
from tests.contract.suites.network import make_service
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import HOST
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply, instance
from tests.lab.stand_in import StandIn, addresses, asks, in_namespace
from tests.world.waiting import comes_true

MANY = 100  # instances of a role, at most
FITTING = 20  # of them, in one datagram
SHOWS_S = 30.0  # until dnsmasq has read a file; milliseconds, unless others have the processors
_DATAGRAM_BYTES = 512  # of an answer by UDP to who has not said that he takes more; RFC 1035
_TIERS = """service: jobs
roles:
  worker:
    image: micro
    instances: 2
    size: {vcpus: 1, memory: 128 MiB}
    endpoints:
      page: {type: internal, port: 8080, from: [web]}
  web: {image: micro, size: {vcpus: 1, memory: 128 MiB}}
"""


def name_server(service: Service) -> str:
    """The process id of the service's dnsmasq."""
    return Path(f"/run/libvirt/network/{service.network.name}.pid").read_text().strip()


def leads_to(service: Service, name: str, expected: set[str]) -> bool:
    """Whether it comes to that."""
    return comes_true(lambda: set(addresses("", name, service.network.gateway)) == expected, SHOWS_S)


@pytest.fixture
def daemon(lab: Lab) -> Iterator[RoleDaemon]:
    """One whose state dnsmasq's user gets to, as he does to /var/lib; pytest's own directories are closed to him."""
    place = Path(tempfile.mkdtemp(prefix="vmrole"))
    place.chmod(0o711)
    daemon = lab.daemon(place / "vmrole")
    daemon.start()
    yield daemon
    daemon.kill_with_children()
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def many(network: HostNetwork) -> tuple[Service, list[Instance]]:
    """A service of as many as a role may have."""
    service, instances = make_service("shop", "", MANY)
    network.lay(service, instances)
    return service, instances


def test_a_role_s_name_leads_to_all_of_many(network: HostNetwork, many: tuple[Service, list[Instance]]) -> None:
    """Whole by TCP. A datagram says that there is more than it holds: as much as fits (dnsmasq 2.90), or nothing
    (2.91); of as many as it holds the first is another each time. An address stays the instance's when it is asked
    whose it is, and no name server is begun anew.
    """
    service, instances = many
    gateway, all_of_them = service.network.gateway, {one.nic.address for one in instances}
    before = name_server(service)
    network.call(service, {"web": all_of_them})
    for name in ("web", "web.shop"):
        assert leads_to(service, name, all_of_them)
    query = bytes.fromhex("123401000001000000000000") + b"\3web\0\0\1\0\1"
    with in_namespace("", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as udp:
        udp.settimeout(SHOWS_S)
        udp.sendto(query, (gateway, 53))
        answer = udp.recv(65535)
    assert len(answer) <= _DATAGRAM_BYTES
    assert answer[2] & 2, "it does not say that there is more"
    assert int.from_bytes(answer[6:8]) in {0, *range(20, MANY)}
    turned = ".".join(reversed(instances[7].nic.address.split(".")))
    whose = b"".join(bytes([len(one)]) + one.encode() for one in f"{turned}.in-addr.arpa".split("."))
    with socket.create_connection((gateway, 53), timeout=SHOWS_S) as tcp:
        asked = query[:12] + whose + b"\0\0\x0c\0\1"
        tcp.sendall(len(asked).to_bytes(2) + asked)
        assert b"\5web-7\4shop\0" in tcp.recv(65535)
    some = {one.nic.address for one in instances[:FITTING]}
    network.call(service, {"web": some})
    assert leads_to(service, "web", some)
    assert len({asks("", "web", gateway) for _ in range(20)}) > 1, "all would go to one"
    network.call(service, {"web": {instances[3].nic.address}})
    assert leads_to(service, "web", {instances[3].nic.address})
    assert leads_to(service, "web-5", {instances[5].nic.address})
    assert name_server(service) == before
    network.lift(service)


def test_nobody_else_is_answered_and_nobody_else_s_names_are_told(network: HostNetwork, lab: Lab) -> None:
    """A guest of another service, who asks this one's name server or his own, has no answer; what the host's file of
    names calls so as well is told to no guest, and no other name of that file is.
    """
    shop, shops = make_service("shop", "", 1)
    blog, blogs = make_service("blog", "", 1, [shop])
    network.lay(shop, shops)
    network.lay(blog, blogs)
    network.call(shop, {"web": {shops[0].nic.address}})
    network.call(blog, {})
    hosts = Path("/etc/hosts")
    kept = hosts.read_text()
    try:
        hosts.write_text(f"{kept}\n192.0.2.7 web web.shop theirs\n")
        HOST.run(["kill", "-HUP", name_server(shop)])
        assert leads_to(shop, "web", {shops[0].nic.address})
        assert leads_to(shop, "theirs", set())
    finally:
        hosts.write_text(kept)
    with StandIn(shop, shops[0]).plugged() as own, StandIn(blog, blogs[0]).plugged() as other:
        own.configure()
        other.configure()
        assert own.asks("web") == shops[0].nic.address
        assert other.asks("web") == other.asks("web.shop") == ""
        assert other.asks("web", shop.network.gateway) == ""
    for service in (shop, blog):
        network.lift(service)


def test_names_that_somebody_takes_away_come_again(
    network: HostNetwork, many: tuple[Service, list[Instance]]
) -> None:
    """At the next look; and with the network all of them go."""
    service, instances = many
    one = {instances[0].nic.address}
    network.call(service, {"web": one})
    assert leads_to(service, "web", one)
    (place,) = (place for place in Path(tempfile.gettempdir()).glob(f"names*/{service.name}"))
    (place / "web").unlink()
    assert leads_to(service, "web", set())
    network.call(service, {"web": one})
    assert leads_to(service, "web", one)
    network.lift(service)
    assert not place.exists()


@pytest.mark.parametrize("and_made_again", [False, True], ids=["removed", "replaced"])
def test_a_directory_of_names_that_somebody_takes_away_comes_again(
    lab: Lab, network: HostNetwork, and_made_again: bool
) -> None:
    """With the next audit, which tells it, and names are known as they change; nothing is begun anew without need."""

    def lacks() -> list[str]:
        return [one.message for one in network.missing(service, instances) if one.part is Part.NETWORK]

    service, instances = make_service("shop", "", 2)
    first, second = ({one.nic.address} for one in instances)
    network.lay(service, instances)
    network.call(service, {"web": first})
    assert leads_to(service, "web", first)
    before = name_server(service)
    assert network.lay(service, instances) == ()
    assert (lacks(), name_server(service)) == ([], before)
    (place,) = (place for place in Path(tempfile.gettempdir()).glob(f"names*/{service.name}"))
    shutil.rmtree(place)
    if and_made_again:
        place.mkdir()
    network.call(service, {"web": second})
    assert lacks() == ([] if and_made_again else [f"{place}, with the names of its roles, is not there"])
    connection = LibvirtConnection(lab.libvirt_uri, lambda name, why: None, SystemClock())
    connection.open()
    with contextlib.closing(connection):  # Of the next daemon, which has never seen it.
        following = HostNetwork(connection, SystemClock(), names=place.parent)
        (told,) = following.lay(service, instances)
        assert following.lay(service, instances) == ()
    assert (told.subject, told.message) == ("shop", f"somebody removed {place}: put back")
    for wanted in (second, first, first | second):
        network.call(service, {"web": wanted})
        assert leads_to(service, "web", wanted)
    assert leads_to(service, "web-1", second)
    assert lacks() == []
    network.lift(service)


def test_a_name_server_that_cannot_read_names_is_begun_anew_once(lab: Lab, tmp_path: Path) -> None:
    """Where its user may not come to the directory it watches nothing: nobody is blamed, and it goes on."""
    (closed := tmp_path / "closed").mkdir(mode=0o700)
    service, instances = make_service("shop", "", 1)
    connection = LibvirtConnection(lab.libvirt_uri, lambda name, why: None, SystemClock())
    connection.open()
    with contextlib.closing(connection):
        HostNetwork(connection, SystemClock(), names=closed / "names").lay(service, instances)
        following = HostNetwork(connection, SystemClock(), names=closed / "names")
        assert following.lay(service, instances) == ()
        before = name_server(service)
        assert following.lay(service, instances) == ()
        assert name_server(service) == before
        assert leads_to(service, "web-0", {instances[0].nic.address})
        following.lift(service)


def test_a_role_without_a_vip_serves_the_others_by_its_name(lab: Lab, daemon: RoleDaemon, micro_image: Path) -> None:
    """Real guests: the name of the role is its members', who is stopped has left it."""
    daemon.run("image", "add", str(micro_image), "--name", "micro")
    apply(daemon, _TIERS)
    assert daemon.json("get", "services", "jobs")[0]["vip"] == ""

    def met(name: str = "worker") -> str:
        """Who answers a guest of the role web at that name; "" for nobody."""
        page = f"busybox wget -qO- http://{name}:8080/ || true"
        answer = lab.guest("web-0.jobs", ["/bin/sh", "-c", page])
        return str(json.loads(answer)["instance"]) if answer.strip() else ""

    both = {"worker-0.jobs", "worker-1.jobs"}
    gateway = instance(daemon, "web-0")["address"].rpartition(".")[0] + ".1"
    assert set(addresses("", "worker", gateway)) == {instance(daemon, one)["address"] for one in both}
    first = met()
    assert {first, met("worker.jobs")} <= both
    (other,) = both - {first}
    daemon.run("stop", first, "--wait", timeout_s=600)
    assert addresses("", "worker", gateway) == [instance(daemon, other)["address"]]
    assert {met() for _ in range(3)} == {other}
    daemon.run("delete", "service", "jobs", "--wait", timeout_s=600)

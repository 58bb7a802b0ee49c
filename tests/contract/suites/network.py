"""The Network port: what every implementation does."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from orchestrator.errors import Busy
from orchestrator.model import Endpoint, Instance, Os, Role, Service, ServiceSpec, instance_name
from orchestrator.ports import Network
from orchestrator.rules import addressing
from tests.world.endpoints import patiently
from tests.world.instances import instance_of

Leads = Callable[[Service, str], set[str]]
POOL = "10.90.0.0/16"
POOL6 = "fd90:1:2::/48"


def make_service(
    name: str, vip: str, instances: int, others: Sequence[Service] = (), *, ipv6: bool = False
) -> tuple[Service, list[Instance]]:
    """A service of one role `web` with port 80 of the VIP, as the API would record it."""
    end = Endpoint(name="http", port=80, target=8080)
    role = Role(name="web", image="micro", image_sha256="0" * 64, os=Os.LINUX, instances=instances, endpoints=(end,))
    network = addressing.allocate_network(name, POOL, [one.network for one in others])
    if ipv6:
        network = addressing.with_ipv6(network, POOL6, [one.network for one in others])
    service = Service(spec=ServiceSpec(name=name, vip=vip, roles=(role,)), network=network)
    made: list[Instance] = []
    for index in range(instances):
        known_as = instance_name(name, "web", index)
        nic = addressing.allocate_nic(network, [one.nic for one in made], known_as)
        uid = str(uuid.uuid4())
        made.append(instance_of(role, index, service=name, uid=uid, network=network.name, nic=nic))
    return service, made


def _lead(leads: Leads, service: Service, ready: set[str]) -> None:
    """Busy while the name of its role leads elsewhere."""
    if (there := leads(service, "web")) != ready:
        raise Busy(f"web leads to {there}")


class NetworkContract:
    """Subclasses give the fixtures `network` and `leads`: whom a role's name leads to in a service."""

    def again(self, network: Network) -> Network:
        """As the next daemon has it, which has laid nothing; the very same where nothing is remembered."""
        return network

    def test_a_role_s_name_leads_to_those_told_last(self, network: Network, leads: Leads) -> None:
        """To one, to several, to others, to nobody; a service's own alone; laying it again changes nothing."""
        shop, instances = make_service("shop", "", 2)
        blog, _ = make_service("blog", "", 0, [shop])
        one, other = (instance.nic.address for instance in instances)
        network.call(shop, {"web": {one}})
        network.lay(shop, instances)
        network.lay(blog, [])
        assert leads(shop, "web") == set(), "called before there was a network"
        for ready in ({one}, {one, other}, {other}, set[str](), {one}):
            for _ in range(2):
                network.call(shop, {"web": ready})
                network.lay(shop, instances)
            patiently(lambda ready=ready: _lead(leads, shop, ready))  # type: ignore[misc]
            assert leads(blog, "web") == set()
        network.call(shop, {})
        patiently(lambda: _lead(leads, shop, set()))
        for service in (shop, blog):
            network.lift(service)
            network.call(service, {"web": {one}})
        assert network.inventory() == frozenset()

    def test_nothing_laid(self, network: Network) -> None:
        """Lifting what was never laid is fine, and nothing is there."""
        service, _ = make_service("shop", "203.0.113.10", 1)
        network.lift(service)
        assert network.inventory() == frozenset()

    def test_what_was_laid_last_is_told(self, network: Network) -> None:
        """With all that a card has, whoever asks; nothing before and after, and nothing of another service."""
        for ipv6 in (False, True):
            shop, instances = make_service("shop", "", 3, ipv6=ipv6)
            blog, others = make_service("blog", "", 1, [shop])
            assert network.laid(shop) == {}
            network.lay(shop, instances)
            network.lay(blog, others)
            for there in (instances, instances[1:], instances):
                network.lay(shop, there)
                for each in (network, self.again(network)):
                    assert each.laid(shop) == {one.name: one.nic for one in there}
                    assert each.laid(blog) == {others[0].name: others[0].nic}
            for service in (shop, blog):
                network.lift(service)
                assert network.laid(service) == {}

    def test_lay_and_lift(self, network: Network) -> None:
        """A service is there once laid, however often, and gone once lifted, however often."""
        service, instances = make_service("shop", "203.0.113.10", 2)
        for present in (instances[:1], instances, instances[1:], [], instances):
            network.lay(service, present)
            network.lay(service, present)
            assert network.inventory() == {"shop"}
        network.lift(service)
        network.lift(service)
        assert network.inventory() == frozenset()

    def test_a_service_without_a_vip(self, network: Network) -> None:
        """A service that nobody asks through the balancer has a network and no address on the host."""
        service, instances = make_service("shop", "", 1)
        network.lay(service, instances)
        assert network.inventory() == {"shop"}
        network.lift(service)
        assert network.inventory() == frozenset()

    def test_two_services(self, network: Network) -> None:
        """Lifting one service leaves the other."""
        shop, shops = make_service("shop", "203.0.113.10", 1)
        blog, blogs = make_service("blog", "203.0.113.11", 1, [shop])
        network.lay(shop, shops)
        network.lay(blog, blogs)
        assert network.inventory() == {"shop", "blog"}
        network.lift(shop)
        assert network.inventory() == {"blog"}
        network.lift(blog)
        assert network.inventory() == frozenset()

"""Which addresses of the host's bridges instances have."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.model import Given, Instance, LanNic, Role, RoleNetwork, ServiceSpec
from orchestrator.model.lan import lan_nic
from orchestrator.rules import bridging
from tests.world.fabric import web_role
from tests.world.instances import instance_of

NETWORK = RoleNetwork(bridge="br0", addresses=("192.0.2.10/24", "192.0.2.11/24"))
POOL = "10.90.0.0/16"


def spec(
    name: str = "shop", *, vip: str = "203.0.113.10", network: RoleNetwork = NETWORK, instances: int = 2
) -> ServiceSpec:
    """A service with one role on a bridge."""
    return ServiceSpec(name=name, vip=vip, roles=(role(network, instances),))


def role(network: RoleNetwork = NETWORK, instances: int = 2) -> Role:
    """On a bridge."""
    return web_role(network=network, instances=instances)


def instance(index: int, network: RoleNetwork = NETWORK) -> Instance:
    """One of the service as it is built."""
    return instance_of(role(network), index)


def said(
    one: ServiceSpec, others: tuple[ServiceSpec, ...] = (), instances: tuple[Instance, ...] = (), **more: object
) -> str:
    """Why it cannot be so, with its key; "" when it can."""
    given = {"before": None, "pool": POOL, "bridge_fault": bridging.no_fault, "own": tuple, **more}
    fault = bridging.fault(one, others=others, instances=instances, **given)  # type: ignore[arg-type]
    assert fault is None or fault.hint
    return f"{fault.key}: {fault.message}" if fault is not None else ""


def test_each_address_has_one_instance() -> None:
    """Of all services, wherever it stands in their files."""
    assert said(spec()) == ""
    assert (
        said(spec(), (spec("blog", vip="", network=dataclasses.replace(NETWORK, addresses=("192.0.2.12/24",))),))
        == ""
    )
    other = spec(
        "blog", vip="", network=dataclasses.replace(NETWORK, bridge="br1", addresses=("192.0.2.11/25",)), instances=1
    )
    assert (
        said(spec(), (other,)) == "roles.web.network.addresses: web-1.shop cannot have 192.0.2.11: web-0.blog has it"
    )


def test_who_has_it_yet_keeps_it() -> None:
    """Two that changed places would be at one address for a while, whichever is made anew first."""
    built = (instance(0), instance(1))
    assert said(spec(), instances=built) == ""
    swapped = spec(network=dataclasses.replace(NETWORK, addresses=NETWORK.addresses[::-1]))
    assert "web-0.shop cannot have 192.0.2.11: web-1.shop has it" in said(swapped, instances=built)


@pytest.mark.parametrize(
    ("address", "told"),
    [("203.0.113.10/24", "203.0.113.10 is a VIP"), ("203.0.113.11/24", "203.0.113.11 is a VIP"),
     ("10.90.3.4/16", "10.90.3.4 lies in 10.90.0.0/16")],
)  # fmt: skip
def test_an_address_that_is_something_else(address: str, told: str) -> None:
    """A VIP, of whichever service, or of the private networks."""
    network = dataclasses.replace(NETWORK, addresses=(address,))
    other = spec("blog", vip="203.0.113.11", network=RoleNetwork())
    assert told in said(spec(network=network, instances=1), (other,))


def test_a_vip_is_no_address_of_an_instance() -> None:
    """Of a file, or of one that is as it was built; a VIP that a service has is not asked about again."""
    blog = spec("blog", vip="192.0.2.10", network=RoleNetwork())
    told = "vip: 192.0.2.10 cannot be a VIP: web-0.shop has it"
    assert said(blog, (spec(),)) == told
    assert said(blog, instances=(instance(0),)) == told
    assert said(dataclasses.replace(blog, vip="", staging_vip="192.0.2.11"), (spec(),)).startswith("stagingVip: ")
    assert said(blog, (spec(),), before=blog) == ""


def test_an_address_of_the_host_is_the_host_s() -> None:
    """The guest would answer those who ask for the host. What it has got since forbids no change."""
    own = {"own": lambda: {"192.0.2.11"}}
    assert said(spec(), **own) == "roles.web.network.addresses: 192.0.2.11 is this host's own address"
    assert said(spec(instances=1), **own) == ""
    assert said(spec(), before=spec(), **own) == ""


def test_scaling_needs_as_many_addresses() -> None:
    """Told as the file would have it told, where no file is read."""
    assert said(spec(instances=3)).startswith("roles.web.network.addresses: 3 instances need an address each on br0")


def test_the_host_is_asked_of_what_is_new() -> None:
    """A bridge that has gone keeps nobody from changing something else, or from leaving it."""

    def gone(bridge: str, mtu: int | None) -> tuple[str, str]:
        return f"there is no bridge {bridge} for {mtu}", "make it"

    assert said(spec(), bridge_fault=gone) == "roles.web.network.bridge: there is no bridge br0 for None"
    assert said(spec(), bridge_fault=gone, before=spec(instances=1)) == ""
    longer = spec(network=dataclasses.replace(NETWORK, mtu=9000))
    assert "br0 for 9000" in said(longer, bridge_fault=gone, before=spec())
    assert said(spec(network=RoleNetwork()), bridge_fault=gone, before=spec()) == ""


def test_a_card_is_its_instance_s_own() -> None:
    """The same through reimages, another for each instance, and never that in the private network."""
    first, other = instance(0).lan, dataclasses.replace(instance(1), uid="another").lan
    assert first is not None
    assert other is not None
    assert dataclasses.replace(instance(0), generation=7).lan == first
    assert first.mac != other.mac
    assert first.tap != other.tap
    assert (first.address, first.ip, other.ip) == ("192.0.2.10/24", "192.0.2.10", "192.0.2.11")
    again = lan_nic(NETWORK, 0, instance(0).uid, first.mac)
    assert isinstance(again, LanNic)
    assert again.mac != first.mac
    assert instance(2).lan is None
    assert instance(0, RoleNetwork()).lan is None


BY_DHCP = RoleNetwork(bridge="br0")


def leased(index: int, address: str = "", at_s: float = 0.0) -> Instance:
    """One of a role whose addresses a DHCP server gives, with what it has of them."""
    return dataclasses.replace(instance(index, BY_DHCP), uid=f"uid {index}", lan_given=address, lan_given_at_s=at_s)


def given(to: Instance, address: str, at_s: float) -> Given:
    """That it was given this."""
    assert to.lan is not None
    return Given(tap=to.lan.tap, address=address, at_s=at_s)


def test_a_card_has_what_the_server_gave_it_last() -> None:
    """Whatever it has had; what is known already is no news, and neither is what another was given."""
    one, other = leased(0, "192.0.2.50", 100.0), leased(1)
    assert (one.lan and one.lan.ip, other.lan and other.lan.ip) == ("192.0.2.50", "")
    known, later = given(one, "192.0.2.50", 101.0), given(one, "192.0.2.51", 200.0)
    assert bridging.heard(one, [known, given(other, "192.0.2.52", 300.0)]) is None
    assert bridging.heard(one, [later, known]) == later
    assert bridging.heard(other, []) is None


def test_an_address_is_lost_to_whom_the_server_gave_it_since() -> None:
    """And to nobody else."""
    one, other = leased(0, "192.0.2.50", 100.0), leased(1)
    elsewhere = dataclasses.replace(leased(1), role=dataclasses.replace(one.role, network=RoleNetwork(bridge="br7")))
    lost = [given(other, "192.0.2.50", 200.0)]
    assert bridging.is_lost(one, lost, lambda: [one, other])
    assert not bridging.is_lost(one, lost, lambda: [one, elsewhere])
    for harmless in (
        given(other, "192.0.2.50", 99.0),
        given(other, "192.0.2.51", 200.0),
        given(one, "192.0.2.50", 9e9),
    ):
        assert not bridging.is_lost(one, [harmless], lambda: [one, other])


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("192.0.2.77", ""),
        ("10.1.2.3", ""),
        ("203.0.113.10", "it is a VIP"),
        ("203.0.113.11", "it is a VIP"),
        ("192.0.2.11", "it is that of web-1.blog"),
        ("192.0.2.13", "web-3.shop has it"),
        ("192.0.2.60", "web-4.shop has it"),
        ("192.0.2.61", ""),
        ("127.0.0.1", "it is no address of one machine"),
        ("169.254.1.1", "it is no address of one machine"),
        ("0.1.2.3", "it is no address of one machine"),
        ("224.0.0.1", "it is no address of one machine"),
        ("255.255.255.255", "it is no address of one machine"),
    ],
)  # fmt: skip
def test_what_a_server_gives_is_not_believed_whatever_it_is(address: str, told: str) -> None:
    """It may be a VIP, or what stands in a file, or what another has; of two whom it gave one, the later has it."""
    one = leased(0)
    specs = (spec(network=BY_DHCP), spec("blog", vip="", network=NETWORK))
    specs = (dataclasses.replace(specs[0], staging_vip="203.0.113.11"), specs[1])
    static = instance(3, dataclasses.replace(NETWORK, addresses=tuple(f"192.0.2.1{at}/24" for at in range(4))))
    others = (one, static, leased(4, "192.0.2.60", 300.0), leased(5, "192.0.2.61", 100.0))
    assert bridging.given_fault(one, given(one, address, 200.0), specs, others) == told


def test_what_was_given_is_no_other_s() -> None:
    """No file may name it, and no VIP be it, for as long as its instance has it."""
    taken = leased(0, "192.0.2.10", 100.0)
    other = spec("blog", vip="")
    assert "web-0.blog cannot have 192.0.2.10: web-0.shop has it" in said(other, (spec(network=BY_DHCP),), (taken,))
    vip = spec("blog", vip="192.0.2.10", network=RoleNetwork())
    assert said(vip, instances=(taken,)) == "vip: 192.0.2.10 cannot be a VIP: web-0.shop has it"
    assert said(spec(network=BY_DHCP, instances=9)) == ""

"""A service of an IPv6 VIP that the kernel carries, on real virtual machines, asked from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT, HOST, OUTSIDE_LINK
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import SERVES_S, instance, ready
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures

NETWORK, VIP = "2001:db8:77::", "2001:db8:77::10"
SERVICE = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    instances: 2
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      page: {{port: 80, target: 8080, balancer: nftables}}
    setup: {{within: 10 min}}
    ready: {{within: 10 min}}
"""


@pytest.fixture
def outside(lab: Lab) -> Iterator[None]:
    """The host and its client have addresses of IPv6 in one network."""
    places = ((HOST.run, 1, OUTSIDE_LINK), (CLIENT.run, 2, "up0"))
    for run, number, link in places:
        run(["ip", "address", "add", f"{NETWORK}{number}/64", "dev", link, "nodad"])
    yield
    for run, number, link in places:
        run(["ip", "address", "del", f"{NETWORK}{number}/64", "dev", link])


def who(lab: Lab) -> str:
    """Which instance answers a client at the VIP; "" for none."""
    asked = lab.client.run(["curl", "-gsm5", f"http://[{VIP}]/"], check=False)
    return str(json.loads(asked.stdout)["instance"]) if asked.returncode == 0 else ""


@pytest.mark.usefixtures("outside")
def test_clients_of_ipv6_are_served_by_vms_that_the_kernel_sends_them_to(lab: Lab, ready: RoleDaemon) -> None:
    """Both serve in turn; one that is away is left out, comes back by itself, and nothing is left in the end."""
    ready.run("apply", "-f", "-", "--wait", text=SERVICE)
    both = {"web-0.shop", "web-1.shop"}
    assert {who(lab) for _ in range(8)} == both
    assert json.loads(ready.run("verify", "-o", "json").stdout) == []
    ready.run("restart", "web-0", "--wait")
    assert instance(ready)["boot"] == 3
    until(lambda: {who(lab) for _ in range(6)} == both, SERVES_S)
    lab.virsh("destroy", "web-1.shop")
    assert {who(lab) for _ in range(6)} <= {"web-0.shop", ""}
    until(lambda: {who(lab) for _ in range(6)} == both, SERVES_S)
    ready.run("delete", "service", "shop", "--wait")
    assert who(lab) == ""
    assert "vmrole" not in HOST.run(["nft", "list", "tables"]).stdout

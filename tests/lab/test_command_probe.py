"""A command inside real guests says whether members are well, behind both balancers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer.command_checks import CommandChecks
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.clock import SystemClock
from orchestrator.model import Frontend, Mode, PoolName
from orchestrator.ports import Balancer
from tests.contract.suites.balancer import ADMIN
from tests.contract.suites.commands import CommandContract
from tests.lab.harness import answers
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import SERVES_S, URL, VIP, apply, ready
from tests.world.guest_commands import GuestCommands
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures

SERVICE = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    instances: 2
    size: {{vcpus: 1, memory: 128 MiB}}
    ready: {{within: 3 min}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: &well {{command: [/bin/sh, -c, "! test -e /sick"],
              interval: 1 s, timeout: 1 s}}}}
      tcp: {{port: 81, target: 8080, balancer: nftables, probe: *well}}
"""


class TestNftables(CommandContract):
    """The kernel's pools, whose prober asks nothing but the command."""

    @pytest.fixture
    def guests(self) -> GuestCommands:
        """Stand-ins: no VM is needed."""
        return GuestCommands()

    @pytest.fixture
    def balancer(self, guests: GuestCommands, tmp_path: Path) -> Iterator[Balancer]:
        """The real one."""
        clock = SystemClock()
        with (
            CommandChecks(guests, clock) as checks,
            NftablesBalancer(tmp_path / "pools", lambda *_: None, clock, commands=checks) as balancer,
        ):
            yield balancer
            balancer.shape([])

    @pytest.fixture
    def ends(self) -> Sequence[Frontend]:
        """By tcp and udp."""
        return ADMIN, replace(ADMIN, pool=PoolName("shop.web.dns"), mode=Mode.UDP)


def test_who_says_so_himself_gets_no_traffic_until_he_is_well(lab: Lab, ready: RoleDaemon) -> None:
    """Though his port is open; `describe` tells what the checks met, and nobody is healed for a moment's illness."""
    apply(ready, SERVICE)
    both, other = {"web-0.shop", "web-1.shop"}, {"web-1.shop"}
    kernels = f"http://{VIP}:81/"
    for url in (URL, kernels):
        assert set(answers.distinct(lab.client, url, 2, SERVES_S)) == both
    lab.guest("web-0.shop", ["/bin/touch", "/sick"])
    until(lambda: served(lab, URL) == served(lab, kernels) == other, SERVES_S)
    described = ready.run("describe", "shop").stdout
    assert len(re.findall(r"web-0\.shop .* the command exits 1", described)) == 2, described
    lab.guest("web-0.shop", ["/bin/rm", "/sick"])
    for url in (URL, kernels):
        assert set(answers.distinct(lab.client, url, 2, SERVES_S)) == both
    assert [one["generation"] for one in ready.json("get", "instances")] == [1, 1]


def served(lab: Lab, url: str) -> set[str]:
    """Who answers ten requests; "" stands for those that nobody answered: a command may be late on a busy host."""
    answers = (lab.client.run(["curl", "-s", "-m", "5", url], check=False).stdout for _ in range(10))
    return {str(json.loads(answer)["instance"]) if answer.startswith("{") else "" for answer in answers}

"""A request whose answer is lost: what the store has of it comes true, though nobody was told to look."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable
from typing import cast

import pytest

from orchestrator.control import unfolding
from orchestrator.control.deployment import Capacity
from orchestrator.control.loop import Reconciler
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.drivers.fake import fake_host
from orchestrator.errors import Unreachable
from orchestrator.model import Image, Instance, Operation, Phase, Progress, Service, ServiceSpec, Verb, instance_name
from orchestrator.ports import Store
from tests.world.fabric import Fabric, Trouble, Troubled, hang_up, web_role
from tests.world.images import DIGEST
from tests.world.simulation import Over, SimulatedWorld, Turns

WAITS_MAX = 2_000
WENT = instance_name("shop", "web", 1)
Request = Callable[[Control], object]


class Daemon:
    """One daemon, under its own loop and clock, that is never started again. Of the last request's commits the one of
    number `at` is done and not answered.
    """

    def __init__(self, at: int) -> None:
        self.at, self.struck = at, False
        self.world = SimulatedWorld(self._waits)
        self.world.images.add(DIGEST)
        self.store = Fabric().store  # with its image
        self.turns = Turns()
        self.trouble = Trouble(after=True, strike=hang_up)
        host = fake_host(self.world)
        present = Present(self.store)
        self.present = present
        self.reconciler = Reconciler(self.store, host, present=present, pool=self.turns)
        self.control = Control(
            cast("Store", Troubled(self.store, self.trouble)),
            find_image=lambda _: present.find(Image, DIGEST),
            capacity=Capacity(pool="10.90.0.0/16", memory_mib=64_000),
            clock=self.world,
            wake=self.reconciler.wake,
            seats=host.front.balancer.seats,
        )
        self._left = WAITS_MAX

    def live(self, *requests: Request, when: Callable[[], bool] | None = None) -> None:
        """Until each has been made: the last one as soon as `when` holds, the others when all is quiet."""
        self._requests = deque(requests)
        self._when = when or self._quiet
        with pytest.raises(Over):
            self.reconciler.run()

    def _waits(self, within_s: float) -> None:
        self._left -= 1
        assert self._left, [(one.name, one.phase, one.waiting) for one in self.present.all(Instance)]
        if len(self._requests) == 1 and self._when():
            self._ask(self._requests.popleft())
        elif self.turns.waiting:
            self.turns.waiting.pop(0)()
        elif not self._quiet():
            for _ in range(max(1, round(min(within_s, 60.0)))):
                self.world.pass_time(1.0)
        elif self._requests:
            self._ask(self._requests.popleft())
        else:
            raise Over

    def _ask(self, request: Request) -> None:
        """The last one may be struck; nobody asks again."""
        if not self._requests:
            self.trouble.at = self.trouble.calls + self.at
        with contextlib.suppress(Unreachable):
            request(self.control)
        self.struck = self.trouble.calls >= self.trouble.at > 0

    def _quiet(self) -> bool:
        services = {one.name: sum(role.instances for role in one.spec.roles) for one in self.present.all(Service)}
        for service in self.present.all(Service):
            instances = self.present.instances_of(service.name).values()
            serve = [one for one in instances if one.phase is Phase.SERVING and one.goal.wanted <= one.at]
            if service.removing or not len(serve) == len(instances) == services[service.name]:
                return False
        return not any(one.progress is Progress.RUNNING for one in self.present.all(Operation))


def spec(instances: int, user_data: str = "") -> ServiceSpec:
    """A service of one role."""
    return ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(instances=instances, user_data=user_data),))


@pytest.mark.parametrize(
    "requests",
    [
        [lambda control: control.apply_spec(spec(3))],
        [lambda control: control.apply_spec(spec(2)), lambda control: control.apply_spec(spec(2, "#cloud-config\n"))],
        [lambda control: control.apply_spec(spec(1)), lambda control: control.apply_spec(spec(3))],
        [lambda control: control.apply_spec(spec(2)), lambda control: control.act(Verb.RESTART, "shop")],
        [lambda control: control.apply_spec(spec(2)), lambda control: control.remove("shop")],
    ],
    ids=["deploy", "roll out", "scale", "restart", "remove"],
)
def test_what_is_recorded_comes_true(monkeypatch: pytest.MonkeyPatch, requests: list[Request]) -> None:
    """Whichever commit of the request it is."""
    monkeypatch.setattr(unfolding, "BATCH", 1)
    for at in itertools.count(1):
        daemon = Daemon(at)
        daemon.live(*requests)
        if not daemon.struck:
            break
    assert at > 1


def test_an_instance_that_is_wanted_again_as_soon_as_it_is_gone_comes_back() -> None:
    """Its network stands still, so nothing else would have it looked at."""
    again: list[Request] = [lambda control: control.apply_spec(spec(2))]
    for at in itertools.count(1):
        daemon = Daemon(at)
        daemon.live(*again)
        daemon.struck = False
        daemon.live(
            lambda control: control.apply_spec(spec(1)),
            *again,
            when=lambda daemon=daemon: daemon.present.find(Instance, WENT) is None,
        )
        if not daemon.struck:
            break
    assert at > 1

"""The Channel port: of the fake world, and of the real server, whose guests are behind processes that bring it."""

from __future__ import annotations

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.fake import fake_host
from orchestrator.model import InstanceName, Says
from tests.contract.suites.channel import OTHER, WEB, ChannelContract, Guests
from tests.contract.suites.fake_stage import FakeStage
from tests.contract.suites.stage import make_instance
from tests.world.runtime_guests import ANSWER_S, Server, Speaker, server

NOT_YET_S = 0.3


class FakeGuests:
    """Two guests of the fake world."""

    def __init__(self) -> None:
        self.stage = FakeStage()
        self.channel = fake_host(self.stage.world).machine.channel
        for index in range(2):
            instance = make_instance(self.stage, index)
            self.stage.lay(instance)
            self.stage.hypervisor.start(instance)

    def say(self, name: InstanceName, says: Says, for_s: float, reason: str) -> None:
        """See Guests."""
        self.stage.world.say(name, says, for_s=for_s, reason=reason)

    def is_answered(self, name: InstanceName, *, soon: bool) -> bool:
        """See Guests."""
        return name not in self.stage.world.unanswered

    def part(self, name: InstanceName) -> None:
        """See Guests."""
        self.stage.world.part(name)

    def forget(self, name: InstanceName) -> None:
        """See Guests."""
        self.stage.hypervisor.power_off(name)
        self.stage.hypervisor.undefine(name)


class RealGuests:
    """Two processes that bring a channel."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.channel = server.channel
        self.speakers: dict[InstanceName, Speaker] = {name: server.speaker(name) for name in (WEB, OTHER)}

    def say(self, name: InstanceName, says: Says, for_s: float, reason: str) -> None:
        """See Guests."""
        before = len(self.server.woken)
        self.speakers[name].request(says.value, reason=reason, **({"for_s": for_s} if for_s else {}))
        self.server.until_woken(before + 1)

    def is_answered(self, name: InstanceName, *, soon: bool) -> bool:
        """See Guests."""
        out = self.speakers[name].process.stdout
        assert out is not None
        if not select.select([out], [], [], ANSWER_S if soon else NOT_YET_S)[0]:
            return False
        return self.speakers[name].heard()["result"]["done"] is True

    def part(self, name: InstanceName) -> None:
        """See Guests."""
        before = len(self.server.woken)
        self.speakers[name].request("stopping", boot="its boot")
        self.server.until_woken(before + 1)

    def forget(self, name: InstanceName) -> None:
        """See Guests."""
        self.server.channel.forget(name)


class TestFake(ChannelContract):
    """The fake does what the real one does."""

    @pytest.fixture
    def guests(self) -> Guests:
        """A new world."""
        return FakeGuests()


class TestReal(ChannelContract):
    """The real one."""

    @pytest.fixture
    def guests(self, tmp_path: Path) -> Iterator[Guests]:
        """A new server."""
        with server(tmp_path) as made:
            yield RealGuests(made)

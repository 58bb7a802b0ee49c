"""Guests that run commands as a test says: how each ends, how long it takes, and which agents hang."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from orchestrator.drivers.tools.agent_channel import AgentFrozen, AgentRefused, AgentSilent
from orchestrator.model import InstanceName


class GuestCommands:
    """See command_checks.Commands. All exits are 0 unless said otherwise; None: it runs for ever."""

    def __init__(self) -> None:
        self.exits: dict[InstanceName, int | None] = {}
        self.frozen: set[InstanceName] = set()
        self.hung: set[InstanceName] = set()
        self.begun: Counter[InstanceName] = Counter()
        self.argv: Sequence[str] = ()
        self.give_up = threading.Event()  # whoever waits for an agent that hangs
        self.waiting = 0
        self._boots: Counter[InstanceName] = Counter()
        self._last: dict[InstanceName, tuple[int, int]] = {}  # number and boot

    def begin(self, name: InstanceName, argv: Sequence[str]) -> int:
        """See Commands."""
        self._meet(name)
        self.argv = argv
        self.begun[name] += 1
        self._last[name] = self.begun[name], self._boots[name]
        return self.begun[name]

    def status(self, name: InstanceName, number: int) -> int | None:
        """See Commands."""
        self._meet(name)
        if self._last[name] != (number, self._boots[name]):
            raise AgentRefused(f"Invalid parameter 'pid': {number}")
        return self.exits.get(name, 0)

    def restart(self, name: InstanceName) -> None:
        """It knows no command of before."""
        self._boots[name] += 1

    def _meet(self, name: InstanceName) -> None:
        if name in self.frozen:
            raise AgentFrozen("its file systems are frozen")
        if name in self.hung:
            self.waiting += 1
            self.give_up.wait(30.0)
            self.waiting -= 1
            raise AgentSilent("no answer")

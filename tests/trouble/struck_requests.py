"""A fabric in which what a request commits is struck as a turn's commits are."""

from __future__ import annotations

from typing import cast

from orchestrator.control.deployment import Capacity
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.model import Image
from orchestrator.ports import Store
from tests.world.fabric import Fabric, Troubled
from tests.world.images import DIGEST


class StruckRequests(Fabric):
    """As a fabric whose requests are struck as well."""

    def _start(self) -> None:
        super()._start()
        store = cast("Store", Troubled(self.store, self.trouble))
        present = Present(store)
        self.control = Control(
            store,
            find_image=lambda _: present.find(Image, DIGEST),
            capacity=Capacity(pool="10.90.0.0/16", memory_mib=64_000),
            clock=self.world,
            wake=lambda _kind, _key: None,
            seats=dict,
            present=present,
        )

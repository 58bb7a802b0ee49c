"""What is read at the start is not walked through ever after."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.control.first_reading import read_all
from orchestrator.control.present import Present
from orchestrator.drivers.store.memory import MemoryStore
from orchestrator.errors import Unreachable
from orchestrator.model import Instance, InstanceName
from tests.world import fleet

NUMBER = 300


@pytest.fixture
def _thawed() -> Iterator[None]:
    """What other tests leave behind is collected again afterwards."""
    yield
    gc.unfreeze()


def _filled() -> MemoryStore:
    store = MemoryStore()
    fleet.record(store, NUMBER, time.time())
    return store


@pytest.mark.usefixtures("_thawed")
def test_no_collection_walks_through_the_records_that_were_read_first() -> None:
    present = Present(_filled())
    read_all(present)
    first = present.load(Instance, InstanceName("web-0.svc0"))
    assert gc.is_tracked(first)
    assert not any(one is first for one in gc.get_objects())


@pytest.mark.usefixtures("_thawed")
def test_no_collection_comes_between_while_they_are_read() -> None:
    begun: list[Any] = []

    def note(phase: str, _: dict[str, int]) -> None:
        begun.append(phase)

    store, present = _filled(), None
    gc.callbacks.append(note)
    try:
        present = Present(store)
        del begun[:]
        read_all(present)
        between = list(begun)
    finally:
        gc.callbacks.remove(note)
    assert between == []
    assert present.decoded > NUMBER
    assert gc.isenabled()


class _Away(MemoryStore):
    """A store that cannot be asked."""

    def all(self, kind: str) -> Any:
        """See ports.Store."""
        raise Unreachable(f"no {kind}", hint="")


@pytest.mark.usefixtures("_thawed")
def test_the_collector_goes_on_when_the_store_is_away() -> None:
    with pytest.raises(Unreachable):
        read_all(Present(_Away()))
    assert gc.isenabled()

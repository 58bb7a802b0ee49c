"""Tells soon which instance a DHCP server of a bridge's has given an address, which it may not use before."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from orchestrator.errors import VmroleError
from orchestrator.model import Given, InstanceName

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # a guest asks its neighbours again within seconds
_NEWS_S: Final = 2.0  # times are told in whole seconds


@contextlib.contextmanager
def given_watch(
    given: Callable[[], Sequence[Given]],
    concerned: Callable[[], Mapping[str, InstanceName]],
    wake: Callable[[InstanceName, str], None],
    look_s: float = LOOK_S,
) -> Iterator[None]:
    """Calls `wake` on a thread of its own until the context ends, with each instance that was given an address, anew
    or again. `concerned`: who has which card; while that is nobody, nothing is looked at.
    """
    ended = threading.Event()
    told: dict[tuple[str, str], float] = {}

    def run() -> None:
        while not ended.wait(look_s):
            try:
                cards = concerned()
                lately = given() if cards else ()
                for gone in told.keys() - {(one.tap, one.address) for one in lately}:
                    del told[gone]
                for one in lately:
                    if one.tap in cards and one.at_s > told.get((one.tap, one.address), 0.0) + _NEWS_S:
                        told[one.tap, one.address] = one.at_s
                        wake(cards[one.tap], f"a DHCP server has given it {one.address}")
            except VmroleError as error:  # The thread must go on; each turn looks as well.
                log.warning("what DHCP servers have given could not be looked at: %s", error)

    thread = threading.Thread(target=run, name="given-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

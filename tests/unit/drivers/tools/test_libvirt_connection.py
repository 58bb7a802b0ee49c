"""LibvirtConnection against libvirt's own test driver, for moments that no lab can hit at will."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.tools import libvirt_connection
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection

ENOUGH_S = 30.0
_open = libvirt.open


class _Connection:
    """A connection of libvirt's test driver, which lacks the calls that only a daemon needs."""

    lasts = 99  # How many kinds of events can be asked for before libvirtd is gone.

    def __init__(self) -> None:
        self.real = _open("test:///default")
        self.made_at = time.monotonic()
        self.callbacks: set[int] = set()
        self.on_close: Callable[..., None] | None = None
        self.closed = False

    def setKeepAlive(self, _interval: int, _count: int) -> int:  # noqa: N802 - libvirt's name
        """See virConnect, here and below."""
        return 0

    def registerCloseCallback(self, call: Callable[..., None], _opaque: object) -> int:  # noqa: N802
        """Kept, so that a test can call it."""
        self.on_close = call
        return 0

    def unregisterCloseCallback(self) -> int:  # noqa: N802
        """Forgotten."""
        self.on_close = None
        return 0

    def domainEventRegisterAny(self, *arguments: Any) -> int:  # noqa: N802
        """An error when libvirtd is gone."""
        if len(self.callbacks) == self.lasts:
            raise libvirt.libvirtError("internal error: client socket is closed")
        self.callbacks.add(callback := int(self.real.domainEventRegisterAny(*arguments)))
        return callback

    def domainEventDeregisterAny(self, callback: int) -> None:  # noqa: N802
        """As the real one."""
        self.real.domainEventDeregisterAny(callback)
        self.callbacks.remove(callback)

    def close(self) -> int:
        """As the real one."""
        self.closed = True
        return int(self.real.close())


class _Dying(_Connection):
    lasts = 2


class _Libvirt:
    """What was opened, and how to wait for it."""

    def __init__(self, kind: type[_Connection]) -> None:
        self.made: list[_Connection] = []
        self._kind, self._changed = kind, threading.Condition()

    def open(self, _uri: str) -> _Connection:
        """Stands for libvirt.open."""
        with self._changed:
            self.made.append(self._kind())
            self._changed.notify_all()
            return self.made[-1]

    def until_made(self, count: int) -> None:
        """Returns when so many were opened."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.made) >= count, ENOUGH_S)


@pytest.fixture
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Libvirt]:
    """A LibvirtConnection is open to connections of the kind that the test asks for."""
    world = _Libvirt(request.param)
    monkeypatch.setattr(libvirt_connection, "FIRST_S", 1.0)  # It waits no longer for one that never lives.
    monkeypatch.setattr("orchestrator.drivers.tools.libvirt_connection.libvirt.open", world.open)
    connection = LibvirtConnection("test:///default", lambda _name, _why: None, SystemClock())
    connection.open()
    yield world
    connection.close()


@pytest.mark.parametrize("kept", [_Dying], indirect=True)
def test_a_connection_that_dies_while_it_is_made_leaves_nothing(kept: _Libvirt) -> None:
    """libvirtd may end between the connection and its last event: what was made of it would stay open for ever."""
    kept.until_made(3)
    assert [(one.closed, one.on_close, one.callbacks) for one in kept.made[:2]] == [(True, None, set())] * 2


@pytest.mark.parametrize("kept", [_Connection], indirect=True)
def test_a_dying_libvirtd_is_left_alone(kept: _Libvirt) -> None:
    """One that just closed the connection is not asked at once: libvirt leaks what ends while it is opened."""
    lost_at, on_close = time.monotonic(), kept.made[0].on_close
    assert on_close
    on_close(kept.made[0], 1, None)
    kept.until_made(2)
    assert kept.made[1].made_at - lost_at >= libvirt_connection.RETRY_S
    assert kept.made[0].closed

"""Watches every running VM through a QMP monitor of its own: resets, panics, and its death at the moment it happens.

libvirt tells the same, but it noticed the death of a QEMU up to 2 s late (measured), and not at all while it was
away. What is told here is a hint that wakes the reconciler early; `ended` alone is proof, because it is the kernel
that says that the process is gone (a pidfd became readable), never the guest and never a closed socket.

A monitor serves one client at a time: another one connects but gets no greeting, so a connection is given up when
there is none in time, and it is closed whenever we stop watching.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from qemu.qmp import EventListener, Message, QMPClient, QMPError, Runstate

from orchestrator.model import InstanceName

Wake = Callable[[InstanceName, str], None]

log = logging.getLogger(__name__)
SAME_RESET_S = 0.5  # One reset of the guest is told twice within 30 ms; no firmware comes back to one that soon.
GREETING_S = 5.0  # A monitor that has another client greets us when that one leaves; ask again then.
RETRY_S = 1.0
CLOSE_S = 5.0
ENDING_S = 1.0
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # It reports each end of a VM as an error; we say it better.
_EVENTS: Final = ("RESET", "SHUTDOWN", "GUEST_PANICKED", "STOP", "RESUME", "BLOCK_IO_ERROR")


@contextlib.contextmanager
def event_loop_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own until the context ends; what runs on it then is cancelled."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="event-loop", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_end_all(), loop).result(CLOSE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_S)
        if not thread.is_alive():
            loop.close()


async def _end_all() -> None:
    """Lets what is ending end by itself: a hanging up that is cancelled half-way leaves its error to nobody."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        _, endless = await asyncio.wait(tasks, timeout=ENDING_S)
        for task in endless:
            task.cancel()
        await asyncio.gather(*endless, return_exceptions=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One start of one VM: libvirt gives each start another number, also to the same domain."""

    vm_uuid: str
    number: int


@dataclasses.dataclass(slots=True, eq=False)
class _Watch:
    run: Run
    path: Path
    ended: bool = False  # written on the event loop only
    task: asyncio.Task[None] | None = None


class Monitors:
    """All monitors of this host. Every method may be called from any thread; all but `close` return at once.

    `wake` is called on the event loop's thread and must not block.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Wake) -> None:
        self._loop = loop
        self._wake = wake
        self._lock = threading.Lock()
        self._watches: dict[InstanceName, _Watch] = {}
        self._resets: dict[InstanceName, tuple[str, int]] = {}  # VM uuid, count over all its runs

    def follow(self, name: InstanceName, run: Run, path: Path) -> None:
        """Watches this run of the VM; the watch on an earlier run ends. Following a followed run is free."""
        with self._lock:
            before = self._watches.get(name)
            if before is not None and before.run == run:
                return
            watch = self._watches[name] = _Watch(run, path)
        if before is not None:
            self._loop.call_soon_threadsafe(self._cancel, before)
        self._loop.call_soon_threadsafe(self._begin, name, watch)

    def unfollow(self, name: InstanceName) -> None:
        """Ends the watch; a VM that is not followed is fine. What was counted stays."""
        with self._lock:
            watch = self._watches.pop(name, None)
        if watch is not None:
            self._loop.call_soon_threadsafe(self._cancel, watch)

    def forget(self, name: InstanceName) -> None:
        """The VM is gone for good: ends the watch, and what was counted goes too."""
        self.unfollow(name)
        self._resets.pop(name, None)

    def ended(self, name: InstanceName, run: Run) -> bool:
        """Whether the process of this run is known to be gone. False says nothing."""
        watch = self._watches.get(name)
        return watch is not None and watch.run == run and watch.ended

    def resets(self, name: InstanceName, vm_uuid: str) -> int:
        """Resets of that VM that were seen by this process."""
        of, count = self._resets.get(name, ("", 0))
        return count if of == vm_uuid else 0

    def close(self) -> None:
        """Ends all watches and leaves the monitors to the next client; returns when they are closed."""
        with self._lock:
            watches = list(self._watches.values())
            self._watches.clear()
        closing = asyncio.run_coroutine_threadsafe(self._close(watches), self._loop)
        with contextlib.suppress(TimeoutError):
            closing.result(CLOSE_S)

    # On the event loop ---------------------------------------------------------------------------------------

    def _begin(self, name: InstanceName, watch: _Watch) -> None:
        if self._watches.get(name) is watch:
            watch.task = self._loop.create_task(self._watch(name, watch), name=f"monitor of {name}")

    def _cancel(self, watch: _Watch) -> None:
        if watch.task is not None:
            watch.task.cancel()

    async def _close(self, watches: list[_Watch]) -> None:
        tasks = [watch.task for watch in watches if watch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, name: InstanceName, watch: _Watch) -> None:
        """Until the process ends: listens, and listens again when only the connection was lost."""
        while True:
            try:
                with _connected(watch.path) as connection, _process_behind(connection) as process:
                    await self._listen(name, watch, connection, process)
            except OSError as error:
                # Nobody listens. Without a process to watch there is no proof; libvirt will tell what became of it.
                log.debug("%s: monitor: %r", name, error)
            if watch.ended:
                return
            await asyncio.sleep(RETRY_S)

    async def _listen(self, name: InstanceName, watch: _Watch, connection: socket.socket, process: int) -> None:
        """Returns when the process has ended, or when the connection has and the process lives on."""
        ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(process, _settle, ended)
        client = QMPClient()
        with client.listener(_EVENTS) as events:
            talk = self._loop.create_task(_talk(client, connection))
            read = self._loop.create_task(self._read(name, watch, events))
            try:
                await asyncio.wait({ended, talk}, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({ended}, timeout=RETRY_S)  # The connection ends a moment before its process.
                if ended.done():
                    watch.ended = True
                    log.info("%s: the VM's process has ended", name)
                    self._wake(name, "the VM's process has ended")
            finally:
                self._loop.remove_reader(process)
                talk.cancel()
                read.cancel()
                outcome = await asyncio.gather(talk, read, return_exceptions=True)
                await _hang_up(client)
                log.debug("%s: monitor: %r", name, outcome)

    async def _read(self, name: InstanceName, watch: _Watch, events: EventListener) -> None:
        last_reset_s = 0.0
        async for event in events:
            kind = str(event["event"])
            if kind == "RESET":
                at_s = _at_s(event)
                if at_s - last_reset_s < SAME_RESET_S:
                    continue
                last_reset_s = at_s
                vm_uuid = watch.run.vm_uuid
                self._resets[name] = (vm_uuid, self.resets(name, vm_uuid) + 1)
            self._wake(name, kind.lower().replace("_", " "))


async def _talk(client: QMPClient, connection: socket.socket) -> None:
    """Connects, and returns when the connection is over."""
    async with asyncio.timeout(GREETING_S):
        await client.connect(connection.dup())  # The client closes what it is given, and so do we.
    while client.runstate is Runstate.RUNNING:
        await client.runstate_changed()


async def _hang_up(client: QMPClient) -> None:
    """Why the connection ended is told by the process, not by the error that is raised here again."""
    if client.runstate is not Runstate.IDLE:
        with contextlib.suppress(QMPError, OSError, EOFError):
            await client.disconnect()


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    """A connection to the socket. Local, so it succeeds or fails at once; BlockingIOError when others queue there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        connection.connect(str(path))
        yield connection


@contextlib.contextmanager
def _process_behind(connection: socket.socket) -> Iterator[int]:
    """A pidfd of the process that listens on the other end; readable when that process is gone, pidfd_open(2)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", credentials)
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _at_s(event: Message) -> float:
    """When QEMU says that it happened, seconds since the epoch."""
    stamp = event["timestamp"]
    assert isinstance(stamp, dict), event
    return float(stamp["seconds"]) + float(stamp["microseconds"]) / 1e6

"""The server of the runtime channel: one event loop, in a thread of its own, for the guests of all VMs.

QEMU connects to us, as with its monitor: to one socket that is ours, and comes again when it is hung up on. The
connection is the identity. Whose it is the kernel says (SO_PEERCRED), compared with the processes that libvirt has
started, so a guest can speak for no other, nor can who has broken out of one. Whoever is not known yet waits unheard
for a while: a QEMU (7.2) that is hung up on as it starts dies of it.

The guest is hostile. Of each, one connection is listened to, one line is held, one request is served at a time, and
no second answer is made before the first is read: who never reads is never heard again, and harms nobody. What it may
ask in a second is bounded; a flood waits in its own kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import socket
import threading
from collections.abc import Callable
from typing import Final

from orchestrator.drivers.guest import runtime_blobs, runtime_peers, runtime_requests
from orchestrator.drivers.guest.runtime_blobs import RuntimeBlobs
from orchestrator.drivers.guest.runtime_peers import Outlet, RuntimePeers
from orchestrator.drivers.guest.runtime_requests import NO_METHOD, NOT_NOW, TOO_OFTEN, Lines, Refused, Request
from orchestrator.drivers.tools.peer import peer_pid
from orchestrator.errors import VmroleError
from orchestrator.model import InstanceName, Parting, Word
from orchestrator.ports import Clock, Desk

log = logging.getLogger(__name__)
READ_BYTES: Final = 16 * 1024
AT_ONCE: Final = 16  # After so many reads or requests of one guest we rest: a flood must not keep a core busy.
REST_S: Final = 0.1
UNHEARD_S: Final = 10.0  # How long one waits whom we do not know (yet).
UNHEARD_LOOK_S: Final = 0.1
UNHEARD_MOST: Final = 256
ACCEPTS_AT_ONCE: Final = 32
DONE_S: Final = 10.0  # How long `ready` and `busy` wait for what follows from them to be done.
CLOSE_S: Final = 5.0
PARTING_AGAIN_S: Final = 60.0  # So often one whose boots have no names says again that it wants to know of its end.
PARTING: Final = ("stopping", "let_go")
METHODS: Final = (
    *("whoami", "ready", "busy", "log"),
    *runtime_blobs.METHODS,
    *runtime_peers.METHODS,
    *PARTING,
)


@dataclasses.dataclass(slots=True)
class Allowance:
    """A bucket: `most` at once, and one more every `each_s` seconds."""

    most: float
    each_s: float
    left: float
    since_s: float

    def take(self, now_s: float) -> bool:
        """Takes one; False when there is none."""
        self.left = min(self.most, self.left + (now_s - self.since_s) / self.each_s)
        self.since_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True


WORDS: Final = (10.0, 1.0)  # of ready and busy: each costs a turn and a commit
LOG_LINES: Final = (20.0, 30.0)


@dataclasses.dataclass(slots=True)
class _Guest:
    """What is known of one guest while its VM is: bounded, whatever it does."""

    words: Allowance
    lines: Allowance
    changes: Allowance
    asks: Allowance
    word: Word | None = None
    parting: Parting | None = None
    done: asyncio.Future[None] | None = None  # what the guest waits for that has said the word
    talk: asyncio.Task[None] | None = None
    outlet: Outlet | None = None


class RuntimeChannel:
    """ports.Channel for all VMs of this host. Every method may be called from any thread; all but `close` return at
    once. `whose` tells which VM a process is the QEMU of; `wake` is called on the loop's thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        whose: Callable[[int], InstanceName | None],
        wake: Callable[[InstanceName, str], None],
        desk: Desk,
        clock: Clock,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._whose = whose
        self._wake = wake
        self._desk = desk
        self._clock = clock
        self._blobs = RuntimeBlobs(loop, desk.blobs)
        self._peers = RuntimePeers(loop, desk.peers)
        self._lock = threading.Lock()
        self._guests: dict[InstanceName, _Guest] = {}
        self._unheard: dict[int, asyncio.Task[None]] = {}  # by process; on the event loop only
        loop.call_soon_threadsafe(loop.add_reader, listener, self._accept)

    def word(self, name: InstanceName) -> Word | None:
        """See ports.Channel."""
        with self._lock:
            guest = self._guests.get(name)
            return guest.word if guest is not None else None

    def parting(self, name: InstanceName) -> Parting | None:
        """See ports.Channel."""
        with self._lock:
            guest = self._guests.get(name)
            return guest.parting if guest is not None else None

    def taken(self, name: InstanceName, word: Word) -> None:
        """See ports.Channel."""
        with self._lock:
            guest = self._guests.get(name)
            done = guest.done if guest is not None and guest.word == word else None
        if done is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                self._loop.call_soon_threadsafe(_resolve, done)

    def forget(self, name: InstanceName) -> None:
        """The VM is gone for good, and its word with it. Absent is fine."""
        with self._lock:
            guest = self._guests.pop(name, None)
        if guest is not None and guest.talk is not None:
            self._loop.call_soon_threadsafe(guest.talk.cancel)
        self._blobs.forget(name)

    def close(self) -> None:
        """Hangs up on every QEMU, which then looks for the next daemon."""
        closing = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        with contextlib.suppress(TimeoutError):
            closing.result(CLOSE_S)
        self._blobs.close()

    # On the event loop: connections --------------------------------------------------------------------------

    async def _close(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        talks = [guest.talk for guest in self._guests.values() if guest.talk is not None]
        for task in (*talks, *self._unheard.values()):
            task.cancel()
        await asyncio.gather(*talks, *self._unheard.values(), return_exceptions=True)
        await self._peers.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            if len(self._unheard) >= UNHEARD_MOST:
                break
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # Out of descriptors: those who wait go on waiting.
                log.warning("runtime channel: %s", error.strerror)
                break
            connection.setblocking(False)
            pid = peer_pid(connection)
            if (name := self._whose(pid)) is not None:
                self._let_in(name, connection)
                continue
            if (earlier := self._unheard.pop(pid, None)) is not None:  # No QEMU has two at a time.
                earlier.cancel()
            waits = self._loop.create_task(self._wait(pid, connection), name=f"channel of process {pid}")
            self._unheard[pid] = waits
            waits.add_done_callback(functools.partial(self._waited, pid))
        self._loop.remove_reader(self._listener)
        self._loop.call_later(REST_S, self._go_on)

    def _go_on(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    async def _wait(self, pid: int, connection: socket.socket) -> None:
        """Until its VM is known; hangs up on whom nobody comes to know."""
        try:
            for _ in range(round(UNHEARD_S / UNHEARD_LOOK_S)):
                await asyncio.sleep(UNHEARD_LOOK_S)
                if (name := self._whose(pid)) is not None:
                    self._let_in(name, connection)
                    return
        except asyncio.CancelledError:
            connection.close()
            raise
        connection.close()

    def _waited(self, pid: int, waits: asyncio.Task[None]) -> None:
        if self._unheard.get(pid) is waits:
            del self._unheard[pid]

    def _let_in(self, name: InstanceName, connection: socket.socket) -> None:
        with self._lock:
            now_s = self._clock.monotonic_s()
            guest = self._guests.get(name)
            if guest is None:
                each = (WORDS, LOG_LINES, runtime_blobs.CHANGES, runtime_peers.ASKS)
                words, lines, changes, asks = (Allowance(most, each_s, most, now_s) for most, each_s in each)
                guest = self._guests[name] = _Guest(words, lines, changes, asks)
        if guest.talk is not None:
            guest.talk.cancel()  # Its QEMU has left the earlier one.
        guest.outlet = outlet = Outlet(self._loop, connection)
        guest.talk = self._loop.create_task(self._listen(name, guest, connection, outlet), name=f"channel of {name}")
        guest.talk.add_done_callback(functools.partial(_hang_up, connection))

    # On the event loop: one guest ----------------------------------------------------------------------------

    async def _listen(self, name: InstanceName, guest: _Guest, connection: socket.socket, outlet: Outlet) -> None:
        """Until the connection ends."""
        lines, spent = Lines(), 0
        with contextlib.suppress(OSError), self._peers.until_over(name, outlet):
            while data := await self._loop.sock_recv(connection, READ_BYTES):
                spent += 1
                for line in lines.take(data):
                    spent += 1
                    if answer := await self._answer(name, guest, line):
                        await outlet.send(answer)
                    if spent >= AT_ONCE:
                        await asyncio.sleep(REST_S)
                        spent = 0
                if spent >= AT_ONCE:
                    await asyncio.sleep(REST_S)
                    spent = 0

    async def _answer(self, name: InstanceName, guest: _Guest, line: bytes | None) -> bytes:
        """The line that goes back; nothing for a request that wants none."""
        try:
            request = runtime_requests.read(line)
        except Refused as refused:
            return runtime_requests.refusal(refused)
        try:
            made = runtime_requests.answer(request, await self._do(name, guest, request))
        except Refused as refused:
            made = runtime_requests.refusal(refused)
        except VmroleError as error:
            log.info("%s: runtime channel: %s: %s", name, request.method, error)
            later = Refused(NOT_NOW, "the host cannot do that now: ask again later", request.request_id)
            made = runtime_requests.refusal(later)
        return made if request.answered else b""

    async def _do(self, name: InstanceName, guest: _Guest, request: Request) -> object:
        match request.method:
            case "whoami":
                known = await asyncio.to_thread(self._desk.who, name)
                if known is None:
                    raise Refused(NOT_NOW, "nothing is recorded of this instance", request.request_id)
                return known
            case "ready" | "busy":
                return await self._hear(name, guest, request)
            case "log":
                line = runtime_requests.log_line(request)
                self._spend(guest.lines, request)
                await asyncio.to_thread(self._desk.log, name, line)
                return {"logged": line}
            case method if method in runtime_blobs.METHODS:
                if method == "blob.ls":  # The heads of up to a thousand files are read.
                    self._spend(guest.asks, request)
                return await self._blobs.do(name, request, lambda: guest.changes.take(self._clock.monotonic_s()))
            case method if method in runtime_peers.METHODS and guest.outlet is not None:
                self._spend(guest.asks, request)
                if request.method == "subscribe" and "stopping" in runtime_peers.topics_of(request):
                    self._ask_for_parting(name, guest, request, lets_go=False)
                return await self._peers.do(name, guest.outlet, request)
            case "stopping" | "let_go" as method:
                self._spend(guest.asks, request)
                runtime_requests.only(request, ("boot",))
                stopping = await asyncio.to_thread(self._desk.peers.stopping, name)
                lets_go = method == "let_go" and stopping is not None
                if lets_go or method == "stopping":
                    self._ask_for_parting(name, guest, request, lets_go=lets_go)
                return {"stopping": stopping} if method == "stopping" else {"let_go": lets_go}
            case _:
                raise Refused(NO_METHOD, f"there are the methods {', '.join(METHODS)}", request.request_id)

    async def _hear(self, name: InstanceName, guest: _Guest, request: Request) -> object:
        """Answers when what follows from the word is recorded and done, or says after DONE_S that it is not yet."""
        word = runtime_requests.word(request, self._clock.now_s())
        self._spend(guest.words, request)
        done = self._loop.create_future()
        with self._lock:
            guest.word, guest.done = word, done
        self._wake(name, f"its guest says that it is {word.says}")
        is_done = True
        try:
            await asyncio.wait_for(done, DONE_S)
        except TimeoutError:
            is_done = False
        finally:
            with self._lock:
                guest.done = None
        lapses = {"lapses_in_s": round(word.until_s - word.at_s, 3)} if word.until_s else {}
        return {"says": word.says.value, "reason": word.reason, "done": is_done, **lapses}

    def _ask_for_parting(self, name: InstanceName, guest: _Guest, request: Request, *, lets_go: bool) -> None:
        """Nothing is written anew of who asks again and again; the turn that is woken does not wait for anybody."""
        before, now_s = guest.parting, self._clock.now_s()
        boot_id = runtime_requests.text(request, "boot", runtime_requests.BOOT_ID_MAX_CHARS)
        same_boot = before is not None and before.boot_id == boot_id
        if (
            before is not None
            and same_boot
            and not lets_go
            and (boot_id or now_s - before.asked_at_s < PARTING_AGAIN_S)
        ):
            return
        self._spend(guest.words, request)
        with self._lock:
            guest.parting = Parting(boot_id=boot_id, asked_at_s=now_s, let_go_at_s=now_s if lets_go else 0.0)
        self._wake(name, "its guest lets go" if lets_go else "its guest wants to be told of its end")

    def _spend(self, allowance: Allowance, request: Request) -> None:
        if not allowance.take(self._clock.monotonic_s()):
            told = f"{request.method}: too often; {allowance.most:.0f} at once, then one in {allowance.each_s:g} s"
            raise Refused(TOO_OFTEN, told, request.request_id)


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _hang_up(connection: socket.socket, talk: asyncio.Task[None]) -> None:
    """Also of a talk that was cancelled before it began."""
    connection.close()
    if not talk.cancelled() and (error := talk.exception()) is not None:
        log.error("%s: a bug: %r", talk.get_name(), error)

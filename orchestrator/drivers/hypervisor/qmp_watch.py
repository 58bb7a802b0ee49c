"""Watches every running VM: resets and panics through a QMP monitor of its own, its death by its process.

libvirt tells the same, but it noticed the death of a QEMU up to 2 s late (measured), and not at all while it was
away. What a monitor tells is a hint that wakes the reconciler early. `ended` alone is proof: the process that libvirt
started for the VM is gone, says the kernel (a pidfd became readable), never the guest and never a closed socket.
Each QEMU is asked now and then, and nobody waits for its answer: one that owes an answer is known as stuck.

QEMU connects to us, to one socket that is ours, and comes again when it is hung up on. So no VM has a monitor that
another could reach, and nobody but us can be where monitors are looked for. Who a connection is of is told by the
kernel (SO_PEERCRED) and compared with the process that libvirt started: whoever else comes, with whatever uid, is
hung up on before he is listened to, though not at once: a QEMU (7.2) that is hung up on while it starts dies of it in
most cases (measured), so one that comes before its VM is followed waits unheard, and so does everybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from qemu.qmp.error import ProtocolError
from qemu.qmp.message import Message

from orchestrator.drivers.hypervisor import monitor_end
from orchestrator.drivers.tools.ended import is_noted
from orchestrator.drivers.tools.peer import peer_pid
from orchestrator.errors import Busy, ConfigError
from orchestrator.model import InstanceName
from orchestrator.ports import Clock

Wake = Callable[[InstanceName, str], None]

log = logging.getLogger(__name__)
SAME_RESET_S = 0.5  # One reset of the guest is told twice within 30 ms; no firmware comes back to one that soon.
ABSENT_S = 30.0  # After this a QEMU that has not come will not come: it comes every second.
CLOSE_S = 5.0
BACKLOG = 512  # Every QEMU of a host comes at once when a daemon begins to listen.
AT_ONCE = 32  # After so many connections, or words of one VM, we rest: a flood must not keep a core busy.
REST_S = 0.1
UNHEARD_S = 10.0  # How long one waits whom we do not know (yet); a busy host starts a QEMU in half of that.
UNHEARD_MOST = 256  # When so many wait, others wait in the socket's queue: nobody is hung up on earlier for them.
LINE_MAX_BYTES = 64 * 1024  # An event has some hundred.
TELL_STRANGERS = 10_000  # A host has some that are no harm, each a second: QEMUs of VMs that nobody follows.
ASK_S = 15.0  # Between questions to each QEMU; one that has not answered is asked nothing more.
OWED_S = 5.0  # What enters the monitor of a QEMU that owes an answer for so long would wait with it, without an end.
STUCK_S = 30.0  # So long a QEMU may be busy: under TCG, with a slow disk, while it is saved.
_QUESTION: Final = "vmrole"
_WHY_ABSENT: Final = (
    "an older vmrole started it, or a confinement keeps it away (see vmrole doctor); "
    "its end is seen as ever, its restarts later, until it is started again"
)
HELD_S = 5.0  # A QEMU that goes on after its guest has shut down is not ending.
NOTED_S, NOTED_LOOK_S = 0.1, 0.002  # as in process_end.py
_EVENTS: Final = ("SHUTDOWN", "GUEST_PANICKED", "STOP", "RESUME", "BLOCK_IO_ERROR")  # beside RESET


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """The socket that QEMU connects to, for its owner alone until he lets QEMU's group in; what lay there goes.

    Raises ConfigError when nobody can listen there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(BACKLOG)
        except OSError as error:
            hint = "is another vmrole running there? Otherwise run the daemon as root, or set run_dir"
            raise ConfigError(f"{path}: no monitor can be listened to: {error.strerror}", hint=hint) from error
        listener.setblocking(False)
        yield listener


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One start of one VM: libvirt gives each start another number, also to the same domain."""

    vm_uuid: str
    number: int


@dataclasses.dataclass(slots=True, eq=False)
class _Watch:
    """Written on the event loop only."""

    run: Run
    pid: int
    ended: bool = False
    last_reset_s: float = 0.0  # by QEMU's clock, since the epoch
    process: int | None = None  # pidfd, pidfd_open(2): readable when that process is gone
    talk: asyncio.Task[None] | None = None
    absence: asyncio.TimerHandle | None = None
    asked_s: float = 0.0  # when it was asked what it has not answered yet, by Clock.monotonic_s; 0: it owes nothing
    asking: asyncio.TimerHandle | None = None
    stuck: bool = False  # whoever has to know of it was woken
    held: contextlib.ExitStack | None = None  # QEMU's end of libvirt's monitor, while QEMU ends


class Monitors:
    """All VMs of this host. Every method may be called from any thread; all but `close` return at once.

    `wake` is called on the event loop's thread and must not block.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Wake, listener: socket.socket, clock: Clock) -> None:
        self._loop = loop
        self._wake = wake
        self._listener = listener
        self._clock = clock
        self._lock = threading.Lock()
        self._watches: dict[InstanceName, _Watch] = {}
        self._resets: dict[InstanceName, tuple[str, int]] = {}  # VM uuid, count over all its runs
        self._signalled: dict[InstanceName, tuple[Run, bool]] = {}  # the run that shut down first, and by whom
        self._by_pid: dict[int, tuple[InstanceName, _Watch]] = {}  # written on the event loop only
        self._strangers = 0
        self._unheard: dict[int, tuple[socket.socket, asyncio.TimerHandle]] = {}  # by process; on the event loop only
        loop.call_soon_threadsafe(loop.add_reader, listener, self._accept)

    def follow(self, name: InstanceName, run: Run, pid: int) -> None:
        """Watches this run of the VM, whose process libvirt says is `pid`; the watch on an earlier run ends.

        Following a followed run is free.
        """
        with self._lock:
            before = self._watches.get(name)
            if before is not None and before.run == run:
                return
            watch = self._watches[name] = _Watch(run, pid)
        if before is not None:
            self._loop.call_soon_threadsafe(self._release, before)
        self._loop.call_soon_threadsafe(self._begin, name, watch)

    def unfollow(self, name: InstanceName) -> None:
        """Ends the watch; a VM that is not followed is fine. What was counted stays."""
        with self._lock:
            watch = self._watches.pop(name, None)
        if watch is not None:
            self._loop.call_soon_threadsafe(self._release, watch)

    def forget(self, name: InstanceName) -> None:
        """The VM is gone for good: ends the watch, and what was counted goes too."""
        self.unfollow(name)
        self._resets.pop(name, None)
        self._signalled.pop(name, None)

    def signalled(self, name: InstanceName, vm_uuid: str) -> bool:
        """Whether a signal or a command has ended that VM's last run, and not its guest. False says nothing."""
        run, by_host = self._signalled.get(name, (None, False))
        return run is not None and run.vm_uuid == vm_uuid and by_host

    def whose(self, pid: int) -> InstanceName | None:
        """Whose QEMU the process is, of those that are followed and live."""
        return followed[0] if (followed := self._by_pid.get(pid)) is not None else None

    def ended(self, name: InstanceName, run: Run) -> bool:
        """Whether the process of this run is known to be gone. False says nothing."""
        watch = self._watches.get(name)
        return watch is not None and watch.run == run and watch.ended

    def resets(self, name: InstanceName, vm_uuid: str) -> int:
        """Resets of that VM that were seen by this process."""
        of, count = self._resets.get(name, ("", 0))
        return count if of == vm_uuid else 0

    def owes_s(self, name: InstanceName, run: Run) -> float:
        """How long that run's QEMU has not answered what it was asked (seconds); 0 when it owes nothing."""
        watch = self._watches.get(name)
        asked_s = watch.asked_s if watch is not None and watch.run == run else 0.0
        return self._clock.monotonic_s() - asked_s if asked_s else 0.0

    def why_stuck(self, name: InstanceName, run: Run) -> str:
        """Why the run's QEMU does not go on though its process lives, in a few words; "" when it does, or may."""
        watch = self._watches.get(name)
        if watch is None or watch.run != run or watch.process is None:
            return ""
        if _is_stopped(watch.pid):
            return f"its QEMU, process {watch.pid}, is stopped by a signal or a debugger: kill -CONT {watch.pid}"
        return "its QEMU does not answer its monitor" if self.owes_s(name, run) >= STUCK_S else ""

    def expect_answer(self, name: InstanceName, run: Run | None) -> None:
        """Raises Busy before what libvirt would ask of a QEMU that is stuck: its caller would wait without an end."""
        if run is None:
            return
        why = self.why_stuck(name, run)
        if why or self.owes_s(name, run) >= OWED_S:
            raise Busy(f"{name}: {why or 'its QEMU has not answered its monitor yet'}")

    def close(self) -> None:
        """Ends all watches and hangs up on every QEMU, which then looks for the next daemon."""
        with self._lock:
            watches = list(self._watches.values())
            self._watches.clear()
        closing = asyncio.run_coroutine_threadsafe(self._close(watches), self._loop)
        with contextlib.suppress(TimeoutError):
            closing.result(CLOSE_S)

    # On the event loop: processes ----------------------------------------------------------------------------

    def _begin(self, name: InstanceName, watch: _Watch) -> None:
        if self._watches.get(name) is not watch:
            return
        try:
            watch.process = os.pidfd_open(watch.pid)
        except ProcessLookupError:
            self._end(name, watch)
            return
        except OSError as error:  # Without a descriptor there is no proof; libvirt will tell what became of it.
            log.warning("%s: its process cannot be watched: %s", name, error.strerror)
            return
        # A number that has come to mean another process since libvirt wrote it down proves no less: that one began
        # after ours had ended.
        self._loop.add_reader(watch.process, self._end, name, watch)
        self._by_pid[watch.pid] = (name, watch)
        if watch.pid in self._unheard:
            connection, until = self._unheard.pop(watch.pid)
            until.cancel()
            self._let_in(name, watch, connection)
        watch.absence = self._loop.call_later(ABSENT_S, self._absent, name, watch)

    def _end(self, name: InstanceName, watch: _Watch) -> None:
        watch.ended = True
        if watch.held is not None and watch.process is not None:
            self._let_go(watch.held, os.dup(watch.process), self._clock.monotonic_s() + NOTED_S)
        self._release(watch)
        log.info("%s: the VM's process has ended", name)
        self._wake(name, "the VM's process has ended")

    def _hold(self, watch: _Watch) -> None:
        """Holds the monitor of a QEMU that libvirt ends now, whose guest has shut down (see monitor_end.py)."""
        if watch.process is not None and watch.held is None:
            watch.held = contextlib.ExitStack()
            watch.held.enter_context(monitor_end.held(watch.pid, watch.process))
            self._loop.call_later(HELD_S, watch.held.close)

    def _let_go(self, held: contextlib.ExitStack, process: int, until_s: float) -> None:
        """As soon as QEMU's parent has taken note of its end, or that is late."""
        if self._clock.monotonic_s() < until_s and not is_noted(process):
            self._loop.call_later(NOTED_LOOK_S, self._let_go, held, process, until_s)
            return
        os.close(process)
        held.close()

    def _release(self, watch: _Watch) -> None:
        """Gives back everything that the watch holds; releasing twice is fine."""
        if watch.process is not None:
            self._loop.remove_reader(watch.process)
            os.close(watch.process)
            watch.process = None
        if self._by_pid.get(watch.pid, (None, None))[1] is watch:
            del self._by_pid[watch.pid]
        if watch.talk is not None:
            watch.talk.cancel()
        for timer in (watch.absence, watch.asking):
            if timer is not None:
                timer.cancel()

    def _absent(self, name: InstanceName, watch: _Watch) -> None:
        if watch.talk is None:
            log.warning("%s: its QEMU has not come to our socket: %s", name, _WHY_ABSENT)

    async def _close(self, watches: list[_Watch]) -> None:
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        for pid in list(self._unheard):
            self._send_away(pid)
        talks = [watch.talk for watch in watches if watch.talk is not None]
        for watch in watches:
            self._release(watch)
            if watch.held is not None:
                watch.held.close()
        await asyncio.gather(*talks, return_exceptions=True)

    # On the event loop: connections --------------------------------------------------------------------------

    def _accept(self) -> None:
        """Lets in the QEMUs that are followed. Whoever else is there waits unheard, and is hung up on in the end."""
        for _ in range(AT_ONCE):
            if len(self._unheard) >= UNHEARD_MOST:
                break
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # Out of descriptors: those who wait go on waiting.
                log.warning("monitors: %s", error.strerror)
                break
            pid = peer_pid(connection)
            if (followed := self._by_pid.get(pid)) is not None:
                self._let_in(*followed, connection)
            else:
                if pid in self._unheard:
                    self._send_away(pid)  # No QEMU has two at a time: it has left the earlier one.
                self._unheard[pid] = connection, self._loop.call_later(UNHEARD_S, self._send_away, pid)
        self._loop.remove_reader(self._listener)
        self._loop.call_later(REST_S, self._go_on)

    def _let_in(self, name: InstanceName, watch: _Watch, connection: socket.socket) -> None:
        if watch.talk is not None:
            watch.talk.cancel()  # One connection for each VM: its QEMU has left the earlier one.
        connection.setblocking(False)
        watch.talk = self._loop.create_task(self._listen(name, watch, connection), name=f"monitor of {name}")
        watch.talk.add_done_callback(functools.partial(_close, connection))

    def _send_away(self, pid: int) -> None:
        connection, until = self._unheard.pop(pid)
        until.cancel()
        connection.close()
        self._strangers += 1
        if self._strangers % TELL_STRANGERS == 0:
            told = "%d connections for monitors were of no VM of ours; the last was of process %d"
            log.warning(told, self._strangers, pid)

    def _go_on(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    async def _listen(self, name: InstanceName, watch: _Watch, connection: socket.socket) -> None:
        """Until the connection ends. What that means is told by the process: a QEMU that lives comes again."""
        reader, writer = await asyncio.open_connection(sock=connection, limit=LINE_MAX_BYTES)
        try:
            # Without it there are no events; qmp-spec of QEMU.
            writer.write(bytes(Message({"execute": "qmp_capabilities"})) + b"\n")
            self._ask(name, watch, writer)
            heard = 0
            while line := await reader.readline():
                self._hear(name, watch, Message(line))
                heard += 1
                if heard % AT_ONCE == 0:
                    await asyncio.sleep(REST_S)
        except (OSError, ValueError, RecursionError, ProtocolError) as error:  # It is gone, or sends what is no QMP.
            log.debug("%s: monitor: %r", name, error)
        finally:
            if watch.asking is not None:
                watch.asking.cancel()
            watch.asked_s = 0.0  # Whoever hangs up owes nothing: a QEMU that goes on comes again and is asked anew.
            writer.transport.abort()

    def _ask(self, name: InstanceName, watch: _Watch, writer: asyncio.StreamWriter) -> None:
        """Asks, or notes that the last question is not answered yet, and does so again; waits for nothing."""
        if not watch.asked_s:
            writer.write(bytes(Message({"execute": "query-status", "id": _QUESTION})) + b"\n")
            watch.asked_s = self._clock.monotonic_s()
        elif not watch.stuck and self._clock.monotonic_s() - watch.asked_s >= STUCK_S:
            watch.stuck = True
            log.warning("%s: its QEMU does not answer its monitor", name)
            self._wake(name, "its QEMU does not answer")
        watch.asking = self._loop.call_later(ASK_S, self._ask, name, watch, writer)

    def _hear(self, name: InstanceName, watch: _Watch, message: Message) -> None:
        """Takes in one message; an event that nobody waits for is nothing."""
        match message:
            case {"id": str(question)} if question == _QUESTION:
                watch.asked_s = 0.0
                if watch.stuck:
                    watch.stuck = False
                    log.info("%s: its QEMU answers again", name)
                    self._wake(name, "its QEMU answers again")
            case {"event": "RESET", "timestamp": {"seconds": int(seconds), "microseconds": int(microseconds)}}:
                at_s = seconds + microseconds / 1e6
                if 0 <= at_s - watch.last_reset_s < SAME_RESET_S:
                    return
                watch.last_reset_s = at_s
                self._resets[name] = (watch.run.vm_uuid, self.resets(name, watch.run.vm_uuid) + 1)
                self._wake(name, "reset")
            case {"event": "SHUTDOWN", "data": {"guest": bool(guest)}}:
                if self._signalled.get(name, (None,))[0] != watch.run:  # libvirt ends by signal who has shut down.
                    self._signalled[name] = watch.run, not guest
                    if guest:
                        self._hold(watch)
                self._wake(name, "shutdown")
            case {"event": str(kind)} if kind in _EVENTS:
                self._wake(name, kind.lower().replace("_", " "))


def _is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped the process, as the kernel has it; proc(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False


def _close(connection: socket.socket, talk: asyncio.Task[None]) -> None:
    """Also of a talk that was cancelled before it began."""
    connection.close()
    if not talk.cancelled() and (error := talk.exception()) is not None:
        log.error("%s: a bug: %r", talk.get_name(), error)

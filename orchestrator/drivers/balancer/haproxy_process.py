"""The HAProxy process: started, found again by the next daemon, reloaded, asked, ended. Members are not known here.

A reload starts a new worker beside the old one, which keeps its open connections until they end. The new worker
answers on the runtime socket; the old ones can only be asked through their master.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import secrets
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.drivers.balancer import haproxy_config, haproxy_host, haproxy_leads
from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.patience import Patience
from orchestrator.errors import CommandFailed, ConfigError, Permanent, Transient, Unreachable, WorldError
from orchestrator.ports import Clock

log = logging.getLogger(__name__)
WRITABLE = "HAProxy's directory must be writable for the daemon"
READABLE = "HAProxy's files must be readable for the daemon; it is tried again by itself"
START_S = (
    15.0  # A start takes 50 ms and a reload 100 ms; a host that starts its guests may take a hundred times that.
)
SIGNAL_AGAIN_S = 3.0  # A master that has just begun to run misses its signals.
REWRITE_S = 1.0  # A reload runs the program anew in the same process.
STOP_S = 5.0
LED_AT_A_TIME = 50  # lines: HAProxy takes 16 KiB at once
LET_GO_S = 1.0  # Workers of a master that was killed hold their ports until they have seen it, some milliseconds.
ANSWER_S = 2.0
POLL_S = 0.02
# Of sun_path's 107 bytes, HAProxy wants room for its temporary name ".PID.tmp" beside the socket.
_PATH_BYTES_MAX = 90
_SAFE_PATH = re.compile(r"/[A-Za-z0-9/._-]*")
_BIND = re.compile(r"^    bind (\S+)", re.MULTILINE)
_ALERT = re.compile(r"^\[ALERT\][\s(\d)]*: (?:config : )?(.+)", re.MULTILINE)
_MASTER = re.compile(r"\bmaster\s+(\d+) \[failed: (\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """What a master says that is not busy with a reload: how many it has begun, and how many have failed since the
    last that did not."""

    reloads: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Who answers on the runtime socket, and of which load its configuration is; "" when it names none."""

    pid: int
    generation: str


def try_config(binary: str, config: Path) -> None:
    """Has HAProxy read a configuration without starting anything; Permanent with its own words when it refuses."""
    try:
        run([binary, "-c", "-f", str(config)])
    except CommandFailed as error:
        said = "; ".join(_ALERT.findall(error.stderr)[:2]) or error.stderr.strip()[-400:] or "it does not say why"
        raise Permanent(f"HAProxy refuses its configuration: {said}") from error


def outdated(place: Path, binary: str, clock: Clock) -> str:
    """Why the HAProxy of that directory is not the one that is installed; "" when it is, or cannot be looked at."""
    with contextlib.suppress(OSError, WorldError, ConfigError):
        if (place / "haproxy.cfg").exists():
            return HaproxyProcess(place, binary, clock).outdated()
    return ""


class HaproxyProcess:
    """One HAProxy, its files all in `place`. Not thread-safe but for `ask` and `ask_old`."""

    def __init__(self, place: Path, binary: str, clock: Clock) -> None:
        """Raises ConfigError when the paths in `place` cannot be written into HAProxy's configuration."""
        self._binary = binary
        self._clock = clock
        self.config = place / "haproxy.cfg"
        self._was = place / "haproxy.was"  # what runs for certain, while it is not certain that `config` does
        self.socket = place / "admin.sock"
        self.master = place / "master.sock"
        self.jail = place / "empty"  # what the worker has for a root directory
        self._pid_file = place / "haproxy.pid"
        self.leads = place / haproxy_leads.FILE
        self._known: int | None = None  # the last one that was seen
        for path in (self.socket, self.master):
            if len(str(path)) > _PATH_BYTES_MAX or not _SAFE_PATH.fullmatch(str(path)):
                raise ConfigError(
                    f"{path} cannot be HAProxy's socket",
                    hint=f"choose a run directory of letters, digits, '.', '_', '-', in all {_PATH_BYTES_MAX} bytes",
                )
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._old: set[int] = set()  # workers that a reload has replaced, as far as they lived at the last look
        self._stirred, self._looked = 0, -1  # how often the workers may have changed, and by when that look was
        patience = Patience(clock, REWRITE_S)
        with contextlib.suppress(Transient):  # Whoever asks for its process is told.
            while self.config.exists() and self._noted() is None and not patience.over:
                patience.pause(POLL_S)  # The daemon before this one was killed during a reload.

    def pid(self) -> int | None:
        """The master's process id, when that process runs and is ours.

        A reload takes the pid file away and writes it anew with the same number: whoever was the master is it while
        it lives.
        """
        if self._known is None or not self._is_ours(self._known):
            noted = self._noted()
            self._known = noted if noted is not None and self._is_ours(noted) else None
        return self._known

    def _noted(self) -> int | None:
        noted = _text_of(self._pid_file).strip()
        return int(noted) if noted.isdecimal() else None

    def _is_ours(self, pid: int) -> bool:
        """Whether that process lives and runs on our configuration; for some 10 ms of a reload it is nobody."""
        patience = Patience(self._clock, REWRITE_S)
        while True:
            process = Path(f"/proc/{pid}")
            with file_faults(process, READABLE):
                try:
                    words = (process / "cmdline").read_bytes().split(b"\0")
                    state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                except (FileNotFoundError, ProcessLookupError):
                    return False
            if state == "Z":
                return False
            if words != [b""] or patience.over:
                return str(self.config).encode() in words
            patience.pause(POLL_S)

    def listening(self) -> frozenset[str]:
        """ADDRESS:PORT of every endpoint that HAProxy was given last, by whichever daemon, running or not.

        Those that it had before are among them until a load has been seen to end.
        """
        return frozenset(place for path in (self.config, self._was) for place in _BIND.findall(_text_of(path)))

    def load(self, text: str, leads: str) -> None:
        """Runs with this configuration: by a start, or by a reload that keeps every open connection.

        Permanent when HAProxy refuses it; a running one then goes on with what it had. Unreachable when it is not
        known by now whether it runs with this or with what it had: no worker is believed but one of this very load.
        """
        before = _text_of(self.leads)
        self.note_leads(leads)
        try:
            self._load(text)
        except Permanent:
            self.note_leads(before)
            raise

    def note_leads(self, leads: str) -> None:
        """What the next worker reads for a map of places."""
        fresh = self.leads.with_suffix(".new")
        with file_faults(fresh, WRITABLE):
            fresh.write_text(leads)
            fresh.chmod(0o600)
            fresh.rename(self.leads)

    def lead(self, leads: Mapping[str, str]) -> None:
        """Has the worker lead from these places to these pools from now on. Unreachable when it does not."""
        lines = [f"set map {self.leads} {place} {pool}" for place, pool in leads.items()]
        for first in range(0, len(lines), LED_AT_A_TIME):
            if said := self.ask_all(lines[first : first + LED_AT_A_TIME]):
                raise Unreachable(
                    f"HAProxy does not lead elsewhere: {said[:200]}", hint="it is tried again by itself"
                )

    def _load(self, text: str) -> None:
        generation = secrets.token_hex(8)
        with file_faults(self.jail, WRITABLE):
            self.jail.mkdir(exist_ok=True, mode=0o555)
        fresh = self._written(haproxy_config.stamped(text, generation))
        try_config(self._binary, fresh)
        rest = self._at_rest()
        with file_faults(self.config, WRITABLE):
            self._keep_what_runs()
            fresh.rename(self.config)
        if (pid := self.pid()) is None or rest is None:
            self._was.unlink(missing_ok=True)
            self._start(generation)
            return
        try:
            self._reload(pid, generation, rest)
        except Permanent:
            with contextlib.suppress(FileNotFoundError):
                self._was.rename(self.config)  # What it goes on with is what `listening` shall say.
            raise
        self._was.unlink(missing_ok=True)

    def _keep_what_runs(self) -> None:
        """Has `_was` hold what the worker that answers was given, if that is known."""
        if self._was.exists() and self._runs(haproxy_config.generation(self.configured())):
            self._was.unlink()  # A load that nobody saw the end of came to its end.
        if self.config.exists() and not self._was.exists():
            self._was.hardlink_to(self.config)

    def _written(self, text: str) -> Path:
        fresh = self.config.with_suffix(".new")
        with file_faults(fresh, WRITABLE):
            fresh.write_text(text)
            fresh.chmod(0o600)
        return fresh

    def _start(self, generation: str) -> None:
        master = f"{self.master},mode,600"
        argv = [self._binary, "-W", "-D", "-S", master, "-f", str(self.config), "-p", str(self._pid_file)]
        patience = Patience(self._clock, LET_GO_S)
        while True:
            try:
                run(argv, within_s=START_S)
                break
            except CommandFailed as error:
                if "cannot bind" not in error.stderr or patience.over:
                    said = error.stderr.strip()[-400:]
                    hint = "is a port of a VIP taken by another program?"
                    raise Permanent(f"HAProxy does not start: {said}", hint=hint) from error
            patience.pause(POLL_S)
        self._old.clear()
        patience = Patience(self._clock, START_S)
        while not self._runs(generation) or self._rest() is None:
            if patience.over or self.pid() is None:
                raise Unreachable("HAProxy was started and does not answer", hint="it is tried again by itself")
            patience.pause(POLL_S)

    def _at_rest(self) -> Master | None:
        """What the master says once it is busy with no reload; None when it does not run.

        A daemon before this one may have begun a reload and been killed, or not have seen the end of it: whatever
        that still does it does with the configuration that it was for.
        """
        patience = Patience(self._clock, START_S)
        while self.pid() is not None:
            if (rest := self._rest()) is not None:
                return rest
            if patience.over:
                raise Unreachable("HAProxy is still busy with its last reload", hint="it is tried again by itself")
            patience.pause(POLL_S)
        return None

    def _reload(self, pid: int, generation: str, before: Master) -> None:
        """Signals the master, and again when it has missed the signal: two on their way are two reloads, of which the
        second would end at any time, with whatever it was given by then."""
        patience, signal_at = Patience(self._clock, START_S), -math.inf
        self._stirred += 1
        try:
            while True:
                now = self._rest()
                if now is not None and self._runs(generation):
                    return
                if now is not None and now.failed > before.failed:
                    raise Permanent(
                        "HAProxy cannot listen where it shall; it goes on with the endpoints it had",
                        hint="is a port of a VIP taken by another program?",
                    )
                if now is not None and now.reloads == before.reloads and self._clock.monotonic_s() > signal_at:
                    signal_at = self._clock.monotonic_s() + SIGNAL_AGAIN_S
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGUSR2)
                if patience.over or self.pid() is None:
                    raise Unreachable("HAProxy does not come back from a reload", hint="it is tried again by itself")
                patience.pause(POLL_S)
        finally:
            self._stirred += 1

    def worker(self) -> Worker | None:
        """The worker that answers; None while none does."""
        with contextlib.suppress(Unreachable):
            info = self.ask("show info")
            if pid := re.search(r"^Pid: (\d+)$", info, re.MULTILINE):
                generation = re.search(r"^description: (\S+)$", info, re.MULTILINE)
                return Worker(pid=int(pid[1]), generation=generation[1] if generation else "")
        return None

    def _runs(self, generation: str) -> bool:
        worker = self.worker()
        return worker is not None and worker.generation == generation

    def settled(self) -> bool:
        """Whether the worker that answers has the configuration that was given last; True, too, when none answers."""
        worker = self.worker()
        return worker is None or worker.generation == haproxy_config.generation(self.configured())

    def configured(self) -> str:
        """The configuration that it was given last; "" when there is none."""
        return _text_of(self.config)

    def outdated(self) -> str:
        """Why what runs is not what is installed, in a sentence; "" when it is, or when nothing runs."""
        pid, running = self.pid(), ""
        if pid is None:
            return ""
        with contextlib.suppress(Unreachable):
            found = re.search(r"^Version: (\S+)", self.ask("show info"), re.MULTILINE)
            running = found[1] if found else ""
        return haproxy_host.outdated(pid, running, self._binary)

    def _rest(self) -> Master | None:
        """What the master says of its reloads; None while it is busy with one."""
        with contextlib.suppress(Unreachable):
            if counts := _MASTER.search(self.converse(self.master, "show proc")):
                return Master(reloads=int(counts[1]), failed=int(counts[2]))
        return None

    def stop(self) -> None:
        """Ends it with all its workers, and removes its files."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            patience = Patience(self._clock, STOP_S)
            while self.pid() is not None and not patience.over:
                patience.pause(POLL_S)
        for path in (self.config, self._was, self._pid_file, self.leads, *self.config.parent.glob("*.sock*")):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.jail.rmdir()

    # Talking to it ---------------------------------------------------------------------------------------------

    def ask(self, line: str) -> str:
        """One command to the worker that takes new connections, and its answer. Unreachable when there is none."""
        return self.converse(self.socket, line)

    def ask_all(self, lines: Sequence[str]) -> str:
        """As `ask`, several at once."""
        return self.converse(self.socket, *lines)

    def old(self) -> list[int]:
        """The workers that a reload has replaced, by process id. Costs nothing when there is none."""
        stirred = self._stirred
        if not self._old and self._looked == stirred:
            return []
        living = self.old_pids()
        self._old, self._looked = living, stirred  # What a reload changes meanwhile is looked at the next time.
        return sorted(living)

    def ask_old(self, line: str) -> list[tuple[int, str]]:
        """The answer of each worker that a reload has replaced, by process id."""
        answers = []
        for pid in self.old():
            with contextlib.suppress(Unreachable):  # It has ended with its last connection.
                answers.append((pid, self.tell_old(pid, line)))
        return answers

    def tell_old(self, pid: int, line: str) -> str:
        """One command to one worker that a reload has replaced."""
        return self.converse(self.master, f"@!{pid} {line}")

    def old_pids(self) -> set[int]:
        """The workers that a reload has replaced and that still have connections."""
        _, _, old = self.converse(self.master, "show proc").partition("# old workers")
        lines = old.partition("# programs")[0].splitlines()
        return {int(line.split()[0]) for line in lines if line[:1].isdigit()}

    def converse(self, path: Path, *lines: str) -> str:
        """Commands to whoever listens there, and the whole of the answer. Unreachable when it is not whole."""
        assert not {"\n", "\r", ";"} & set("".join(lines)), lines  # What follows would be another command.
        line = ";".join(lines)
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)) as talk:
                talk.settimeout(ANSWER_S)
                talk.connect(str(path))
                talk.sendall(line.encode("ascii") + b"\n")
                talk.shutdown(socket.SHUT_WR)  # The master answers until its client has no more to say.
                answer = b""
                while chunk := talk.recv(65536):
                    answer += chunk
        except OSError as error:
            raise Unreachable(f"HAProxy does not answer: {error}", hint="it is restarted by itself") from error
        if not answer.endswith(b"\n\n" if "show " in line else b"\n"):
            raise Unreachable("HAProxy hung up before the end of its answer", hint="it is restarted by itself")
        return answer.decode(errors="replace").strip()


def _text_of(path: Path) -> str:
    """Empty where there is no file; Transient where it cannot be read: what it says is not known then."""
    with file_faults(path, READABLE):
        try:
            return path.read_text()
        except FileNotFoundError:
            return ""

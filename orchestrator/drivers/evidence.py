"""What is kept of an instance that failed: the end of its console, what its agent said last, the logs of its setup.

Kept before anything is repaired, because the repair destroys it. No secrets: what a guest prints on its console is
its own affair, and of the agent only questions and our reading of the answers are kept, never the user's commands;
from the logs that the guest shows, lines that may hold one have been left out by who read them.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.hostile_text import harmless, harmless_lines
from orchestrator.drivers.tools.layout import Layout
from orchestrator.model import Instance, InstanceName
from orchestrator.ports import Clock

Logs = Callable[[Instance], Mapping[str, str]]
EXCHANGES = 20  # per instance, equal ones in a row counted as one
ANSWER_CHARS = 400
CONSOLE_BYTES = 256 * 1024
KEPT = 5  # failures per instance; the oldest goes first


@dataclasses.dataclass(slots=True)
class _Exchange:
    at: datetime.datetime
    question: str
    answer: str
    times: int = 1


class Transcript:
    """The last exchanges with each guest's agent. Thread-safe, bounded."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._exchanges: dict[InstanceName, collections.deque[_Exchange]] = {}

    def note(self, name: InstanceName, question: str, answer: str) -> None:
        """Remembers one exchange; `answer` may hold anything."""
        now = datetime.datetime.fromtimestamp(self._clock.now_s(), datetime.UTC)
        answer = harmless(answer, ANSWER_CHARS)
        with self._lock:
            exchanges = self._exchanges.setdefault(name, collections.deque(maxlen=EXCHANGES))
            for last in list(exchanges)[-2:]:  # Two questions take turns while a guest is waited for.
                if (last.question, last.answer) == (question, answer):
                    last.times += 1
                    last.at = now
                    return
            exchanges.append(_Exchange(now, question, answer))

    def text(self, name: InstanceName) -> str:
        """One line per exchange, oldest first."""
        with self._lock:
            exchanges = list(self._exchanges.get(name, ()))
        return "".join(
            f"{each.at:%Y-%m-%dT%H:%M:%SZ} {each.question} -> {each.answer}"
            + (f" ({each.times} times)\n" if each.times > 1 else "\n")
            for each in exchanges
        )

    def forget(self, name: InstanceName) -> None:
        """Drops what was said by that guest."""
        with self._lock:
            self._exchanges.pop(name, None)


class Evidence:
    """Writes STATE/evidence/NAME/GENERATION-BOOT/{console.log,agent.txt,reason.txt}, readable by root only.

    `logs` gives the guest's own logs by file name, which come to lie beside them; it must not raise.
    """

    def __init__(self, layout: Layout, transcript: Transcript, logs: Logs = lambda _: {}) -> None:
        self._layout = layout
        self._transcript = transcript
        self._logs = logs

    def keep(self, instance: Instance) -> None:
        """Once per boot of a generation; complete or not there at all. Raises Transient, NoSpace among them."""
        place = self.place(instance)
        with file_faults(place, "the evidence of the failure cannot be kept"):
            if place.exists():
                return
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".", dir=place.parent) as unfinished:
                made = Path(unfinished) / "made"
                made.mkdir(mode=0o700)
                self._write(instance, made)
                made.rename(place)
            self._drop_oldest(place.parent)

    def place(self, instance: Instance) -> Path:
        """Where the evidence of this boot of this generation lies or would lie."""
        return self._layout.evidence(instance.name) / f"{instance.generation}-{instance.boot}"

    def erase(self, name: InstanceName) -> None:
        """Removes all evidence of the instance; absent is fine."""
        shutil.rmtree(self._layout.evidence(name), ignore_errors=True)
        self._transcript.forget(name)

    def _write(self, instance: Instance, place: Path) -> None:
        said = (instance.failure or instance.waiting, f"phase {instance.phase}, at {instance.at}")
        (place / "reason.txt").write_text("".join(f"{line}\n" for line in said))
        (place / "agent.txt").write_text(self._transcript.text(instance.name))
        (place / "console.log").write_text(harmless_lines(_tail(self._layout.console(instance.name))))
        for name, text in self._logs(instance).items():
            (place / name).write_text(harmless_lines(text))

    def _drop_oldest(self, parent: Path) -> None:
        kept = sorted(parent.iterdir(), key=lambda place: place.stat().st_mtime)
        for place in kept[:-KEPT]:
            shutil.rmtree(place, ignore_errors=True)


def _tail(console: Path) -> str:
    """The last CONSOLE_BYTES of the log and, when it was just rolled over, of the one before (`NAME.log.0`)."""
    parts: list[bytes] = []
    missing = CONSOLE_BYTES
    for path in (console, console.with_name(f"{console.name}.0")):
        if missing > 0 and path.exists():
            with path.open("rb") as log:
                log.seek(max(0, path.stat().st_size - missing))
                parts.insert(0, log.read(missing))
            missing -= len(parts[0])
    return b"".join(parts).decode(errors="replace")

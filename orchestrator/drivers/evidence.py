"""What is kept of an instance that failed, so that the failure can be understood when the repair has destroyed it.

A folder for each failure: its reason, the end of its console, what its agent said last, what the ledger, libvirt and
QEMU say, its screen, its guest's journal, and a manifest of it all. No secrets: what a guest prints on its console or
writes to its journal is its own affair; of the agent only questions and our reading of the answers are kept, never
the user's commands; from the logs of setup, lines that may hold one have been left out by who read them.

The guest says what stands in some of the files and nothing else: their names are ours, each has a cap, a failure has
one, an instance, and the host. What cannot be had is left out, and the manifest says why.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from orchestrator.drivers.kept_evidence import DISK, FILE_BYTES, MANIFEST, REASON_CHARS, KeptEvidence, made_at_s
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.hostile_text import harmless, harmless_lines
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import VmroleError
from orchestrator.model import Instance, InstanceName
from orchestrator.model.evidence import MARK
from orchestrator.ports import Clock, Store

Source = Callable[[Instance], Mapping[str, bytes]]
"""Gives files by name. What it cannot have it raises as an error of ours."""
EXCHANGES = 20  # per instance, equal ones in a row counted as one
ANSWER_CHARS = 400
CONSOLE_BYTES = 256 * 1024
LEDGER_LINES = 200
KEPT = 5  # failures per instance; the oldest goes first
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,40}(\.[a-z0-9]{1,8}){1,2}")
_TEXTS: Final = (".txt", ".log", ".xml", ".json")


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


def ledger(store: Store, instance: Instance) -> Mapping[str, bytes]:
    """What the ledger says of it: a source."""
    lines = store.events(subject=instance.name, limit=LEDGER_LINES)
    return {"ledger.txt": "".join(f"{_at(one.at_s)} {one.message}\n" for one in lines).encode()}


def _at(at_s: float) -> str:
    return f"{datetime.datetime.fromtimestamp(at_s, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


class Evidence:
    """STATE/evidence/NAME/GENERATION-BOOT/, readable by root only. Thread-safe.

    `sources` give more files, each by what it is called in the manifest where it gives none.
    """

    def __init__(
        self,
        layout: Layout,
        transcript: Transcript,
        kept: KeptEvidence,
        sources: Mapping[str, Source] | None = None,
    ) -> None:
        self._layout = layout
        self._transcript = transcript
        self._kept = kept
        self._sources = sources or {}

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
        self._kept.drop_old()

    def keep_disk(self, instance: Instance) -> None:
        """Takes the overlay of a VM that is off to the rest of what is kept of this boot; absent is fine."""
        overlay, place = self._layout.overlay(instance), self.place(instance)
        with file_faults(place, "the disk of what failed cannot be kept"):
            if not overlay.exists():
                return
            self._kept.require_disk(overlay)
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chown(overlay, os.geteuid(), os.getegid())
            overlay.chmod(0o400)
            os.utime(overlay, (self._kept.clock.now_s(),) * 2)
            overlay.rename(place / DISK)
        self._kept.drop_old()

    def place(self, instance: Instance) -> Path:
        """Where the evidence of this boot of this generation lies or would lie."""
        return self._layout.evidence(instance.name) / f"{instance.generation}-{instance.boot}"

    def erase(self, name: InstanceName) -> None:
        """Removes all evidence of the instance; absent is fine."""
        shutil.rmtree(self._layout.evidence(name), ignore_errors=True)
        self._transcript.forget(name)

    # How it comes about, and goes -------------------------------------------------------------------------------

    def _write(self, instance: Instance, place: Path) -> None:
        said = (instance.failure or instance.waiting, f"phase {instance.phase}, at {instance.at}")
        files: dict[str, bytes] = {
            "reason.txt": "".join(f"{line}\n" for line in said).encode(),
            "agent.txt": self._transcript.text(instance.name).encode(),
            "console.log": harmless_lines(_tail(self._layout.console(instance.name))).encode(),
        }
        absent = {}
        for what, source in self._sources.items():
            try:
                given = source(instance)
            except VmroleError as error:
                absent[what] = harmless(str(error), REASON_CHARS)
                continue
            for name, content in given.items():
                assert _NAME.fullmatch(name), name
                if name.endswith(_TEXTS):
                    text = harmless_lines(content[-FILE_BYTES:].decode(errors="replace"))
                    files[name] = text.encode()[-FILE_BYTES:]  # What is no UTF-8 has grown.
                elif len(content) <= FILE_BYTES:
                    files[name] = content
                else:
                    absent[name] = f"it has more than {FILE_BYTES} bytes"
        files[MANIFEST] = self._manifest(instance, files, absent)
        for name, content in files.items():
            (place / name).write_bytes(content)

    def _manifest(self, instance: Instance, files: Mapping[str, bytes], absent: Mapping[str, str]) -> bytes:
        now_s = self._kept.clock.now_s()
        manifest = {
            "format": 1,
            "instance": instance.name,
            "service": instance.service,
            "role": instance.role_name,
            "image_sha256": instance.role.image_sha256,
            "vm_uuid": instance.vm_uuid,
            "generation": instance.generation,
            "boot": instance.boot,
            "phase": str(instance.phase),
            "reason": harmless(instance.failure or instance.waiting, REASON_CHARS),
            "at_s": now_s,
            "at": _at(now_s),
            "files": {
                name: {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in sorted(files.items())
            },
            "absent": dict(absent),
        }
        return json.dumps(manifest, indent=1).encode()

    def _drop_oldest(self, parent: Path) -> None:
        kept = sorted((one for one in parent.iterdir() if MARK.fullmatch(one.name)), key=made_at_s)
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

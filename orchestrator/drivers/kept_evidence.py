"""What is kept of failures on this host, as people list, fetch and remove it; and the host's caps."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.patience import Event
from orchestrator.errors import NoSpace, NotFound
from orchestrator.model import InstanceName
from orchestrator.model.evidence import MARK, Capsule, EvidenceCaps
from orchestrator.ports import Clock

FILE_BYTES: Final = 2 * 1024 * 1024  # of a file; a picture that is larger is left out, a text is cut off
REASON_CHARS: Final = 400
DAY_S: Final = 86_400.0
MANIFEST: Final = "manifest.json"
DISK: Final = "disk.qcow2"  # counted by itself, and not packed: it may have many GiB
HOUR_S: Final = 3600.0
SWEEP_S, SWEPT_S = 600.0, 5.0  # how often it is looked for what is too old, and how long the end of that may take


class KeptEvidence:
    """STATE/evidence/NAME/GENERATION-BOOT/, a folder for each failure. Thread-safe."""

    def __init__(self, layout: Layout, clock: Clock, caps: EvidenceCaps | None = None) -> None:
        self.clock = clock
        self._layout = layout
        self._caps = caps or EvidenceCaps()
        self._dropping = threading.Lock()

    def all(self) -> Sequence[Capsule]:
        """All that is kept on this host, the oldest first."""
        return sorted((_capsule(place) for place in self._places()), key=lambda one: (one.at_s, one.instance))

    def packed(self, name: InstanceName, mark: str) -> IO[bytes]:
        """All files of one failure as a .tar.zst, at its beginning, for its taker to close; raises NotFound, and
        Transient where it cannot be written, NoSpace among them.
        """
        place = self._known(name, mark)
        with contextlib.ExitStack() as stack, file_faults(place, "what is kept of the failure cannot be packed"):
            packed = stack.enter_context(tempfile.TemporaryFile(dir=self._layout.evidence_dir))
            with (
                _compressed(packed) as target,
                tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                for file in sorted(one for one in place.iterdir() if one.name != DISK):
                    content = _content(file)
                    member = tarfile.TarInfo(f"{name}-{mark}/{file.name}")
                    member.size, member.mode, member.mtime = len(content), 0o600, int(file.stat().st_mtime)
                    tar.addfile(member, io.BytesIO(content))
            packed.seek(0)
            stack.pop_all()
            return packed

    def remove(self, name: InstanceName, mark: str) -> Capsule:
        """Removes one failure's, and returns what it was; raises NotFound."""
        place = self._known(name, mark)
        capsule = _capsule(place)
        shutil.rmtree(place, ignore_errors=True)
        return capsule

    def _known(self, name: InstanceName, mark: str) -> Path:
        for place in self._places():  # No path is made of what somebody asks for.
            if (place.parent.name, place.name) == (name, mark):
                return place
        raise NotFound(f"nothing is kept of {name[:80]!r} as {mark[:40]!r}", hint="run: vmrole evidence ls")

    @contextlib.contextmanager
    def sweeping(self) -> Iterator[KeptEvidence]:
        """Meanwhile what is too old goes in time, also while nothing fails."""
        over = Event(self.clock)

        def sweep() -> None:
            while True:  # At once, too: what is kept for a day goes on a host that never runs for long as well.
                with contextlib.suppress(OSError):  # Another instance's may go under our hands.
                    self.drop_old()
                if over.within(SWEEP_S):
                    return

        thread = threading.Thread(target=sweep, name="evidence", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join(SWEPT_S)

    def drop_old(self) -> None:
        """Keeps the host to its caps: what is too old goes, then the oldest of what is too much."""
        with self._dropping:
            places = sorted(self._places(), key=made_at_s, reverse=True)
            now_s, size = self.clock.now_s(), 0
            for number, place in enumerate(places):
                size += _size_bytes(place)
                old = now_s - made_at_s(place) > self._caps.days * DAY_S
                if old or number >= self._caps.most or size > self._caps.size_mib << 20:
                    shutil.rmtree(place, ignore_errors=True)
            self._drop_old_disks(now_s)

    def _drop_old_disks(self, now_s: float) -> None:
        disks = [(one, one.stat()) for place in self._places() if (one := place / DISK).exists()]
        size = 0
        for disk, stat in sorted(disks, key=lambda one: -one[1].st_mtime):
            size += stat.st_blocks * 512
            if now_s - stat.st_mtime > self._caps.disk_hours * HOUR_S or size > self._caps.disks_mib << 20:
                disk.unlink(missing_ok=True)

    def require_disk(self, disk: Path) -> None:
        """Raises NoSpace for a disk that is larger than all that may be kept."""
        if disk.stat().st_blocks * 512 > self._caps.disks_mib << 20:
            told = f"the disk holds more than evidence_disks_mib ({self._caps.disks_mib})"
            raise NoSpace(told, hint="set evidence_disks_mib in vmrole.toml")

    def _places(self) -> list[Path]:
        """The folders of all failures; what is half made begins with a dot."""
        with contextlib.suppress(FileNotFoundError):
            return [one for one in self._layout.evidence_dir.glob("[!.]*/*-*") if MARK.fullmatch(one.name)]
        return []


def made_at_s(place: Path) -> float:
    """When it was kept; of one that goes meanwhile long ago."""
    try:
        return place.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size_bytes(place: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in place.iterdir() if file.name != DISK)
    return 0


def _capsule(place: Path) -> Capsule:
    """What lies there; a former version wrote no manifest."""
    told: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((place / MANIFEST).read_bytes())
    reason = str(told.get("reason", ""))
    if not told:
        with contextlib.suppress(OSError, ValueError):
            reason = harmless((place / "reason.txt").read_text().partition("\n")[0], REASON_CHARS)
    names: tuple[str, ...] = ()
    with contextlib.suppress(FileNotFoundError):
        names = tuple(sorted(file.name for file in place.iterdir()))
    return Capsule(
        instance=InstanceName(place.parent.name),
        mark=place.name,
        at_s=float(told.get("at_s", made_at_s(place))),
        size_bytes=_size_bytes(place),
        reason=reason,
        files=names,
    )


def _compressed(target: IO[bytes]) -> IO[bytes]:
    """What is written to it goes to `target` by Zstandard, a block at a time; `target` stays open."""
    import zstandard  # It has 2 MiB, which a daemon has no need of until somebody fetches something.

    return zstandard.ZstdCompressor(write_checksum=True).stream_writer(target, closefd=False)


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(FILE_BYTES)

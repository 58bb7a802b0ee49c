"""The windows image: Windows Setup from its own media, unattended, to a sealed (generalized) image.

`answers` makes the answer disc, `machine` runs the machine until it powers itself off; the order of it all is here.
It has not met Windows yet: docs/windows-image.md says what is proven and what is not.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vmrole_images.packages import file_sha256
from vmrole_images.report import BuildError, BuildReport
from vmrole_images.tools import run
from vmrole_images.windows import answers, machine, media
from vmrole_images.windows.answers import DRIVERS, Wanted
from vmrole_images.windows.machine import Machine

__all__ = ["DRIVERS", "Machine", "Wanted", "build"]

CONVERT_S = 3600.0  # compressing some 15 GiB on a slow host


def build(
    wanted: Wanted, computer: Machine, iso: Path, virtio_win: Path, output: Path, progress: Callable[[str], None]
) -> BuildReport:
    """Installs Windows from `iso` into a standalone, compressed qcow2 at `output`, sealed.

    Takes from half an hour with KVM to a day without. Beside the image lies `<output>.lock.json`: what went in.
    Raises BuildError; then `output` is as it was, and nothing else is left.
    """
    started = time.monotonic()
    if "," in str(output.resolve()):  # QEMU would read an option after it.
        raise BuildError(f"{output}: its path has a comma", hint="build elsewhere and move it")
    media.require(iso, virtio_win, wanted)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".build-windows-") as place:
            work = Path(place).resolve()
            progress("writing the answer disc")
            disc = work / "answers.iso"
            disc.write_bytes(answers.disc(wanted))
            disk = work / "disk.qcow2"
            run(["qemu-img", "create", "-q", "-f", "qcow2", disk, f"{wanted.disk_gib}G"])
            said = machine.run(computer, machine.Discs(disk, iso, virtio_win, disc), work, progress)
            facts = _facts(said)
            progress("compressing")
            fresh = _compressed(disk, work)
            lock = {
                "name": "windows",
                "os": "windows",
                "edition": wanted.edition,
                "image": {"sha256": file_sha256(fresh), "size_bytes": fresh.stat().st_size},
                "media": {"iso_sha256": file_sha256(iso), "virtio_win_sha256": file_sha256(virtio_win)},
                "said_by_the_guest": facts,
            }
            (work / "lock.json").write_text(json.dumps(lock, indent=1) + "\n")
            shutil.move(work / "lock.json", output.with_name(output.name + ".lock.json"))
            fresh.replace(output)
    except OSError as error:
        raise BuildError(f"cannot write {error.filename or output}: {error.strerror}") from error
    return BuildReport(
        path=output,
        sha256=file_sha256(output),
        size_bytes=output.stat().st_size,
        virtual_size_bytes=wanted.disk_gib << 30,
        os="windows",
        packages=tuple(sorted(facts.items())),
        seconds=time.monotonic() - started,
    )


def _facts(said: str) -> dict[str, str]:
    """What the build script said on the serial port; raises BuildError unless it said that it was done."""
    facts: dict[str, str] = {}
    for line in said.splitlines():
        word, _, rest = line.strip().partition(" ")
        key, equals, value = rest.partition("=")
        if word != answers.SAYS:
            continue
        if rest.startswith("failed"):
            raise BuildError(f"the build script inside Windows {rest[:300]}", hint="see docs/windows-image.md")
        if equals:
            facts[key[:40]] = value[:200]
        elif rest == "done":
            return facts
    raise BuildError(
        "the machine powered off before the build script was done", hint="did Setup find the edition? see its screen"
    )


def _compressed(disk: Path, work: Path) -> Path:
    """The disk as one compressed file that names no other."""
    run(["qemu-img", "check", "-q", "-f", "qcow2", disk])
    fresh = work / "image.qcow2"
    run(["qemu-img", "convert", "-c", "-f", "qcow2", "-O", "qcow2", disk, fresh], within_s=CONVERT_S)
    information = json.loads(run(["qemu-img", "info", "-f", "qcow2", "--output=json", fresh]))
    if "backing-filename" in information:
        raise BuildError("the image names another file")
    fresh.chmod(0o644)
    return fresh

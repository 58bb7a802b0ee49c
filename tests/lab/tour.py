"""vagrant/tour.md as a text that can be run: its commands, and what it says that they print.

`python -m tests.lab.harness -- python -m tests.lab.tour` writes the outputs anew, from a lab.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import vmrole_images

from tests.lab.harness import places
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import VMROLE, RoleDaemon
from tests.world.places import REPOSITORY

TOUR = REPOSITORY / "vagrant" / "tour.md"
SERVICE = REPOSITORY / "vagrant" / "shop.yaml"
POOL = "192.168.56.128/28"
_HOST, _OUTSIDE = "192.168.56.11/24", "192.168.56.1/24"
_COMMAND_S = 1200.0
_FENCE, _END = "```console", "```"
_PROMPT = re.compile(r"(?P<where>you|host0)\$ (?P<command>.+)")
# What is another each time: what is compared has the same words in its place, and single spaces, since columns are as
# wide as what stands in them.
_VARIES = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "BOOT-ID"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "DIGEST"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]"), ""),
    (re.compile(r"\b\d\d:\d\d:\d\d(\.\d+)?Z?"), "TIME"),
    (re.compile(r"(?<![\w.])(\d+(\.\d+)? ?(ms|min|s|h|m|d) ?)+(?!\w)"), "DURATION "),
    (re.compile(r"\s+"), " "),
)
_LATE = "Its clock is "
_PROGRESS = re.compile(r"TIME \S+ \S+ generation \d+, boot \d+")


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One command of the tour: its line in the file, who types it, and the lines that it is said to print."""

    line: int
    where: str
    text: str
    prints: tuple[str, ...]


def commands(text: str) -> list[Command]:
    """Those of all its blocks, in their order; ValueError where a block begins with an output."""
    found: list[Command] = []
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line in (_FENCE, _END):
            inside = line == _FENCE
        elif inside and (typed := _PROMPT.fullmatch(line)):
            found.append(Command(number, typed["where"], typed["command"], ()))
        elif inside:
            if not found:
                raise ValueError(f"{TOUR.name}:{number}: an output before any command")
            found[-1] = dataclasses.replace(found[-1], prints=(*found[-1].prints, line))
    return found


def with_outputs(text: str, outputs: Sequence[str]) -> str:
    """The same text with what each command has printed."""
    left = iter(outputs)
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if line in (_FENCE, _END):
            inside = line == _FENCE
        if _PROMPT.fullmatch(line) and inside:
            lines += [line, *next(left).splitlines()]
        elif not inside or line == _FENCE:
            lines.append(line)
    return "\n".join(lines) + "\n"


def steady(lines: Sequence[str]) -> list[str]:
    """What is the same each time. Of the phases on the way the last is, others may pass between two looks."""
    plain: list[str] = []
    for line in lines:
        if line.startswith(_LATE):  # said of guests on a machine that has little time for them
            continue
        for pattern, word in _VARIES:
            line = pattern.sub(word, line)
        if _PROGRESS.match(line) and plain and _PROGRESS.match(plain[-1]):
            plain.pop()
        plain.append(line.strip())
    return plain


class Place:
    """A host as `vagrant up` leaves it, and a machine outside, with the addresses of the Vagrant lab."""

    def __init__(self, lab: Lab, daemon: RoleDaemon, home: Path) -> None:
        self._lab, self._daemon, self._home = lab, daemon, home

    def prepare(self, image: Path) -> None:
        """Addresses, daemon, image and service, as vagrant/guest.sh makes them."""
        self._lab.host.run(["ip", "address", "replace", _HOST, "dev", places.OUTSIDE_LINK])
        self._lab.client.run(["ip", "address", "replace", _OUTSIDE, "dev", "up0"])
        shutil.copy(SERVICE, self._home)
        self._daemon.start()
        self._daemon.run("image", "add", str(image), "--name", "micro")
        self._daemon.run("apply", "-f", str(self._home / SERVICE.name), "--wait")

    def clear(self) -> None:
        """Takes the addresses away again."""
        self._lab.host.run(["ip", "address", "delete", _HOST, "dev", places.OUTSIDE_LINK], check=False)
        self._lab.client.run(["ip", "address", "delete", _OUTSIDE, "dev", "up0"], check=False)

    def typed(self, command: Command) -> str:
        """What it prints, on both its outputs; AssertionError unless it exits 0."""
        side = self._lab.client if command.where == "you" else self._lab.host
        environment = {**os.environ, **self._daemon.environment, "HOME": str(self._home), "COLUMNS": "120"}
        environment["PATH"] = f"{Path(VMROLE).parent}:{environment['PATH']}"
        done = subprocess.run(
            [*side.prefix, "bash", "-c", command.text],
            cwd=self._home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, f"line {command.line}: {command.text}: exit {done.returncode}\n{done.stdout}"
        return done.stdout


def main() -> int:
    """Writes the tour's outputs anew."""
    with Lab() as lab, tempfile.TemporaryDirectory(dir=lab.root) as home:
        place = Place(lab, lab.daemon(vip_pool=POOL), Path(home))
        place.prepare(vmrole_images.ensure("micro", REPOSITORY / "build" / "images").path)
        text = TOUR.read_text()
        outputs = []
        for command in commands(text):
            print(f"{command.where}$ {command.text}", flush=True)
            outputs.append(place.typed(command))
            print(outputs[-1], flush=True)
        TOUR.write_text(with_outputs(text, outputs))
    return 0


if __name__ == "__main__":
    sys.exit(main())

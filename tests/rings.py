"""Runs the rings of tests and says how long each took: `python -m tests.rings [RING... | fast]`.

`fast` is style, unit and contract without the tests that are marked slow. `long` and `package` run only when they are
named.

The fast rings run side by side while the images are built. Then come the rings with real virtual machines, two at a
time, each in a lab of its own (`tests/lab/harness`), as root: a guest that starts keeps one core busy, seldom two,
and trouble, which waits for nothing, takes what they leave. Every ring runs, also after one has failed. At the end
stand the tests that failed, each with what it said, and a summary in pytest's words; the exit status is 1 when any
ring failed, had no tests, skipped one, or was stopped.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path

import vmrole_images

REPOSITORY = Path(__file__).resolve().parents[1]
FAST = ("style", "unit", "contract")
LABS = ("lab", "network", "debian", "warm", "windows", "images", "long")  # in this order: two long ones begin
PACKAGE = "package"  # installs whole distributions from their archives: root's, and in no lab, which has no way there
RINGS = (*FAST, "trouble", PACKAGE, *LABS)
EVERY_TIME = tuple(ring for ring in RINGS if ring not in {"long", PACKAGE})
_LAB = REPOSITORY / "tests" / "lab"


def _of(*kinds: str) -> tuple[str, ...]:
    """The files of the labs that are about one of these."""
    files = {path for kind in kinds for path in _LAB.glob(f"test_{kind}.py")}
    return tuple(str(path.relative_to(REPOSITORY)) for path in sorted(files))


_OF_IMAGES = _of("image_*")
_OF_WARM, _OF_WINDOWS = _of("warm*"), _of("windows_*")
_OF_NETWORKS = _of("network*", "nft*", "carriers", "egress", "routing", "doctor", "doors", "role_names", "swap")
_ELSEWHERE = ("tests/lab/debian", "tests/lab/long", *_OF_IMAGES, *_OF_NETWORKS, *_OF_WARM, *_OF_WINDOWS)
PATHS = {  # else tests/RING
    "lab": ("tests/lab", *(f"--ignore={path}" for path in _ELSEWHERE)),
    "debian": ("tests/lab/debian",),
    "network": _OF_NETWORKS,
    "images": _OF_IMAGES,
    "warm": _OF_WARM,
    "windows": _OF_WINDOWS,
    "long": ("tests/lab/long",),
}
LABS_AT_ONCE = 2
IMAGES = ("micro", "debian", "setup-simulator")
STAND_INS = "tests.lab.long.distributions"  # images for the long ring alone
WORKERS = {"unit": 4, "trouble": 2}  # Half of what unit tests do is waiting; other rings share addresses and ports.
# What hangs where no signal of pytest's reaches it is ended with its ring, which has failed.
WITHIN_S = dict.fromkeys(RINGS, 70 * 60) | dict.fromkeys(FAST, 25 * 60) | {"long": 6 * 3600, PACKAGE: 2 * 3600}
TEST_S = 300  # a test without a virtual machine; those with one have what pyproject says
_LATE = (124, 128 + 9)  # statuses of timeout(1)
SLOW_S = 900  # after which a test is shown as it stands, and goes on
SLOWEST = dict.fromkeys(RINGS, 5) | {"lab": 20}  # how many of the slowest tests are told
_REPORTS = REPOSITORY / "build" / "rings"
_WIDTH = 80


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What became of one ring. `seconds_s` is wall-clock time of the whole pytest process, set-up included."""

    ring: str
    status: int
    tests: int
    failed: int
    skipped: int
    seconds_s: float
    faults: tuple[str, ...] = ()  # a line for each test that failed, or why there are none

    @property
    def passed(self) -> int:
        """Tests that ran and held."""
        return self.tests - self.failed - self.skipped

    @property
    def good(self) -> bool:
        """Whether everything ran and held; a skipped test counts against it: a missing tool is a failure."""
        return self.status == 0 and self.tests > 0 and self.failed == 0 and self.skipped == 0


def build_images(rings: Sequence[str]) -> int:
    """Builds what these labs boot: they have no way out to the package archive. Returns the exit status."""
    builds: list[tuple[str, ...]] = [(vmrole_images.__name__, "ensure", image, "build/images") for image in IMAGES]
    builds += [(STAND_INS,)] if "long" in rings else []
    status = 0
    for build in builds:
        command = [*_root(), sys.executable, "-m", *build]
        status = status or subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    return status


def _root() -> list[str]:
    """What makes a command run as root."""
    return [] if os.geteuid() == 0 else ["sudo", "--preserve-env=CI,VMROLE_SUITE"]


def run_together(
    rings: Sequence[str], run_one: Callable[[str], Result], *, at_once: int = len(RINGS)
) -> list[Result]:
    """Runs rings side by side, `at_once` of them; the others begin in their order as those end."""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(run_one, rings))


def _run_quick(ring: str) -> Result:
    return _run_quietly(ring, quick=True)


def _run_quietly(ring: str, *, quick: bool = False) -> Result:
    """The output is shown whole when the ring has ended."""
    command = _command(ring, quick=quick)
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=REPOSITORY, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    seconds_s = time.monotonic() - started
    print(f"{_title(ring, command)}\n{done.stdout.rstrip()}", flush=True)
    return _result(ring, done.returncode, seconds_s, done.stdout.rstrip().rpartition("\n")[2])


def _run_by_line(ring: str) -> Result:
    """Each line is shown as it comes, behind the ring's name: minutes must not look like a test that hangs."""
    command = _command(ring)
    print(_title(ring, command), flush=True)
    started = time.monotonic()
    with subprocess.Popen(
        command, cwd=REPOSITORY, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        assert child.stdout is not None
        line = ""
        for line in child.stdout:
            print(f"{ring:<8}{line}", end="", flush=True)
    return _result(ring, child.returncode, time.monotonic() - started, line.rstrip())


def _title(ring: str, command: Sequence[str]) -> str:
    return f"\n{f' ring: {ring} ':=^{_WIDTH}}\n+ {' '.join(command)}"


def _result(ring: str, status: int, seconds_s: float, last_line: str) -> Result:
    report = _REPORTS / f"{ring}.xml"
    if not report.exists():  # Pytest did not come so far: the last line is all there is of a reason.
        late = f"did not end within {WITHIN_S[ring] // 60} minutes; last: " if status in _LATE else ""
        return Result(ring, status, 0, 0, 0, seconds_s, (f"{ring}: {late}{last_line}",))
    root = ElementTree.parse(report).getroot()
    return Result(ring, status, *_counts(root), seconds_s, _faults(root))


def _command(ring: str, *, quick: bool = False) -> list[str]:
    """How the ring is run, `quick` without its slow tests; removes the report of an earlier run."""
    report = _REPORTS / f"{ring}.xml"
    report.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        *PATHS.get(ring, (f"tests/{ring}",)),
        "-q",
        f"--durations={SLOWEST[ring]}",
        f"--junitxml={report}",
    ]
    command += ["-o", f"faulthandler_timeout={SLOW_S}"]
    if ring in FAST:
        command += ["-o", f"timeout={TEST_S}"]
    command += ["-p", "no:cacheprovider"]  # The lab ring may run as root: it leaves no directory of root's behind.
    if quick:
        command += ["-m", "not slow"]
    if ring in WORKERS:
        command += ["-n", str(WORKERS[ring]), "--dist=loadgroup"]
    if ring not in FAST:
        command += ["-v", "-v"]  # A line per test.
    if ring in LABS:
        command = [sys.executable, "-m", "tests.lab.harness", "--", *command]
    elif ring not in FAST and ring != PACKAGE:
        command = ["nice", *command]  # What happens in a virtual machine has deadlines.
    command = ["timeout", "--foreground", "--kill-after=120", str(WITHIN_S[ring]), *command]
    return [*_root(), *command] if ring in LABS or ring == PACKAGE else command


def _counts(report: ElementTree.Element) -> tuple[int, int, int]:
    """Tests, failures with errors, and skips of a JUnit report."""
    rows = [suite.attrib for suite in report.iter("testsuite")]
    return (
        sum(int(row["tests"]) for row in rows),
        sum(int(row["failures"]) + int(row["errors"]) for row in rows),
        sum(int(row["skipped"]) for row in rows),
    )


def _faults(report: ElementTree.Element) -> tuple[str, ...]:
    """The name of each test that failed, and the first line of what it said."""
    return tuple(
        f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}: "
        f"{fault.get('message', '').strip().partition(chr(10))[0][:_WIDTH]}"
        for case in report.iter("testcase")
        for fault in (*case.iter("failure"), *case.iter("error"))
    )


def summary(results: list[Result], total_s: float) -> str:
    """A table of the rings, what failed, and last the sum in the manner of pytest; `total_s` is wall-clock time.

    What failed stands near the end because some systems for CI show no more than that.
    """
    lines = [f"{'ring':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>10}  result"]
    for result in results:
        verdict = "ok" if result.good else f"FAILED (exit status: {result.status})"
        counts = f"{result.passed:>8}{result.failed:>8}{result.skipped:>9}"
        lines.append(f"{result.ring:<10}{counts}{result.seconds_s:>10.1f}  {verdict}")
    lines += [f"FAILED {fault}" for result in results for fault in result.faults]
    words = [
        f"{number} {word}"
        for word, number in (
            ("failed", sum(result.failed for result in results)),
            ("passed", sum(result.passed for result in results)),
            ("skipped", sum(result.skipped for result in results)),
        )
        if number
    ]
    closing = f" {', '.join(words) or 'nothing ran'} in {total_s:.2f}s "
    lines.append(f"{closing:=^{_WIDTH}}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """`arguments` are names of rings; none means all but the long one. Returns 0 when every ring is good."""
    unknown = set(arguments) - {*RINGS, "fast"}
    if unknown:
        print(f"no such ring: {', '.join(sorted(unknown))}; there are {', '.join(RINGS)} and fast", file=sys.stderr)
        return 2
    rings = FAST if arguments == ["fast"] else tuple(arguments) or EVERY_TIME
    _REPORTS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    quick = arguments == ["fast"]
    labs = [ring for ring in rings if ring in LABS]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        building = pool.submit(build_images, labs) if labs else None
        results = run_together([ring for ring in rings if ring in FAST], _run_quick if quick else _run_quietly)
        beside = [pool.submit(_run_by_line, ring) for ring in rings if ring not in (*FAST, *LABS)]
        if building and (unbuilt := building.result()):
            tried = [Result(ring, unbuilt, 0, 0, 0, 0.0) for ring in labs]
        else:
            tried = run_together(labs, _run_by_line, at_once=LABS_AT_ONCE)
        results += [*(ring.result() for ring in beside), *tried]
    print(f"\n{summary(results, time.monotonic() - started)}", flush=True)
    return 0 if all(result.good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

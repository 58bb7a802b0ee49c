"""What reads a stranger's file has no rights, no network, and no life without the daemon."""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from orchestrator.control.catalogue import Catalogue
from orchestrator.control.present import Present
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.fake import FakeStore
from orchestrator.drivers.images import confinement, qemu_img
from orchestrator.drivers.images.confinement import by_descriptor, confined, readable, writable
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.tools.command import Limits, run
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import CommandFailed, ImageRejected
from orchestrator.model.intake import Intake
from tests.world.disk_files import MIB, make, noise
from tests.world.places import REPOSITORY
from tests.world.unit_file import values
from tests.world.waiting import until

PLACE = REPOSITORY
IS_ROOT = os.geteuid() == 0
UNIT_CAPABILITIES = values("CapabilityBoundingSet")
GONE_WITHIN_S = 30.0
# What a daemon may be left of root's rights: all, or what its unit gives it.
RIGHTS = {
    "all": (),
    "those of its unit": (
        "setpriv",
        ",".join(["--bounding-set=-all", *(f"+{word.removeprefix('CAP_').lower()}" for word in UNIT_CAPABILITIES)]),
        "--no-new-privs",
        "--",
    ),
}
EVERY_RIGHTS = pytest.mark.parametrize("rights", RIGHTS.values(), ids=RIGHTS)


def running(word: str) -> list[int]:
    """Numbers of the processes whose command has that word."""
    found = []
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # It has ended meanwhile.
            if path.name.isdigit() and word.encode() in (path / "cmdline").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return found


@pytest.mark.slow
@EVERY_RIGHTS
@pytest.mark.parametrize("command", ["sleep {0}", "sh -c 'sleep {0}; true'", "setsid sh -c 'sleep {0} & wait'"])
def test_nothing_outlives_the_daemon(command: str, rights: Sequence[str]) -> None:
    """Killed with no chance to tidy up, it takes along what reads for it, and all that this has started."""
    if rights and not IS_ROOT:
        pytest.skip("root has rights to give up")
    if "setsid" in command and not IS_ROOT:
        pytest.skip("takes a namespace of processes")
    word = f"{2_000_000 + os.getpid()}.{len(command)}"
    program = (
        "import shlex, sys\n"
        "from orchestrator.drivers.tools.command import Limits, follow\n"
        "from orchestrator.drivers.images.confinement import confined\n"
        "argv = shlex.split(sys.argv[1])\n"
        "follow([*confined(argv[0]), *argv], lambda _: None, within_s=3600, limits=Limits())\n"
    )
    daemon = subprocess.Popen([*rights, sys.executable, "-c", program, command.format(word)], cwd=PLACE)
    try:
        until(lambda: bool(running(word)), GONE_WITHIN_S)
        daemon.send_signal(signal.SIGKILL)
        daemon.wait(GONE_WITHIN_S)
        until(lambda: not running(word), GONE_WITHIN_S)
    finally:
        daemon.kill()
        for number in running(word):
            os.kill(number, signal.SIGKILL)


def test_a_daemon_that_is_dead_already_starts_nothing() -> None:
    """One that dies before the kernel was asked to tell leaves a program that sees another parent."""
    argv = list(confined("echo"))
    argv[argv.index(str(os.getpid()))] = "1"
    with pytest.raises(CommandFailed) as caught:
        run([*argv, "echo", "alive"])
    assert caught.value.status == 1


@pytest.mark.skipif(not IS_ROOT, reason="root has rights to give up")
def test_a_daemon_that_dies_while_rights_are_given_up_starts_nothing() -> None:
    """Who becomes another user or first in a namespace is tied anew, and looks whether it is too late."""
    anew = [way for way in confinement.ways() if "--pid" in way or any(word.startswith("--reuid") for word in way)]
    assert len(anew) > 4
    tied = {"VMROLE_PARENT": str(os.getpid())}
    for way in anew:
        statuses = []
        for others in ({"VMROLE_PARENT": "1", "VMROLE_SELF": "1"}, tied):
            # The shell's number is that of the process in which it starts the way.
            argv = ["sh", "-c", 'export VMROLE_SELF="${VMROLE_SELF:-$$}"; exec "$@"', "sh", *way, "true"]
            done = subprocess.run(argv, env={**os.environ, **others}, check=False, capture_output=True, timeout=60)
            statuses.append(done.returncode)
        assert statuses == [1, 0], way


def test_it_has_no_rights(tmp_path: Path) -> None:
    """As another user without capabilities it reads and writes what it was given, and nothing else of root's."""
    secret, given, out = tmp_path / "secret", tmp_path / "given", tmp_path / "out"
    tmp_path.chmod(0o700)
    for path in (secret, given, out):
        path.write_text("words")
        path.chmod(0o600)
    script = f'id -u; grep CapEff /proc/self/status; cat {secret} 2>/dev/null; cat "$1"; echo more > "$2"'
    with readable(given) as read, writable(out) as written:
        files = [by_descriptor(read), by_descriptor(written)]
        argv = [*confined("sh"), "sh", "-c", script, "sh", *files]
        told = run(argv, handles=(read, written)).split()
    if IS_ROOT:
        assert told == [str(pwd.getpwnam("nobody").pw_uid), "CapEff:", "0" * 16, "words"]
    assert out.read_text() == "more\n"
    assert [path.stat().st_mode & 0o777 for path in (given, out)] == [0o600, 0o600]
    links = run([*confined("ip"), "ip", "-o", "link"])
    assert [line.split(":")[1].strip() for line in links.splitlines()] == ["lo"]


def test_what_could_not_be_confined_once_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that fails for a reason that passes costs a program its confinement for a minute, and not for good."""
    monkeypatch.setattr(confinement, "TRIED_AGAIN_S", 0.0)
    program = tmp_path / "reader"
    program.write_text("#!/bin/sh\n")
    for place in (tmp_path, program):
        place.chmod(0o755)
    fails = tmp_path / "unshare"
    fails.write_text("#!/bin/sh\nexit 1\n")
    fails.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "--net" not in confined(str(program))
    fails.unlink()
    assert "--net" in confined(str(program))
    monkeypatch.setattr(confinement, "TRIED_AGAIN_S", 60.0)
    assert "--net" in confined(str(program))
    fails.write_text("#!/bin/sh\nexit 1\n")
    fails.chmod(0o755)
    assert "--net" in confined(str(program)), "it is tried once a minute"


CONVERSION = """
import sys
from pathlib import Path
from orchestrator.drivers.images import qemu_img
from orchestrator.imagefiles import Inspection, SourceFormat
source, out = map(Path, sys.argv[1:])
found = Inspection(format=SourceFormat.RAW, virtual_size_bytes=source.stat().st_size)
qemu_img.convert(source, found, out, lambda _: None, most_bytes=1 << 40)
"""


def descendants(of: int) -> Iterator[int]:
    """Numbers of the processes that a process has started, and those have started."""
    numbers: list[int] = []
    with contextlib.suppress(OSError):  # It, or a thread of it, has ended meanwhile.
        for thread in Path(f"/proc/{of}/task").iterdir():
            numbers += map(int, (thread / "children").read_text().split())
    for number in numbers:
        yield number
        yield from descendants(number)


def seen_of(daemon: subprocess.Popen[bytes], program: str) -> list[dict[str, str]]:
    """What the kernel says of the program, at each look while the daemon runs: its status, and its network."""
    looks = []
    while daemon.poll() is None:
        for number in descendants(daemon.pid):
            try:
                lines = Path(f"/proc/{number}/status").read_text().splitlines()
                network = str(Path(f"/proc/{number}/ns/net").readlink())
            except OSError:
                continue  # It has ended meanwhile.
            status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            if status["Name"] == program:
                looks.append({**status, "network": network})
    return looks


@EVERY_RIGHTS
@pytest.mark.skipif(not IS_ROOT, reason="has no rights to begin with")
def test_what_converts_is_nobody(tmp_path: Path, rights: Sequence[str]) -> None:
    """While a conversion runs, the kernel knows its process as another user than root, also by the host's numbers,
    without a capability or a way to one, and without the host's network; whatever the daemon itself may do.
    """
    source, out = tmp_path / "source", tmp_path / "out"
    source.write_bytes(noise(MIB, 1) * 256)
    for path in (source, out):
        path.touch(mode=0o600)
    argv = [*rights, sys.executable, "-c", CONVERSION, str(source), str(out)]
    with subprocess.Popen(argv, cwd=PLACE) as daemon:
        looks = seen_of(daemon, "qemu-img")
    assert daemon.returncode == 0
    assert out.stat().st_size >= source.stat().st_size
    assert looks
    nobody = str(pwd.getpwnam("nobody").pw_uid)
    for look in looks:
        assert look["Uid"].split() == [nobody] * 4
        assert look["Groups"].strip() == ""
        assert [look[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == ["0" * 16] * 4
        assert look["NoNewPrivs"] == "1"
        assert look["network"] != str(Path("/proc/self/ns/net").readlink())


READING = """
import sys
from orchestrator.drivers.images import qemu_img
from orchestrator.drivers.images.confinement import confined
from orchestrator.drivers.tools.command import Limits, run
print(run([*confined("sh"), "sh", "-c", 'cat "$1"; echo "$?"; echo words > "$1"; echo "$?"', "sh", sys.argv[1]]))
"""


@EVERY_RIGHTS
@pytest.mark.skipif(not IS_ROOT, reason="has no file of root's")
def test_it_reads_nothing_of_root_s(rights: Sequence[str]) -> None:
    """A file that is root's alone is not to be had, nor to be written to, whatever the daemon itself may do."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        secret = Path(place, "secret")
        secret.write_text("words")
        secret.chmod(0o600)
        argv = [*rights, sys.executable, "-c", READING, str(secret)]
        told = subprocess.run(argv, cwd=PLACE, check=True, capture_output=True, text=True).stdout
        assert "words" not in told
        assert len(told.split()) == 2
        assert "0" not in told.split()
        assert secret.read_text() == "words"


def test_what_cannot_be_taken_away_is_told(tmp_path: Path) -> None:
    """Without a right to another user or to namespaces the program runs all the same, and the log says with what."""
    (tmp_path / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    path = f"PATH={tmp_path}:/usr/bin:/bin"
    rightless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "env", path]
    program = "from orchestrator.drivers.images.confinement import confined; print(*confined('true'))"
    argv = [*rightless, sys.executable, "-c", program]
    done = subprocess.run(argv, cwd=PLACE, check=True, capture_output=True, text=True)
    assert "--no-new-privs" in done.stdout
    assert "unshare" not in done.stdout
    assert "host's network in reach" in done.stderr
    assert ("runs as root" in done.stderr) is IS_ROOT


def test_a_program_that_nobody_may_run_is_run_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a directory that is root's alone it could not be started as another user; the log says so."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nid -u\n")
    program.chmod(0o755)
    tmp_path.chmod(0o700)
    assert run([*confined(str(program)), str(program)]).strip() == str(os.geteuid())
    if IS_ROOT:
        assert "runs as root" in caplog.text


@pytest.mark.slow
def test_a_refusal_speaks_of_the_file_and_not_of_ours(tmp_path: Path) -> None:
    """A few whole lines, each once, without the place where the copy lies."""
    layout = Layout(tmp_path / "state", tmp_path / "run")
    repository = Catalogue(Present(FakeStore()), SystemClock(), LocalImageFiles(layout, virtual_size_max=1 << 40))
    data = bytearray(make(tmp_path / "disk", noise(8 * MIB, 1), "qcow2", "compat=1.1").read_bytes())
    refcounts_at = int.from_bytes(data[48:56])
    block_at = int.from_bytes(data[refcounts_at : refcounts_at + 8])
    data[block_at + 12 : block_at + 212] = bytes(200)
    damaged = bytearray(make(tmp_path / "packed", noise(4096, 1) * 1024, "qcow2", "compat=1.1").read_bytes())
    raw, packed = tmp_path / "raw", tmp_path / "packed"
    raw.write_bytes(noise(4096, 1) * 1024)
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, packed], check=True)
    damaged = bytearray(packed.read_bytes())
    damaged[-9000:-4000] = noise(5000, 2)
    for bad in (data, damaged):
        with pytest.raises(ImageRejected) as caught:
            repository.add(io.BytesIO(bytes(bad)), Intake(name="disk", convert=True))
        assert caught.value.reason == "damaged"
        said = str(caught.value)
        for word in ("json:", "/dev/fd", str(layout.incoming), "unshare", "setpriv"):
            assert word not in said
        assert said.count("\n") == 0
        assert len(said) < 900
        lines = said.partition("says: ")[2].split("; ")
        assert len(lines) == len(set(lines)) <= 4
        assert all(line[:1].strip() for line in lines)


def test_a_file_that_holds_more_is_looked_at_for_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is in it, not by what it says: a hostile file of some KiB gets no more than it did."""
    asked: list[tuple[int | None, float]] = []

    def runs(argv: list[str], *, within_s: float, limits: Limits, handles: tuple[int, ...]) -> str:
        asked.append((limits.cpu_s, within_s))
        return "{}"

    monkeypatch.setattr(qemu_img, "run", runs)
    monkeypatch.setattr(qemu_img, "_CHECKED_BYTES_PER_S", 1024 * 1024)
    disk = tmp_path / "disk"
    for data, more_s in ((b"x", 0), (b"x" * 8 * 1024 * 1024, 8)):
        disk.write_bytes(data)
        os.truncate(disk, 1 << 40)
        with disk.open("rb") as file:
            qemu_img._ask("check", [], file.fileno())
        assert asked[-1] == (30 + more_s, 120.0 + more_s)

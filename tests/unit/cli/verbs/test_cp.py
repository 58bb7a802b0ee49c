"""`vmrole cp`: files into guests and out of them."""

from __future__ import annotations

import base64
import io
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.client import clock, guest_files, guest_targets
from orchestrator.errors import Conflict, Permanent, Transient
from tests.world.api_daemon import Daemon
from tests.world.command_line import VMROLE
from tests.world.living import inside, serving

if TYPE_CHECKING:
    from orchestrator.client import wire

LARGE = os.urandom(guest_files.PART_BYTES * 2 + 77)
WEB = "web-0.shop"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A service that serves."""
    with serving(tmp_path_factory.mktemp("daemon")) as running:
        yield running


@pytest.fixture(autouse=True)
def _place(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
    monkeypatch.chdir(tmp_path)
    yield
    inside(daemon).forbids.clear()


def cp(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The command."""
    return subprocess.run([*VMROLE, "cp", *words], input=given, capture_output=True, check=False)


def put(daemon: Daemon, path: str, data: bytes) -> None:
    """A file of the guest."""
    inside(daemon).write(daemon.control.instance(WEB), path, 0, data)


def got(daemon: Daemon, path: str) -> bytes:
    """What is in a file of the guest."""
    return inside(daemon).read(daemon.control.instance(WEB), path, 0, 1 << 30)


def everything(daemon: Daemon) -> set[str]:
    """Paths of all files of the guest."""
    return set(inside(daemon).files_of(daemon.control.instance(WEB)))


def test_a_file_goes_in_and_comes_back(daemon: Daemon, tmp_path: Path) -> None:
    """Byte for byte over several parts, with its mode; into a directory by its own name."""
    (tmp_path / "a.bin").write_bytes(LARGE)
    (tmp_path / "a.bin").chmod(0o750)
    done = cp("a.bin", "web-0:/srv/")
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert done.stderr.startswith(b"web-0.shop:/srv/a.bin: 1.0 MiB")
    assert got(daemon, "/srv/a.bin") == LARGE
    (tmp_path / "back").mkdir()
    assert cp("web-0.shop:/srv/a.bin", "back").returncode == 0
    assert (tmp_path / "back" / "a.bin").read_bytes() == LARGE
    assert (tmp_path / "back" / "a.bin").stat().st_mode & 0o7777 == 0o750
    assert cp("--mode", "600", "web-0:/srv/a.bin", "b.bin").returncode == 0
    assert (tmp_path / "b.bin").stat().st_mode & 0o7777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "b.bin", "back"], (
        "nothing unfinished is left"
    )


class Cut(io.BytesIO):
    """A file whose reader is interrupted after its first part."""

    def read(self, size: int | None = -1, /) -> bytes:
        """A part, once."""
        if self.tell():
            raise KeyboardInterrupt
        return super().read(size)


def cut(daemon: Daemon, path: str) -> list[str]:
    """What is said when a copy to that path is interrupted."""
    warned = list[str]()
    with pytest.raises(KeyboardInterrupt):
        guest_targets.put(
            daemon.client(), WEB, Cut(LARGE), path, mode=0o600, told=lambda _count: None, warn=warned.append
        )
    return warned


def test_an_interrupted_copy_changes_nothing(daemon: Daemon) -> None:
    """What had the name has it still, and nothing unfinished is left; where no command runs, that is said."""
    put(daemon, "/kept", b"former")
    before = everything(daemon)
    assert cut(daemon, "/kept") == []
    assert cut(daemon, "/new") == []
    assert cut(daemon, "C:\\new.txt") == []
    assert everything(daemon) == before
    inside(daemon).forbids.add("exec")
    assert cut(daemon, "/kept") == ["web-0.shop:/kept may be there in part"]
    assert got(daemon, "/kept") == LARGE[: guest_files.PART_BYTES]


def test_what_is_replaced_leaves_its_mode(daemon: Daemon) -> None:
    """When no other is known, as by a pipe; and is there until the new one is whole."""
    put(daemon, "/mode", b"former")
    inside(daemon).begin(daemon.control.instance(WEB), ["chmod", "751", "/mode"], b"")
    assert cp("-", "web-0:/mode", given=b"new").returncode == 0
    assert guest_files.describe(daemon.client(), WEB, "/mode") == guest_files.Described(0o751, 3)


def test_by_way_of_a_pipe(daemon: Daemon) -> None:
    """Standard input and output; also nothing at all."""
    assert cp("-", "web-0:/piped", given=LARGE).returncode == 0
    assert got(daemon, "/piped") == LARGE
    assert cp("web-0:/piped", "-").stdout == LARGE
    assert cp("-", "web-0:/piped").returncode == 0
    assert got(daemon, "/piped") == b""
    assert cp("web-0:/piped", "-").stdout == b""


def test_a_shorter_file_leaves_nothing_of_the_longer_one(daemon: Daemon, tmp_path: Path) -> None:
    """On both sides."""
    put(daemon, "/x", LARGE)
    (tmp_path / "short").write_bytes(b"short")
    (tmp_path / "x").write_bytes(LARGE)
    assert cp("short", "web-0:/x").returncode == 0
    assert got(daemon, "/x") == b"short"
    assert cp("web-0:/x", "x").returncode == 0
    assert (tmp_path / "x").read_bytes() == b"short"


@pytest.mark.parametrize("path", ["/srv/..", "/srv/.", "/srv/", "/a\nb", "C:\\dir\\.."])
def test_no_name_of_a_guest_leads_anywhere(daemon: Daemon, tmp_path: Path, path: str) -> None:
    """What is made in a directory has the last name of the guest's path, or is refused."""
    put(daemon, path, b"x")
    (tmp_path / "d" / "e").mkdir(parents=True)
    done = cp(f"web-0:{path}", "d/e")
    assert done.returncode == 2
    assert b"hint: name it" in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_windows_path_is_one_name_here(daemon: Daemon, tmp_path: Path) -> None:
    """Its separators make no directory, and no other file."""
    put(daemon, "C:\\local\\a.txt", b"windows")
    assert cp("web-0:C:\\local\\a.txt", ".").returncode == 0
    assert (tmp_path / "a.txt").read_bytes() == b"windows"


def test_a_link_in_the_way_is_replaced_not_followed(daemon: Daemon, tmp_path: Path) -> None:
    """A new file takes the name; what the link means keeps what it has."""
    put(daemon, "/x", b"new")
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "x").symlink_to("precious")
    assert cp("web-0:/x", "x").returncode == 0
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "x").read_bytes() == b"new"
    assert not (tmp_path / "x").is_symlink()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("a", "b"), 2, "one of the two is in a guest"),
        (("web-0:/a", "web-0:/b"), 2, "one of the two is in a guest"),
        (("web-0:etc/x", "x"), 2, "no path in full"),
        (("none", "web-0:/x"), 2, "No such file"),
        ((".", "web-0:/x"), 2, "s a directory"),
        (("web-0:/none", "x"), 3, "No such file"),
        (("web-9:/x", "x"), 3, "no instance"),
        (("web-0:/there", "none/x"), 2, "No such file"),
        (("web-0:/there", "/dev/null"), 2, "is no file"),
        (("--mode", "9", "web-0:/there", "x"), 2, "octal"),
        (("--mode", "4755", "web-0:/there", "x"), 2, "octal"),
    ],
)
def test_what_cannot_be_is_told(
    daemon: Daemon, tmp_path: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    """And leaves nothing behind."""
    put(daemon, "/there", b"x")
    done = cp(*words)
    assert (done.returncode, said in done.stderr.decode()) == (status, True), done.stderr
    assert list(tmp_path.iterdir()) == []


class Slow:
    """A daemon whose guest is silent about every part that is larger than it can take; its file."""

    def __init__(self, data: bytes, most_bytes: int) -> None:
        self.data, self.most_bytes, self.silences = data, most_bytes, 0

    def _heard(self, count: int) -> None:
        if count > self.most_bytes:
            self.silences += 1
            raise Transient("the agent is silent")

    def file_part(self, _name: str, _path: str, offset: int, count: int) -> bytes:
        """A part."""
        self._heard(count)
        return self.data[offset : offset + count]

    def put_file_part(self, _name: str, _path: str, offset: int, part: bytes) -> None:
        """A part."""
        self._heard(len(part))
        self.data = self.data[:offset] + part


def test_a_slow_guest_is_given_less_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it answers; what it has answered to is not moved again, and what is moved is whole."""
    monkeypatch.setattr(clock, "pause", lambda _seconds: None)
    slow, counts = Slow(LARGE, 20_000), list[int]()
    target = io.BytesIO()
    taken = guest_files.fetch(
        slow,
        WEB,
        "/x",
        target,
        size_bytes=None,
        most_bytes=1 << 30,
        told=counts.append,  # type: ignore[arg-type]
    )
    assert (taken, target.getvalue(), slow.silences) == (len(LARGE), LARGE, 5)
    slow = Slow(b"", 20_000)
    assert guest_files.bring(slow, WEB, io.BytesIO(LARGE), "/x", counts.append) == len(LARGE)  # type: ignore[arg-type]
    assert (slow.data, slow.silences) == (LARGE, 5)


def test_a_guest_that_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, and not before."""
    times = iter(range(0, 10_000, 10))
    monkeypatch.setattr(clock, "pause", lambda _seconds: None)
    monkeypatch.setattr(clock, "monotonic_s", lambda: float(next(times)))
    slow = Slow(LARGE, 0)
    with pytest.raises(Transient):
        guest_files.bring(slow, WEB, io.BytesIO(LARGE), "/x", lambda _count: None)  # type: ignore[arg-type]
    assert slow.silences == 10


def test_a_guest_that_forbids_commands_gives_its_files(daemon: Daemon, tmp_path: Path) -> None:
    """Without modes, which is said; one that forbids files as well says so."""
    (tmp_path / "a").write_bytes(LARGE)
    inside(daemon).forbids.add("exec")
    done = cp("a", "web-0:/a")
    assert done.returncode == 0
    assert b"keeps the mode of the guest's own" in done.stderr
    assert cp("web-0:/a", "b").returncode == 0
    assert (tmp_path / "b").read_bytes() == LARGE
    inside(daemon).forbids.add("files")
    done = cp("web-0:/a", "c")
    assert (done.returncode, (tmp_path / "c").exists()) == (5, False)


def test_a_guest_fills_no_disk_of_ours(daemon: Daemon, tmp_path: Path) -> None:
    """More than is allowed is refused by what it says, and where it says nothing by what comes."""
    put(daemon, "/large", b"x" * (1 << 20) + LARGE)
    for forbids in ((), ("exec",)):
        inside(daemon).forbids = set(forbids)
        done = cp("--limit", "1", "web-0:/large", "x")
        assert (done.returncode, b"--limit" in done.stderr) == (5, True)
        assert list(tmp_path.iterdir()) == []


class Told:
    """A guest's agent whose `stat` says what a test has written."""

    def __init__(self, text: bytes, data: bytes) -> None:
        self.text, self.data = text, data

    def begin_command(self, *_: object) -> dict[str, object]:
        """Any command."""
        return {"id": "1-1-1"}

    def command(self, *_: object) -> dict[str, object]:
        """It has ended."""
        said = base64.b64encode(self.text).decode()
        return {"ended": True, "status": 0, "output": said, "errors": "", "whole": True}


@pytest.mark.parametrize(
    ("text", "mode", "size"),
    [
        (b"644 12 regular file\n", 0o644, 12),
        (b"644 0 regular empty file\n", 0o644, None),
        (b"6755 12 regular file\n", 0o755, 12),
        (b"644 99999999999999999999 regular file\n", 0o644, None),
        (b"644 -5 regular file\n", 0o644, None),
        (b"9x9 12 regular file\n", None, 12),
        (b"666 0 character special file\n", 0o666, None),
        (b"\xff\xfe", None, None),
        (b"", None, None),
    ],
)
def test_what_a_guest_says_of_a_file_is_not_believed(text: bytes, mode: int | None, size: int | None) -> None:
    """No bit beyond the nine, no size that none has."""
    told = guest_files.describe(Told(text, b""), WEB, "/x")  # type: ignore[arg-type]
    assert (told.mode, told.size_bytes) == (mode, size)
    with pytest.raises(Conflict, match="is a directory"):
        guest_files.describe(Told(b"755 4096 directory\n", b""), WEB, "/x")  # type: ignore[arg-type]


class Unsure:
    """A daemon whose agents do not say for a while whether a command began, or how it ended; `begun` are all."""

    def __init__(self, daemon: Daemon, doubts: int) -> None:
        self.client, self.doubts, self.forgets = daemon.client(), doubts, doubts
        self.begun = list[str]()

    def begin_command(self, name: str, command: Sequence[str], given: bytes) -> wire.CommandView:
        """Begins it; says so, or does not."""
        self.begun.append(command[0])
        begun = self.client.begin_command(name, command, given)
        if self.doubts:
            self.doubts -= 1
            raise Permanent("the agent has not said whether it began")
        return begun

    def command(self, name: str, command_id: str) -> wire.CommandView:
        """How it ended, which is told once."""
        if self.forgets:
            self.forgets -= 1
            raise Permanent("the agent does not say any more how it ended")
        return self.client.command(name, command_id)

    def __getattr__(self, verb: str) -> object:
        return getattr(self.client, verb)


def test_what_may_be_asked_twice_is(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file is, and the removal of what is unfinished, are asked for until somebody says how that ended."""
    monkeypatch.setattr(clock, "pause", lambda _seconds: None)
    put(daemon, "/asked", LARGE)
    unsure = Unsure(daemon, 3)
    told = guest_files.describe(unsure, WEB, "/asked")  # type: ignore[arg-type]
    assert (told.size_bytes, unsure.begun) == (len(LARGE), ["stat"] * 7)
    before, warned = everything(daemon), list[str]()
    unsure = Unsure(daemon, 0)

    def falters(count: int) -> None:
        unsure.doubts = unsure.forgets = 2
        raise KeyboardInterrupt(count)

    with pytest.raises(KeyboardInterrupt):
        guest_targets.put(
            unsure,  # type: ignore[arg-type]
            WEB,
            io.BytesIO(LARGE),
            "/asked",
            mode=None,
            told=falters,
            warn=warned.append,
        )
    assert (everything(daemon), warned, unsure.begun.count("rm")) == (before, [], 5)

"""The windows recipe up to the machine, and from its power-off on; a program that acts as QEMU stands between."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell
from lxml import etree
from vmrole_images import BuildError
from vmrole_images.windows import DRIVERS, Machine, Wanted, answers, build, machine
from vmrole_unattend.iso import write_iso
from vmrole_unattend.windows.answers import Architecture
from vmrole_unattend.windows.check import Deployment, check

from orchestrator.cli.main import main
from tests.world.api_daemon import Daemon

pytestmark = pytest.mark.slow

WANTED = Wanted(edition="Windows Server 2022 SERVERSTANDARDCORE")
SOUND = "vmrole-build: windows=Windows Server 2022 20348.1\r\nvmrole-build: qemu-ga=107.0\r\nvmrole-build: done\r\n"
_QEMU = """#!/bin/sh
for word in "$@"; do
    case "$word" in
        file:*) serial="${word#file:}" ;;
    esac
done
printf '%s\\n' "$@" > "${0%/*}/argv"
@BODY@
"""


@dataclasses.dataclass(frozen=True)
class Bench:
    """The media, a place for the image, and how to put a QEMU there that runs a shell script."""

    iso: Path
    virtio_win: Path
    output: Path
    qemu: Callable[[str], Machine]

    def build(self, body: str) -> None:
        """Builds with a QEMU that does `body`."""
        build(WANTED, self.qemu(body), self.iso, self.virtio_win, self.output, lambda _: None)

    def left(self) -> list[str]:
        """What lies where the image was to be."""
        return sorted(one.name for one in self.output.parent.iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Small discs with the names that count."""
    for name in ("firmware", "variables", "out/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "out/x").unlink()
    drivers = {f"{name}/a.inf": b"x" for name in WANTED.drivers}
    tools = {answers.TOOLS: b"x", answers.AGENT: b"x"}
    (tmp_path / "virtio.iso").write_bytes(write_iso({**drivers, **tools}, "virtio-win"))
    (tmp_path / "windows.iso").write_bytes(write_iso({"setup.exe": b"x"}, "WINDOWS"))

    def qemu(body: str) -> Machine:
        (tmp_path / "qemu").write_text(_QEMU.replace("@BODY@", body))
        (tmp_path / "qemu").chmod(0o755)
        return Machine(
            qemu=str(tmp_path / "qemu"),
            firmware=tmp_path / "firmware",
            variables=tmp_path / "variables",
            within_s=20.0,
            kvm=False,
        )

    return Bench(tmp_path / "windows.iso", tmp_path / "virtio.iso", tmp_path / "out/windows.qcow2", qemu)


def _saying(text: str) -> str:
    return f"printf '%s' '{text}' > \"$serial\""


@pytest.mark.parametrize("release", DRIVERS)
def test_the_answer_file_is_sound(release: str) -> None:
    """Our own check, as strict as it is on what we make, has nothing to say."""
    made = answers.autounattend(dataclasses.replace(WANTED, release=release))
    assert check(made, architecture=Architecture.AMD64, ours=True, deployment=Deployment.INSTALL) == []


def test_the_answer_file_holds_no_secret_and_no_logon() -> None:
    """Nobody is logged on, no password is set, and the last thing it does is to generalize and power off."""
    root = etree.fromstring(answers.autounattend(WANTED))
    names = [etree.QName(one).localname for one in root.iter() if isinstance(one.tag, str)]
    assert not {"AutoLogon", "Password", "AdministratorPassword", "ProductKey", "LocalAccount"} & set(names)
    said = {etree.QName(one).localname: one.text for one in root.iter("{*}Generalize", "{*}ForceShutdownNow")}
    assert said["ForceShutdownNow"] == "true"
    assert [one.text for one in root.iter("{*}Mode")] == ["Audit", "OOBE"]
    assert [one.get("pass") for one in root.iter("{*}settings")] == ["windowsPE", "oobeSystem", "auditUser"]


def test_drivers_are_of_one_release_at_every_letter() -> None:
    """Several candidates for one device make Setup fail; which letter the disc gets is not known."""
    root = etree.fromstring(answers.autounattend(dataclasses.replace(WANTED, release="2019")))
    paths = [one.text or "" for one in root.iter("{*}Path") if "amd64" in (one.text or "")]
    assert len(paths) == len(set(paths)) == 12
    assert all("\\2k19\\amd64" in path for path in paths)
    assert {path[0] for path in paths} == {"D", "E", "F"}


def test_an_edition_is_only_text() -> None:
    """A name with markup stays the name of an image."""
    root = etree.fromstring(answers.autounattend(dataclasses.replace(WANTED, edition="A & </Value><x>")))
    assert [one.text for one in root.iter("{*}Value")] == ["A & </Value><x>"]


@pytest.mark.parametrize("wanted", [dataclasses.replace(WANTED, edition=" "), Wanted(edition="x", release="11")])
def test_what_cannot_be_built_is_refused(wanted: Wanted) -> None:
    """No edition, or a release without a recipe."""
    with pytest.raises(BuildError):
        answers.autounattend(wanted)


def test_the_command_is_short_enough_and_the_script_is_powershell() -> None:
    """A RunSynchronous path has at most 259 characters; the script is ASCII and parses."""
    assert len(answers._COMMAND) <= 259
    script = answers.SCRIPT.read_text()
    assert script.isascii()
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    assert not parser.parse(script.encode()).root_node.has_error


def test_the_disc_is_the_same_each_time() -> None:
    """Byte for byte."""
    assert answers.disc(WANTED) == answers.disc(WANTED)


def test_a_machine_that_powers_off_leaves_an_image(bench: Bench) -> None:
    """A standalone qcow2 with its lock file, and nothing else; the lock says what went in."""
    bench.build(_saying(SOUND))
    assert bench.left() == ["windows.qcow2", "windows.qcow2.lock.json"]
    lock = json.loads((bench.output.parent / "windows.qcow2.lock.json").read_text())
    assert lock["said_by_the_guest"] == {"windows": "Windows Server 2022 20348.1", "qemu-ga": "107.0"}
    shown = subprocess.run(["qemu-img", "info", "--output=json", bench.output], capture_output=True, check=True)
    information = json.loads(shown.stdout)
    assert (information["format"], information["virtual-size"]) == ("qcow2", 40 << 30)
    assert "backing-filename" not in information


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exit 0", "before the build script was done"),
        (_saying("vmrole-build: qemu-ga=1\r\n"), "before the build script was done"),
        (_saying("vmrole-build: failed: no disc\r\n"), "failed: no disc"),
        (_saying("vmrole-build: hello\r\nelsewhere: done\r\n"), "before the build script was done"),
        ("echo 'no such machine' >&2; exit 1", "ended with status 1: no such machine"),
        (_saying(SOUND) + "; kill -9 $$", "ended with status -9"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_nothing(bench: Bench, body: str, message: str) -> None:
    """Neither half an image nor a temporary directory; an older image stays as it was."""
    bench.output.write_bytes(b"older")
    with pytest.raises(BuildError, match=message):
        bench.build(body)
    assert bench.left() == ["windows.qcow2"]
    assert bench.output.read_bytes() == b"older"


def test_a_machine_that_never_ends_is_ended(bench: Bench) -> None:
    """After its time it is killed, also when it does not listen; nothing is left."""
    hanging = dataclasses.replace(bench.qemu('echo $$ > "${0%/*}/pid"; exec sleep 600'), within_s=1.0)
    started = time.monotonic()
    with pytest.raises(BuildError, match="was not installed within 1 s"):
        build(WANTED, hanging, bench.iso, bench.virtio_win, bench.output, lambda _: None)
    assert time.monotonic() - started < 60
    assert bench.left() == []
    assert not Path("/proc", (bench.output.parents[1] / "pid").read_text().strip()).exists()


def test_what_the_guest_says_cannot_reach_the_terminal(bench: Bench) -> None:
    """Escape sequences on the serial port are blanks in messages."""
    with pytest.raises(BuildError) as refused:
        bench.build("printf 'vmrole-build: failed \\033[31m red\\n' > \"$serial\"")
    assert "\033" not in str(refused.value)


def test_the_command_line_is_that_of_a_windows_machine(bench: Bench) -> None:
    """UEFI, q35, no network, the disk first on virtio, and each CD on SATA and read-only."""
    bench.build(_saying(SOUND))
    words = (bench.output.parents[1] / "argv").read_text().splitlines()
    assert words[words.index("-machine") + 1] == "q35,accel=tcg"
    assert words[words.index("-nic") + 1] == "none"
    assert "virtio-blk-pci,drive=disk,bootindex=0" in words
    assert "ide-cd,drive=install,bus=ide.0,bootindex=1" in words
    assert sum("media=cdrom,readonly=on" in word for word in words) == 3
    assert sum("if=pflash" in word for word in words) == 2
    fast = machine.command(
        dataclasses.replace(bench.qemu("exit 0"), kvm=True), machine.Discs(*[Path("/x")] * 4), Path("/w")
    )
    assert "q35,accel=kvm" in fast


def test_media_are_looked_at_first(bench: Bench, tmp_path: Path) -> None:
    """What is no ISO, or a driver disc without the drivers of this release, is refused before anything runs."""
    (tmp_path / "text").write_text("x")
    for iso, virtio_win, wanted, message in (
        (tmp_path / "none", bench.virtio_win, WANTED, "--iso .* cannot be read"),
        (tmp_path / "text", bench.virtio_win, WANTED, "--iso .* is not an ISO"),
        (bench.iso, bench.iso, WANTED, "has no viostor/2k22/amd64"),
        (bench.iso, bench.virtio_win, dataclasses.replace(WANTED, release="2025"), "has no viostor/2k25/amd64"),
    ):
        with pytest.raises(BuildError, match=message):
            build(wanted, bench.qemu("exit 0"), iso, virtio_win, bench.output, lambda _: None)
    assert not (tmp_path / "argv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("windows", "--iso", "x", "--virtio-win", "y"), "needs --edition"),
        (("micro", "--iso", "x"), "--iso is for the windows recipe"),
        (("windows", "--iso", "x", "--virtio-win", "y", "--edition", "z", "--windows", "95"), "'95' is not one of"),
    ],
)
def test_the_command_wants_its_options(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`image build windows` needs its media and edition, and no other recipe takes them."""
    assert main(["image", "build", *words, "--to", str(tmp_path / "out.qcow2")]) == 2
    assert message in capsys.readouterr().err


def test_the_command_says_what_is_wrong_with_media(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is exit status 1, by its name."""
    words = ["windows", "--iso", "none.iso", "--virtio-win", "y", "--edition", "z", "--to", str(tmp_path / "o.qcow2")]
    assert main(["image", "build", *words]) == 1
    assert "--iso none.iso cannot be read" in capsys.readouterr().err


def test_what_was_built_is_added_with_its_machine(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The image is one of Windows, answers from Unattend.xml, and starts by UEFI from virtio."""
    bench.qemu(_saying(SOUND))
    (tmp_path / "programs").mkdir()
    (tmp_path / "qemu").rename(tmp_path / "programs/qemu-system-x86_64")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    words = ["--iso", str(bench.iso), "--virtio-win", str(bench.virtio_win), "--edition", WANTED.edition]
    with Daemon(tmp_path) as daemon:
        monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
        assert main(["image", "build", "windows", "--name", "ws2022", *words]) == 0, capsys.readouterr().err
        added = daemon.client().image("ws2022")
    assert (added["os"], added["answers"]) == ("windows", "unattend")
    assert added["hardware"] == {"firmware": "uefi", "disk_bus": "virtio", "tpm": False}

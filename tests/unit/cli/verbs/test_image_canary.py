"""`vmrole image test` from end to end: the real client, API, store and core over the fake world."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.cli.main import main
from orchestrator.model import Deadlines, Fitness, InstanceName, Road
from orchestrator.model.intake import Intake
from orchestrator.rules import admission
from tests.world.api_daemon import Daemon
from tests.world.images import DIGEST

pytestmark = pytest.mark.slow


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon whose fake world lives, with one real image in its repository."""
    with Daemon(tmp_path, alive=True) as daemon:
        monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
        yield daemon


def added(daemon: Daemon, tmp_path: Path) -> str:
    """The digest of an image that the repository has the bytes of."""
    file = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", file, "8M"], check=True)
    with file.open("rb") as source:
        image = daemon.client().add_image([(source, file.stat().st_size)], Intake(name="real"))
    daemon.world.images.add(image["sha256"])
    return image["sha256"]


def test_a_good_image_is_tested_and_remembers_it(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three generations, every question answered, deadlines kept with the image, nothing of the canary left."""
    sha256 = added(daemon, tmp_path)
    assert main(["image", "test", "real", "-o", "json", "--timeout", "60s"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {one["good"] for one in report["findings"]} == {None, True}
    assert {one["subject"] for one in report["findings"] if one["good"] is None} == {"system"}
    assert {"machine-id", "SSH host keys", "shutdown"} < {one["subject"] for one in report["findings"]}
    assert [lap["generation"] for lap in report["generations"]] == [1, 2, 3]
    assert daemon.client().image(sha256)["suggested"] == report["image"]["suggested"]
    assert daemon.client().services() == []
    assert daemon.world.machines == {}


@pytest.mark.parametrize(
    ("fault", "line", "advice"),
    [
        ("", "PASS  warm reimage: warm, from its checkpoint", "restored was made anew by its kernel\n"),
        (
            "no_vmgenid",
            "PASS  warm reimage: warm, from its checkpoint",
            "restored was made anew by a program in it\n",
        ),
        ("unfit", "WARN  warm reimage: prepared, a boot from its checkpoint: ", "takes the prepared road"),
        ("unwritten", "WARN  warm reimage: cold: it has no checkpoint: its agent runs no commands", "the cold road"),
        (
            "uses_storage",
            "PASS  warm reimage: warm, from its checkpoint\nWARN  warm reimage, with local",
            "prepared road",
        ),
    ],
)
def test_by_which_road_it_is_reimaged_is_tried_where_that_is_asked(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str, line: str, advice: str
) -> None:
    """What keeps it from the warm one is told, and is no failure; nothing is measured of these generations."""
    sha256 = added(daemon, tmp_path)
    if fault:
        getattr(daemon.world.faults, fault).add(InstanceName(f"canary-0.canary-{sha256[:12]}"))
    assert main(["image", "test", "real", "--warm", "--timeout", "60s"]) == 0
    said = capsys.readouterr().out
    assert line in said
    assert advice in said
    table = said.partition("GENERATION")[2]
    assert [row.split()[0] for row in table.splitlines()[1:4]] == ["1", "2", "3"]
    assert daemon.client().services() == []


SERVICE = "service: shop\nroles:\n  web:\n    image: real\n    reimage: warm\n"
STORED = SERVICE + "    localStorage: {data: {size: 32 MiB}}\n"
WARNED = "warning: reimages boot the disk that was kept, without its memory: its image was tried: "


def test_what_was_tried_stays_with_the_image(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A role of it is told at its apply, and is prepared from the first on; until another QEMU runs here."""
    sha256 = added(daemon, tmp_path)
    daemon.world.faults.unfit.add(InstanceName(f"canary-0.canary-{sha256[:12]}"))
    assert main(["image", "test", "real", "--warm", "--timeout", "60s"]) == 0
    tried = daemon.client().image(sha256)["tried"]
    assert tried is not None
    assert tried["plain"]["warmest"] == "prepared"
    capsys.readouterr()
    assert main(["image", "show", "real"]) == 0
    assert f"prepared: {tried['plain']['why']}" in capsys.readouterr().out
    assert main(["image", "ls", "-o", "wide"]) == 0
    assert "prepared" in capsys.readouterr().out
    file = tmp_path / "shop.yaml"
    file.write_text(SERVICE)
    assert main(["apply", "-f", str(file), "--wait"]) == 0
    assert WARNED + tried["plain"]["why"] in capsys.readouterr().out
    (shop,) = daemon.client().instances("shop")
    assert daemon.world.memories == {}, "it is not found out once more"
    assert main(["reimage", shop["name"], "--wait"]) == 0
    assert "prepared, a boot from its checkpoint" in daemon.client().instances("shop")[0]["road"]

    daemon.images._qemu = lambda: "another"
    assert daemon.client().image(sha256)["tried"] is None
    assert main(["diff", "-f", str(file)]) == 1
    assert "image (its reimages): prepared" in capsys.readouterr().out


def test_what_cannot_be_done_with_storage_is_done_without(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each role by what was tried of its kind."""
    sha256 = added(daemon, tmp_path)
    daemon.client().keep_tried(
        sha256, {"plain": {"warmest": "warm"}, "storage": {"warmest": "prepared", "why": "it is in use"}}
    )
    for text, warned in ((STORED, True), (SERVICE, False)):
        (tmp_path / "shop.yaml").write_text(text)
        assert main(["apply", "-f", str(tmp_path / "shop.yaml"), "--dry-run"]) in (0, 1)
        assert (f"{WARNED}it is in use" in capsys.readouterr().out) is warned


def test_what_the_host_has_no_room_for_is_not_the_image_s() -> None:
    """Nor is what holds for all images, which nobody has to try."""
    road = "prepared, a boot from its checkpoint: its checkpoint has no memory: "
    assert admission.fitness(road + "no room for the memory of canary-0: needs 512 MiB") is None
    assert admission.fitness("cold: others reach it by its bridge before it could be kept") is None
    assert admission.fitness("cold") is None
    assert admission.fitness("warm, from its checkpoint") == Fitness()
    found = admission.fitness(road + "its kernel is too young")
    assert found == Fitness(warmest=Road.PREPARED, why="its checkpoint has no memory: its kernel is too young")


@pytest.mark.parametrize("why", ["x" * 501, "a\nb", "\x1b[2J"])
def test_a_reason_is_a_line_of_text(daemon: Daemon, tmp_path: Path, why: str) -> None:
    """It is shown to people."""
    sha256 = added(daemon, tmp_path)
    with pytest.raises(errors.InvalidInput, match="line of text"):
        daemon.client().keep_tried(sha256, {"plain": {"warmest": "cold", "why": why}})
    assert daemon.client().image(sha256)["tried"] is None


def test_a_bad_image_is_told_and_its_canary_goes(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image whose bytes are not there any more fails the test; it gets no deadlines."""
    sha256 = added(daemon, tmp_path)
    for file in daemon.layout.images.iterdir():
        file.chmod(0o644)
        file.write_bytes(b"x" * file.stat().st_size)
    assert main(["image", "test", "real", "--timeout", "60s"]) == 1
    assert "FAIL  image:" in capsys.readouterr().out
    assert daemon.client().image(sha256)["suggested"] is None
    assert daemon.client().services() == []


def test_an_image_with_baked_identities_is_warned_of(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What every instance would share is told with the command that takes it out of the image; it is no failure."""
    added(daemon, tmp_path)
    daemon.world.faults.baked_marks.update({"machine-id", "SSH host key (rsa)"})
    assert main(["image", "test", "real", "--timeout", "60s"]) == 0
    said = capsys.readouterr().out
    assert "WARN  machine-id: the same in two generations" in said
    assert "truncate -s 0 /etc/machine-id" in said
    assert "WARN  SSH host keys: the same in two generations, so it comes from the image: SSH host key (rsa)" in said
    assert "rm /etc/ssh/ssh_host_*" in said


def test_an_image_without_an_agent_is_told_what_it_lacks(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package, and the line of a service file that installs it; a canary that was heard lacks none."""
    sha256 = added(daemon, tmp_path)
    daemon.world.faults.no_agent = True
    assert main(["image", "test", "real", "--timeout", "1s"]) == 4
    said = capsys.readouterr().out
    assert "FAIL  agent: no agent has answered" in said
    assert "package qemu-guest-agent" in said
    assert "answers: {installAgent: true}" in said
    assert main(["image", "test", "real", "--timeout", "1s", "-o", "json"]) == 4
    assert [one["subject"] for one in json.loads(capsys.readouterr().out)["findings"]] == ["agent"]
    daemon.world.faults.no_agent = False
    daemon.world.faults.services_never_start.add(InstanceName(f"canary-0.canary-{sha256[:12]}"))
    assert main(["image", "test", "real", "--timeout", "15s"]) == 4
    assert "FAIL  agent" not in capsys.readouterr().out
    assert daemon.client().services() == []


def test_a_canary_that_never_serves_says_why(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past the time that was given, the sentences of the canary are told before it is removed."""
    sha256 = added(daemon, tmp_path)
    daemon.world.faults.services_never_start.add(InstanceName(f"canary-0.canary-{sha256[:12]}"))
    assert main(["image", "test", "real", "--timeout", "1s"]) == 4
    assert "canary-0" in capsys.readouterr().err
    assert daemon.client().services() == []


def test_an_image_that_is_not_there(daemon: Daemon) -> None:
    """Is said at once."""
    assert main(["image", "test", "nobody"]) == 3


def test_deadlines_are_checked(daemon: Daemon) -> None:
    """The repository keeps only lengths of time that make sense."""
    daemon.give_image()
    client = daemon.client()
    for bad in ({"setup_s": 0, "ready_s": 1}, {"setup_s": 1, "ready_s": 1e9}):
        with pytest.raises(errors.InvalidInput):
            client.suggest(DIGEST, bad)
    kept = client.suggest(DIGEST, {"setup_s": 90.0, "ready_s": 60.0})
    assert kept["suggested"] == {"setup_s": 90.0, "ready_s": 60.0}
    assert daemon.images.get(DIGEST).suggested == Deadlines(setup_s=90.0, ready_s=60.0)

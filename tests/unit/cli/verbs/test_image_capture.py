"""`vmrole image capture` from end to end: the real client, API, store, core and repository over the fake world."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.cli.verbs import image_capture
from orchestrator.errors import Conflict
from orchestrator.model import InstanceName
from orchestrator.model.intake import Intake
from tests.world.api_daemon import Daemon

pytestmark = pytest.mark.slow

WEB = InstanceName("web-0.shop")
FILE = """service: shop
roles:
  web: {image: real, size: {vcpus: 1, memory: 128 MiB}}
"""


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon whose fake world lives, with a service of one instance of a real image."""
    with Daemon(tmp_path, alive=True) as daemon:
        monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
        base = tmp_path / "base.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", base, "8M"], check=True)
        with base.open("rb") as source:
            image = daemon.client().add_image([(source, base.stat().st_size)], Intake(name="real"))
        daemon.world.images.add(image["sha256"])
        (tmp_path / "shop.yaml").write_text(FILE)
        assert main(["apply", "-f", str(tmp_path / "shop.yaml"), "--wait", "--timeout", "60s"]) == 0
        overlay = daemon.layout.overlay(daemon.control.instance(WEB))  # The fake world's disks are no files.
        overlay.parent.mkdir(parents=True)
        below = ["-b", str(daemon.images.path(daemon.images.get("real"))), "-F", "qcow2"]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *below, overlay], check=True)
        subprocess.run(["qemu-io", "-c", "write -q -P 7 1M 1M", overlay], check=True, capture_output=True)
        yield daemon


def script(tmp_path: Path, text: str) -> str:
    """A file with that script."""
    file = tmp_path / "seal.sh"
    file.write_text(text)
    return str(file)


def at(daemon: Daemon) -> tuple[str, int, int]:
    """Where the instance is."""
    view = daemon.client().instance(WEB)
    return view["phase"], view["generation"], view["boot"]


def names(daemon: Daemon) -> set[str]:
    """What images there are."""
    return {name for image in daemon.client().images() for name in image["names"]}


def test_a_sealed_machine_becomes_an_image_and_is_made_anew(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no machine of its own any more: the service gets one that is."""
    sealed = script(tmp_path, "true")
    assert main(["image", "capture", "web-0", "--name", "golden", "--script", sealed, "--timeout", "60s"]) == 0
    said = capsys.readouterr()
    image = daemon.client().image("golden")
    assert f"golden sha256:{image['sha256']}" in said.out
    assert image["size_bytes"] > 1 << 20  # what the guest wrote is in it
    assert main(["wait", "shop", "--timeout", "60s"]) == 0
    assert at(daemon)[:2] == ("serving", 2)


def test_a_copy_of_the_machine_leaves_it_its_disk(daemon: Daemon) -> None:
    """Nothing is run in the guest, whose disk it stays."""
    assert main(["image", "capture", "web-0", "--name", "copy", "--as-it-is", "--timeout", "60s"]) == 0
    assert main(["wait", "shop", "--timeout", "60s"]) == 0
    phase, generation, boot = at(daemon)
    assert (phase, generation) == ("serving", 1)
    assert boot > 1
    assert "copy" in names(daemon)


def test_one_that_is_off_stays_off(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is there to seal anything."""
    assert main(["stop", "web-0", "--wait", "--timeout", "60s"]) == 0
    assert main(["image", "capture", "web-0", "--name", "cold"]) != 0
    assert "web-0.shop is off: nobody can seal it" in capsys.readouterr().err
    assert main(["image", "capture", "web-0", "--name", "cold", "--as-it-is", "--timeout", "60s"]) == 0
    assert at(daemon)[0] == "stopped"
    assert "web-0.shop stays off, as it was" in capsys.readouterr().err
    assert "cold" in names(daemon)


def test_a_guest_that_cannot_be_sealed_runs_on(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own words are told, without what a terminal obeys."""
    before = at(daemon)
    sealed = script(tmp_path, "echo no cloud-init here \x1b[31m >&2; exit 3")
    assert main(["image", "capture", "web-0", "--name", "golden", "--script", sealed]) != 0
    told = capsys.readouterr().err
    assert "web-0.shop could not be sealed, exit status 3: no cloud-init here" in told
    assert "\x1b" not in told
    assert "vmrole reimage web-0.shop" in told
    assert (at(daemon), names(daemon)) == (before, {"real"})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--name", "real"], "'real' means"),
        (["--name", "golden", "--script", "x", "--as-it-is"], "leave one of them out"),
        (["--name", "golden", "--script", "/does/not/exist"], "/does/not/exist"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_happens(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    """The guest is not touched."""
    before = at(daemon)
    assert main(["image", "capture", "web-0", *words]) != 0
    assert told in capsys.readouterr().err
    assert (at(daemon), names(daemon)) == (before, {"real"})


def test_the_daemon_takes_nothing_of_one_that_runs(daemon: Daemon) -> None:
    """Whoever asks it himself is told the same."""
    with pytest.raises(Conflict, match="is serving: its disk changes"):
        daemon.client().capture_image(WEB, "golden")
    assert names(daemon) == {"real"}


def test_the_script_is_one_that_sh_reads() -> None:
    """As far as can be said without a guest."""
    subprocess.run(["sh", "-n", "-c", image_capture.SEAL_LINUX], check=True)

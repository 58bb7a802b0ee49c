"""Which directories of a host guests can be given, and by what they are served."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import sharing
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import Problem, Transient
from orchestrator.model import Role
from orchestrator.model.share import Share
from tests.world.fabric import web_role
from tests.world.instances import instance_of

SERVER = "/bin/sh"  # something that can be run


def role(source: Path | str) -> Role:
    """One that shares that."""
    return web_role(shares=(Share(name="data", source=str(source), mount="/data"),))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory to share."""
    (made := tmp_path.resolve() / "shared").mkdir()
    return made


def test_a_directory_by_its_real_path(place: Path) -> None:
    """And nothing else; who has no shares is asked nothing."""
    assert sharing.fault(role(place), [SERVER]) is None
    assert sharing.fault(web_role(), []) is None
    (link := place.with_name("link")).symlink_to(place)
    (file := place / "file").touch()
    for source, told in (
        (link, f"{link} is {place} by its real name"),
        (link / "file", f"is {file} by its real name"),
        (file, "is no directory"),
        (place / "nonesuch", "No such file or directory"),
    ):
        fault = sharing.fault(role(source), [SERVER])
        assert fault is not None
        assert (fault.key, told in fault.message, bool(fault.hint)) == ("shares.data.source", True, True)


def test_nobody_can_put_another_in_its_place(place: Path) -> None:
    """The directory itself may be anybody's: it is what he has in it that is shared."""
    place.chmod(0o777)
    assert sharing.fault(role(place), [SERVER]) is None
    place.parent.chmod(0o777)
    fault = sharing.fault(role(place), [SERVER])
    assert fault is not None
    assert "another could be put in the place of" in fault.message


def test_who_serves_must_be_there(place: Path) -> None:
    """What is missing is named with the command that brings it."""
    fault = sharing.fault(role(place), ["/nonesuch/virtiofsd"])
    assert fault is not None
    assert (fault.key, "apt-get install" in fault.hint) == ("shares", True)


def test_the_hosts_owner_says_which(place: Path) -> None:
    """Of another nothing is told, and the host is not asked; what is given is looked at as ever."""
    looked = list[str]()

    def unfit(role: Role) -> Problem | None:
        looked.append(role.name)
        return Problem("no", key="devices.hugepages")

    assert sharing.permitted([str(place)], unfit)(role(place)) == Problem("no", key="devices.hugepages")
    assert looked == ["web"]
    for given in ([], ["/srv/other"], [str(place.parent)], [f"{place}/below"]):
        fault = sharing.permitted(given, unfit)(role(place))
        assert fault is not None
        assert (fault.key, "owner does not give" in fault.message) == ("shares.data.source", True)
        assert "vmrole.toml" in fault.hint
    assert looked == ["web"]


def test_the_program_is_there_before_a_start(place: Path) -> None:
    """Of this version, whatever a former one left; without the directory there is no start."""
    layout = Layout(place, place / "run")
    assert any(os.access(server, os.X_OK) for server in sharing.SERVERS), "this host has no virtiofsd"
    for _ in range(2):
        sharing.require(instance_of(role(place)), layout)
        assert layout.share_server.read_text() == sharing.PROGRAM
        assert stat.S_IMODE(layout.share_server.stat().st_mode) == 0o755
        layout.share_server.write_text("of a former version")
    gone = replace(instance_of(role(place / "nonesuch")))
    with pytest.raises(Transient, match="No such file") as waits:
        sharing.require(gone, layout)
    assert waits.value.hint


@pytest.mark.parametrize(
    "arguments",
    [[], ["--fd=3"], ["--fd=3", "-o", "cache=auto"], ["-o", "source=srv/data"], ["--shared-dir", ""], ["-o"]],
)
def test_what_is_not_understood_is_not_served(arguments: list[str], tmp_path: Path) -> None:
    """Not even with virtiofsd's own help: it would serve the directory as it is."""
    (program := tmp_path / "serve").write_text(sharing.PROGRAM.replace(sharing.SERVERS[0], "/bin/echo"))
    ended = subprocess.run(
        ["/bin/sh", str(program), "read-only", *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "what is to be served is not said" in ended.stderr
    assert ended.stdout == ""


def test_one_that_does_not_answer_holds_up_nobody(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file system whose server is away nothing comes back; a child asks, and is ended."""
    (hangs := tmp_path / "stat").write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(sharing, "LOOK_S", 0.5)
    fault = sharing.fault(role(place), [SERVER])
    assert fault is not None
    assert (fault.key, fault.message) == ("shares.data.source", f"{place} does not answer")

"""Why no daemon answers, and what to do about it on this host."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from pathlib import Path

import pytest

from orchestrator.client import absence
from orchestrator.client.client import Client
from orchestrator.errors import Denied, InvalidInput, Unreachable, VmroleError

GONE = FileNotFoundError(2, "No such file or directory")


def refusal(path: Path | str) -> VmroleError:
    """What a command is told that asks there."""
    with pytest.raises(VmroleError) as caught:
        Client(str(path), connect_within_s=0.0).health()
    return caught.value


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose directories of units are ours, run by systemd once `booted` is there."""
    monkeypatch.setattr(absence, "BOOTED", tmp_path / "booted")
    monkeypatch.setattr(absence, "UNIT_PLACES", (tmp_path / "etc", tmp_path / "lib"))
    for name in ("etc", "lib"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize("place", ["etc", "lib"])
def test_where_the_unit_is_installed_systemd_starts_the_daemon(host: Path, place: str) -> None:
    """A second daemon by hand would run beside it, without its confinement; without systemd a unit starts nothing."""
    assert "start it with: vmrole daemon;" in refusal(host / "none").hint
    (host / place / "vmrole.service").touch()
    assert "start it with: vmrole daemon;" in refusal(host / "none").hint
    (host / "booted").mkdir()
    assert "start it with: systemctl start vmrole;" in refusal(host / "none").hint
    (host / place / "vmrole.service").unlink()
    assert "start it with: vmrole daemon;" in refusal(host / "none").hint


def test_the_places_are_systemds() -> None:
    """Those of systemd.unit(5) for the system, and sd_booted(3)'s."""
    assert str(absence.BOOTED) == "/run/systemd/system"
    assert {"/etc/systemd/system", "/usr/lib/systemd/system"} <= {str(place) for place in absence.UNIT_PLACES}


def test_a_path_that_no_socket_can_have_is_a_fault_of_who_names_it(tmp_path: Path) -> None:
    """No daemon need be started for it; the longest that there can be is asked for."""
    longest = f"{tmp_path}/".ljust(absence.PATH_MAX_BYTES, "x")
    assert isinstance(refusal(longest), Unreachable)
    refused = refusal(f"{longest}x")
    assert isinstance(refused, InvalidInput)
    assert "start" not in refused.hint


def test_what_is_no_socket_is_not_to_be_started(tmp_path: Path) -> None:
    """A file in the place of a directory: the name is what is wrong."""
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file" / "x").hint == "name the daemon's socket with --socket or VMROLE_SOCKET"


def test_who_may_not_is_told_of_the_group(tmp_path: Path) -> None:
    """By its name, with the command; a socket of root alone is open to no group."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        denied = absence.told(str(path), PermissionError(13, "Permission denied"))
        assert isinstance(denied, Denied)
        group, user = grp.getgrgid(os.getgid()), pwd.getpwuid(os.geteuid()).pw_name
        if group.gr_gid == 0:
            assert "no group" in denied.hint
            group = next(one for one in grp.getgrall() if one.gr_gid and not one.gr_mem)
            os.chown(path, 0, group.gr_gid)
            denied = absence.told(str(path), PermissionError(13, "Permission denied"))
        assert f"usermod -aG {group.gr_name} {user}, then log in again" in denied.hint
    assert "the socket's group" in absence.told(str(tmp_path / "none"), PermissionError(13, "")).hint


def test_who_was_put_into_the_group_has_to_log_in_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group of a session are those of its login; /etc/group says more, and that is what is missing then."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setattr(grp, "getgrgid", lambda _gid: grp.struct_group(("vmrole", "x", 999, [user])))
    (tmp_path / "s").touch()
    denied = absence.told(str(tmp_path / "s"), PermissionError(13, "Permission denied"))
    assert "next login" in denied.hint
    assert "newgrp vmrole" in denied.hint

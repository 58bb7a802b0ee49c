"""`vmrole blob` against a daemon whose guests have put something by."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.model.blob import BlobOwner, Of
from tests.contract.suites.blobs import held, put
from tests.world.api_daemon import SHOP, Daemon
from tests.world.command_line import Run

WEB, ROLE = BlobOwner(Of.INSTANCE, "web-0.shop"), BlobOwner(Of.ROLE, "web.shop")
LARGE = os.urandom(1_200_000)  # of three parts


@pytest.fixture
def shop(daemon: Daemon, run: Run, tmp_path: Path) -> Daemon:
    """It, with a service whose first instance has put a blob by, and one for all."""
    (tmp_path / "shop.yaml").write_text(SHOP)
    assert run("apply", "-f", str(tmp_path / "shop.yaml"))[0] == 0
    put(daemon._host.machine.blobs, WEB, "state.json", b"{}")
    put(daemon._host.machine.blobs, ROLE, "leader", b"web-0")
    return daemon


def test_a_life_of_a_blob(run: Run, shop: Daemon, tmp_path: Path) -> None:
    """Listed, fetched, put and removed, of an instance by its short name, or of a role."""
    blobs = shop._host.machine.blobs
    lines = [line.split() for line in run("blob", "ls", "web-0")[1].splitlines()]
    assert (lines[0], lines[1][:2]) == (["NAME", "SIZE", "VERSION", "AGE"], ["state.json", "2"])
    assert run("blob", "ls", "web.shop", "--role", "-o", "name")[1] == "leader\n"
    (one,) = json.loads(run("blob", "ls", "web.shop", "--role", "-o", "json")[1])
    assert (one["name"], one["size_bytes"]) == ("leader", 5)
    file = tmp_path / "large"
    file.write_bytes(LARGE)
    status, out, _ = run("blob", "put", "web-0", "large", "--from", str(file))
    assert (status, out.startswith("web-0 large: put, version ")) == (0, True)
    assert held(blobs, WEB) == {"large": LARGE, "state.json": b"{}"}
    assert run("blob", "get", "web-0.shop", "large", "--to", str(tmp_path / "got"))[0] == 0
    assert (tmp_path / "got").read_bytes() == LARGE
    assert (tmp_path / "got").stat().st_mode & 0o777 == 0o600
    assert run("blob", "put", "web-0", "empty", "--from", "/dev/null")[0] == 0
    assert run("blob", "get", "web-0", "empty", "--to", str(tmp_path / "empty"))[0] == 0
    assert (tmp_path / "empty").read_bytes() == held(blobs, WEB).pop("empty") == b""
    assert run("blob", "rm", "web-0", "empty")[0] == 0
    assert run("blob", "rm", "web-0", "large")[:2] == (0, "web-0 large: removed\n")
    assert held(blobs, WEB) == {"state.json": b"{}"}


def test_a_version_is_compared_and_swapped(run: Run, shop: Daemon, tmp_path: Path) -> None:
    """Who was second is told so, by the status of a conflict."""
    file = tmp_path / "leader"
    file.write_bytes(b"operator")
    swap = ("blob", "put", "web.shop", "leader", "--role", "--from", str(file), "--if-version")
    assert run(*swap, "none")[0] == 5
    (one,) = json.loads(run("blob", "ls", "web.shop", "--role", "-o", "json")[1])
    assert run(*swap, one["version"])[0] == 0
    assert run(*swap, one["version"])[0] == 5
    assert run("blob", "rm", "web.shop", "leader", "--role", "--if-version", one["version"])[0] == 5
    assert held(shop._host.machine.blobs, ROLE) == {"leader": b"operator"}


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("ls", "web-9.shop"), 3, "web-9"),
        (("ls", "db.shop", "--role"), 3, "there is no role"),
        (("ls", "web.bank", "--role"), 3, "bank"),
        (("ls", "shop", "--role"), 3, "there is no role"),
        (("get", "web-0", "other"), 3, "no blob"),
        (("rm", "web-0", "other"), 3, "no blob"),
        (("rm", "web-0", ".."), 2, "cannot be used"),
        (("rm", "web-0", "state.json", "--if-version", "7"), 2, "no version"),
        (("put", "web-0", "a", "--from", "/nowhere/at/all"), 2, "/nowhere/at/all"),
        (("put", "web-0", "a b", "--from", "/dev/null"), 2, "cannot be used"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_what_cannot_be_meant_is_told(run: Run, words: tuple[str, ...], status: int, told: str) -> None:
    """With the status of its kind."""
    done = run("blob", *words)
    assert (done[0], told in done[2]) == (status, True), done


@pytest.mark.usefixtures("shop")
def test_a_file_that_is_there_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    """Another is named instead."""
    (tmp_path / "there").write_text("mine")
    assert run("blob", "get", "web-0", "state.json", "--to", str(tmp_path / "there"))[0] == 2
    assert (tmp_path / "there").read_text() == "mine"


def test_bytes_of_another_digest_are_not_kept(run: Run, shop: Daemon, tmp_path: Path) -> None:
    """A disk that rots changes neither a size nor a head; the clients in guests look, too."""
    store = shop.world.blobs[WEB]
    store["state.json"] = store["state.json"][0], b"[]"
    done = run("blob", "get", "web-0", "state.json", "--to", str(tmp_path / "got"))
    assert (done[0] > 0, "not those of its digest" in done[2], list(tmp_path.glob("*got*"))) == (True, True, [])


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("owner", [("web-0",), ("web.shop", "--role")])
def test_nothing_is_put_for_who_goes(run: Run, owner: tuple[str, ...]) -> None:
    """It would go with it, or be left behind; what is there can be fetched as long as it is."""
    assert run("delete", "service", "shop")[0] == 0
    status, _, told = run("blob", "put", *owner, "late", "--from", "/dev/null")
    assert (status, "goes, and its blobs with it" in told) == (5, True), told
    assert run("blob", "ls", *owner)[0] == 0

"""Paths that lead to drives: what the disc says of them, and the script, as a real shell runs it."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from vmrole_unattend.errors import AnswersInvalid

from tests.unit.vmrole_unattend.user_parts import ANSWERS, parts

WITH = dataclasses.replace(ANSWERS, places=(("data", "/srv/orders"), ("log", "/log")))


def test_the_disc_says_where_they_lead() -> None:
    """Behind the hook that mounts them and before all that is the user's; without any, the disc is what it was."""
    found = parts(WITH)
    assert list(found)[:3] == ["vmrole-setup-begin", "vmrole-places", "vmrole-places.sh"]
    assert found["vmrole-places"] == ("text/cloud-boothook", found["vmrole-places.sh"][1])
    assert found["vmrole-places.sh"][0] == "text/x-shellscript"
    assert found["vmrole-places.sh"][1].startswith("#!/bin/sh\nplaces='data:/srv/orders log:/log'\n")
    assert not [name for name in parts(ANSWERS) if "places" in name]


@pytest.mark.parametrize(
    "place", [("data", "srv"), ("data", "/a/../b"), ("data", "/a'b"), ("data", "/a b"), ("data", "/"), ("web", "/a")]
)
def test_no_place_breaks_out_of_the_script(place: tuple[str, str]) -> None:
    """Nor leads to a disk that there is not."""
    with pytest.raises(AnswersInvalid):
        dataclasses.replace(ANSWERS, places=(place,))


def run(root: Path) -> subprocess.CompletedProcess[str]:
    """The script with the guest's paths below a directory."""
    text = parts(WITH)["vmrole-places.sh"][1]
    for path in ("/local/", "/var/lib/vmrole/", "/srv/orders", "/log"):
        text = text.replace(f":{path}", f":{root}{path}").replace(f"={path}", f"={root}{path}")
        text = text.replace(f">>{path}", f">>{root}{path}")
    return subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What a guest has when the script runs."""
    for name in ("local/data", "local/log", "var/lib/vmrole", "srv/orders"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_each_path_leads_to_its_drive(root: Path) -> None:
    """Also where an empty directory was; again it changes nothing."""
    for _ in range(2):
        assert run(root).returncode == 0
        assert (root / "srv/orders").readlink() == root / "local/data"
        assert (root / "log").readlink() == root / "local/log"
    assert not (root / "var/lib/vmrole/setup-problems").exists()


def test_what_is_there_already_stays_and_is_told(root: Path) -> None:
    """Who writes to it would not write to the drive: the setup fails with a sentence."""
    (root / "srv/orders/his").write_text("precious")
    assert run(root).returncode == 1
    assert (root / "srv/orders/his").read_text() == "precious"
    assert "something is there already" in (root / "var/lib/vmrole/setup-problems").read_text()
    assert (root / "log").readlink() == root / "local/log", "the others are made all the same"

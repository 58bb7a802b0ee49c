"""Directories of the host's in a guest: what the disc says of them, and what the script leaves behind."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from vmrole_unattend.errors import AnswersInvalid

from tests.unit.vmrole_unattend.user_parts import ANSWERS, parts

WITH = dataclasses.replace(ANSWERS, shares=(("data", "/data"), ("tools", "/opt/tools")))


def test_the_disc_says_where_they_are() -> None:
    """Before all that is the user's; without any, the disc is what it was."""
    found = parts(WITH)
    assert list(found)[:3] == ["vmrole-setup-begin", "vmrole-shares", "vmrole-shares.sh"]
    assert found["vmrole-shares"] == ("text/cloud-boothook", found["vmrole-shares.sh"][1])
    assert found["vmrole-shares.sh"][1].startswith("#!/bin/sh\nshares='data:/data tools:/opt/tools'\n")
    assert not [name for name in parts(ANSWERS) if "shares" in name]


@pytest.mark.parametrize(
    "share", [("data", "srv"), ("data", "/a/../b"), ("data", "/a'b"), ("data", "/a b"), ("data", "/"), ("a b", "/a")]
)
def test_no_share_breaks_out_of_the_script(share: tuple[str, str]) -> None:
    """By its name or by its place."""
    with pytest.raises(AnswersInvalid):
        dataclasses.replace(ANSWERS, shares=(share,))


def run(root: Path, *, mounts: bool = True) -> subprocess.CompletedProcess[str]:
    """The script with the guest's paths below a directory, and mounts that are written down there instead."""
    text = parts(WITH)["vmrole-shares.sh"][1]
    for name in ("var/lib/vmrole/setup-problems", "etc/fstab", "usr/lib/vmrole/common", "etc/vmrole/start.d"):
        text = text.replace(f"=/{name}", f"={root}/{name}")
    for place in ("/data", "/opt/tools"):
        text = text.replace(f":{place}", f":{root}{place}")
    text = text.replace("PATH=/", f"PATH={root}/bin:/")
    for name, does in (("mount", f'echo "$@" >>{root}/mounted; exit {0 if mounts else 1}'), ("mountpoint", "exit 1")):
        (root / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (root / "bin" / name).chmod(0o755)
    return subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What a guest has when the script runs."""
    for name in ("bin", "etc", "var/lib/vmrole"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/fstab").write_text("LABEL=root / ext4 defaults 0 1")  # without an end of its line
    return tmp_path


def test_they_are_mounted_now_and_at_each_boot(root: Path) -> None:
    """Read-only; a boot goes on without one. Again it changes nothing."""
    for _ in range(2):
        assert run(root).returncode == 0
    options = "virtiofs ro,nofail,x-systemd.before=local-fs.target 0 0"
    assert (root / "etc/fstab").read_text().splitlines() == [
        "LABEL=root / ext4 defaults 0 1",
        f"data {root}/data {options}",
        f"tools {root}/opt/tools {options}",
    ]
    assert (root / "mounted").read_text().splitlines()[0] == f"-t virtiofs -o ro data {root}/data"
    assert (root / "opt/tools").is_dir()


def test_what_cannot_be_mounted_is_told(root: Path) -> None:
    """To the console and to whoever looks at how setup went."""
    ended = run(root, mounts=False)
    assert ended.returncode == 1
    assert f"share data cannot be mounted at {root}/data" in ended.stderr
    problems = (root / "var/lib/vmrole/setup-problems").read_text().splitlines()
    assert problems == [
        f"share {name} cannot be mounted at {root}/{at}" for name, at in (("data", "data"), ("tools", "opt/tools"))
    ]


def test_micro_mounts_them_before_its_services(root: Path) -> None:
    """It has no fstab that anybody reads, and loads no modules by itself."""
    (root / "usr/lib/vmrole").mkdir(parents=True)
    (root / "usr/lib/vmrole/common").write_text(f'load() {{ echo "$1" >>{root}/loaded; }}\n')
    assert run(root).returncode == 0
    assert (root / "etc/fstab").read_text() == "LABEL=root / ext4 defaults 0 1"
    service = root / "etc/vmrole/start.d/00-shares"
    assert service.stat().st_mode & 0o111 == 0o111
    subprocess.run([str(service)], env={"PATH": f"{root}/bin:/usr/bin:/bin"}, check=True)
    assert (root / "loaded").read_text() == "shares\n" * 2
    assert (root / "mounted").read_text().splitlines()[2:] == [
        f"-t virtiofs -o ro data {root}/data",
        f"-t virtiofs -o ro tools {root}/opt/tools",
    ]

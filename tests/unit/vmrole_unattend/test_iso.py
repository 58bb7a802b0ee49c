"""The ISO writer: the same bytes always, and a second implementation reads what was written."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vmrole_unattend import AnswersInvalid, iso

_FILES = {
    "meta-data": b'{"instance-id": "x"}\n',
    "user-data": bytes(range(256)) * 20,
    "a-long.name_" + "x" * 50: b"",
    "openstack/latest/meta_data.json": b"{}",
    "openstack/latest/user_data": b"u" * 3000,
    "vmrole/specialize.cmd": b"@echo off\r\n",
    "1/2/3/4/5/6/7/eighth-level": b"deep",
    "openstack-.latest/" + "y" * 64: b"beside",
}
_DIRECTORIES = {name[:at] for name in _FILES for at, letter in enumerate(name) if letter == "/"}
_ELSEWHERE = """
import hashlib, sys, time
from vmrole_unattend import iso
files = {"user-data": b"u" * 5000, "meta-data": b"m", "long-" + "n" * 59: b"", "a/b/c": b"d"}
print(hashlib.sha256(iso.write_iso(files, "cidata")).hexdigest())
"""


def _read(image: Path, name: str, reader: str) -> bytes:
    """One file as isoinfo (cdrkit) sees it; `reader` is -R for Rock Ridge, -J for Joliet."""
    argv = ["isoinfo", reader, "-i", str(image), "-x", f"/{name}"]
    return subprocess.run(argv, capture_output=True, check=True, timeout=20).stdout


@pytest.mark.parametrize("reader", ["-R", "-J"])
def test_another_implementation_reads_every_file(tmp_path: Path, reader: str) -> None:
    """What cdrkit reads by Rock Ridge and by Joliet is what was written, under its whole name."""
    image = tmp_path / "disc.iso"
    image.write_bytes(iso.write_iso(_FILES, "cidata"))
    listed = subprocess.run(
        ["isoinfo", reader, "-f", "-i", image], capture_output=True, text=True, check=True, timeout=20
    )
    assert sorted(listed.stdout.split()) == sorted(f"/{name}" for name in (*_FILES, *_DIRECTORIES))
    for name, content in _FILES.items():
        assert _read(image, name, reader) == content


@pytest.mark.parametrize("without", ["rockridge", "joliet"])
def test_a_third_implementation_unpacks_the_tree(tmp_path: Path, without: str) -> None:
    """libarchive, told to ignore the one kind of names, unpacks by the other the very tree that was written."""
    image, tree = tmp_path / "disc.iso", tmp_path / "tree"
    image.write_bytes(iso.write_iso(_FILES, "cidata"))
    tree.mkdir()
    argv = ["bsdtar", "--options", f"iso9660:!{without}", "-x", "-f", image, "-C", tree]
    subprocess.run(argv, capture_output=True, check=True, timeout=20)
    found = {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert found == _FILES


def test_the_label_is_what_a_guest_looks_for(tmp_path: Path) -> None:
    """blkid, which finds the disc in a guest, sees an iso9660 file system with exactly the label asked for."""
    image = tmp_path / "disc.iso"
    image.write_bytes(iso.write_iso(_FILES, "cidata"))
    seen = subprocess.run(
        ["blkid", "-p", "-o", "export", image], capture_output=True, text=True, check=True, timeout=20
    )
    assert {"LABEL=cidata", "TYPE=iso9660"} <= set(seen.stdout.split())


def test_only_root_of_the_guest_reads_the_files(tmp_path: Path) -> None:
    """Files on the disc are -r-------- of root, because a guest mounts it where its users can look."""
    image = tmp_path / "disc.iso"
    image.write_bytes(iso.write_iso(_FILES, "cidata"))
    listed = subprocess.run(
        ["isoinfo", "-R", "-l", "-i", image], capture_output=True, text=True, check=True, timeout=20
    )
    files = [line.split() for line in listed.stdout.splitlines() if line.startswith("-")]
    assert len(files) == len(_FILES)
    assert all(fields[0] == "-r--------" and fields[2:4] == ["0", "0"] for fields in files)
    below = [
        line.split() for line in listed.stdout.splitlines() if line.startswith("d") and line.split()[-1].strip(".")
    ]
    assert {fields[0] for fields in below} == {"dr-x------"}


@pytest.mark.slow
def test_time_and_place_leave_no_trace() -> None:
    """Other processes, in other time zones, in another second, make the very same disc."""
    digests = set[str]()
    for zone in ("UTC", "Asia/Kolkata"):
        argv = [sys.executable, "-c", _ELSEWHERE]
        done = subprocess.run(
            argv, env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True, timeout=60
        )
        digests.add(done.stdout.strip())
        time.sleep(1.1)  # dates on an ISO count seconds
    assert len(digests) == 1


def test_the_order_of_files_does_not_matter() -> None:
    """A mapping in another order gives equal bytes; other content or another date gives others."""
    first = iso.write_iso(_FILES, "cidata")
    assert iso.write_iso(dict(reversed(_FILES.items())), "cidata") == first
    assert iso.write_iso({**_FILES, "meta-data": b"{}"}, "cidata") != first
    assert iso.write_iso(_FILES, "cidata", when_epoch_s=1) != first


def test_every_date_is_the_one_asked_for(tmp_path: Path) -> None:
    """The year in which the disc was made is nowhere on it; the one asked for is on every file."""
    image = tmp_path / "disc.iso"
    image.write_bytes(iso.write_iso(_FILES, "cidata", when_epoch_s=1_000_000_000))  # 2001-09-09 01:46:40
    listed = subprocess.run(
        ["isoinfo", "-R", "-l", "-i", image], capture_output=True, text=True, check=True, timeout=20
    )
    dated = [line for line in listed.stdout.splitlines() if line.startswith(("-", "d"))]
    assert dated
    assert all("Sep  9 2001" in line for line in dated)
    assert image.read_bytes().count(b"2001090901464000\0") == 6  # three dates in each of two volume descriptors
    assert time.strftime("%Y%m%d").encode() not in image.read_bytes()


def test_a_hundred_files_are_read_back(tmp_path: Path) -> None:
    """A directory over several sectors is dated and read like a small one."""
    files = {f"script-number-{number:03}.sh": f"{number}\n".encode() for number in range(100)}
    image = tmp_path / "disc.iso"
    image.write_bytes(iso.write_iso(files, "cidata"))
    listed = subprocess.run(
        ["isoinfo", "-R", "-l", "-i", image], capture_output=True, text=True, check=True, timeout=20
    )
    dated = [line for line in listed.stdout.splitlines() if line.startswith("-")]
    assert len(dated) == len(files)
    assert all("Jan  1 1970" in line for line in dated)
    assert _read(image, "script-number-077.sh", "-J") == b"77\n"


@pytest.mark.parametrize("label", ["cidata", "config-2", "UNATTEND"])
def test_labels_that_guests_look_for_are_written_as_they_are(tmp_path: Path, label: str) -> None:
    """cloud-init, cloudbase-init and our own scripts find their disc by its label, whichever name table they read."""
    image = tmp_path / "disc.iso"
    image.write_bytes(iso.write_iso({"x": b""}, label))
    for reader in ([], ["-J"]):
        shown = subprocess.run(
            ["isoinfo", *reader, "-d", "-i", image], capture_output=True, text=True, check=True, timeout=20
        )
        assert f"Volume id: {label}\n" in shown.stdout


_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,30}"


def _alone(files: dict[str, bytes]) -> bool:
    """Whether no name is another's in other letters, or its directory."""
    small = [name.lower() for name in files]
    return len(set(small)) == len(small) and not any(
        other.startswith(f"{name}/") or (other != name and other.split("/")[0] == name.split("/")[0])
        for name in small
        for other in small
    )


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(rf"{_PART}(/{_PART}){{0,2}}", fullmatch=True), st.binary(max_size=5000), max_size=5
    ).filter(_alone)
)
def test_making_it_twice_is_making_it_once(files: dict[str, bytes]) -> None:
    """Any files give equal bytes twice, and the content of each is on the disc."""
    image = iso.write_iso(files, "cidata")
    assert hashlib.sha256(image).digest() == hashlib.sha256(iso.write_iso(files, "cidata")).digest()
    assert all(content in image for content in files.values())


@pytest.mark.parametrize("label", ["", "seventeen-letters", "ci data", "cidäta", "a/b"])
def test_a_label_that_no_guest_would_find_is_refused(label: str) -> None:
    """A volume label is 1 to 16 characters that Joliet and ISO 9660 write alike."""
    with pytest.raises(AnswersInvalid) as refused:
        iso.write_iso(_FILES, label)
    assert refused.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "", "../x", "a/../b", "/a", "a/", "a//b", "a/.hidden", ".hidden", "x" * 65, f"a/{'x' * 65}", "ä", "a\n",
        "a\n/b", "1/2/3/4/5/6/7/8/9", f"{'x' * 60}/{'y' * 60}",
    ],
)  # fmt: skip
def test_a_name_that_would_not_arrive_is_refused(name: str) -> None:
    """Names that Joliet shortens, or that point elsewhere, are refused and named."""
    with pytest.raises(AnswersInvalid) as refused:
        iso.write_iso({name: b""}, "cidata")
    assert repr(name[:80]) in str(refused.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [("readme", "README"), ("a/b", "A/c"), ("a", "a/b"), ("A/b", "a"), ("x/a/b", "x/a")],
)
def test_names_that_hide_each_other_are_refused(one: str, other: str) -> None:
    """On Windows names that differ in case alone are one; anywhere a directory's name is no file's."""
    with pytest.raises(AnswersInvalid) as refused:
        iso.write_iso({one: b"1", other: b"2"}, "cidata")
    assert "cannot both" in refused.value.message
    assert refused.value.hint

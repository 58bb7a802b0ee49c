"""What a guest does with a drive or storage that is to be taken from it, as a real shell runs it, its files below a
directory.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from vmrole_unattend.nocloud import guest_script

BY_ID = "/dev/disk/by-id/virtio-dr-archive"
UMOUNT = """#!/bin/sh
echo "$1" >>{root}/unmounted
for file in {root}/proc/self/mountinfo {root}/proc/mounts; do
    left=$(grep -vF " $(echo "$1" | sed 's/ /\\\\040/g') " "$file")
    printf '%s\\n' "$left" >"$file"
done
rm -rf {root}/sys/fs/btrfs # The kernel tells of it while it is mounted somewhere.
"""


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """One with a disk vdb of a partition, and nothing mounted of it."""
    disk = tmp_path / "sys/block/vdb"
    for place, dev in ((disk, "252:16"), (disk / "vdb1", "252:17")):
        place.mkdir(parents=True)
        (place / "dev").write_text(f"{dev}\n")
    (disk / "serial").write_text("dr-archive")
    for name in ("proc/self", "proc/77/fd", "bin", "etc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/77/comm").write_text("orders\n")
    (tmp_path / "proc/swaps").touch()
    (tmp_path / "bin/umount").write_text(UMOUNT.format(root=tmp_path))
    (tmp_path / "bin/umount").chmod(0o755)
    tool(tmp_path, "blockdev")
    mounted(tmp_path, ("252:1", "/", "/dev/vda1"), ("0:5", "/proc", "proc"))
    return tmp_path


def mounted(guest: Path, *of: tuple[str, str, str]) -> None:
    """This, by number, place and source."""
    lines = [f"{36 + at} 1 {dev} / {where} rw - ext4 {source} rw" for at, (dev, where, source) in enumerate(of)]
    (guest / "proc/self/mountinfo").write_text("".join(f"{line}\n" for line in lines))
    (guest / "proc/mounts").write_text("".join(f"{source} {where} ext4 rw 0 0\n" for _, where, source in of))


def let_go(guest: Path, before: str = "", *, verb: str = "let_go", serials: str = "dr-archive") -> tuple[int, str]:
    """How the script ends, and what it says; it is run behind these lines."""
    script = guest_script("drive.sh").replace("PATH=/usr/local/sbin", f"PATH={guest}/bin:/usr/local/sbin")
    script = script.replace("place=/local/", f"place={guest}/local/")
    for place in ("/proc/", "/sys/", "/etc/fstab", "/run/systemd/"):
        script = script.replace(place, f"{guest}{place}")
    script = script.replace("open_wait_s=3", "open_wait_s=0")
    argv = ["/bin/sh", "-c", f"{before}verb={verb} serials='{serials}'\n{script}"]
    ended = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
    return ended.returncode, ended.stdout.strip()


@pytest.mark.parametrize(
    ("dev", "source"),
    [
        ("252:16", "/dev/vdb"),
        ("252:17", "/dev/vdb1"),
        ("252:16", BY_ID),
        ("0:44", "/dev/vdb1"),
        ("252:17", "/dev/root"),
    ],
)
def test_what_is_mounted_of_it_is_unmounted(guest: Path, dev: str, source: str) -> None:
    """Whatever its source is called: busybox says what it was told, a link of the disk; Btrfs has another number."""
    mounted(guest, ("252:1", "/", "/dev/vda1"), (dev, "/srv", source), (dev, "/srv/a\\040b", source))
    assert let_go(guest) == (0, "")
    assert (guest / "unmounted").read_text() == "/srv/a b\n/srv\n"


def test_what_is_mounted_of_others_stays(guest: Path) -> None:
    """Of a disk whose name begins alike as well."""
    mounted(guest, ("252:1", "/", "/dev/vda1"), ("252:32", "/a", "/dev/vdba"), ("8:16", "/b", "/dev/vdbp"))
    assert let_go(guest) == (0, "")
    assert not (guest / "unmounted").exists()


@pytest.mark.parametrize("opened", ["/dev/vdb", "/dev/vdb1"])
def test_a_disk_that_a_program_has_open_stays(guest: Path, opened: str) -> None:
    """Without any file system: a database on the bare disk would lose it in the midst of a write."""
    (guest / "proc/77/fd/3").symlink_to(opened)
    assert let_go(guest) == (1, "/dev/vdb is open; by: orders (77)")
    (guest / "proc/77/fd/3").unlink()
    (guest / "proc/77/fd/3").symlink_to("/dev/vdba")
    assert let_go(guest) == (0, "")


def test_what_a_container_has_mounted_stays(guest: Path) -> None:
    """In a namespace of its own, where nobody else unmounts it."""
    (guest / "proc/77/mountinfo").write_text("9 1 252:17 /data /srv rw - ext4 /dev/vdb1 rw\n")
    assert let_go(guest) == (1, "/dev/vdb is mounted elsewhere; by: orders (77)")
    (guest / "proc/77/mountinfo").write_text("9 1 252:1 / /252:16 rw - ext4 /dev/vda1 rw\n")
    assert let_go(guest) == (0, "")


def test_a_btrfs_that_a_container_has_mounted_stays(guest: Path) -> None:
    """It has a number of its own there, and a name: that of the disk, or by its user's word another."""
    (guest / "proc/77/mountinfo").write_text("9 1 0:44 / /srv rw - btrfs /dev/vdb1 rw\n")
    assert let_go(guest) == (1, "/dev/vdb is mounted elsewhere; by: orders (77)")
    (guest / "proc/77/mountinfo").write_text(f"9 1 0:44 / /srv rw - btrfs {BY_ID} rw\n")
    btrfs(guest, "vdb1")
    assert let_go(guest) == (1, "the Btrfs of /dev/vdb is mounted elsewhere")
    (guest / "proc/77/mountinfo").write_text("9 1 0:45 / /srv rw - btrfs /dev/vdba rw\n")
    (guest / "sys/fs/btrfs/some-uuid/devices/vdb1").rmdir()
    assert let_go(guest) == (0, "")


@pytest.mark.parametrize("lines", [("LABEL=root / ext4 defaults 0 1\n",), ()])
def test_its_line_goes_out_of_fstab(guest: Path, lines: tuple[str, ...]) -> None:
    """And nothing else."""
    fstab = guest / "etc/fstab"
    fstab.write_text("".join((*lines, f"{BY_ID} /local/archive auto nofail 0 2\n")))
    fstab.chmod(0o640)
    assert let_go(guest) == (0, "")
    assert (fstab.read_text(), fstab.stat().st_mode & 0o777) == ("".join(lines), 0o640)
    assert [file.name for file in fstab.parent.iterdir()] == ["fstab"]


def test_fstab_is_whole_where_it_cannot_be_written(guest: Path) -> None:
    """As on a full disk, or when the guest ends in the midst of it: it would not start again."""
    text = f"LABEL=root / ext4 defaults 0 1\n{BY_ID} /local/archive auto nofail 0 2\n"
    (guest / "etc/fstab").write_text(text)
    assert let_go(guest, "ulimit -f 0; trap '' XFSZ\n") == (0, "")
    assert (guest / "etc/fstab").read_text() == text


def tool(guest: Path, name: str, then: str = "") -> Path:
    """A program of the guest's, and where it tells of its calls."""
    calls = guest / f"{name}-calls"
    (guest / "bin" / name).write_text(f'#!/bin/sh\necho "$*" >>{calls}\n{then}\n')
    (guest / "bin" / name).chmod(0o755)
    return calls


def test_what_comes_back_keeps_its_line_in_fstab(guest: Path) -> None:
    """A boot finds it mounted, whatever has become of the memory of before."""
    (guest / "sys/block/vdb/serial").write_text("ls-archive")
    text = "/dev/disk/by-id/virtio-ls-archive /local/archive auto nofail 0 2\n"
    (guest / "etc/fstab").write_text(text)
    mounted(guest, ("252:1", "/", "/dev/vda1"), ("252:16", f"{guest}/local/archive", "/dev/vdb"))
    assert let_go(guest, verb="step_aside", serials="ls-archive") == (0, "")
    assert (guest / "etc/fstab").read_text() == text
    assert (guest / "unmounted").read_text() == f"{guest}/local/archive\n"


def test_each_of_several_disks_is_put_aside(guest: Path) -> None:
    """And who uses the last of them is told; one that is gone already is no reason to stop."""
    (guest / "sys/block/vdb/serial").write_text("ls-jobs")
    (guest / "proc/77/fd/3").symlink_to("/dev/vdb")
    said = "/dev/vdb is open; by: orders (77)"
    assert let_go(guest, verb="step_aside", serials="ls-archive ls-jobs") == (1, said)
    (guest / "proc/77/fd/3").unlink()
    assert let_go(guest, verb="step_aside", serials="ls-archive ls-jobs") == (0, "")


def two_disks(guest: Path) -> tuple[Path, Path]:
    """ls-cache, mounted at its place, and ls-jobs, which is not; what is mounted and run is told in these."""
    (guest / "sys/block/vdb/serial").write_text("ls-cache")
    (guest / "sys/block/vdc").mkdir()
    (guest / "sys/block/vdc/dev").write_text("252:32\n")
    (guest / "sys/block/vdc/serial").write_text("ls-jobs")
    place = guest / "local/cache"
    place.mkdir(parents=True)
    mounted(guest, ("252:1", "/", "/dev/vda1"), ("252:16", str(place), "/dev/vdb"))
    line = f'echo "$1 $2 ext4 rw 0 0" >>{guest}/proc/mounts'
    return tool(guest, "mount", line), tool(guest, "chattr")


def aside(guest: Path) -> tuple[int, str]:
    return let_go(guest, verb="step_aside", serials="ls-cache ls-jobs")


@pytest.mark.parametrize("where", ["/var/lib/app", "/srv/a b"])
def test_what_is_mounted_elsewhere_as_well_does_not_step_aside(guest: Path, where: str) -> None:
    """It would come back at its place alone, and who writes to the other would write to the system disk."""
    two_disks(guest)
    there = ("252:16", where.replace(" ", "\\040"), "/dev/vdb")
    mounted(guest, ("252:1", "/", "/dev/vda1"), ("252:16", str(guest / "local/cache"), "/dev/vdb"), there)
    assert aside(guest) == (1, f"/dev/vdb is mounted at {where} as well")
    assert not (guest / "unmounted").exists()
    assert let_go(guest, serials="ls-cache") == (0, "")


@pytest.mark.parametrize("where", ["/local/dr-archive", "/mnt"])
def test_a_bare_drive_that_its_guest_has_mounted_does_not_step_aside(guest: Path, where: str) -> None:
    """Wherever that is: nobody mounts it again. Mounted nowhere it goes, and detached for good it is unmounted."""
    place = f"{guest}{where}" if where.startswith("/local/") else where
    mounted(guest, ("252:1", "/", "/dev/vda1"), ("252:16", place, "/dev/vdb"))
    assert let_go(guest, verb="step_aside") == (1, f"/dev/vdb is mounted at {place}")
    assert not (guest / "unmounted").exists()
    assert let_go(guest) == (0, "")
    assert let_go(guest, verb="step_aside") == (0, "")


@pytest.mark.parametrize("verb", ["step_aside", "let_go"])
@pytest.mark.parametrize("backing", ["/dev/vdc", "/dev/vdc1"])
def test_a_loop_device_over_it_keeps_it(guest: Path, backing: str, verb: str) -> None:
    """The kernel has no other word for that: the disk would be torn out below. A file in another is none of it."""
    two_disks(guest)
    loop = guest / "sys/block/loop0/loop/backing_file"
    loop.parent.mkdir(parents=True)
    loop.write_text(f"{backing}\n")
    assert let_go(guest, verb=verb, serials="ls-jobs") == (1, "loop0 lies on it")
    loop.write_text("/dev/vdcx\n")
    assert let_go(guest, verb=verb, serials="ls-jobs") == (0, "")


def bcache(guest: Path) -> None:
    """Has a partition behind a cache."""
    (guest / "sys/block/vdc/vdc1/bcache").mkdir(parents=True)


def btrfs(guest: Path, *disks: str) -> None:
    """Of these disks; which of them it is mounted by does not tell of the others."""
    for disk in disks:
        (guest / "sys/fs/btrfs/some-uuid/devices" / disk).mkdir(parents=True)


def target(guest: Path, path: str) -> None:
    """LIO, with the disk by whatever name its user gave it."""
    core = guest / "sys/kernel/config/target/core/iblock_0/shared"
    core.mkdir(parents=True, exist_ok=True)
    (core / "udev_path").write_text(f"{path}\n")


def pool(guest: Path, path: str) -> None:
    """ZFS, as its tool tells."""
    tool(guest, "zpool", f'[ "$*" = "status -LP" ] && echo "  state: ONLINE"; echo "    {path}  ONLINE  0  0"')


@pytest.mark.parametrize("verb", ["step_aside", "let_go"])
@pytest.mark.parametrize(
    ("has", "said"),
    [
        (bcache, "bcache has it"),
        (lambda guest: btrfs(guest, "vdb", "vdc"), "a Btrfs of several disks has it"),
        (lambda guest: btrfs(guest, "vdd", "vdc1"), "a Btrfs of several disks has it"),
        (lambda guest: target(guest, "/dev/vdc1"), "a target for others has it"),
        (lambda guest: pool(guest, "/dev/vdc"), "a pool of ZFS has it"),
        (lambda guest: pool(guest, "/dev/vdc1"), "a pool of ZFS has it"),
    ],
)
def test_what_no_link_of_the_kernel_tells_of_keeps_it(
    guest: Path, has: Callable[[Path], None], said: str, verb: str
) -> None:
    """Nothing is unmounted for it."""
    two_disks(guest)
    has(guest)
    ended, told = let_go(guest, verb=verb, serials="ls-cache ls-jobs" if verb == "step_aside" else "ls-jobs")
    assert (ended, told.startswith(said)) == (1, True), told
    assert not (guest / "unmounted").exists()


def test_what_has_another_disk_keeps_none(guest: Path) -> None:
    """A Btrfs of this disk alone goes as it is unmounted."""
    two_disks(guest)
    mounted(guest, ("252:1", "/", "/dev/vda1"), ("0:44", str(guest / "local/jobs"), "/dev/vdc"))
    btrfs(guest, "vdc")
    target(guest, "/dev/vdd")
    pool(guest, "/dev/vdcx")
    assert let_go(guest, verb="step_aside", serials="ls-cache ls-jobs") == (0, "")


@pytest.mark.parametrize("verb", ["step_aside", "let_go"])
def test_what_the_kernel_says_is_busy_stays(guest: Path, verb: str) -> None:
    """Whoever it is that has it to himself; a kernel that cannot look at partitions says nothing of that."""
    (guest / "sys/block/vdb/serial").write_text("ls-archive")
    asked = tool(guest, "blockdev", "echo 'blockdev: ioctl error on BLKRRPART: Device or resource busy' >&2; exit 1")
    assert let_go(guest, verb=verb, serials="ls-archive") == (1, "/dev/vdb is in use by the kernel")
    assert asked.read_text() == "--rereadpt /dev/vdb\n"
    tool(guest, "blockdev", "echo 'blockdev: ioctl error on BLKRRPART: Invalid argument' >&2; exit 1")
    assert let_go(guest, verb=verb, serials="ls-archive") == (0, "")


@pytest.mark.parametrize("by", ["open", "swap", "holder", "loop"])
def test_none_is_unmounted_when_one_of_them_has_to_stay(guest: Path, by: str) -> None:
    """All are looked at before the first: whose services run would write below it."""
    two_disks(guest)
    if by == "open":
        (guest / "proc/77/fd/3").symlink_to("/dev/vdc")
    elif by == "swap":
        (guest / "proc/swaps").write_text("/dev/vdc partition 1 0 -2\n")
    elif by == "holder":
        (guest / "sys/block/vdc/holders/dm-0").mkdir(parents=True)
    else:
        (guest / "sys/block/loop0/loop").mkdir(parents=True)
        (guest / "sys/block/loop0/loop/backing_file").write_text("/dev/vdc\n")
    assert aside(guest)[0] == 1
    assert not (guest / "unmounted").exists()


def test_what_was_unmounted_for_nothing_is_mounted_again(guest: Path) -> None:
    """By `mount` alone: nothing that could format has a hand in it. What was not mounted is not."""
    laid, _ = two_disks(guest)
    place = guest / "local/cache"
    made = tool(guest, "mke2fs")
    (guest / "proc/77/mountinfo").write_text("9 1 252:32 / /srv rw - ext4 /dev/vdc rw\n")
    assert aside(guest) == (1, "/dev/vdc is mounted elsewhere; by: orders (77)")
    assert laid.read_text().splitlines()[-1] == f"/dev/vdb {place}"
    assert f"/dev/vdb {place} ext4 rw 0 0\n" in (guest / "proc/mounts").read_text()
    assert not made.exists()


def test_what_cannot_be_mounted_again_is_told(guest: Path) -> None:
    """And not hidden behind the first reason."""
    two_disks(guest)
    tool(guest, "mount", "exit 1")
    (guest / "proc/77/mountinfo").write_text("9 1 252:16 / /srv rw - ext4 /dev/vdb rw\n")
    why = "/dev/vdb is mounted elsewhere; by: orders (77); /dev/vdb cannot be mounted again"
    assert aside(guest) == (1, why)


@pytest.mark.parametrize(("status", "systemd", "covered"), [(0, False, False), (1, False, True), (1, True, False)])
def test_nobody_writes_below_it_meanwhile(guest: Path, status: int, systemd: bool, covered: bool) -> None:
    """Its place is immutable, or covered by a file system that cannot be written to where nothing else unmounts that;
    once, however often it is asked for.
    """
    place = guest / "local/archive"
    place.mkdir(parents=True)
    if systemd:
        (guest / "run/systemd/system").mkdir(parents=True)
    shut = tool(guest, "chattr", f"exit {status}")
    proc = guest / "proc/mounts"
    laid = tool(guest, "mount", f'echo "vmrole-away {place} tmpfs ro 0 0" >>{proc}')
    for _ in range(2):
        assert let_go(guest, verb="step_aside", serials="ls-archive") == (0, "")
    assert shut.read_text() == f"+i {place}\n" * 2
    told = f"-t tmpfs -o ro,size=4k,mode=555 vmrole-away {place}\n"
    assert (laid.read_text() if laid.exists() else "") == (told if covered else "")

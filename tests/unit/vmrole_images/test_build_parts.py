"""The pieces that base images are made of, each by itself: no image is built here, and nothing is downloaded."""

from __future__ import annotations

import email.charset
import email.mime.multipart
import email.mime.text
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from vmrole_images import BuildError, builder, disk, elf, initramfs, kernel, micro, tools
from vmrole_images.kernel import Kernel
from vmrole_images.micro import reseed

from tests.world.waiting import until

pytestmark = pytest.mark.slow

_STAMP = 1_700_000_000
_SCRIPT = "#!/bin/sh\necho 'a = b' > /root/x\n\n--not a boundary\nprintf '%s' \"grüße\"\n"


def module(name: str, depends: str) -> bytes:
    """The smallest ELF file that is a kernel module to us: a `.modinfo` and the table of names."""
    info = f"name={name}\0depends={depends}\0".encode()
    names = b"\0.modinfo\0.shstrtab\0"
    start = 64 + len(info) + len(names)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 62, 1, 0, 0, start, 0, 64, 0, 0, 64, 3, 2
    )  # fmt: skip
    section = struct.Struct("<IIQQQQIIQQ")
    table = section.pack(*[0] * 10)
    table += section.pack(1, 1, 0, 0, 64, len(info), 0, 0, 1, 0)
    table += section.pack(10, 3, 0, 0, 64 + len(info), len(names), 0, 0, 1, 0)
    return header + info + names + table


def modules(place: Path, **depends: str) -> Kernel:
    """A kernel with these modules, each with what it depends on."""
    for name, needed in depends.items():
        (place / f"{name}.ko").write_bytes(module(name, needed))
    files = {name: place / f"{name}.ko" for name in depends}
    return Kernel("6.1.0-test", place / "vmlinuz", files, frozenset({"ext4"}))


def split(tmp_path: Path, user_data: bytes) -> dict[str, bytes]:
    """The scripts that the guest's own reader finds, decoded the way its setup does."""
    out = tmp_path / "parts"
    out.mkdir()
    (tmp_path / "user-data").write_bytes(user_data)
    command = [
        "busybox",
        "awk",
        "-v",
        f"out={out}",
        "-f",
        str(micro.FILES / "parts.awk"),
        str(tmp_path / "user-data"),
    ]
    subprocess.run(command, check=True, timeout=20)
    found = {}
    for script in sorted(out.glob("*.script")):
        content = script.read_bytes()
        if script.with_suffix(".base64").exists():
            content = subprocess.run(["busybox", "base64", "-d", script], check=True, capture_output=True).stdout
        found[script.stem] = content
    return found


def meta(text: str, key: str) -> str:
    """What the guest's own reader makes of a key of meta-data."""
    command = ["busybox", "sh", "-c", '. "$1"; meta "$2"', "sh", str(micro.FILES / "meta-data"), key]
    return subprocess.run(command, check=True, capture_output=True, input=text.encode(), timeout=20).stdout.decode()


def test_modules_load_after_what_they_need(tmp_path: Path) -> None:
    """Dependencies come first and once; what is built in is left out; the order does not depend on luck."""
    found = modules(tmp_path, virtio_net="net_failover,virtio", net_failover="failover", failover="", virtio="")
    assert kernel.load_order(found, ["virtio-net".replace("-", "_"), "ext4", "virtio"]) == (
        "failover", "net_failover", "virtio", "virtio_net",
    )  # fmt: skip


def test_a_missing_module_is_named(tmp_path: Path) -> None:
    """A driver that the kernel lacks stops the build, unless the recipe can do without it."""
    found = modules(tmp_path, virtio="")
    with pytest.raises(BuildError, match="has no module virtio_scsi"):
        kernel.load_order(found, ["virtio_scsi"])
    assert kernel.load_order(found, ["pvpanic_pci"], optional=True) == ()


def test_libraries_of_a_program_are_read_without_running_it() -> None:
    """DT_NEEDED of a real program names the C library."""
    assert "libc.so.6" in elf.needed(Path(tools.locate("mke2fs")).resolve())
    with pytest.raises(BuildError, match="not a 64-bit"):
        elf.sections(b"#!/bin/sh\n")


def test_the_initramfs_is_a_cpio_archive(tmp_path: Path) -> None:
    """busybox's cpio unpacks what we write, with its modes, and the same input gives the same bytes."""
    entries = [
        initramfs.Entry("bin", stat.S_IFDIR | 0o755),
        initramfs.Entry("bin/tool", stat.S_IFREG | 0o755, b"odd"),
        initramfs.Entry("init", stat.S_IFREG | 0o644, b"12345"),
    ]
    packed = initramfs.archive(entries, epoch_s=_STAMP)
    subprocess.run(["busybox", "cpio", "-i", "-m"], input=packed, cwd=tmp_path, check=True, timeout=20)
    assert (tmp_path / "bin/tool").read_bytes() == b"odd"
    assert (tmp_path / "init").read_bytes() == b"12345"
    assert stat.S_IMODE((tmp_path / "bin/tool").stat().st_mode) == 0o755
    assert (tmp_path / "init").stat().st_mtime == _STAMP
    assert initramfs.archive(entries, epoch_s=_STAMP) == packed


def test_equal_directories_make_equal_disks(tmp_path: Path) -> None:
    """Neither the order nor the time of creation of the files shows in the image."""
    images = []
    for number, names in enumerate((["boot", "etc", "var"], ["var", "etc", "boot"])):
        work = tmp_path / str(number)
        tree = work / "tree"
        for name in names:
            (tree / name).mkdir(parents=True)
            (tree / name / "file with space").write_text(name)
        (tree / "link").symlink_to("boot")
        plan = disk.DiskPlan(16, micro.UUID, "test", 128, 4, "/boot/k", "/boot/i", "quiet")
        disk.make_bootable(tree, plan, work, work / "image.qcow2")
        images.append((work / "image.qcow2").read_bytes())
        time.sleep(1.1 - number)  # ext4 keeps change times in seconds; the second tree is of another second.
    assert images[0] == images[1]
    raw = tmp_path / "back.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", tmp_path / "0/image.qcow2", raw], check=True, timeout=60)
    sector = raw.read_bytes()[:512]
    assert sector[510:] == b"\x55\xaa", "a BIOS boots only a sector with this signature"
    start, count = struct.unpack_from("<II", sector, 446 + 8)
    assert (start + count) * 512 == raw.stat().st_size == 16 * disk.MIB
    subprocess.run(["qemu-img", "check", "-q", tmp_path / "0/image.qcow2"], check=True, timeout=60)


def test_an_absent_tool_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks a tool is told what to install."""
    monkeypatch.setitem(tools.APT_PACKAGE_OF, "grub-frobnicate", "grub-common")
    with pytest.raises(BuildError) as failure:
        tools.run(["grub-frobnicate", "--version"])
    assert failure.value.hint == "apt-get install grub-common"


def test_an_unknown_image_is_refused(tmp_path: Path) -> None:
    """A name without a recipe gets the names that have one, and leaves nothing behind."""
    with pytest.raises(BuildError) as failure:
        builder.build("windows", tmp_path / "out.qcow2")  # type: ignore[arg-type]
    assert failure.value.hint == "one of: micro, debian, setup-simulator"
    assert list(tmp_path.iterdir()) == []


def test_a_failed_build_leaves_the_old_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a build cannot be, what was there stays as it was, and nothing half-made stays beside it."""
    output = tmp_path / "micro.qcow2"
    output.write_text("old")
    monkeypatch.setattr(micro, "KERNELS", ("linux-image-of-nobody",))
    with pytest.raises(BuildError, match="apt knows none of: linux-image-of-nobody"):
        builder.build("micro", output)
    assert output.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["micro.qcow2"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The file system's refusal comes as a BuildError with the path in it, from both ways to get an image."""
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(BuildError, match=f"cannot write {tmp_path}/file"):
        builder.build("micro", tmp_path / "file" / "out.qcow2")
    with pytest.raises(BuildError, match=f"cannot write {tmp_path}/file"):
        builder.ensure("micro", tmp_path / "file" / "images")


def test_an_image_is_kept_only_while_all_is_as_it_was(tmp_path: Path) -> None:
    """A damaged file, a damaged lock, another recipe or a newer package each mean a new build, with the reason."""
    output = tmp_path / "micro.qcow2"
    lock_file = builder.lock_path(output)
    assert builder.stale("micro", output) == "there is none yet"
    output.write_bytes(b"image")
    assert builder.stale("micro", output) == "its lock file is missing or damaged"
    good = {
        "os": "linux",
        "follows_host": True,
        "fingerprint": builder.fingerprint("micro"),
        "image": {"sha256": "6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d"},
        "packages": [{"name": "no-such-package-of-anybody", "version": "1"}],
    }
    lock_file.write_text(json.dumps(good))
    assert builder.stale("micro", output) is None, "a package that apt cannot see now is no reason"
    lock_file.write_text(json.dumps({**good, "packages": [{"name": "e2fsprogs", "version": "0.1"}]}))
    assert "e2fsprogs 0.1 is now" in str(builder.stale("micro", output))
    lock_file.write_text(json.dumps({**good, "fingerprint": {}}))
    assert builder.stale("micro", output) == "its recipe or a tool of this host has changed"
    lock_file.write_text(json.dumps(good))
    output.write_bytes(b"imagf")
    assert builder.stale("micro", output) == "the file is not what was built"


def test_times_follow_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """SOURCE_DATE_EPOCH, the convention of reproducible builds, sets the time of every file."""
    monkeypatch.setitem(os.environ, "SOURCE_DATE_EPOCH", "1600000000")
    assert disk.epoch_s() == 1_600_000_000


def test_a_bare_script_is_a_script(tmp_path: Path) -> None:
    """User-data that begins with #! is one script, whatever its lines look like."""
    assert split(tmp_path, _SCRIPT.encode()) == {"01": _SCRIPT.encode()}


@pytest.mark.parametrize("encoding", [email.charset.BASE64, email.charset.QP, None])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_script_parts_come_out_as_they_went_in(tmp_path: Path, encoding: Any, newline: str) -> None:
    """Scripts in nested multi-parts, in each encoding and line ending, are found; other kinds are passed over."""
    charset = email.charset.Charset("utf-8")
    charset.body_encoding = encoding
    inner = email.mime.multipart.MIMEMultipart()
    inner.attach(email.mime.text.MIMEText(_SCRIPT, "x-shellscript", charset))  # type: ignore[arg-type]
    outer = email.mime.multipart.MIMEMultipart()
    outer.attach(email.mime.text.MIMEText("#cloud-config\nruncmd: []\n", "cloud-config"))
    outer.attach(inner)
    outer.attach(email.mime.text.MIMEText("#!/bin/sh\ntrue\n", "plain"))
    outer.attach(email.mime.text.MIMEText("just words\n", "plain"))
    text = outer.as_bytes().replace(b"\n", newline.encode())
    found = split(tmp_path, text)
    assert {name: script.rstrip() for name, script in found.items()} == {
        "01": _SCRIPT.encode().rstrip(), "02": b"#!/bin/sh\ntrue",
    }  # fmt: skip


@pytest.mark.parametrize(
    "user_data", [b"", b"#cloud-config\nruncmd:\n - true\n", b"--\n", b"\xff\xfe\x00", b"a: b\n\n"]
)
def test_user_data_without_scripts_has_none(tmp_path: Path, user_data: bytes) -> None:
    """What is no script is passed over without a fault."""
    assert split(tmp_path, user_data) == {}


def test_meta_data_is_read_as_json_or_yaml() -> None:
    """Both ways of writing a line give the value; a key that only ends alike does not."""
    text = json.dumps({"x-local-hostname": "no", "local-hostname": "web-0", "vmrole-setup-restart": True}, indent=1)
    assert meta(text, "local-hostname") == "web-0\n"
    assert meta(text, "vmrole-setup-restart") == "true\n"
    assert meta("instance-id: 'i-1'  \nlocal-hostname: web-1\n", "instance-id") == "i-1\n"
    assert meta("instance-id: i-1\nlocal-hostname: web-1\n", "local-hostname") == "web-1\n"


@pytest.mark.parametrize("value", ['a"b', "a b", "$(reboot)", "ü", "../x y", "", "a\\nb"])
def test_odd_meta_data_counts_as_absent(value: str) -> None:
    """A value that cannot be a name reaches neither a file nor the page that the guest serves."""
    assert meta(json.dumps({"local-hostname": value}, indent=1), "local-hostname") == ""


def test_the_guests_scripts_are_sound() -> None:
    """shellcheck finds nothing in any script of the images."""
    scripts = [
        file
        for file in [*sorted(micro.FILES.iterdir()), Path(initramfs.__file__).parent / "initramfs.sh"]
        if file.read_text().startswith("#!") or file.name in ("common", "meta-data")
    ]
    assert len(scripts) > 10
    # SC1091: what is sourced lies elsewhere in the guest. SC2154: udhcpc sets variables. SC2034: common is a part.
    command = ["shellcheck", "-s", "sh", "-e", "SC1091,SC2154,SC2034", *map(str, scripts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has the kernel's randomness made anew")
def test_the_reseeding_program_says_how_it_went() -> None:
    """The kernel does it for root, and refuses everybody else."""
    program = os.memfd_create("reseed")
    os.write(program, reseed.program())
    codes = [
        subprocess.run([f"/proc/self/fd/{program}"], pass_fds=[program], user=user, check=False).returncode
        for user in (0, 65534)
    ]
    os.close(program)
    assert codes == [0, 1]


def test_a_build_that_is_killed_leaves_no_mount(tmp_path: Path) -> None:
    """What is mounted in the tree of a distribution is seen by the build alone, and gone with it."""
    (tmp_path / "bin").mkdir()
    installer = tmp_path / "bin" / "mmdebstrap"
    installer.write_text(_INSTALLER)
    installer.chmod(0o755)
    program = (
        "import sys, pathlib; from vmrole_images import debian; debian.build(*map(pathlib.Path, sys.argv[1:]), print)"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "out"), str(tmp_path / "work")]
    (tmp_path / "work").mkdir()
    path = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    running = subprocess.Popen(argv, env={**os.environ, **path}, start_new_session=True)
    try:
        until((tmp_path / "work" / "mounted").exists, 60.0)
        assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert list((tmp_path / "work" / "tree" / "dev").iterdir()) == []
    shutil.rmtree(tmp_path / "work")


_INSTALLER = """\
#!/bin/sh
for tree; do :; done
mkdir -p "$tree/dev"
mount -t tmpfs none "$tree/dev" && touch "$tree/dev/null" "$tree/../mounted"
sleep 600
"""

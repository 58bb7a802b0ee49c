"""The debian image as others build theirs: without an agent, and without a word on where answers come from."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab.edited_disk import Disk

_PACK_S = 120.0
AGENT = "qemu-guest-agent"
_ARCHIVE = "/srv/archive"
# As Debian's own cloud images have it.
STOCK_SOURCES = (
    "NoCloud", "ConfigDrive", "OpenNebula", "DigitalOcean", "Azure", "AltCloud", "OVF", "MAAS", "GCE", "OpenStack",
    "CloudSigma", "SmartOS", "Bigstep", "Scaleway", "AliYun", "Ec2", "CloudStack", "None",
)  # fmt: skip


def look_for(disk: Disk, sources: Sequence[str]) -> None:
    """cloud-init finds its data source by itself, among these, and nothing is scanned for it before."""
    ours = disk.read("/etc/cloud/cloud.cfg.d/90_vmrole-image.cfg").decode()
    kept = [line for line in ours.splitlines() if not line.startswith("datasource_list")]
    assert len(kept) < len(ours.splitlines())
    disk.write("/etc/cloud/cloud.cfg.d/90_vmrole-image.cfg", "\n".join([*kept, ""]).encode())
    disk.write("/etc/cloud/cloud.cfg.d/90_dpkg.cfg", f"datasource_list: [ {', '.join(sources)} ]\n".encode())
    disk.remove("/etc/modprobe.d/vmrole-scsi.conf")


def take_agent_out(disk: Disk) -> None:
    """No agent is installed, and the one archive that apt knows, a directory of the guest's own, has its package."""
    package = _repacked(disk)
    for path in _files_of(disk):
        disk.remove(path)
    for kind in ("conffiles", "list", "md5sums", "postinst", "postrm", "preinst", "prerm"):
        disk.remove(f"/var/lib/dpkg/info/{AGENT}.{kind}")
    disk.remove(f"/etc/systemd/system/{AGENT}.service.d/early.conf")
    stanzas = disk.read("/var/lib/dpkg/status").decode().split("\n\n")
    others = [stanza for stanza in stanzas if not stanza.startswith(f"Package: {AGENT}\n")]
    assert len(others) == len(stanzas) - 1
    disk.write("/var/lib/dpkg/status", "\n\n".join(others).encode())

    content, name = package.read_bytes(), f"{AGENT}_amd64.deb"
    digest = hashlib.sha256(content).hexdigest()
    index = f"{_control(stanzas)}Filename: ./{name}\nSize: {len(content)}\nSHA256: {digest}\n"
    disk.make_directory(_ARCHIVE)
    disk.write(f"{_ARCHIVE}/{name}", content)
    disk.write(f"{_ARCHIVE}/Packages.gz", gzip.compress(index.encode()))
    disk.write("/etc/apt/sources.list", f"deb [trusted=yes] file:{_ARCHIVE} ./\n".encode())


def _files_of(disk: Disk) -> list[str]:
    """What the package has on the disk, without directories and what an image leaves out."""
    paths = disk.read(f"/var/lib/dpkg/info/{AGENT}.list").decode().split()
    left_out = ("/usr/share/man/", "/usr/share/doc/")
    files = [path for path in paths if not any(other.startswith(f"{path}/") for other in paths) and path != "/."]
    return [path for path in files if not path.startswith(left_out) and not path.endswith("fsfreeze-hook.d")]


def _repacked(disk: Disk) -> Path:
    """The package as it came from the archive, made again of what is installed of it."""
    tree = disk.place / "package"
    for path in _files_of(disk):
        usr = f"/usr{path}" if path.startswith("/lib/") else path
        file = tree / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(disk.read(usr))
        file.chmod(0o755 if "/sbin/" in path or path.startswith(("/etc/init.d/", "/etc/qemu/")) else 0o644)
    control = tree / "DEBIAN"
    control.mkdir()
    (control / "control").write_text(_control(disk.read("/var/lib/dpkg/status").decode().split("\n\n")))
    for script in ("preinst", "postinst", "prerm", "postrm", "conffiles"):
        (control / script).write_bytes(disk.read(f"/var/lib/dpkg/info/{AGENT}.{script}"))
        (control / script).chmod(0o644 if script == "conffiles" else 0o755)
    made = disk.place / "package.deb"
    argv = ["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", tree, made]
    subprocess.run(argv, check=True, capture_output=True, timeout=_PACK_S)
    return made


def _control(stanzas: Sequence[str]) -> str:
    """The package's own words of itself: what dpkg says of it, without what dpkg has added."""
    (stanza,) = (stanza for stanza in stanzas if stanza.startswith(f"Package: {AGENT}\n"))
    lines, added = [], False
    for line in stanza.splitlines():
        added = line.startswith(("Status:", "Conffiles:")) or (added and line.startswith(" "))
        if not added:
            lines.append(line)
    return "\n".join([*lines, ""])

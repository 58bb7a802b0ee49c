"""The lab's box: our debian image, made a host. `python vagrant/box DIRECTORY`, as root; `make vagrant-box` calls it.

It holds every package that vmrole depends on, and not vmrole: `vagrant up` installs that, and downloads nothing.
Written are vmrole-lab.box and vmrole-lab.json, Vagrant's catalogue of it: a box that is built anew has a new version,
by which Vagrant knows it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from vmrole_images import BuildError, debian

NAME = "vmrole-lab"
SIZE_MIB = 8192  # most of it holes: the packages take a good one GiB, images and disks of instances the rest
_MADE_ON = ("debian", "12")
_VAGRANT = Path(__file__).resolve().parents[1]
_FILES = Path(__file__).resolve().parent / "files"
# Where each file of files/ goes in the image. Vagrant brings no answers: network and SSH keys are the box's own.
_PLACES = {
    "dhcp.network": "etc/systemd/network/90-dhcp.network",
    "host-keys.conf": "etc/systemd/system/ssh.service.d/host-keys.conf",
    "sudoers": "etc/sudoers.d/vagrant",
    "insecure.pub": "home/vagrant/.ssh/authorized_keys",
}
_NOT_IN_A_HOST = {"cloud-init", "cloud-guest-utils"}
_IN_A_BOX = ("curl", "dbus-user-session", "rsync")
_MODES = {"sudoers": 0o440, "insecure.pub": 0o600}


def kind() -> debian.Kind:
    """The recipe's image with a host's packages, a user for Vagrant, and sshd from the start."""
    listing = subprocess.run(
        [_VAGRANT / "provision.sh", "list", "runtime"], capture_output=True, text=True, check=True, timeout=60
    )
    # Of alternatives (a | b (<< version)) the last, which the oldest distribution has: this one.
    needed = {line.split("|")[-1].split()[0] for line in listing.stdout.splitlines()}
    packages = (set(debian.PACKAGES) - _NOT_IN_A_HOST) | needed | set(_IN_A_BOX)
    plain = debian.Kind()
    return debian.Kind(
        packages=sorted(packages),
        plan=dataclasses.replace(plain.plan, size_mib=SIZE_MIB, inodes=262_144, label="lab"),
        enabled=("systemd-networkd.service", "systemd-resolved.service", "ssh.service"),
        disabled=("ssh.socket", "haproxy.service"),
        places={},
        finish=_finish,
    )


def _finish(tree: Path) -> None:
    (tree / "etc" / "hostname").write_text(f"{NAME}\n")
    subprocess.run(["chroot", tree, "useradd", "--create-home", "--shell", "/bin/bash", "vagrant"], check=True)
    for name, place in _PLACES.items():
        target = tree / place
        target.parent.mkdir(mode=0o700 if name == "insecure.pub" else 0o755, parents=True, exist_ok=True)
        target.write_bytes((_FILES / name).read_bytes())
        target.chmod(_MODES.get(name, 0o644))
    subprocess.run(["chroot", tree, "chown", "-R", "vagrant:vagrant", "/home/vagrant"], check=True)


def build(directory: Path) -> Path:
    """Writes box and catalogue into `directory`, returns the box. Raises BuildError; then both are as they were."""
    if os.geteuid() != 0:
        raise BuildError("the box is built as root: it holds files of several users", hint="use sudo")
    release = platform.freedesktop_os_release()
    if (release["ID"], release.get("VERSION_ID")) != _MADE_ON:
        told = "the box is a Debian 12, and `make deb` builds the package for the distribution that it runs on"
        raise BuildError(told, hint="build the lab on Debian 12")
    directory.mkdir(parents=True, exist_ok=True)
    box = directory / f"{NAME}.box"
    with tempfile.TemporaryDirectory(dir=directory, prefix=".build-") as place:
        work = Path(place).resolve()
        debian.build(work / "box.img", work, lambda line: print(f"box: {line}", flush=True), kind())
        metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": SIZE_MIB // 1024}
        (work / "metadata.json").write_text(json.dumps(metadata))
        with tarfile.open(work / "box", "w") as archive:
            for name in ("metadata.json", "box.img"):
                archive.add(work / name, name)
        (work / "box").replace(box)
    provider = {"name": "libvirt", "url": box.resolve().as_uri()}
    version = f"{time.strftime('%Y%m%d', time.gmtime())}.{int(time.time()) % 86400}"
    catalogue = {"name": NAME, "versions": [{"version": version, "providers": [provider]}]}
    box.with_suffix(".json").write_text(json.dumps(catalogue, indent=1) + "\n")
    return box


def main() -> int:
    """Exit 0 with one line about the box, 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python vagrant/box")
    parser.add_argument("directory", type=Path, help="where box and catalogue are written")
    try:
        box = build(parser.parse_args().directory)
    except BuildError as error:
        print(f"error: {error}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        return 1
    print(f"box: {box}, {box.stat().st_size >> 20} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

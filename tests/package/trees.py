"""A distribution in a directory, and commands in it: in namespaces of their own, so that nothing outlives them."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

INSTALL_S = 3000.0
RUN_S = 600.0
RINGS_S = 2 * 3600.0
_APT = ("apt-get", "-q", "-y", "--no-install-recommends")
_DEBIAN, _UBUNTU = "http://deb.debian.org", "http://archive.ubuntu.com"
_SOURCES = {
    "bookworm": (
        f"deb {_DEBIAN}/debian bookworm main",
        f"deb {_DEBIAN}/debian bookworm-updates main",
        f"deb {_DEBIAN}/debian-security bookworm-security main",
    ),
    "trixie": (
        f"deb {_DEBIAN}/debian trixie main",
        f"deb {_DEBIAN}/debian trixie-updates main",
        f"deb {_DEBIAN}/debian-security trixie-security main",
    ),
    "noble": (
        f"deb {_UBUNTU}/ubuntu noble main universe",
        f"deb {_UBUNTU}/ubuntu noble-updates main universe",
        f"deb {_UBUNTU}/ubuntu noble-security main universe",
    ),
}
SUITES = tuple(_SOURCES)
# What asks whether a service may be started is written down here, and answered as in a container: no.
ASKED = "/var/log/asked-to-start"
_POLICY = f'#!/bin/sh\necho "$@" >>{ASKED}\nexit 101\n'
_ENTER = """
root=$1; shift
mount --bind "$root" "$root" && cd "$root" || exit 125
mount -t proc proc proc && mount -t sysfs -o ro sysfs sys || exit 125
if [ -n "$DEVICES" ]; then
  mount --rbind /dev dev && mount --rbind /sys/fs/cgroup sys/fs/cgroup && mount -t tmpfs tmpfs run || exit 125
fi
[ -z "$ALONE" ] || ip link set lo up
pivot_root . . && umount --lazy . || exit 125  # Whoever is in a chroot(2) may make no user namespace.
exec chroot . env -i "$@"
"""
_ENVIRONMENT = (
    "HOME=/root",
    "LC_ALL=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """The directory that is its root file system."""

    root: Path

    def argv(self, *words: str, network: bool = False, devices: bool = False) -> list[str]:
        """What runs a command in it as root, with processes and mounts of its own; `network` is the host's, for
        packages, and otherwise one of its own with nothing but a loopback. `devices` are the host's, and its control
        groups, for who makes virtual machines.
        """
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc"]
        apart += [] if network else ["--net"]
        wanted = [f"ALONE={'' if network else 'yes'}", f"DEVICES={'yes' if devices else ''}"]
        enter = ["env", *wanted, "sh", "-c", _ENTER, "-", str(self.root)]
        return [*apart, *enter, *_ENVIRONMENT, *words]

    def run(self, *words: str, network: bool = False, within_s: float = RUN_S) -> subprocess.CompletedProcess[str]:
        """Runs it to its end, whatever its status."""
        return subprocess.run(
            self.argv(*words, network=network), capture_output=True, text=True, check=False, timeout=within_s
        )

    def must(self, *words: str, network: bool = False, within_s: float = RUN_S) -> str:
        """What it printed, both streams; it must have succeeded."""
        done = self.run(*words, network=network, within_s=within_s)
        assert done.returncode == 0, f"{words}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout + done.stderr

    def install(self, *packages: str) -> str:
        """By apt-get, from the distribution's archive."""
        self.must("apt-get", "-q", "update", network=True, within_s=INSTALL_S)
        return self.must(*_APT, "install", *packages, network=True, within_s=INSTALL_S)

    def at(self, path: str) -> Path:
        """Where an absolute path of it lies here."""
        return self.root / path.lstrip("/")

    def files(self, *without: str) -> set[str]:
        """Every path in it, but those below the ones that are named."""
        paths = (str(path.relative_to(self.root)) for path in self.root.rglob("*"))
        return {path for path in paths if not path.startswith(tuple(place.lstrip("/") for place in without))}


def make(suite: str, archive: Path) -> None:
    """A tar of the distribution with apt, make and Python: what a reader of our README begins with."""
    proxies = {scheme: _proxy(scheme) for scheme in ("http", "https")}
    options = [f'--aptopt=Acquire::{scheme}::Proxy "{proxy}"' for scheme, proxy in proxies.items() if proxy]
    keyring = f"/usr/share/keyrings/{'ubuntu' if suite == 'noble' else 'debian'}-archive-keyring.gpg"
    apart = ["unshare", "--mount", "--propagation", "private"]  # What it mounts goes with it, also when it is killed.
    packages = "--include=ca-certificates,make,mount,python3"  # of which trixie's apt alone brings no mount
    command = [*apart, "mmdebstrap", "--quiet", "--variant=apt", packages, *options]
    command += [f"--keyring={keyring}", suite, str(archive), *_SOURCES[suite]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    assert done.returncode == 0, done.stderr


def _proxy(scheme: str) -> str:
    asked = ["apt-config", "shell", "VALUE", f"Acquire::{scheme}::Proxy"]
    value = re.search(r"='?([^'\n]*)'?", subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    return value[1] if value else ""


def unpacked(archive: Path, root: Path) -> Tree:
    """A new tree of that tar. Names are resolved as here, and whom this host trusts for TLS is trusted."""
    root.mkdir()
    subprocess.run(["tar", "-xpf", archive, "-C", root], check=True, timeout=RUN_S)
    tree = Tree(root)
    tree.at("/etc/resolv.conf").unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", tree.at("/etc/resolv.conf"))
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", tree.at("/etc/ssl/certs/ca-certificates.crt"))
    policy = tree.at("/usr/sbin/policy-rc.d")
    policy.write_text(_POLICY)
    policy.chmod(0o755)
    return tree


def carry(repository: Path, target: Path) -> None:
    """Puts the checkout there as it is now: what git knows and would know, nothing that was built."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=repository, capture_output=True, check=True).stdout
    target.mkdir()
    pack = ["tar", "--null", "-T", "-", "-cf", "-"]
    packed = subprocess.run(pack, cwd=repository, input=names, capture_output=True, check=True, timeout=RUN_S).stdout
    subprocess.run(["tar", "-xf", "-", "-C", target], input=packed, check=True, timeout=RUN_S)


def follow(containerfile: Path, context: Path, tree: Tree) -> list[str]:
    """Does in the tree what the file says is to be done above the image that it is from; returns the command to run.
    It knows what ours uses.
    """
    command: list[str] = []
    text = re.sub(r"^#.*\n", "", containerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(maxsplit=1)
        match word:
            case "FROM" | "VOLUME":
                continue
            case "COPY":
                pattern, target = rest.split()
                for source in context.glob(pattern):
                    shutil.copy(source, tree.at(target))
            case "RUN":
                tree.must("sh", "-c", rest, network=True, within_s=INSTALL_S)
            case "CMD":
                command = json.loads(rest)
            case _:
                raise AssertionError(f"{containerfile}: {line}")
    return command

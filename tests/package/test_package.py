"""What somebody does with the package: builds, installs, configures, upgrades, removes and purges it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator import __version__
from orchestrator.cli.manual import pages
from tests.package import trees
from tests.package.trees import ASKED, Tree
from tests.world.daemons import UP_S
from tests.world.places import REPOSITORY

SUITE = os.environ.get("VMROLE_SUITE") or "bookworm"
PARTS = REPOSITORY / "vagrant" / "deb"
PLACE = "/usr/lib/vmrole"
RULES = "/etc/apparmor.d/local/abstractions/libvirt-qemu"
RULE = "/run/vmrole/monitor.sock rw,"
OF_LIBVIRT = {RULES: RULE, "/etc/apparmor.d/local/usr.sbin.libvirtd": "/var/lib/vmrole/serve-share PUx,"}
PART = "/etc/vmrole/conf.d/50-host.toml"
ANSWERS = REPOSITORY / "tests" / "golden" / "answers" / "generalized.xml"
# What dpkg and its triggers write of every package, and what belongs to no package.
ELSEWHERE = ("/proc", "/sys", "/dev", "/tmp", "/var/lib/dpkg", "/var/log", "/var/cache")
STOPPED_S = 120.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]  # most of it is the archive's


class Built(NamedTuple):
    """The package and the wheel, and the tree that they were made in."""

    deb: Path
    wheel: Path
    tree: Tree


class Host(NamedTuple):
    """A tree with the package installed as the Containerfile does it, and what that file says is to be run."""

    tree: Tree
    command: list[str]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory for trees: file systems of root's, which other users' programs pass through."""
    where = Path(f"/var/tmp/vmrole-package-{os.getpid()}")
    where.mkdir(mode=0o755)
    yield where
    shutil.rmtree(where)


@pytest.fixture(scope="module")
def base(place: Path) -> Path:
    """The distribution as a tar."""
    archive = place / "base.tar"
    trees.make(SUITE, archive)
    return archive


@pytest.fixture(scope="module")
def built(base: Path, place: Path) -> Built:
    """`make deb`, from a checkout on a machine with nothing but make and Python."""
    tree = trees.unpacked(base, place / "build")
    trees.carry(REPOSITORY, tree.at("/src"))
    tree.must("make", "-C", "/src", "deb", network=True, within_s=trees.INSTALL_S)
    ((deb,), (wheel,)) = (tree.at("/src/build/deb").glob(f"*.{kind}") for kind in ("deb", "whl"))
    return Built(deb, wheel, tree)


@pytest.fixture(scope="module")
def host(base: Path, built: Built, place: Path) -> Host:
    """A fresh tree of the same distribution, and the package in it."""
    tree = trees.unpacked(base, place / "host")
    return Host(tree, trees.follow(PARTS / "Containerfile", built.deb.parent, tree))


def field(deb: Path, name: str) -> str:
    """A field of the package's control file."""
    shown = subprocess.run(["dpkg-deb", "-f", deb, name], capture_output=True, text=True, check=True)
    return shown.stdout.strip()


def names(relation: str) -> set[str]:
    """The packages in a relation, without versions; of alternatives the first."""
    return set(re.findall(r"(?:^|, )([a-z0-9.+-]+)", relation))


def known(kind: str) -> set[str]:
    """The packages that provisioning knows of a kind; of alternatives the first."""
    argv = [REPOSITORY / "vagrant" / "provision.sh", "list", kind]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listed.splitlines()}


def test_it_says_what_it_needs(built: Built) -> None:
    """What provisioning installs on a host, the Python that it was built for and the libvirt that it was built
    against; image recipes' tools are recommended, and what compiles is not asked for.
    """
    needs = field(built.deb, "Depends")
    assert known("runtime") <= names(needs)
    assert "virtiofsd | qemu-system-common (<< 1:8)" in needs.split(", ")
    assert names(field(built.deb, "Recommends")) == known("recipes")
    assert not (known("build") | known("package")) & names(needs)
    assert re.search(r"python3 \(>= 3\.\d+\), python3 \(<< 3\.\d+\)", needs)
    assert re.search(r"\blibvirt0 \(>= ", needs)
    assert field(built.deb, "Version").startswith(f"{__version__}-")


def test_what_is_in_it(built: Built, place: Path) -> None:
    """Root's, writable by root alone, without the tests, what builds it, and the name of a directory that it was made
    in.
    """
    listing = subprocess.run(["dpkg-deb", "-c", built.deb], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        mode, owner = line.split()[:2]
        assert owner == "root/root", line
        assert mode[0] == "l" or mode[5] + mode[8] == "--", line
    packages = set(re.findall(r"/site-packages/([^/]+)/", listing))
    assert {"orchestrator", "vmrole_unattend", "vmrole_images", "uvicorn"} <= packages
    assert not {"tests", "pytest", "pip", "setuptools", "hatchling"} & packages
    assert "setup_simulator" not in listing
    shown = set(re.findall(r" \./usr/(share/man/\S+)\.gz$", listing, re.MULTILINE))
    assert shown == {page.file for page in pages()}
    shells = (
        "bash-completion/completions/vmrole",
        "zsh/vendor-completions/_vmrole",
        "fish/vendor_completions.d/vmrole.fish",
    )
    assert [shell for shell in shells if f" ./usr/share/{shell}\n" not in listing] == []
    content = place / "content"
    subprocess.run(["dpkg-deb", "-R", built.deb, content], check=True)
    files = [path for path in content.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if re.search(rb"/tmp/tmp\.\w+/(root|tools)/|/src/build/", path.read_bytes())] == []
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE))
    for metadata in content.glob(f"{PLACE[1:]}/lib/*/site-packages/*.dist-info"):
        name, version = metadata.name.removesuffix(".dist-info").split("-")
        name = re.sub(r"[._]+", "-", name).lower()
        assert version == (__version__ if name == "vmrole" else locked[name])


def test_it_is_installed_and_starts_nothing(host: Host) -> None:
    """The commands are there, what a host's owner fills is there and empty, and nothing of ours was started, enabled
    or asked to be.
    """
    tree = host.tree
    assert tree.must("vmrole", "--version") == f"vmrole {__version__}\n"
    assert tree.must("vmroled", "--help").startswith("Usage: vmrole daemon")
    for group in ("vmrole", "vmrole-read"):
        assert tree.must("getent", "group", group).rstrip().endswith(":")
    assert tree.at("/etc/vmrole/vmrole.toml").read_text() == (REPOSITORY / "docs/examples/vmrole.toml").read_text()
    modes = {path: tree.at(path).stat().st_mode & 0o777 for path in ("/etc/vmrole/secrets", "/var/lib/vmrole")}
    assert modes == {"/etc/vmrole/secrets": 0o700, "/var/lib/vmrole": 0o711}
    assert list(tree.at("/var/lib/vmrole").iterdir()) == []
    asked = tree.at(ASKED).read_text() if tree.at(ASKED).exists() else ""
    assert "vmrole" not in asked
    assert "haproxy" in asked  # else nobody would have been asked, whatever ours did
    assert list(tree.at("/etc/systemd").rglob("*vmrole*")) == []
    for place, rule in OF_LIBVIRT.items():
        assert tree.at(place).read_text().count(rule) == 1


def test_its_units_are_those_of_the_documentation(host: Host) -> None:
    """But for the program, which is there; systemd finds no fault in them as they lie there."""
    for unit, program in (
        ("vmrole.service", ["ExecStart=/usr/sbin/vmroled"]),
        ("vmrole.socket", []),
        ("vmrole-read.socket", []),
    ):
        installed = host.tree.at(f"/usr/lib/systemd/system/{unit}").read_text().splitlines()
        example = (REPOSITORY / "docs/examples" / unit).read_text().splitlines()
        assert installed[0].startswith(f"# /usr/lib/systemd/system/{unit}: ")
        differs = [line for line, other in zip(installed[1:], example[1:], strict=True) if line != other]
        assert differs == program
        judge = ["systemd-analyze", "verify", f"--root={host.tree.root}", unit]
        judged = subprocess.run(judge, capture_output=True, text=True, timeout=120, check=False)
        assert [line for line in judged.stderr.splitlines() if "vmrole" in line] == []


def test_its_verbs_do_what_they_do_here(host: Host) -> None:
    """Without a daemon: answer files are checked, doctor tries everything and says what lacks, and none of it writes
    where only packages write.
    """
    tree = host.tree
    shutil.copy(ANSWERS, tree.at("/tmp/answers.xml"))
    assert "nothing is wrong" in tree.must("vmrole", "answers", "check", "/tmp/answers.xml")
    tree.at("/tmp/user-data").write_text("hostname: web\n")
    checked = tree.run("vmrole", "answers", "check", "/tmp/user-data")
    assert (checked.returncode, checked.stdout.split(": ")[:2]) == (1, ["/tmp/user-data:1", "error"])
    looked = tree.run("vmrole", "doctor")
    assert looked.returncode in {0, 1}, looked.stderr
    assert "Traceback" not in looked.stdout + looked.stderr
    for subject in ("configuration", "program", "qemu", "haproxy", "dnsmasq", "nftables", "state directory"):
        assert f"PASS  {subject}: " in looked.stdout, looked.stdout
    assert re.search(r"^PASS  shares: .*/virtiofsd", looked.stdout, re.MULTILINE), looked.stdout
    assert tree.must("dpkg", "--verify", "vmrole") == ""
    owned = set(tree.must("dpkg", "-L", "vmrole").split())
    assert {f"/{path}" for path in tree.files() if path.startswith(PLACE[1:])} <= owned
    verbose = [f"{PLACE}/bin/python3", "-I", "-v", "-c", "import orchestrator.cli.main"]
    assert re.search(rf"code object from '{PLACE}/lib/.*/cli/__pycache__/main\.", tree.must(*verbose))


def test_the_daemon_runs_as_the_container_runs_it(host: Host) -> None:
    """With a libvirt beside it: it answers, and ends when it is asked to."""
    tree = host.tree
    script = f"""
        trap 'kill -TERM $daemon' TERM
        {host.command[2].replace("exec vmroled", "vmroled")} & daemon=$!
        for turn in $(seq {int(UP_S * 5)}); do
          vmrole get services -o name >/dev/null 2>&1 && break
          kill -0 $daemon || exit 9
          sleep 0.2
        done
        vmrole version; virsh --connect qemu:///system list --name
        kill -TERM $(pidof -x vmroled); wait $daemon; echo ended: $?
    """
    assert host.command[:2] == ["/bin/sh", "-c"]
    done = tree.run("sh", "-c", script, within_s=STOPPED_S + UP_S)
    assert f"daemon {__version__}" in done.stdout, done.stdout + done.stderr
    assert "ended: 0" in done.stdout, done.stdout + done.stderr


def newer(deb: Path, place: Path) -> Path:
    """The same package of a later version, with another default among the settings and a file less."""
    content, later = place / "newer", place / "newer.deb"
    subprocess.run(["dpkg-deb", "-R", deb, content], check=True)
    control = content / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*", r"\g<0>.1", control.read_text(), flags=re.MULTILINE))
    settings = content / "etc" / "vmrole" / "vmrole.toml"
    settings.write_text(settings.read_text().replace("#workers = 16", "#workers = 17"))
    (content / "usr/share/doc/vmrole/SECURITY.md").unlink()
    subprocess.run(["dpkg-deb", "-Znone", "--build", content, later], check=True, stdout=subprocess.DEVNULL)
    return later


def test_it_is_upgraded_removed_and_purged(built: Built, host: Host, place: Path) -> None:
    """An upgrade and a removal keep what is yours, also what init wrote beside the package's settings, and so does a
    purge, which says so; what it made is gone.
    """
    tree = host.tree
    settings, secret = tree.at("/etc/vmrole/vmrole.toml"), tree.at("/etc/vmrole/secrets/admin")
    image = tree.at("/var/lib/vmrole/images/base.qcow2")
    mine = f'{settings.read_text()}\nvip_interface = "enp3s0"\n'
    settings.write_text(mine)
    tree.must(
        "sh",
        "-c",
        f"ip link add vip0 type veth && ip link set vip0 up && vmrole init --config {PART} --vip-interface vip0",
    )
    shown = [line.split() for line in tree.must("vmrole", "config", "show").splitlines()]
    assert [row[-1] for row in shown if row[0] == "vip_interface" and row[1].startswith(f"{PART}:")] == ['"vip0"']
    secret.write_text("sesame")
    image.parent.mkdir(exist_ok=True)
    image.write_text("disk")
    tree.must("usermod", "-aG", "vmrole", "games")

    shutil.copy(newer(built.deb, place), tree.at("/tmp/newer.deb"))
    tree.must("dpkg", "--force-confdef", "--force-confold", "-i", "/tmp/newer.deb")
    assert (settings.read_text(), secret.read_text(), image.read_text()) == (mine, "sesame", "disk")
    assert not tree.at("/usr/share/doc/vmrole/SECURITY.md").exists()
    assert "#workers = 17" in tree.at("/etc/vmrole/vmrole.toml.dpkg-dist").read_text()
    assert tree.must("vmrole", "--version") == f"vmrole {__version__}\n"
    assert tree.at(RULES).read_text().count(RULE) == 1
    assert "games" in tree.must("getent", "group", "vmrole")

    tree.must("dpkg", "--remove", "vmrole")
    assert not tree.at(PLACE).exists()
    assert tree.run("sh", "-c", "command -v vmrole vmroled").returncode != 0
    assert (settings.read_text(), secret.read_text(), image.read_text()) == (mine, "sesame", "disk")

    purged = tree.must("dpkg", "--purge", "vmrole")
    mine_alone = (
        "/var/lib/vmrole (",
        "/etc/vmrole/secrets (",
        "/etc/vmrole/conf.d (",
        "the group vmrole, which has members (games)",
    )
    for left in mine_alone:
        assert f"left: {left}" in purged
    assert (secret.read_text(), image.read_text()) == ("sesame", "disk")
    assert "vip0" in tree.at(PART).read_text()
    assert not settings.exists()
    assert tree.run("getent", "group", "vmrole-read").returncode != 0


def test_a_purge_leaves_nothing_of_the_packages_own(built: Built, host: Host) -> None:
    """Where nothing of yours was put into it, the tree is as it was before the package came."""
    tree = host.tree
    tree.run("dpkg", "--purge", "vmrole")
    for path in ("/etc/vmrole", "/var/lib/vmrole", "/run/vmrole"):
        shutil.rmtree(tree.at(path), ignore_errors=True)
    tree.run("groupdel", "vmrole")
    before, rules = tree.files(*ELSEWHERE), tree.at(RULES).exists() and tree.at(RULES).read_text()
    shutil.copy(built.deb, tree.at("/tmp/vmrole.deb"))
    installed = tree.must("dpkg", "-i", "/tmp/vmrole.deb")
    assert "systemctl enable --now vmrole" in installed
    assert tree.files(*ELSEWHERE) > before
    purged = tree.must("dpkg", "--purge", "vmrole")
    assert "left" not in purged
    assert tree.files(*ELSEWHERE) == before
    assert (tree.at(RULES).exists() and tree.at(RULES).read_text()) == rules
    for place in OF_LIBVIRT:  # A profile that says so of them does not load without these.
        profile = tree.at(place.replace("/local/", "/")).read_text()
        assert tree.at(place).exists() or f"include <{place.removeprefix('/etc/apparmor.d/')}>" not in profile
    assert tree.run("getent", "group", "vmrole").returncode != 0


def test_pipx_installs_the_wheel(built: Built) -> None:
    """Where libvirt's headers and a compiler are, as the documentation says."""
    tree = built.tree
    tree.install("pipx", *known("build"))
    shutil.copy(built.wheel, tree.at("/tmp"))
    tree.must("pipx", "install", f"/tmp/{built.wheel.name}", network=True, within_s=trees.INSTALL_S)
    assert tree.must("/root/.local/bin/vmrole", "--version") == f"vmrole {__version__}\n"
    assert tree.must("/root/.local/bin/vmroled", "--help").startswith("Usage: vmrole daemon")
    python = tree.must("head", "-n", "1", "/root/.local/bin/vmrole").strip().removeprefix("#!")
    bound = tree.must(python, "-c", "import libvirt; print(libvirt.getVersion())")
    assert int(bound) >= 9_000_000

"""The Debian package's parts, where they say what is said elsewhere as well; what is made of them: tests/package."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.world.places import REPOSITORY

PARTS = REPOSITORY / "vagrant" / "deb"
PROVISION = REPOSITORY / "vagrant" / "provision.sh"
POSTINST = PARTS / "postinst"


SHARES = "virtiofsd | qemu-system-common (<< 1:8)"  # what serves shares, by one distribution or the other


def listed(kind: str) -> list[str]:
    """The packages that provisioning knows of a kind; of alternatives the first."""
    done = subprocess.run([PROVISION, "list", kind], capture_output=True, text=True, check=True, timeout=60)
    return [line.split()[0] for line in done.stdout.splitlines()]


RULES = {
    "abstractions/libvirt-qemu": "/run/vmrole/monitor.sock rw,",
    "usr.sbin.libvirtd": "/var/lib/vmrole/serve-share PUx,",
    "usr.sbin.virtqemud": "/var/lib/vmrole/serve-share PUx,",
}


def functions_of(script: Path, *names: str) -> str:
    """The text of these shell functions of it."""
    found = re.findall(rf"^(?:{'|'.join(names)})\(\) \{{$.*?^\}}$", script.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == len(names)
    return "\n".join(found)


def profiles(etc: Path, *, optional: bool) -> Path:
    """Libvirt's profiles with the files for what is local, of a host where they say "if exists", or do not."""
    for name in RULES:
        for place in (etc / "apparmor.d" / name, local := etc / "apparmor.d" / "local" / name):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"  include if exists <local/{name}>\n" if optional else f"  #include <local/{name}>\n")
        local.write_text("")
    return etc


def rules_of(etc: Path) -> dict[str, list[str]]:
    """The lines that are local, of each profile that has a file for them."""
    return {
        name: path.read_text().splitlines()
        for name in RULES
        if (path := etc / "apparmor.d" / "local" / name).exists()
    }


def run_shell(script: str, etc: Path) -> None:
    """Runs it with that directory in /etc's place, and no AppArmor."""
    moved = script.replace("/etc/", f"{etc}/").replace("/run/systemd/system", "/nowhere")
    subprocess.run(["bash", "-euc", moved, "-", "purge"], check=True, timeout=60, capture_output=True)


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("by", ["package", "provisioning"])
def test_apparmor_lets_us_be_and_loads_after_a_purge(by: str, optional: bool, tmp_path: Path) -> None:
    """Both add the same rules, once; a purge takes them, keeps the owner's, and each file that a profile is nothing
    without: where libvirt's abstraction does not load, no VM starts.
    """
    etc = profiles(tmp_path / "etc", optional=optional)
    if by == "package":
        calls = re.search(r"^allow abstractions.*?(?=^if )", POSTINST.read_text(), re.MULTILINE | re.DOTALL)
        assert calls
        script = functions_of(POSTINST, "allow") + "\n" + calls[0]
    else:
        script = (
            'say() { :; }; as_root() { "$@"; }\n'
            + functions_of(PROVISION, "apparmor_rules", "allow")
            + "\napparmor_rules"
        )
    script = f"aa-enabled() {{ return 1; }}\n{script}"
    for _ in range(2):
        run_shell(script, etc)
        assert rules_of(etc) == {name: [rule] for name, rule in RULES.items()}
    (mine := etc / "apparmor.d/local/usr.sbin.virtqemud").write_text(f"/srv/** r,\n{mine.read_text()}")
    purge = re.search(
        r"^    # libvirt made these files.*?^    done$", (PARTS / "postrm").read_text(), re.MULTILINE | re.DOTALL
    )
    assert purge
    run_shell(purge[0], etc)
    empty = {} if optional else {"abstractions/libvirt-qemu": [], "usr.sbin.libvirtd": []}
    assert rules_of(etc) == empty | {"usr.sbin.virtqemud": ["/srv/** r,"]}


def test_both_make_the_same_groups() -> None:
    """By systemd's file, by the package where there is no systemd, and by provisioning."""
    declared = re.findall(r"^g (\S+) -$", (PARTS / "sysusers.conf").read_text(), re.MULTILINE)
    for path, form in ((PARTS / "postinst", "for group in {}; do"), (PROVISION, "for name in {}; do")):
        assert form.format(" ".join(declared)) in path.read_text()


def test_each_package_is_of_one_kind() -> None:
    """What runs, what builds and what recipes want are lists that share nothing."""
    kinds = [listed(kind) for kind in ("runtime", "recipes", "build", "develop", "package")]
    names = [name for kind in kinds for name in kind]
    assert all(kinds)
    assert len(names) == len(set(names))
    assert {"libvirt-daemon-system", "qemu-system-x86", "haproxy", "nftables", "dnsmasq-base"} <= set(kinds[0])


@pytest.mark.parametrize(
    ("installed", "missing"),
    [
        ("ii  make 4.3-4.1\nii  qemu-system-common 1:7.2+dfsg-7+deb12u16", []),
        ("ii  make 4.3-4.1\nii  qemu-system-common 1:10.0.13+ds-0+deb13u1\nii  virtiofsd 1.13.2-1", []),
        ("ii  make 4.4.1-2\nii  qemu-system-common 1:10.0.13+ds-0+deb13u1", [SHARES]),
        ("rc  make 4.3-4.1\nrc  qemu-system-common 1:7.2+dfsg-7+deb12u16\nun  virtiofsd ", ["make", SHARES]),
    ],
)
def test_one_of_alternatives_is_enough(installed: str, missing: list[str], tmp_path: Path) -> None:
    """Of Debian 12's QEMU, which has virtiofsd, of a newer one's, and where there is neither."""
    (asked := tmp_path / "dpkg-query").write_text(f"#!/bin/sh\ncat <<'END'\n{installed}\nEND\n")
    asked.chmod(0o755)
    functions = re.findall(r"^(?:missing_of|is_met)\(\) \{$.*?^\}$", PROVISION.read_text(), re.MULTILINE | re.DOTALL)
    script = "\n".join(["set -euo pipefail", *functions, 'missing_of "$@"'])
    done = subprocess.run(
        ["bash", "-c", script, "-", "make", SHARES],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (len(functions), done.stdout.splitlines()) == (2, missing)


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_nothing_is_asked_of_a_systemd_that_is_not_there(script: str) -> None:
    """Each line that speaks to it stands where it was seen to run."""
    blocks = re.sub(
        r"if \[ -d /run/systemd/system \]; then\n.*?\n *(fi|elif)", "", (PARTS / script).read_text(), flags=re.DOTALL
    )
    calls = [
        line for line in blocks.splitlines() if re.match(r" *(systemctl|deb-systemd-invoke|\[ .*systemctl)", line)
    ]
    assert [line for line in calls if "[ ! -d /run/systemd/system ] ||" not in line] == []


def test_no_script_enables_or_starts_it() -> None:
    """That is said to whoever installs it, and done by him."""
    for script in ("postinst", "prerm", "postrm"):
        lines = [line for line in (PARTS / script).read_text().splitlines() if "echo" not in line and "#" not in line]
        assert [line for line in lines if re.search(r"\b(enable|start|restart)\b(?<!try-restart)", line)] == []

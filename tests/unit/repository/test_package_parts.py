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


SHARES = "virtiofsd | qemu-system-common (<< 1:8)"  # what serves shares, by one distribution or the other


def listed(kind: str) -> list[str]:
    """The packages that provisioning knows of a kind; of alternatives the first."""
    done = subprocess.run([PROVISION, "list", kind], capture_output=True, text=True, check=True, timeout=60)
    return [line.split()[0] for line in done.stdout.splitlines()]


def test_both_let_qemu_reach_the_same_socket() -> None:
    """A host that was provisioned and one that has the package have the same rule for AppArmor."""
    rules = {re.findall(r"rule='([^']+)'", path.read_text())[0] for path in (PROVISION, PARTS / "postinst")}
    (rule,) = rules
    pattern = re.escape(rule).replace(r"\ ", " ")
    assert f"|^{pattern}$|d" in (PARTS / "postrm").read_text()


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

"""The scripts that CI systems run, against programs of a test's own making."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.world.ci_files import ACTION, scripts
from tests.world.places import REPOSITORY

KVM = REPOSITORY / ".ci" / "kvm"
UP = REPOSITORY / ".ci" / "up"
STAND_IN = '#!/bin/bash\nprintf "%s\\n" "${0##*/} $*" >>"$TOLD"\n'


class Machine:
    """Programs that tell what they were asked, and do nothing; what a test writes instead does."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.bin = place / "bin"
        self.bin.mkdir()
        for program in ("udevadm", "sudo", "virsh", "libvirtd", "virtlogd", "ip", "systemctl", "chown", "setsid"):
            self.have(program)
        self.have("sudo", '"$@"\n')

    def have(self, program: str, more: str = "") -> None:
        """A program on the PATH."""
        (self.bin / program).write_text(STAND_IN + more)
        (self.bin / program).chmod(0o755)

    def run(self, script: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """A script there."""
        path = f"{self.bin}:/usr/bin:/bin"
        settings = {"PATH": path, "TOLD": str(self.place / "told"), **environment}
        return subprocess.run(
            [str(script)], env=settings, cwd=self.place, capture_output=True, text=True, check=False
        )

    def told(self) -> list[str]:
        """What the programs were asked."""
        file = self.place / "told"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine of CI."""
    return Machine(tmp_path)


def test_kvm_is_opened_by_a_rule_where_there_is_udev(machine: Machine) -> None:
    """The rule is written and heeded at once; it outlives the step."""
    (machine.place / "kvm").touch(0o600)
    rules = machine.place / "rules.d"
    rules.mkdir()
    done = machine.run(KVM, KVM_DEVICE=str(machine.place / "kvm"), UDEV_RULES=str(rules))
    assert done.returncode == 0, done.stderr
    assert 'KERNEL=="kvm", GROUP="kvm", MODE="0666"' in (rules / "99-vmrole-kvm.rules").read_text()
    assert [line for line in machine.told() if line.startswith("udevadm")] == [
        "udevadm control --reload-rules",
        "udevadm trigger --name-match=kvm --settle",
    ]


def test_kvm_is_opened_by_its_mode_in_a_container(machine: Machine) -> None:
    """Where nobody heeds rules."""
    device = machine.place / "kvm"
    device.touch(0o600)
    done = machine.run(KVM, KVM_DEVICE=str(device), UDEV_RULES=str(machine.place / "none"))
    assert (done.returncode, device.stat().st_mode & 0o777) == (0, 0o666), done.stderr


def test_a_runner_without_kvm_goes_on(machine: Machine) -> None:
    """Guests are emulated; it is said, and no fault."""
    done = machine.run(KVM, KVM_DEVICE=str(machine.place / "none"))
    assert (done.returncode, machine.told()) == (0, [])
    assert "guests are emulated" in done.stdout


VMROLE = """
case $* in
  "get instances -o json") printf '[\\n {"name": "web-0.nested"}\\n]\\n' ;;
  "get instances -o name") echo web-0.nested ;;
  "apply -f ill.yaml"*) exit 1 ;;
esac
"""


@pytest.fixture
def venv(machine: Machine) -> Path:
    """A virtual environment with a vmrole, whose daemon runs on."""
    machine.have("setsid", "exec sleep 60\n")
    machine.have("vmrole", VMROLE)
    (machine.place / "venv").mkdir()
    (machine.place / "venv" / "bin").symlink_to(machine.bin)
    return machine.place / "venv"


def up(machine: Machine, venv: Path, files: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The script, as the last step of the action runs it."""
    outputs = {f"GITHUB_{name}": str(machine.place / name) for name in ("OUTPUT", "ENV", "PATH")}
    settings = {"VMROLE_PLACE": str(machine.place / "p"), "VMROLE_LINK": "none0", "VMROLE_VENV": str(venv)}
    return machine.run(UP, VMROLE_FILES=files, **outputs, **settings, **more)


def test_images_and_services_are_brought_up_in_their_order(machine: Machine, venv: Path) -> None:
    """Libvirt answers, a link is made, the daemon comes up; then images, services, and outputs for later steps."""
    images = "  micro\n\n web=web images/a b.qcow2\n"
    done = up(machine, venv, " one.yaml\n\ntwo.yaml \n", VMROLE_IMAGES=images, VMROLE_TIMEOUT="7m")
    assert done.returncode == 0, done.stderr + done.stdout
    asked = machine.told()
    assert "ip link add none0 type bridge" in asked
    assert [line for line in asked if line.startswith(("vmrole apply", "vmrole image"))] == [
        "vmrole image build micro",
        "vmrole image add web images/a b.qcow2 --name web",
        "vmrole apply -f one.yaml --wait --timeout 7m",
        "vmrole apply -f two.yaml --wait --timeout 7m",
    ]
    outputs = dict(line.split("=", 1) for line in (machine.place / "OUTPUT").read_text().splitlines())
    socket = str(machine.place / "p" / "run" / "vmrole.sock")
    assert outputs == {
        "log": f"{machine.place}/p.log",
        "socket": socket,
        "instances": '[ {"name": "web-0.nested"}]',
    }
    assert (machine.place / "ENV").read_text() == f"VMROLE_SOCKET={socket}\n"
    assert (machine.place / "PATH").read_text() == f"{venv}/bin\n"


def test_a_service_that_does_not_serve_says_why_and_ends_the_step(machine: Machine, venv: Path) -> None:
    """And later ones are not begun."""
    done = up(machine, venv, "ill.yaml\nother.yaml")
    assert done.returncode == 1
    asked = machine.told()
    assert "vmrole why web-0.nested" in asked
    assert not [line for line in asked if "other.yaml" in line]


def test_a_daemon_that_does_not_come_up_shows_its_log(machine: Machine, venv: Path) -> None:
    """At once, when it has ended."""
    machine.have("setsid", "echo libvirtd is too old; exit 78\n")
    machine.have("vmrole", "exit 1\n")
    done = up(machine, venv, "one.yaml")
    assert done.returncode == 1
    assert "libvirtd is too old" in done.stderr


def test_no_file_is_refused(machine: Machine, venv: Path) -> None:
    """Before anything is begun."""
    done = up(machine, venv, "")
    assert (done.returncode != 0, machine.told()) == (True, [])
    assert "name service files" in done.stderr


def test_the_key_of_the_cache_is_of_the_locks(tmp_path: Path) -> None:
    """Another lock is another environment."""
    script = scripts(ACTION)["action, step 0"]

    def key() -> str:
        output = tmp_path / "output"
        output.unlink(missing_ok=True)
        environment = {**os.environ, "GITHUB_OUTPUT": str(output)}
        subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=environment, check=True)
        return output.read_text()

    for name in ("requirements.lock", "requirements-build.lock", "pyproject.toml"):
        (tmp_path / name).write_text("one")
    first = key()
    assert first == key()
    assert first.startswith("key=")
    (tmp_path / "requirements-build.lock").write_text("another")
    assert key() != first

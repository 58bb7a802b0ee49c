"""The lab's own promises: it ends whole, it sees what is left over, and its load client does not flatter."""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.harness import answers, enter, places
from tests.lab.harness.enter import REPOSITORY, ROOT_ENV
from tests.lab.harness.lab import Lab
from tests.lab.harness.load import Load
from tests.lab.harness.role import processes_naming
from tests.world.waiting import comes_true

LAB = (sys.executable, "-m", "tests.lab.harness", "--")
GUEST = """<domain type='qemu'><name>plain</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='{disk}'/><target dev='vda' bus='virtio'/></disk>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lab_ends_whole(number: signal.Signals) -> None:
    """A lab whose owner is killed takes every process along, and its files go at the latest with the next lab."""
    word = f"vmrole-{os.getpid()}-{number.name}"
    command = ("sh", "-c", f": {word}; echo $VMROLE_LAB_ROOT; sleep 600 & setsid sleep 600")
    owner = subprocess.Popen([*LAB, *command], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        root = Path(owner.stdout.readline().strip())
    assert root.is_dir()
    assert processes_naming(word)
    owner.send_signal(number)
    owner.wait(timeout=120)
    assert comes_true(lambda: not processes_naming(word), within_s=60)
    subprocess.run([*LAB, "true"], cwd=REPOSITORY, check=True, timeout=300)
    assert not root.exists()


def test_a_lab_that_just_starts_is_not_swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whenever another start sweeps, the files of a lab that lives stay; when it has died they go."""
    root = tmp_path / "vmlab-young"
    root.mkdir()
    monkeypatch.setattr(enter, "_PARENT", tmp_path)
    flock, calls = fcntl.flock, []

    def late(lock: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            calls.append(operation)
            enter._sweep()
        flock(lock, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    lock = enter._lock(root)
    enter._sweep()
    assert calls
    assert root.is_dir()
    os.close(lock)
    enter._sweep()
    assert not root.exists()


def test_exit_status_comes_through() -> None:
    """What the command in the lab says is what the caller hears."""
    assert subprocess.run([*LAB, "sh", "-c", "exit 7"], cwd=REPOSITORY, check=False, timeout=300).returncode == 7


def test_leftovers_are_seen_and_swept(lab: Lab, tmp_path: Path) -> None:
    """One of each kind of thing left behind is named, and sweeping takes all of them away."""
    (tmp_path / "overlay.qcow2").touch()
    lab.host.run(["ip", "link", "add", "left0", "type", "bridge"])
    lab.host.run(["ip", "address", "add", "203.0.113.77/32", "dev", lab.outside_link])
    lab.host.run(["nft", "add", "table", "inet", "left"])
    lab.host.run(["ip", "netns", "add", "left"])
    network = tmp_path / "network.xml"
    network.write_text("<network><name>left</name><bridge name='left1'/></network>")
    lab.virsh("net-define", str(network))
    sleeper = lab.client.popen(["sleep", "600"])
    assert set(lab.leftovers(tmp_path, within_s=0)) >= {
        "host: link left0",
        f"host: address 203.0.113.77/32 on {lab.outside_link}",
        "nft table inet left",
        "network namespace left",
        "libvirt network left",
        f"process {sleeper.pid} sleep",
        f"file {tmp_path / 'overlay.qcow2'}",
    }
    lab.sweep(tmp_path)
    sleeper.wait(timeout=60)
    assert lab.leftovers(tmp_path) == []


def test_guest_outlives_libvirtd(lab: Lab, micro_image: Path, tmp_path: Path) -> None:
    """A guest of the micro image boots to its agent in the lab, and kill -9 of libvirtd does not touch it."""
    disk = tmp_path / "plain.qcow2"
    shutil.copyfile(micro_image, disk)
    places.let_qemu_pass(disk)
    domain = tmp_path / "plain.xml"
    domain.write_text(GUEST.format(disk=disk))
    lab.virsh("define", str(domain))
    lab.virsh("start", "plain")
    assert "domain plain" in lab.leftovers(within_s=0)

    def boot() -> str:
        try:
            return lab.guest("plain", ["/bin/cat", "/proc/sys/kernel/random/boot_id"])
        except AssertionError:
            return ""  # The agent is not up yet, or not again.

    assert comes_true(lambda: boot() != "", within_s=120, look_s=0.5)
    before = boot()
    lab.kill_libvirtd()
    lab.start_libvirtd()
    assert comes_true(lambda: boot() != "", within_s=30, look_s=0.5)
    assert boot() == before


class _Answer(http.server.BaseHTTPRequestHandler):
    """Answers as two instances in turn; breaks one answer in five when told to."""

    protocol_version = "HTTP/1.1"
    breaks = False
    count = 0

    def do_GET(self) -> None:
        """One answer."""
        type(self).count += 1
        body = json.dumps({"instance": f"web-{self.count % 2}"}).encode()
        self.send_response(503 if self.breaks and self.count % 5 == 0 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.breaks and self.count % 5 == 1:
            body = body[:-1]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(lab: Lab) -> Iterator[str]:
    """A small HTTP server on the host's outside address; its URL."""
    server = http.server.ThreadingHTTPServer((lab.host_address, 0), _Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{lab.host_address}:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("breaks", [False, True])
def test_load_accounts_for_every_request(lab: Lab, server: str, tmp_path: Path, breaks: bool) -> None:
    """A good server loses nothing; of one that breaks answers every broken one is counted, by its reason."""
    _Answer.breaks, _Answer.count = breaks, 0
    with Load(lab.client, server, 100.0, tmp_path / "load.json") as load:
        assert comes_true(lambda: _Answer.count >= 100, within_s=30)
    account = load.account()
    failed, ok, reasons = account["failed"], account["ok"], account["reasons"]
    assert isinstance(failed, int)
    assert isinstance(ok, int)
    assert isinstance(reasons, dict)
    assert ok + failed == _Answer.count
    assert set(reasons) == ({"status 503", "answer cut off in its body"} if breaks else set())
    assert failed == (sum(reasons.values()) if breaks else 0)


def test_answers_waits_for_distinct_instances(lab: Lab, server: str) -> None:
    """It returns when as many different instances answered as were asked for."""
    _Answer.breaks = False
    assert set(answers.distinct(lab.client, server, 2, within_s=20)) == {"web-0", "web-1"}


def test_a_kept_lab_stays_until_it_is_ended() -> None:
    """A kept lab stays up and can be entered; --down ends it, whole, and leaves other labs alone."""
    word = f"vmrole-{os.getpid()}-kept"
    keep = [*LAB[:-1], "--keep", "--"]
    command = (
        "sh",
        "-c",
        f": {word}; (sleep 600 & setsid sleep 600 &) >/dev/null 2>&1; echo $VMROLE_LAB_ROOT; exit 5",
    )
    done = subprocess.run([*keep, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    root = Path(done.stdout.splitlines()[0])
    assert done.returncode == 5
    entered = subprocess.run(
        [str(root / "enter"), "ip", "-br", "address"], capture_output=True, text=True, check=True
    )
    assert "203.0.113.1" in entered.stdout
    down = [*LAB[:-1], "--down"]
    subprocess.run(down, cwd=REPOSITORY, check=True, timeout=300, capture_output=True)
    assert not root.exists()
    assert not processes_naming(word)
    assert Path(os.environ[ROOT_ENV]).exists()

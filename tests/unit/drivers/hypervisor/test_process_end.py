"""The process of a VM is asked to end and waited for; nobody else's ever is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import monitor_end, process_end

UUID = "b056f573-0fd9-5cec-ab6d-d2028dee35be"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
LATE_S = 0.05
STAYS = "print(flush=True); import time; time.sleep(60)"


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has said that it has begun, with the command line that it is given."""
    program, uuid = request.param
    argv = [sys.executable, "-c", program + STAYS, "-uuid", uuid]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("vm", [("", UUID)], indirect=True)
def test_a_vm_s_process_has_ended_when_it_is_told(vm: subprocess.Popen[bytes]) -> None:
    """By the signal that libvirt sends as well."""
    assert process_end.ask(vm.pid, UUID, 10.0)
    assert vm.wait(10.0) == -15
    assert not process_end.ask(vm.pid, UUID), "its number may be another's by now"


@pytest.mark.parametrize("vm", [("", UUID)], indirect=True)
def test_its_parent_has_noted_its_end_by_then(vm: subprocess.Popen[bytes]) -> None:
    """Until that libvirt's own signal still reaches it, and libvirt looks only 200 ms later."""

    def late() -> None:
        os.waitid(os.P_PID, vm.pid, os.WEXITED | os.WNOWAIT)
        time.sleep(LATE_S)
        vm.wait(10.0)

    with ThreadPoolExecutor(1) as pool:
        parent = pool.submit(late)
        assert process_end.ask(vm.pid, UUID, 10.0, noted_within_s=10.0)
        with pytest.raises(ProcessLookupError):
            os.kill(vm.pid, 0)
        parent.result(10.0)


@pytest.mark.parametrize("vm", [("", UUID.replace("b", "c"))], indirect=True)
def test_another_process_is_let_be(vm: subprocess.Popen[bytes]) -> None:
    """A number is given again."""
    assert not process_end.ask(vm.pid, UUID)
    assert vm.poll() is None


@pytest.mark.parametrize("vm", [(DEAF, UUID)], indirect=True)
def test_who_has_nothing_to_write_is_not_asked(vm: subprocess.Popen[bytes]) -> None:
    """It ends whatever it does about it."""
    assert process_end.kill(vm.pid, UUID)
    assert vm.wait(10.0) == -9
    assert not process_end.kill(vm.pid, UUID)


@pytest.mark.parametrize("vm", [(DEAF, UUID)], indirect=True)
def test_what_does_not_end_is_left_to_libvirt(vm: subprocess.Popen[bytes]) -> None:
    """Nobody waits for it without an end."""
    assert not process_end.ask(vm.pid, UUID, 0.05)
    assert vm.poll() is None


MONITORED = """
import socket, sys
listens = socket.socket(socket.AF_UNIX)
listens.bind(sys.argv[-1] + "/monitor.sock")
listens.listen()
print(flush=True)
connected, _ = listens.accept()
"""


def test_its_monitor_is_closed_when_it_has_ended(tmp_path: Path) -> None:
    """Who is connected to it, as libvirt is, sees nothing of its end before its parent has taken note of it."""
    argv = [sys.executable, "-c", MONITORED + STAYS, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as vm, socket.socket(socket.AF_UNIX) as libvirt:
        assert vm.stdout is not None
        vm.stdout.readline()
        libvirt.connect(str(tmp_path / "monitor.sock"))
        vm.stdout.readline()
        libvirt.setblocking(False)
        process = os.pidfd_open(vm.pid)
        try:
            with monitor_end.held(vm.pid, process) as count:
                assert count == 2, "that which listens, and that which is connected"
                vm.kill()
                vm.wait(10.0)
                with pytest.raises(BlockingIOError):
                    libvirt.recv(1)
            assert libvirt.recv(1) == b""
        finally:
            os.close(process)


def test_nobody_becomes_another_by_looking(tmp_path: Path) -> None:
    """The thread that does has ended by then; what it leaves open, and where it fails, is nothing."""
    before = os.getresuid(), os.getresgid(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    with subprocess.Popen(["sleep", "60"]) as ended:
        process = os.pidfd_open(ended.pid)
        with monitor_end.held(ended.pid, process) as count:
            assert count == 0
        ended.kill()
        ended.wait(10.0)
        with monitor_end.held(ended.pid, process) as count:
            assert count == 0
        os.close(process)
    written = tmp_path / "written"
    written.touch()
    assert written.stat().st_uid == os.getuid()
    assert before == (
        os.getresuid(), os.getresgid(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    )  # fmt: skip

"""The process of a VM is asked to end and waited for; nobody else's ever is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.drivers.hypervisor import process_end

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

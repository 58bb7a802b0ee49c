"""The start of a network whose former name server may still have the address, and of a name server that has died."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import libvirt
import pytest

from orchestrator.drivers.network import name_server
from orchestrator.drivers.network.network_xml import describe, dns_host_xml

UNSAID = "An error occurred, but the cause is unknown"
TAKEN = "internal error: dnsmasq: failed to create listening socket for 10.90.0.1: Address already in use"
WANTED = describe("<network><dns><host ip='10.90.0.10'><hostname>web-0</hostname></host></dns></network>")
HOST = dns_host_xml("10.90.0.10", ("web-0",))
LATE_S = 0.05


class Network:
    """Refuses its start so many times, in libvirt's words."""

    def __init__(self, refusals: int, words: str) -> None:
        self.left, self.words, self.asked = refusals, words, 0
        self.names = {HOST}

    def create(self) -> int:
        """See virNetworkCreate."""
        self.asked += 1
        self._refuse()
        return 0

    def update(self, command: int, _section: int, _parent: int, host: str, _flags: int) -> int:
        """See virNetworkUpdate: the name is changed before the program is started, which is what fails."""
        self.asked += 1
        delete = command == libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
        assert (host in self.names) is delete, "libvirt refuses to take away what is not there, or to give it twice"
        self.names ^= {host}
        self._refuse()
        return 0

    def _refuse(self) -> None:
        if self.left > 0:
            self.left -= 1
            error = libvirt.libvirtError("")
            error.args = (self.words,)
            raise error


def test_an_address_that_is_let_go_of_is_waited_for() -> None:
    """The former name server has been told to end, and has not ended yet."""
    network = Network(2, TAKEN)
    name_server.start(network)
    assert network.asked == 3


def test_what_stays_taken_is_told_in_time() -> None:
    """Another program may have it for good."""
    network = Network(1_000, TAKEN)
    with pytest.raises(libvirt.libvirtError, match="in use"):
        name_server.start(network)
    assert 1 < network.asked < 100


def test_another_fault_is_told_at_once() -> None:
    """Nothing is waited for."""
    network = Network(1_000, "internal error: no such bridge")
    with pytest.raises(libvirt.libvirtError, match="no such bridge"):
        name_server.start(network)
    assert network.asked == 1


@pytest.mark.parametrize("refusals", range(4))
def test_a_start_that_fails_without_a_word_is_tried_again(refusals: int) -> None:
    """The name is there in the end, and the program was started last."""
    network = Network(refusals, UNSAID)
    name_server.revive(network, WANTED)
    assert network.names == {HOST}
    assert network.asked > refusals


@pytest.mark.parametrize("words", ["internal error: no such bridge", UNSAID])
def test_a_name_server_that_does_not_start_is_told_of(words: str) -> None:
    """Soon, whatever libvirt says."""
    network = Network(1_000, words)
    with pytest.raises(libvirt.libvirtError, match=words):
        name_server.revive(network, WANTED)
    assert network.asked == 1 if words != UNSAID else 2 < network.asked < 100


class Looking(Network):
    """It looks by a signal whether the last name server lives, as libvirt does, and starts none where it does."""

    def __init__(self, process: int) -> None:
        super().__init__(0, "")
        self.process, self.thought_alive = process, False

    def name(self) -> str:
        """See virNetworkGetName."""
        return "vmrole-shop"

    def update(self, command: int, _section: int, _parent: int, host: str, _flags: int) -> int:
        """See virNetworkUpdate."""
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            pass
        else:
            self.thought_alive = True
        return super().update(command, _section, _parent, host, _flags)


def test_a_name_server_is_begun_when_its_parent_knows_that_the_last_one_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then a signal still reaches it, and libvirt would start none."""
    monkeypatch.setattr(name_server, "_PIDS", tmp_path)
    program = shutil.copy("/bin/sleep", tmp_path / "dnsmasq")  # whose name the kernel tells
    with subprocess.Popen([program, "60"]) as last, ThreadPoolExecutor(1) as pool:
        (tmp_path / "vmrole-shop.pid").write_text(f"{last.pid}\n")

        def note_late() -> None:
            os.waitid(os.P_PID, last.pid, os.WEXITED | os.WNOWAIT)
            time.sleep(LATE_S)
            last.wait(60.0)

        parent = pool.submit(note_late)
        network = Looking(last.pid)
        name_server.begin_anew(network, WANTED)
        parent.result(60.0)
    assert (network.thought_alive, network.names) == (False, {HOST})

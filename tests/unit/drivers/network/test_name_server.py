"""The start of a network whose former name server may still have the address, and of a name server that has died."""

from __future__ import annotations

import libvirt
import pytest

from orchestrator.drivers.network import name_server
from orchestrator.drivers.network.network_xml import describe, dns_host_xml

UNSAID = "An error occurred, but the cause is unknown"
TAKEN = "internal error: dnsmasq: failed to create listening socket for 10.90.0.1: Address already in use"
WANTED = describe("<network><dns><host ip='10.90.0.10'><hostname>web-0</hostname></host></dns></network>")
HOST = dns_host_xml("10.90.0.10", ("web-0",))


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

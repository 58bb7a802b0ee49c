"""The start of a network whose former name server may still have the address."""

from __future__ import annotations

import libvirt
import pytest

from orchestrator.drivers.network import name_server

TAKEN = "internal error: dnsmasq: failed to create listening socket for 10.90.0.1: Address already in use"


class Network:
    """Refuses its start so many times, in libvirt's words."""

    def __init__(self, refusals: int, words: str) -> None:
        self.left, self.words, self.asked = refusals, words, 0

    def create(self) -> int:
        """See virNetworkCreate."""
        self.asked += 1
        if self.left > 0:
            self.left -= 1
            error = libvirt.libvirtError("")
            error.args = (self.words,)
            raise error
        return 0


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

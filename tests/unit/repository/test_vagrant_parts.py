"""The Vagrant lab's parts, where they say what is said elsewhere as well; what is made of them: make test-vagrant."""

from __future__ import annotations

import ipaddress
import re

from tests.lab.tour import POOL as POOL_OF_TOUR
from tests.lab.tour import SERVICE, TOUR, commands, steady, with_outputs
from tests.world.places import REPOSITORY

VAGRANT = REPOSITORY / "vagrant"
FILE = (VAGRANT / "Vagrantfile").read_text()
PATIENCE = "    setup: {within: 1 h}\n    ready: {within: 1 h}\n"


def body(text: str) -> str:
    """A service file without what stands above its first key, and without comments behind values."""
    return re.sub(r" +#.*", "", text[text.index("service:") :])


def test_its_service_is_the_demos() -> None:
    """But for the address and the patience with hosts that are emulated."""
    demo = body((REPOSITORY / "docs" / "examples" / "shop.yaml").read_text())
    assert body(SERVICE.read_text()) == demo.replace("203.0.113.10", "192.168.56.130") + PATIENCE


def test_its_address_is_the_first_hosts_to_give() -> None:
    """The pool of host 0 holds it, and is what the tour's host has; those of the others do not overlap."""
    (network,) = re.findall(r'^NETWORK = "([\d.]+)"', FILE, re.MULTILINE)
    ((first, step),) = re.findall(r"^def pool\(host\) = .*\.#\{(\d+) \+ (\d+) \* host\}/28", FILE, re.MULTILINE)
    pools = [ipaddress.ip_network(f"{network}.{int(first) + int(step) * host}/28") for host in range(7)]
    (vip,) = re.findall(r"^vip: (\S+)", SERVICE.read_text(), re.MULTILINE)
    assert str(pools[0]) == POOL_OF_TOUR
    assert [ipaddress.ip_address(vip) in pool for pool in pools] == [True] + [False] * 6


def test_the_tour_is_a_text_that_can_be_run() -> None:
    """Each of its commands has a line that says who types it, and writing the same outputs changes nothing."""
    text = TOUR.read_text()
    typed = commands(text)
    assert {command.where for command in typed} == {"you", "host0"}
    assert with_outputs(text, ["\n".join(command.prints) for command in typed]) == text


def test_what_varies_is_not_compared() -> None:
    """Times and columns that they widen are; a phase, a name, a number of a generation is."""
    one = ["NAME   SINCE", "web-0  10s", "13:46:29  web-0.shop  draining   generation 1, boot 2"]
    two = ["NAME     SINCE", "web-0    1m5s", "23:46:30  web-0.shop  draining  generation 1, boot 2"]
    other = [line.replace("web-0", "web-1") for line in two]
    assert steady(one) == steady(two)
    assert steady(one) != steady(other)
    assert steady([one[2], one[2].replace("boot 2", "boot 3")]) == steady([two[2].replace("boot 2", "boot 3")])

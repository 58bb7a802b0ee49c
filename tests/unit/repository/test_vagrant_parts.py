"""The Vagrant lab's parts, where they say what is said elsewhere as well; what is made of them: make test-vagrant."""

from __future__ import annotations

import ipaddress
import re

from tests.world.places import REPOSITORY

VAGRANT = REPOSITORY / "vagrant"
SERVICE = VAGRANT / "shop.yaml"
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
    """The pool of host 0 holds it; those of the others do not."""
    (network,) = re.findall(r'^NETWORK = "([\d.]+)"', FILE, re.MULTILINE)
    ((first, step),) = re.findall(r"^def pool\(host\) = .*\.#\{(\d+) \+ (\d+) \* host\}/28", FILE, re.MULTILINE)
    pools = [ipaddress.ip_network(f"{network}.{int(first) + int(step) * host}/28") for host in range(7)]
    (vip,) = re.findall(r"^vip: (\S+)", SERVICE.read_text(), re.MULTILINE)
    assert [ipaddress.ip_address(vip) in pool for pool in pools] == [True] + [False] * 6

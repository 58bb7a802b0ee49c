"""A whole Debian with a second card: cloud-init makes of the answer disc what its role says of the network."""

from __future__ import annotations

from pathlib import Path

import pytest
from vmrole_unattend import iso, nocloud
from vmrole_unattend.network_config import Network

from tests.lab.booted import answer_of
from tests.lab.debian_guests import BOOT_S, MAC, OFF_S, Debian, past_setup, settled

pytestmark = pytest.mark.timeout(5 * (BOOT_S + OFF_S))
_SECOND = "52:54:00:12:34:57"
_PROXY = "http://192.0.2.3:3128"


class _TwoCards(Debian):
    """With a second card that is connected to nobody."""

    def _command(self, disc: Path | None) -> list[str]:
        netdev = ["-netdev", "user,id=n1,restrict=on,net=192.0.2.0/24"]
        card = ["-device", f"virtio-net-pci,netdev=n1,romfile=,mac={_SECOND},host_mtu=1400"]
        return [*super()._command(disc), *netdev, *card]


def test_each_card_is_as_the_role_says(tmp_path: Path, debian_image: Path) -> None:
    """Its address by its MAC, one way to everywhere, the role's servers and domains, and apt asks the proxy."""
    guest = _TwoCards(tmp_path, memory_mib=512)
    guest.lay(debian_image)
    answers = nocloud.Answers(
        instance_id="7b0f3f0e-0000-4000-8000-000000000003",
        hostname="web-0",
        service="shop",
        instance="web-0.shop",
        generation=1,
        mac=MAC,
        address="10.0.2.15/24",
        dns=("192.0.2.53",),
        search=("corp.example", "example"),
        more=(Network(mac=_SECOND, address="192.0.2.10/24", gateway="192.0.2.1"),),
        proxy=_PROXY,
    )
    disc = tmp_path / "answers.iso"
    disc.write_bytes(iso.write_iso(nocloud.files(answers), nocloud.LABEL))
    with guest.running(disc):
        answer_of(lambda: past_setup(guest), BOOT_S, guest)
        answer_of(lambda: settled(guest), BOOT_S, guest)
        cards = guest.sh("for each in /sys/class/net/e*; do cat $each/address; echo ${each##*/}; done").split()
        first, second = cards[cards.index(MAC) + 1], cards[cards.index(_SECOND) + 1]
        shown = guest.sh("ip -4 -o address show scope global | tr -s ' ' | cut -d ' ' -f 2,4").splitlines()
        assert sorted(shown) == sorted([f"{first} 10.0.2.15/24", f"{second} 192.0.2.10/24"])
        assert guest.sh("ip -4 route show default").split()[:5] == ["default", "via", "192.0.2.1", "dev", second]
        assert len(guest.sh("ip -4 route show default").splitlines()) == 1
        assert guest.sh(f"cat /sys/class/net/{second}/mtu") == "1400"
        resolver = guest.sh("cat /run/systemd/resolve/resolv.conf")
        assert "nameserver 192.0.2.53" in resolver
        assert "search corp.example example" in resolver
        assert _PROXY in guest.sh("apt-config dump Acquire::http::Proxy")
        assert guest.sh("systemctl list-units --failed --no-legend --plain") == ""

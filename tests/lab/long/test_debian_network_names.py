"""A Debian that calls its card by a name of its own: the answer disc's network is that card's all the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from vmrole_unattend import iso, nocloud

from tests.lab.booted import answer_of
from tests.lab.debian_guests import BOOT_S, MAC, OFF_S, Debian, past_setup, settled

pytestmark = pytest.mark.timeout(5 * (BOOT_S + OFF_S))
_NAME = "lan7"
_ADDRESS = "ip -4 -o address show scope global | tr -s ' ' | cut -d ' ' -f 2,4"
_PARTITION_AT = 1 << 20  # where the file system begins in the disk


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, debian_image: Path) -> Path:
    """The debian image with a rule by which systemd calls the card otherwise, as soon as it is there."""
    place = tmp_path_factory.mktemp("named")
    rule, disk, image = place / "rule", place / "disk", place / "debian.qcow2"
    rule.write_text(f"[Match]\nOriginalName=*\nDriver=virtio_net\n[Link]\nName={_NAME}\n")
    for argv in (
        ["qemu-img", "convert", "-O", "raw", debian_image, disk],
        ["debugfs", "-w", "-R", f"write {rule} /etc/systemd/network/10-card.link", f"{disk}?offset={_PARTITION_AT}"],
        ["qemu-img", "convert", "-O", "qcow2", disk, image],
    ):
        done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=300)
        assert "No such file" not in done.stderr
    disk.unlink()
    return image


def test_a_card_that_is_called_otherwise_has_its_network(tmp_path: Path, named: Path) -> None:
    """In the boot after setup it has the address that DHCP gave it, and nothing has failed."""
    guest = Debian(tmp_path, memory_mib=512)
    guest.lay(named)
    answers = nocloud.Answers(
        instance_id="7b0f3f0e-0000-4000-8000-000000000002",
        hostname="web-0",
        service="shop",
        instance="web-0.shop",
        generation=1,
        mac=MAC,
    )
    disc = tmp_path / "answers.iso"
    disc.write_bytes(iso.write_iso(nocloud.files(answers), nocloud.LABEL))
    with guest.running(disc):
        answer_of(lambda: past_setup(guest), BOOT_S, guest)
        answer_of(lambda: settled(guest), BOOT_S, guest)
        assert guest.sh(_ADDRESS).split() == [_NAME, "10.0.2.15/24"]
        assert guest.sh("systemctl list-units --failed --no-legend --plain") == ""

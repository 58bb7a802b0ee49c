"""Our answer disc in a real Debian with systemd and cloud-init: one life, from setup to boots without the disc.

Plain qemu, no libvirt: what is tested is the disc. The life is lived once, the tests look at what was seen in it.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
from vmrole_unattend import iso, nocloud

from tests.lab.booted import Guest, NoAnswer, answer_of
from tests.lab.debian_guests import BOOT_S, KEPT_MIB, MAC, OFF_S, RAW, Debian, past_setup, settled

_LOOK_S = 120.0
pytestmark = pytest.mark.timeout(5 * (BOOT_S + OFF_S))  # the first test waits for the whole life

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ1dCBub2JvZHkgaGFzIHRoZSBvdGhlciBoYWxm somebody"
_USER_DATA = """\
Content-Type: multipart/mixed; boundary="outer"
MIME-Version: 1.0

--outer
Content-Type: text/cloud-config

#cloud-config
power_state: {mode: poweroff, delay: now}
bootcmd: [[sh, -c, "echo bootcmd >>/root/each-boot"]]
write_files:
- {path: /root/written, content: häß}
runcmd:
- echo runcmd >>/root/once
- echo setup >>/local/blank/marker
--outer
Content-Type: text/x-shellscript

#!/bin/sh
echo script >>/root/once
exit 3
--outer--
"""

# Each line of this becomes a fact; a command that fails leaves it empty.
_LOOK = {
    "boot": "cat /proc/sys/kernel/random/boot_id",
    "setup_boot": "cat /var/lib/vmrole/setup-boot",
    "generation": "cat /var/lib/vmrole/generation",
    "hostname": "hostname",
    "address": "ip -4 -o address show dev eth0 | tr -s ' ' | cut -d ' ' -f 4",
    "once": "cat /root/once",
    "each_boot": "cat /root/each-boot",
    "written": "cat /root/written",
    "blank": "findmnt -n -o SOURCE,FSTYPE,LABEL /local/blank | tr -s ' '",
    "kept": "cat /local/kept/marker",
    "kept_kib": "df -k --output=size /local/kept | tail -1",
    "marker": "cat /local/blank/marker",
    "fstab": "grep -c /local/ /etc/fstab",
    "instance_id": "cat /var/lib/cloud/data/instance-id",
    "cloud_init": "cloud-init status --format json",
    "failed": "systemctl list-units --failed --no-legend --plain | cut -d ' ' -f 1",
    "result": "cat /var/lib/vmrole/setup-result.json",
    "authorized": "cat /home/debian/.ssh/authorized_keys",
    "host_keys": "cat /etc/ssh/ssh_host_ed25519_key.pub",
    "disc": "blkid -L cidata",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Life:
    """What was seen: in the boot after the setup restart, and in a later boot without the disc."""

    instance_id: str
    console: str
    ready: dict[str, str]
    later: dict[str, str]
    seconds: float
    raw: bytes  # what is in the disk of no known kind, up to its zeros

    @property
    def boots(self) -> tuple[dict[str, str], ...]:
        """All boots that were looked at."""
        return (self.ready, self.later)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, debian_image: Path) -> Life:
    """Setup with the disc, its restart, then a boot without the disc."""
    started_s = time.monotonic()
    place = tmp_path_factory.mktemp("debian")
    guest = Debian(place, memory_mib=512)
    guest.lay(debian_image)
    answers = nocloud.Answers(
        instance_id="7b0f3f0e-0000-4000-8000-000000000001",
        hostname="web-0",
        service="shop",
        instance="web-0.shop",
        generation=3,
        mac=MAC,
        user_data=_USER_DATA,
        public_keys=(_KEY,),
        local_storage=("blank", "kept", "raw"),
    )
    disc = place / "answers.iso"
    disc.write_bytes(iso.write_iso(nocloud.files(answers), nocloud.LABEL))
    seen = []
    for inserted in (disc, None):
        with guest.running(inserted):
            answer_of(lambda: past_setup(guest), BOOT_S, guest)
            answer_of(lambda: settled(guest), BOOT_S, guest)
            seen.append(_facts(guest))
            with contextlib.suppress(NoAnswer):
                guest.ask("guest-shutdown", mode="powerdown")
            answer_of(guest.ended, OFF_S, guest)
    console = guest.console.read_text(errors="replace")
    seconds, raw = time.monotonic() - started_s, guest.raw.read_bytes().rstrip(b"\0")
    return Life(answers.instance_id, console, seen[0], seen[1], seconds, raw)


def _ended(status: dict[str, Any]) -> dict[str, Any] | None:
    return status if status["exited"] else None


def _facts(guest: Guest) -> dict[str, str]:
    script = "".join(f"echo '== {name}'\n{command}\n" for name, command in _LOOK.items())
    # Not guest.sh: cloud-init alone takes a minute to say its state on a machine that runs ten guests.
    pid = guest.ask("guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})["pid"]
    said = answer_of(lambda: _ended(guest.ask("guest-exec-status", pid=pid)), _LOOK_S, guest)
    facts = {}
    for block in base64.b64decode(said["out-data"]).decode().split("== ")[1:]:
        name, _, text = block.partition("\n")
        facts[name] = text.strip()
    return facts


def test_setup_ends_in_exactly_one_restart(life: Life) -> None:
    """The guest is in another boot than the setup boot; the user's wish to power off did not count."""
    assert life.ready["setup_boot"]
    assert life.ready["boot"] != life.ready["setup_boot"]
    assert life.ready["each_boot"].split() == ["bootcmd"] * 2


def test_the_guest_is_who_the_disc_says_in_every_boot(life: Life) -> None:
    """Name, generation, instance id and address stay when the disc is gone."""
    for seen in life.boots:
        assert seen["hostname"] == "web-0"
        assert seen["generation"] == "3"
        assert seen["instance_id"] == life.instance_id
        assert seen["address"] == "10.0.2.15/24"
        assert _KEY in seen["authorized"].splitlines()


def test_the_users_parts_ran_once(life: Life) -> None:
    """Commands, script and files of the user's were done in setup, and in no later boot."""
    for seen in life.boots:
        assert sorted(seen["once"].split()) == ["runcmd", "script"]
        assert seen["written"] == "häß"


def test_later_boots_do_not_need_the_disc(life: Life) -> None:
    """Without the disc cloud-init runs from its cache: what the user wants at each boot runs, setup does not."""
    assert life.later["disc"] == ""
    assert len({seen["boot"] for seen in life.boots}) == 2
    assert len({seen["setup_boot"] for seen in life.boots}) == 1
    assert len({seen["host_keys"] for seen in life.boots}) == 1
    for number, seen in enumerate(life.boots, start=2):
        assert json.loads(seen["cloud_init"])["status"] == "done"
        assert seen["each_boot"].split() == ["bootcmd"] * number
        assert seen["failed"] == ""


def test_local_storage_is_formatted_only_when_blank(life: Life) -> None:
    """The blank disk has become a file system before the user's parts ran; what was on the others is still
    there, also where nobody knows what it is.
    """
    assert life.raw == RAW
    for seen in life.boots:
        assert seen["blank"].split()[1:] == ["ext4", "blank"]
        assert seen["marker"].split() == ["setup"]
        assert seen["kept"] == "from an earlier generation"
        assert int(seen["kept_kib"]) > 2 * KEPT_MIB * 1024, "its file system has not grown into the disk"
        assert seen["fstab"] == "2"


def test_what_failed_in_setup_is_still_known_after_the_restart(life: Life) -> None:
    """cloud-init's own result of the setup boot, with the module that failed, outlives its restart."""
    for seen in life.boots:
        kept: dict[str, Any] = json.loads(seen["result"])
        assert any("scripts-user" in error or "scripts_user" in error for error in kept["result"]["v1"]["errors"])
        assert kept["problems"] == ["local storage raw: what is in it is no file system, and is left as it is"]
        assert kept["status"]["v1"]["stage"] is None

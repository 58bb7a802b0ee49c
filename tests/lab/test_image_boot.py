"""The base images boot by themselves: plain qemu, an answer disc, the agent's socket and HTTP, without libvirt."""

from __future__ import annotations

import contextlib
import email.mime.multipart
import email.mime.text
import hashlib
import io
import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import pycdlib
import pytest
import vmrole_images

from tests.lab.booted import MIB, SCRIPT_S, Guest, NoAnswer, answer_of, guest

__all__ = ["guest"]  # fixtures

_FIRST_BOOT_S = 300.0  # 13 s on a quiet machine; others may use the same two cores.
_LATER_BOOT_S = 150.0


def answer_disc(path: Path, user_data: str, *, restart: bool = True, generation: int = 1) -> Path:
    """A NoCloud disc as the contract between answers, images and guest driver says."""
    meta = {
        "instance-id": f"generation-{generation}",
        "local-hostname": "web-0",
        "vmrole-generation": generation,
        "vmrole-setup-restart": restart,
        "vmrole-service": "shop",
        "vmrole-instance": "web-0.shop",
    }
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    files = {"meta-data": json.dumps(meta, indent=1), "user-data": user_data, "network-config": "version: 2\n"}
    for number, (name, text) in enumerate(files.items()):
        content = text.encode()
        iso.add_fp(io.BytesIO(content), len(content), f"/F{number}.;1", rr_name=name, joliet_path=f"/{name}")
    iso.write(str(path))
    iso.close()
    return path


def scripts(*texts: str) -> str:
    """Several scripts, and a cloud-config that micro passes over, as multi-part user-data."""
    message = email.mime.multipart.MIMEMultipart()
    message.attach(email.mime.text.MIMEText("#cloud-config\n{}\n", "cloud-config", "utf-8"))
    for text in texts:
        message.attach(email.mime.text.MIMEText(text, "x-shellscript", "utf-8"))
    return message.as_string()


def test_two_builds_of_micro_are_equal(micro_image: Path, tmp_path: Path) -> None:
    """The same packages and tools give the same bytes, and the lock file says what they were; at most 64 MiB."""
    second = vmrole_images.build("micro", tmp_path / "again.qcow2")
    lock, again = (json.loads(vmrole_images.lock_path(path).read_text()) for path in (micro_image, second.path))
    assert lock == again
    assert second.sha256 == hashlib.sha256(micro_image.read_bytes()).hexdigest()
    assert second.size_bytes <= 64 * MIB
    assert {"busybox-static", "qemu-guest-agent", "libc6"} <= {name for name, _version in second.packages}
    assert vmrole_images.ensure("micro", micro_image.parent).seconds == 0.0, "nothing changed: nothing is built"


def test_a_micro_guest_sets_up_once_restarts_and_serves(guest: Guest, tmp_path: Path, micro_image: Path) -> None:
    """Setup runs in the first boot only, the guest restarts and serves; local storage outlives the system disk."""
    user_data = scripts(
        "#!/bin/sh\necho once >> /root/ran\necho kept >> /local/cache/marker\nmount | grep -c ' /local/cache '\n",
        "#!/bin/sh\necho oh dear >&2\nexit 3\n",
    )
    disc = answer_disc(tmp_path / "answers.iso", user_data)
    with guest.running(disc):
        first = answer_of(guest.ready, _FIRST_BOOT_S, guest)
        setup_boot = guest.read("/var/lib/vmrole/setup-boot")
        assert setup_boot not in ("", first), "ready must be another boot than the setup boot"
        assert guest.read("/var/lib/vmrole/generation") == "1"
        assert json.loads(guest.http("/")) == {
            "hostname": "web-0", "service": "shop", "instance": "web-0.shop", "generation": 1, "boot": first,
            "address": "10.0.2.15",
        }  # fmt: skip
        assert guest.http("/healthz") == "ok\n"
        assert guest.read("/root/ran") == "once"
        assert "ended with status 3: oh dear" in guest.read("/var/lib/vmrole/setup.log")
        assert "ended with status 3" in guest.console.read_text(errors="replace")
        with contextlib.suppress(NoAnswer):
            guest.ask("guest-shutdown", mode="powerdown")
        answer_of(guest.ended, 30.0, guest)

    with guest.running(disc=None):
        later = answer_of(guest.ready, _LATER_BOOT_S, guest)
        assert later not in (first, setup_boot)
        assert guest.read("/root/ran") == "once"
        assert guest.read("/local/cache/marker") == "kept"
        assert "recovery" not in guest.sh("dmesg | grep -i ext4"), "a clean shutdown leaves no journal to replay"

    guest.lay(micro_image)
    bare = answer_disc(tmp_path / "again.iso", "#!/bin/sh\necho again > /root/ran\n", restart=False, generation=2)
    with guest.running(bare):
        boot = answer_of(guest.ready, _FIRST_BOOT_S, guest)
        assert guest.read("/var/lib/vmrole/setup-boot") == boot, "without a setup restart the setup boot serves"
        assert guest.read("/root/ran") == "again"
        assert guest.read("/local/cache/marker") == "kept"
        assert json.loads(guest.http("/"))["generation"] == 2


def test_a_power_cut_keeps_what_was_synced(guest: Guest) -> None:
    """A guest without a disc just boots; what it synced outlives a power cut; its power button ends it cleanly."""
    with guest.running(disc=None):
        answer_of(guest.ready, _LATER_BOOT_S, guest)
        guest.sh("echo precious > /root/marker; echo precious > /local/cache/marker; sync")
    with guest.running(disc=None):
        answer_of(guest.ready, _LATER_BOOT_S, guest)
        assert guest.read("/root/marker") == "precious"
        assert guest.read("/local/cache/marker") == "precious"
        answer_of(lambda: True if guest.sh("pidof acpid") else None, SCRIPT_S, guest)
        guest.press_power_button()
        answer_of(guest.ended, SCRIPT_S, guest)


def test_switches_make_a_micro_guest_misbehave(guest: Guest, tmp_path: Path) -> None:
    """`no-exec` leaves an agent that refuses guest-exec, `hold` one that is never ready until it is lifted."""
    script = "#!/bin/sh\ntouch /etc/vmrole/no-exec /etc/vmrole/hold\n"
    with guest.running(answer_disc(tmp_path / "answers.iso", script)):
        answer_of(lambda: _second_boot(guest), _FIRST_BOOT_S, guest)
        with pytest.raises(NoAnswer, match="disabled"):
            guest.sh("true")
        time.sleep(5)
        with pytest.raises(NoAnswer):
            guest.ready()
        with pytest.raises((urllib.error.URLError, OSError)):
            guest.http("/nothing")
        assert guest.http("/healthz") == "ok\n"


def _second_boot(guest: Guest) -> bool | None:
    setup_boot = guest.read("/var/lib/vmrole/setup-boot")
    return True if setup_boot != guest.read("/proc/sys/kernel/random/boot_id") else None

"""The base images boot by themselves: plain qemu, an answer disc, the agent's socket and HTTP, without libvirt."""

from __future__ import annotations

import base64
import contextlib
import email.mime.multipart
import email.mime.text
import hashlib
import io
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pycdlib
import pytest
import vmrole_images

T = TypeVar("T")

_FIRST_BOOT_S = 300.0  # 13 s on a quiet machine; others may use the same two cores.
_LATER_BOOT_S = 150.0
_AGENT_S = 1.0
_SCRIPT_S = 120.0
_PAUSE_S = 0.2
_MIB = 1 << 20


class NoAnswer(Exception):
    """The agent did not answer in time, or said no."""


class Guest:
    """One qemu process on an overlay of a base image, reachable through its agent, its console log and loopback."""

    def __init__(self, place: Path, *, memory_mib: int = 128) -> None:
        self.place = place
        self.overlay = place / "system.qcow2"
        self.local = place / "local.raw"
        self.console = place / "console.log"
        self.port = _free_port()
        self.memory_mib = memory_mib
        self._asked = 1000
        self._process: subprocess.Popen[bytes] | None = None

    def lay(self, base: Path) -> None:
        """A fresh system disk above the base; the local disk stays if there is one."""
        self.overlay.unlink(missing_ok=True)
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(self.overlay)]
        subprocess.run(create, check=True, timeout=30)
        if not self.local.exists():
            with self.local.open("wb") as stream:
                stream.truncate(64 * _MIB)

    @contextlib.contextmanager
    def running(self, disc: Path | None) -> Iterator[None]:
        """Power on; at the end of the block power off without ceremony if it still runs."""
        for stale in (self.place / "agent", self.place / "monitor"):
            stale.unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command(disc), stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            self._process.kill()
            self._process.wait(timeout=30)

    def _command(self, disc: Path | None) -> list[str]:
        # A large translation cache makes a guest's restart slower: the boot writes over pages that hold stale code.
        net = f"user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:8080"
        # fmt: off
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-machine", "pc", "-accel", "tcg,tb-size=64", "-cpu", "max", "-m", str(self.memory_mib),
            "-serial", f"file:{self.console}",
            "-qmp", f"unix:{self.place}/monitor,server=on,wait=off",
            "-drive", f"if=none,id=d0,file={self.overlay},format=qcow2", "-device", "virtio-blk-pci,drive=d0",
            "-drive", f"if=none,id=d1,file={self.local},format=raw",
            "-device", "virtio-blk-pci,drive=d1,serial=ls-cache",
            "-netdev", net, "-device", "virtio-net-pci,netdev=n0,romfile=",
            "-device", "virtio-serial-pci", "-device", "virtio-scsi-pci", "-device", "virtio-rng-pci",
            "-device", "pvpanic",
            "-chardev", f"socket,id=a,path={self.place}/agent,server=on,wait=off",
            "-device", "virtserialport,chardev=a,name=org.qemu.guest_agent.0",
        ]
        # fmt: on
        if disc is not None:
            command += ["-drive", f"if=none,id=c0,file={disc},format=raw,readonly=on", "-device", "scsi-cd,drive=c0"]
        return command

    def ask(self, command: str, **arguments: Any) -> Any:
        """One request to the real agent, on a connection of its own; raises NoAnswer."""
        request = {"execute": command, "arguments": arguments}
        self._asked += 1  # Answers to requests that we gave up on may still come; the number tells them apart.
        sync = {"execute": "guest-sync-delimited", "arguments": {"id": self._asked}}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_AGENT_S)
            try:
                connection.connect(str(self.place / "agent"))
                connection.sendall(b"\xff" + json.dumps(sync).encode() + b"\n")
                stream = connection.makefile("rb")
                while b'"return": %d}' % self._asked not in (line := stream.readline()):
                    if not line:
                        raise NoAnswer("the agent hung up")
                connection.sendall(json.dumps(request).encode() + b"\n")
                answer = json.loads(stream.readline())
            except (OSError, ValueError) as error:
                raise NoAnswer(str(error)) from error
        if "error" in answer:
            raise NoAnswer(answer["error"]["desc"])
        return answer["return"]

    def read(self, name: str) -> str:
        """A file of the guest, through guest-file-*; raises NoAnswer when there is none."""
        handle = self.ask("guest-file-open", path=name, mode="r")
        try:
            content = base64.b64decode(self.ask("guest-file-read", handle=handle, count=65536)["buf-b64"])
        finally:
            self.ask("guest-file-close", handle=handle)
        return content.decode().strip()

    def sh(self, script: str) -> str:
        """What a shell script in the guest prints."""
        pid = self.ask("guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})["pid"]
        status = until(lambda: _exited(self.ask("guest-exec-status", pid=pid)), _SCRIPT_S, self)
        return base64.b64decode(status.get("out-data", "")).decode().strip()

    def ready(self) -> str | None:
        """The boot id, if this boot of the guest says that it is ready."""
        boot = self.read("/proc/sys/kernel/random/boot_id")
        return boot if self.read("/run/vmrole/ready") == boot else None

    def http(self, path: str) -> str:
        """What the HTTP service answers, through a port on loopback."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def press_power_button(self) -> None:
        """What a host does to a guest whose agent does not answer: ACPI's power button."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SCRIPT_S)
            connection.connect(str(self.place / "monitor"))
            stream = connection.makefile("rwb", buffering=0)
            for command in ("qmp_capabilities", "system_powerdown"):
                stream.write(json.dumps({"execute": command}).encode() + b"\n")
            while b'"POWERDOWN"' not in (line := stream.readline()):
                assert line, "the monitor hung up"

    def ended(self) -> bool | None:
        """True when the machine has gone off by itself."""
        return True if self._process is not None and self._process.poll() is not None else None


def _exited(status: dict[str, Any]) -> dict[str, Any] | None:
    return status if status["exited"] else None


def until(look: Callable[[], T | None], within_s: float, guest: Guest) -> T:
    """What `look` returns as soon as that is not None; while the agent is silent it looks again."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        with contextlib.suppress(NoAnswer):
            found = look()
            if found is not None:
                return found
        time.sleep(_PAUSE_S)
    raise AssertionError(
        f"not within {within_s} s; the console's end:\n{guest.console.read_text(errors='replace')[-2000:]}"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


@pytest.fixture
def guest(tmp_path: Path, micro_image: Path) -> Guest:
    """A micro guest that has never run."""
    guest = Guest(tmp_path)
    guest.lay(micro_image)
    return guest


def test_two_builds_of_micro_are_equal(micro_image: Path, tmp_path: Path) -> None:
    """The same packages and tools give the same bytes, and the lock file says what they were; at most 64 MiB."""
    second = vmrole_images.build("micro", tmp_path / "again.qcow2")
    lock, again = (json.loads(vmrole_images.lock_path(path).read_text()) for path in (micro_image, second.path))
    assert lock == again
    assert second.sha256 == hashlib.sha256(micro_image.read_bytes()).hexdigest()
    assert second.size_bytes <= 64 * _MIB
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
        first = until(guest.ready, _FIRST_BOOT_S, guest)
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
        until(guest.ended, 30.0, guest)

    with guest.running(disc=None):
        later = until(guest.ready, _LATER_BOOT_S, guest)
        assert later not in (first, setup_boot)
        assert guest.read("/root/ran") == "once"
        assert guest.read("/local/cache/marker") == "kept"
        assert "recovery" not in guest.sh("dmesg | grep -i ext4"), "a clean shutdown leaves no journal to replay"

    guest.lay(micro_image)
    bare = answer_disc(tmp_path / "again.iso", "#!/bin/sh\necho again > /root/ran\n", restart=False, generation=2)
    with guest.running(bare):
        boot = until(guest.ready, _FIRST_BOOT_S, guest)
        assert guest.read("/var/lib/vmrole/setup-boot") == boot, "without a setup restart the setup boot serves"
        assert guest.read("/root/ran") == "again"
        assert guest.read("/local/cache/marker") == "kept"
        assert json.loads(guest.http("/"))["generation"] == 2


def test_a_power_cut_keeps_what_was_synced(guest: Guest) -> None:
    """A guest without a disc just boots; what it synced outlives a power cut; its power button ends it cleanly."""
    with guest.running(disc=None):
        until(guest.ready, _LATER_BOOT_S, guest)
        guest.sh("echo precious > /root/marker; echo precious > /local/cache/marker; sync")
    with guest.running(disc=None):
        until(guest.ready, _LATER_BOOT_S, guest)
        assert guest.read("/root/marker") == "precious"
        assert guest.read("/local/cache/marker") == "precious"
        until(lambda: True if guest.sh("pidof acpid") else None, _SCRIPT_S, guest)
        guest.press_power_button()
        until(guest.ended, _SCRIPT_S, guest)


def test_switches_make_a_micro_guest_misbehave(guest: Guest, tmp_path: Path) -> None:
    """`no-exec` leaves an agent that refuses guest-exec, `hold` one that is never ready until it is lifted."""
    script = "#!/bin/sh\ntouch /etc/vmrole/no-exec /etc/vmrole/hold\n"
    with guest.running(answer_disc(tmp_path / "answers.iso", script)):
        until(lambda: _second_boot(guest), _FIRST_BOOT_S, guest)
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

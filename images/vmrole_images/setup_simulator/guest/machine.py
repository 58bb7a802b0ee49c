"""The Linux below the simulator: CDs, the agent's port, the power button, the way down. The only part with I/O on it.

What it needs of Linux is made by /usr/lib/simulator/boot: mounted file systems, loaded modules, a network.
"""

from __future__ import annotations

import datetime
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vmrole_images.setup_simulator.guest.drive import Drive, DriveType
from vmrole_images.setup_simulator.guest.world import dmtf

SYSTEM = Path("/c")
RUN = Path("/run/simulator")
PORT_NAME = "org.qemu.guest_agent.0"
_BUSYBOX = "/usr/bin/busybox"
_CD_WITHIN_S = 5.0
_LOOK_S = 0.05
_HANG_UP_S = 0.1
_CHUNK = 65536
_KEY_EVENT = struct.Struct("llHHi")  # linux/input.h
_EV_KEY, _KEY_POWER = 1, 116


def say(text: str) -> None:
    """A line on the console, with the seconds since the kernel started."""
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    with Path("/dev/console").open("w", encoding="utf-8") as console:
        console.write(f"[{up_s:.2f}] simulator: {text}\n")


def boot_text() -> str:
    """The id of this boot as WMI would say it; the same however often this program is started."""
    file = RUN / "boot"
    if not file.exists():
        RUN.mkdir(parents=True, exist_ok=True)
        file.write_text(dmtf(datetime.datetime.now(datetime.UTC)))
    return file.read_text()


class SystemClock:
    """Linux's own."""

    def now_ns(self) -> int:
        """See agent.Clock."""
        return time.time_ns()

    def set_ns(self, at_ns: int) -> None:
        """See agent.Clock."""
        time.clock_settime_ns(time.CLOCK_REALTIME, at_ns)


def attach_discs() -> list[Drive]:
    """The CDs in the drives as D:, E:…, mounted as Windows sees them: by their Joliet names."""
    discs: list[Drive] = []
    end_s = time.monotonic() + _CD_WITHIN_S
    while not (devices := sorted(Path("/dev").glob("sr*"))) and time.monotonic() < end_s:
        time.sleep(_LOOK_S)
    for letter, device in zip("DEFGHIJ", devices, strict=False):
        place = RUN / letter
        place.mkdir(parents=True, exist_ok=True)
        mount = [_BUSYBOX, "mount", "-t", "iso9660", "-o", "ro,norock,iocharset=utf8", str(device), str(place)]
        if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode == 0:
            discs.append(Drive(letter, place, DriveType.READ_ONLY))
    return discs


def detach_discs() -> None:
    """Unmounts all CDs, so that their trays open."""
    for place in RUN.glob("[D-J]"):
        subprocess.run([_BUSYBOX, "umount", str(place)], check=False, stderr=subprocess.DEVNULL)


def serve_agent(answer: Callable[[bytes], bytes]) -> None:
    """Answers on the agent's port for ever, line by line; returns when the machine has no such port."""
    port = _port()
    if port is None:
        say(f"no agent: the machine has no port {PORT_NAME}")
        return
    descriptor = os.open(port, os.O_RDWR)
    held = b""
    while True:
        try:
            received = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            received = b""
        if not received:  # Nobody has the other end open.
            held = b""
            time.sleep(_HANG_UP_S)
            continue
        *lines, held = (held + received).split(b"\n")
        for line in lines:
            _write_all(descriptor, answer(line))


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except OSError:
            return  # The other end has gone, and with it whoever asked.


def _port() -> Path | None:
    end_s = time.monotonic() + _CD_WITHIN_S
    while time.monotonic() < end_s:
        for place in Path("/sys/class/virtio-ports").glob("*"):
            name = place / "name"
            if name.exists() and name.read_text().strip() == PORT_NAME:
                return Path("/dev") / place.name
        time.sleep(_LOOK_S)
    return None


def watch_power_button(pressed: Callable[[], None]) -> None:
    """Calls `pressed` once the ACPI power button is pressed."""
    for device in sorted(Path("/dev/input").glob("event*")):
        threading.Thread(target=_watch_keys, args=(device, pressed), daemon=True).start()


def _watch_keys(device: Path, pressed: Callable[[], None]) -> None:
    with device.open("rb", buffering=0) as stream:
        while event := stream.read(_KEY_EVENT.size):
            _seconds, _micro, kind, code, value = _KEY_EVENT.unpack(event)
            if (kind, code, value) == (_EV_KEY, _KEY_POWER, 1):
                pressed()


def go_down(mode: str) -> None:
    """Restarts or powers off ("powerdown", "halt", "reboot"); does not return."""
    say(f"going down: {mode}")
    detach_discs()
    os.sync()
    subprocess.run([_BUSYBOX, "mount", "-o", "remount,ro", "/"], check=False, stderr=subprocess.DEVNULL)
    subprocess.run([_BUSYBOX, "reboot" if mode == "reboot" else "poweroff", "-f"], check=False)
    time.sleep(60)


def interfaces() -> list[tuple[str, str, str]]:
    """Name, MAC and "ADDRESS/PREFIX" (or "") of the network cards; the name is one that Windows would give."""
    found = []
    for number, place in enumerate(sorted(Path("/sys/class/net").glob("eth*"))):
        name = "Ethernet" if number == 0 else f"Ethernet {number + 1}"
        found.append((name, (place / "address").read_text().strip(), address() if number == 0 else ""))
    return found


def address() -> str:
    """The DHCP client's "ADDRESS/PREFIX"; "" before there is a lease."""
    file = Path("/run/address")
    return file.read_text().strip() if file.exists() else ""

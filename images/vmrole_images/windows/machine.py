"""The machine of a build: QEMU's command line, and waiting for the machine to power itself off. Knows no answers."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from vmrole_images.report import BuildError
from vmrole_images.tools import locate

KEYS_S = 60.0  # how long "Press any key to boot from CD" is answered; with an empty disk, only the first start asks
SERIAL_BYTES_MAX = 1 << 20
_POLL_S = 1.0
_REPORT_S = 60.0
_END_S = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What Windows is installed on. The firmware's variables are a template, which is copied."""

    vcpus: int = 2
    memory_mib: int = 4096
    within_s: float = 6 * 3600.0
    qemu: str = "qemu-system-x86_64"
    firmware: Path = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
    variables: Path = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
    screen: Path | None = None  # a socket for VNC clients: gvncviewer, remote-viewer, …
    kvm: bool = dataclasses.field(default_factory=lambda: os.access("/dev/kvm", os.R_OK | os.W_OK))


@dataclasses.dataclass(frozen=True, slots=True)
class Discs:
    """The disk that is written, and three CDs: Windows, drivers, answers."""

    disk: Path
    iso: Path
    virtio_win: Path
    answers: Path


def command(machine: Machine, discs: Discs, work: Path) -> list[str]:
    """QEMU's argv. The disk is tried first: empty, it leaves the start to the CD, and later starts are its own."""
    kind = "q35,accel=kvm" if machine.kvm else "q35,accel=tcg"
    cpu = "host,hv_relaxed,hv_vapic,hv_spinlocks=0x1fff,hv_time" if machine.kvm else "max"
    # fmt: off
    argv = [
        locate(machine.qemu), "-name", "vmrole-build-windows", "-nodefaults", "-no-user-config",
        "-machine", kind, "-cpu", cpu, "-smp", str(machine.vcpus), "-m", str(machine.memory_mib),
        "-rtc", "base=localtime", "-nic", "none", "-display", "none", "-vga", "std", "-monitor", "stdio",
        "-device", "qemu-xhci", "-device", "usb-kbd", "-device", "usb-tablet",
        "-serial", f"file:{work / 'serial.log'}",
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={machine.firmware}",
        "-drive", f"if=pflash,unit=1,format=raw,file={work / 'variables.fd'}",
        "-drive", f"if=none,id=disk,format=qcow2,discard=unmap,cache=unsafe,file={discs.disk}",
        "-device", "virtio-blk-pci,drive=disk,bootindex=0",
    ]
    if machine.screen is not None:
        argv += ["-vnc", f"unix:{machine.screen}"]
    for number, (name, file) in enumerate(
        (("install", discs.iso), ("drivers", discs.virtio_win), ("answers", discs.answers))
    ):
        boot = ",bootindex=1" if name == "install" else ""
        argv += ["-drive", f"if=none,id={name},media=cdrom,readonly=on,format=raw,file={file.resolve()}",
                 "-device", f"ide-cd,drive={name},bus=ide.{number}{boot}"]
    # fmt: on
    return argv


def run(machine: Machine, discs: Discs, work: Path, progress: Callable[[str], None]) -> str:
    """What the machine wrote to its serial port, once it is off. Raises BuildError; none is left running."""
    for file in (machine.firmware, machine.variables):
        if not file.exists():
            raise BuildError(f"there is no {file}", hint="apt-get install ovmf")
    shutil.copyfile(machine.variables, work / "variables.fd")
    serial = work / "serial.log"
    serial.touch()
    argv = command(machine, discs, work)
    progress("installing Windows, " + ("with KVM" if machine.kvm else "without KVM: this takes many hours"))
    with (work / "qemu.log").open("wb") as log, contextlib.ExitStack() as undo:
        try:
            qemu = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=work)
        except OSError as error:
            raise BuildError(f"{argv[0]} cannot be started: {error.strerror}") from error
        undo.callback(_end, qemu)
        _wait(qemu, machine.within_s, progress)
    if qemu.returncode != 0:
        said = (work / "qemu.log").read_bytes()[-600:].decode(errors="replace").strip()
        raise BuildError(f"{argv[0]} ended with status {qemu.returncode}: {said}")
    with serial.open("rb") as said_by_guest:
        said = said_by_guest.read(SERIAL_BYTES_MAX).decode("utf-8", errors="replace")
    return "".join(char if char.isprintable() or char == "\n" else " " for char in said)


def _wait(qemu: subprocess.Popen[bytes], within_s: float, progress: Callable[[str], None]) -> None:
    started = time.monotonic()
    reported = started
    while qemu.poll() is None:
        now = time.monotonic()
        if now - started > within_s:
            raise BuildError(
                f"Windows was not installed within {within_s:.0f} s", hint="give it longer, or look at its screen"
            )
        if now - started < KEYS_S:
            _press_a_key(qemu)
        if now - reported >= _REPORT_S:
            reported = now
            progress(f"still installing, {(now - started) / 60:.0f} min")
        with contextlib.suppress(subprocess.TimeoutExpired):
            qemu.wait(_POLL_S)


def _press_a_key(qemu: subprocess.Popen[bytes]) -> None:
    assert qemu.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # It has just ended, which the caller sees.
        qemu.stdin.write(b"sendkey ret\n")
        qemu.stdin.flush()


def _end(qemu: subprocess.Popen[bytes]) -> None:
    if qemu.poll() is None:
        qemu.terminate()
        try:
            qemu.wait(_END_S)
        except subprocess.TimeoutExpired:
            qemu.kill()
            qemu.wait()
    if qemu.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            qemu.stdin.close()

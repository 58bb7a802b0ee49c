"""KVM or TCG: decided by booting guests in KVM, with a deadline, and the same guests in TCG as control.

/dev/kvm says little: there are hosts where it opens, answers, starts QEMU and even runs a firmware, and where code
without paging is emulated so slowly that no kernel is ever reached (measured: kvm_pvm). So the first guest is our own
and does what firmware and loaders do; the second is a Linux kernel, where one lies on the host.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import platform
import secrets
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from orchestrator.drivers.hypervisor import probe_guest
from orchestrator.drivers.hypervisor.domain_xml import Accelerator
from orchestrator.drivers.tools.command import environment, is_readable, run
from orchestrator.drivers.tools.deadline import Deadline
from orchestrator.drivers.tools.hostile_text import harmless

log = logging.getLogger(__name__)

EMULATOR: Final = Path("/usr/bin/qemu-system-x86_64")
KVM_DEVICE: Final = Path("/dev/kvm")
DEADLINE_S = 15.0  # A host with KVM boots either guest in about a second.
CONTROL_S = 60.0  # TCG boots a kernel in 4 s on a quiet machine, in 10 s on a busy one.
_CACHE_FILE = "accelerator.json"
_OUTPUT_MAX_BYTES = 1 << 16
_CPU: Final = {Accelerator.KVM: "host", Accelerator.TCG: "max"}  # as the domains have it
_BZIMAGE = (0x202, b"HdrS")  # Documentation/arch/x86/boot.rst of Linux


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What guests will run on; `because` in a sentence, `evidence` as it was seen."""

    accelerator: Accelerator
    because: str
    evidence: str = ""
    cached: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Boot:
    """How one boot went: `why_not` is "" when the guest printed its word."""

    seconds: float
    why_not: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Guest:
    """What is booted: files for QEMU's -kernel and, for Linux, -initrd."""

    name: str
    arguments: tuple[str, ...]
    word: str


def choose(
    wish: str,
    cache_dir: Path,
    *,
    emulator: Path = EMULATOR,
    device: Path = KVM_DEVICE,
    kernels: Sequence[Path] | None = None,
    cpu: str = "",
    deadline_s: float = DEADLINE_S,
) -> Choice:
    """The accelerator for this host; `wish` is "auto", "kvm" or "tcg".

    Asking takes a second or two where KVM works, and at most about `deadline_s` and the control where not.

    While the device is there, the answer is kept in `cache_dir` for this kernel, this QEMU and this processor.
    `kernels` are tried instead of those in /boot; `cpu` is QEMU's name of the processor model that guests in KVM get.
    Raises nothing for a KVM that fails in whatever way; Permanent or CommandFailed when there is no QEMU.
    """
    if wish != "auto":
        return Choice(accelerator=Accelerator(wish), because="the configuration says so")
    if not os.access(device, os.R_OK | os.W_OK):
        why = "cannot be opened" if device.exists() else "does not exist"
        return Choice(accelerator=Accelerator.TCG, because=f"{device} {why}")
    version = run([str(emulator), "--version"]).partition("\n")[0]
    key = {"kernel": platform.release(), "qemu": version, "processor": _processor(), "cpu": cpu}
    kept = _read(cache_dir / _CACHE_FILE, key)
    if kept is not None:
        return kept
    choice, sure = _probed(emulator, _kernels() if kernels is None else kernels, cpu, deadline_s)
    log.info("guests run on %s: %s (%s)", choice.accelerator.value, choice.because, choice.evidence)
    if sure:
        _write(cache_dir / _CACHE_FILE, key, choice)
    return choice


def _probed(emulator: Path, kernels: Sequence[Path], cpu: str, deadline_s: float) -> tuple[Choice, bool]:
    """The choice, and whether another try would only say the same."""
    proofs = []
    with tempfile.TemporaryDirectory(prefix="vmrole-probe-") as place:
        for guest in guests(Path(place), kernels):
            tried = boot(emulator, Accelerator.KVM, guest, cpu, deadline_s)
            if not tried.why_not:
                proofs.append(f"{guest.name} booted in KVM in {tried.seconds:.1f} s")
                continue
            control = boot(emulator, Accelerator.TCG, guest, "", CONTROL_S)
            if control.why_not and proofs:
                proofs.append(f"{guest.name} boots in neither")  # Its own fault: it shows nothing about KVM.
                continue
            evidence = f"{guest.name} in KVM: {tried.why_not}; in TCG: "
            evidence += control.why_not or f"booted in {control.seconds:.1f} s"
            because = "a guest does not boot in KVM" + ("" if control.why_not else ", and the same one does in TCG")
            return Choice(accelerator=Accelerator.TCG, because=because, evidence=evidence), not control.why_not
    return Choice(accelerator=Accelerator.KVM, because="a guest boots in KVM", evidence="; ".join(proofs)), True


def guests(place: Path, kernels: Sequence[Path]) -> list[Guest]:
    """Our own guest, and Linux with the first of `kernels` that is one; their files are written to `place`."""
    word = f"vmrole-{secrets.token_hex(8)}"
    (place / "own").write_bytes(probe_guest.own(word))
    guests = [Guest("our own guest", ("-kernel", str(place / "own")), word)]
    for kernel in kernels:
        if _is_bzimage(kernel):
            (place / "initramfs").write_bytes(probe_guest.initramfs(word))
            line = "console=ttyS0 quiet panic=-1"
            arguments = ("-kernel", str(kernel), "-initrd", str(place / "initramfs"), "-append", line)
            guests.append(Guest(kernel.name, arguments, word))
            break
    return guests


def _kernels() -> list[Path]:
    """Kernels that lie on this host, the running one first."""
    boot = Path("/boot")
    return [boot / f"vmlinuz-{platform.release()}", *sorted(boot.glob("vmlinuz-*"), reverse=True)]


def _is_bzimage(kernel: Path) -> bool:
    at, magic = _BZIMAGE
    try:
        with kernel.open("rb") as file:
            file.seek(at)
            return file.read(len(magic)) == magic
    except OSError:
        return False


def boot(emulator: Path, accelerator: Accelerator, guest: Guest, cpu: str, within_s: float) -> Boot:
    """Runs the guest until it prints its word, ends, or the time is over; then it is killed."""
    argv = [
        str(emulator),
        "-accel",
        accelerator.value,
        "-cpu",
        cpu or _CPU[accelerator],
        "-machine",
        "q35",
        "-m",
        "128",
    ]
    argv += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio", *guest.arguments]
    deadline = Deadline(within_s)
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
    )
    try:
        output, ended = _read_until(process, guest.word.encode("ascii"), deadline)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    seconds = deadline.passed_s
    if guest.word.encode("ascii") in output:
        return Boot(seconds)
    if ended:
        return Boot(seconds, f"QEMU ended: {_last_line(output)}")
    return Boot(seconds, f"nothing within {within_s:.0f} s")


def _read_until(process: subprocess.Popen[bytes], word: bytes, deadline: Deadline) -> tuple[bytes, bool]:
    """What was printed, and whether QEMU ended by itself."""
    if process.stdout is None:
        raise AssertionError("stdout is a pipe")
    descriptor, output = process.stdout.fileno(), b""
    while word not in output and (left_s := deadline.left_s) > 0:
        if is_readable(descriptor, left_s):
            more = os.read(descriptor, 4096)
            if not more:
                return output, True
            output = (output + more)[-_OUTPUT_MAX_BYTES:]
    return output, False


def _last_line(output: bytes) -> str:
    """What QEMU said last, for a log; the guest may have written it."""
    lines = [line for line in output.decode("ascii", "replace").splitlines() if line.strip()]
    return harmless(lines[-1], 200) if lines else "without a word"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


# What was found out before. -----------------------------------------------------------------------------------


def _read(file: Path, key: dict[str, str]) -> Choice | None:
    """The kept choice, when it is of this host as it is now; anything unreadable counts as nothing kept."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(file.read_text())
        if kept["key"] == key:
            return Choice(
                accelerator=Accelerator(kept["accelerator"]),
                because=str(kept["because"]),
                evidence=str(kept["evidence"]),
                cached=True,
            )
    return None


def _write(file: Path, key: dict[str, str], choice: Choice) -> None:
    """Complete or not at all; a directory that cannot be written only costs another try next time."""
    said = {
        "key": key,
        "accelerator": choice.accelerator.value,
        "because": choice.because,
        "evidence": choice.evidence,
    }
    new = file.with_suffix(".new")
    try:
        file.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        new.write_text(json.dumps(said, indent=1))
        new.replace(file)
    except OSError as error:
        log.warning("the choice of accelerator could not be kept in %s: %s", file, error.strerror)

"""Daemons in a lab: libvirtd with virtlogd, and vmrole's own. Each can be started, killed and started again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.lab.harness.places import HOST
from tests.world.waiting import comes_true

START_S = 30.0  # A cold libvirtd on a busy machine takes 3 s; a daemon of ours well under 2 s.
STOP_S = 30.0


class DaemonError(AssertionError):
    """A daemon did not do what it was told; the message ends with the last lines of its log."""


@dataclasses.dataclass(slots=True)
class Daemon:
    """One foreground program that is up when its socket accepts a connection."""

    name: str
    argv: tuple[str, ...]
    socket: Path
    log: Path
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, within_s: float = START_S) -> None:
        """Starts it and waits until it answers; a running one is left alone."""
        if self.running():
            return
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **self.environment}
            )
        if not comes_true(lambda: not self.running() or accepts(self.socket), within_s) or not self.running():
            self.kill()
            raise DaemonError(f"{self.name} did not come up within {within_s:.0f} s\n{self.last_words()}")

    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9: no chance to tidy up. One that is not running is fine."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=STOP_S)

    def stop(self, within_s: float = STOP_S) -> int:
        """Asks it to end and returns its exit status; one that does not end in time is killed and reported."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=within_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise DaemonError(f"{self.name} did not end within {within_s:.0f} s\n{self.last_words()}") from error

    def last_words(self, lines: int = 30) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def virtlogd(root: Path) -> Daemon:
    """The keeper of consoles: it survives a restart of libvirtd so that a guest's console does too."""
    return Daemon("virtlogd", ("/usr/sbin/virtlogd",), Path("/run/libvirt/virtlogd-sock"), root / "virtlogd.log")


def libvirtd(root: Path) -> Daemon:
    """The hypervisor's daemon; guests survive its death."""
    return Daemon("libvirtd", ("/usr/sbin/libvirtd",), Path("/run/libvirt/libvirt-sock"), root / "libvirtd.log")


def accepts(path: Path) -> bool:
    """Whether somebody listens on the Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        return True
    return False


def answers_libvirt() -> bool:
    """Whether libvirtd takes a call, which it does a little later than it takes a connection."""
    return HOST.run(["virsh", "--quiet", "uri"], check=False).returncode == 0

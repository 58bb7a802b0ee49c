"""The two sides of a lab, and how commands run on each. Nothing here knows what vmrole is."""

from __future__ import annotations

import dataclasses
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

QEMU_USER = "libvirt-qemu"  # whom libvirt runs QEMU as, here as on Debian
QEMU_GROUP = "kvm"
KVM = Path("/dev/kvm")
LIBVIRT_URI = "qemu:///system"
CLIENT_NAMESPACE = "client"
OUTSIDE_LINK = "out0"  # the host's interface to the outside; VIPs go on it
HOST_ADDRESS = "203.0.113.1"
CLIENT_ADDRESS = "203.0.113.2"
COMMAND_S = 60.0  # longest time that a command in the lab may take, unless its caller says more


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """One side of the lab: `prefix` is put before every command."""

    name: str
    prefix: tuple[str, ...] = ()

    def run(
        self, argv: Sequence[str], *, check: bool = True, timeout_s: float = COMMAND_S, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end and keeps what it printed; `text` is its standard input.

        Raises CommandError with the output when `check` and the status is not 0; subprocess.TimeoutExpired after
        `timeout_s` seconds.
        """
        done = subprocess.run(
            [*self.prefix, *argv], input=text, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and done.returncode:
            raise CommandError(f"{self.name}: {' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen(
        self, argv: Sequence[str], *, log: Path | None = None, stdout: int | IO[bytes] = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Starts a command; both outputs are appended to `log` when it is given."""
        if log is None:
            return subprocess.Popen([*self.prefix, *argv], stdout=stdout)
        with log.open("ab") as out:
            return subprocess.Popen([*self.prefix, *argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def as_qemu(argv: Sequence[str]) -> list[str]:
    """The command, run with what a process of QEMU has: its user, its group, and nothing else."""
    return [
        "setpriv",
        f"--reuid={QEMU_USER}",
        f"--regid={QEMU_GROUP}",
        "--clear-groups",
        "--no-new-privs",
        "--",
        *argv,
    ]


def let_qemu_pass(path: Path) -> None:
    """Lets QEMU's user go through the directories above `path`, as it can on a host; pytest makes its own private."""
    for directory in path.parents:
        mode = stat.S_IMODE(directory.stat().st_mode)
        if mode & 0o011 != 0o011:
            directory.chmod(mode | 0o011)


class CommandError(AssertionError):
    """A command in the lab failed; the message holds what it printed."""


HOST = Place("host")
CLIENT = Place("client", ("nsenter", f"--net=/run/netns/{CLIENT_NAMESPACE}", "--"))

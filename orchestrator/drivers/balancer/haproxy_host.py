"""What this host gives HAProxy: the user it works as, how many connections its memory is good for, and which program
is installed by now.

The worker parses what strangers send. It does so as the package's own user and with an empty directory for its root;
only the master, which hears nobody but the daemon, stays root.
"""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import os
import pwd
import re
import resource
import shutil
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.host_memory import memory_bytes
from orchestrator.errors import Permanent, WorldError

USER: Final = "haproxy"  # Debian's package makes user and group, and so do those of other distributions.
CONNECTION_BYTES: Final = 64 * 1024  # two buffers of 16 KiB, and what the kernel keeps for two sockets
MEMORY_SHARE: Final = 8  # An eighth of the host's memory is for connections at most; the rest is for guests.
CONNECTIONS_LEAST, CONNECTIONS_MOST = 1_000, 200_000
CONNECTIONS_FEWEST: Final = 100  # where descriptors are scarce
_FILES_KEPT: Final = 500  # descriptors for listeners and HAProxy's own needs
_MEMBERS_A_STEP: Final = 1_000  # A member needs one for its check and one for an idle connection.
_REPLACED = re.compile(r"/(?!memfd:).* \(deleted\)")  # proc(5), maps: the program or a library of it
_VERSION = re.compile(r"version (\S+)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the configuration says of the host. `user` "" and `jail` None: it works as whoever starts it."""

    connections_max: int = 4_000  # of all endpoints together, by memory
    files_max: int = 20_000  # descriptors: HAProxy does not start when it would need more
    user: str = ""
    group: str = ""
    jail: Path | None = None


def surroundings(jail: Path) -> Surroundings:
    """Those of this host. `jail` is an empty directory. Permanent when root has nobody to become."""
    files, most = files_max(), connections_max()
    if os.geteuid() != 0:  # Whoever is not root can become nobody else, and need not.
        return Surroundings(connections_max=most, files_max=files)
    try:
        pwd.getpwnam(USER)
        grp.getgrnam(USER)
    except KeyError as error:
        raise Permanent(
            f"HAProxy is not started as root, and there is no user or group {USER!r} for it on this host",
            hint=f"apt-get install haproxy, or: adduser --system --group --no-create-home {USER}",
        ) from error
    return Surroundings(connections_max=most, files_max=files, user=USER, group=USER, jail=jail)


def connections_max() -> int:
    """How many connections at a time this host's memory is good for."""
    return max(CONNECTIONS_LEAST, min(CONNECTIONS_MOST, memory_bytes() // MEMORY_SHARE // CONNECTION_BYTES))


def files_max() -> int:
    """How many descriptors a process of ours may have."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000_000 if files == resource.RLIM_INFINITY else files


def connections_with(host: Surroundings, members: int) -> int:
    """How many connections at a time HAProxy may have with so many members; in steps, for members come and go."""
    reserved = 2 * _MEMBERS_A_STEP * (members // _MEMBERS_A_STEP + 1)
    by_files = (host.files_max - _FILES_KEPT - reserved) // 2  # One to the client and one to the member.
    return max(CONNECTIONS_FEWEST, min(host.connections_max, by_files))


def outdated(pid: int, running: str, binary: str) -> str:
    """Why the process runs another program than is installed, in a sentence; "" when it does not.

    `running` is the version that it tells itself, "" when it does not answer.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
            words = line.split(maxsplit=5)
            if "x" in words[1] and len(words) == 6 and _REPLACED.fullmatch(words[5]):
                gone = words[5].removesuffix(" (deleted)")
                return f"HAProxy still runs {gone} as it was before it was replaced on this host"
    installed = _installed(binary)
    if running and installed and running != installed:
        return f"HAProxy {running} runs, and {installed} is installed"
    return ""


def _installed(binary: str) -> str:
    """The version of the program on disk; "" when it says none."""
    if shutil.which(binary) is None:
        return ""
    with contextlib.suppress(WorldError):
        found = _VERSION.search(run([binary, "-v"]))
        return found[1] if found else ""
    return ""

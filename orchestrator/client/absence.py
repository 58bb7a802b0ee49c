"""Why a socket could not be connected to, and what its user can do about it."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from orchestrator.errors import Denied, InvalidInput, Unreachable, VmroleError

PATH_MAX_BYTES = 107  # of a socket: unix(7), without the zero that ends it
UNIT = "vmrole.service"
BOOTED = Path("/run/systemd/system")  # is there where systemd is the init: sd_booted(3)
UNIT_PLACES = (
    Path("/etc/systemd/system"),
    BOOTED,
    Path("/usr/local/lib/systemd/system"),
    Path("/usr/lib/systemd/system"),
    Path("/lib/systemd/system"),
)


def told(path: str, error: OSError) -> VmroleError:
    """The error for a connection to `path` that failed with `error`."""
    name = "name the daemon's socket with --socket or VMROLE_SOCKET"
    if len(os.fsencode(path)) > PATH_MAX_BYTES:
        return InvalidInput(f"the path of a socket has at most {PATH_MAX_BYTES} bytes: {path}", hint=name)
    if isinstance(error, PermissionError):
        return Denied(f"you may not use {path}", hint=_admission(path))
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        name = f"start it with: {starting()}; or {name}"
    return Unreachable(f"no daemon answers on {path}: {error.strerror or error}", hint=name)


def older(key: str) -> VmroleError:
    """The error for an answer that lacks what this program reads in it."""
    hint = "systemctl restart vmrole" if _has_unit() else "end it, and run: vmrole daemon"
    return Unreachable(f"the daemon does not tell {key!r}: it is older than this command", hint=f"restart it: {hint}")


def starting() -> str:
    """The command that starts this host's daemon: its unit, where it is installed."""
    return "systemctl start vmrole" if _has_unit() else "vmrole daemon"


def _has_unit() -> bool:
    return BOOTED.is_dir() and any((place / UNIT).exists() for place in UNIT_PLACES)


def _admission(path: str) -> str:
    """How one comes to be let in. A group that one was put into counts from the next login on."""
    try:
        group = grp.getgrgid(os.stat(path).st_gid)  # noqa: PTH116 - the path is a word, as the caller gave it
        user = pwd.getpwuid(os.geteuid()).pw_name
    except (OSError, KeyError):
        return "be root or a member of the socket's group"
    if group.gr_gid == 0:
        return "be root: its socket is open to no group"
    if user in group.gr_mem:
        return f"you are in the group {group.gr_name} only from your next login on; or: newgrp {group.gr_name}"
    return f"be root or a member of the group {group.gr_name}: usermod -aG {group.gr_name} {user}, then log in again"

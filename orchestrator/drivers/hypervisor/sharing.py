"""Directories of the host that guests read by virtiofs: who may have which, and who serves them.

libvirt learned of read-only ones in 11.0, virtiofsd in 1.13. So it is the kernel that refuses here, whatever both can
do: libvirt is given a program of ours in virtiofsd's place, which mounts the directory read-only over itself, in a
mount namespace of its own, and goes on as virtiofsd. Who takes that over by its guest has no capability by which the
mount could be made another.

A source is named by its real path, and nobody but root can put another directory, or a link, in its place or in that
of one above: what was looked at is what is mounted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.command import STILL_RUNS, run
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.ownership import others_hold
from orchestrator.errors import CommandFailed, Problem, Transient
from orchestrator.model import Instance, Role

SERVERS: Final = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd")
LOOK_S: Final = 5.0  # what lies on a disk is looked at in far less
INSTALL: Final = "apt-get install virtiofsd (Debian 12: qemu-system-common has it)"
PROGRAM: Final = f"""\
#!/bin/sh
# vmrole's: libvirt runs this in the place of virtiofsd. It makes the directory read-only, in a mount namespace of its
# own, and goes on as virtiofsd. Whatever goes wrong, nothing is served.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
fail() {{ echo "vmrole: $*" >&2; exit 1; }}
for virtiofsd in {" ".join(SERVERS)} ''; do
    [ -z "$virtiofsd" ] || [ ! -x "$virtiofsd" ] || break
done
[ -n "$virtiofsd" ] || fail "there is no virtiofsd: {INSTALL}"
case $# in 1) case $1 in --print-capabilities | --version | --help) exec "$virtiofsd" "$1" ;; esac ;; esac

if [ "${{1-}}" != read-only ]; then
    exec unshare --mount --propagation private -- "$0" read-only "$@"
fi
shift
source= before=
for each in "$@"; do
    case $before$each in
        -osource=*) source=${{each#source=}} source=${{source%%,*}} ;;
        --shared-dir=*) source=${{each#*=}} ;;
        --shared-dir?*) source=$each ;;
    esac
    case $each in -o | --shared-dir) before=$each ;; *) before= ;; esac
done
case $source in /*) ;; *) fail "what is to be served is not said: $*" ;; esac
[ "$(realpath -e -- "$source")" = "$source" ] || fail "$source is not the real path of a directory"
mount --bind -- "$source" "$source"
mount -o remount,bind,ro,nosuid,nodev -- "$source"
exec "$virtiofsd" "$@"
"""


def permitted(shares: Collection[str], unfit: Callable[[Role], Problem | None]) -> Callable[[Role], Problem | None]:
    """`unfit`, where sources must be among those that the host's owner gives. Of another nothing is told, not even
    whether it is there.
    """

    def fault(role: Role) -> Problem | None:
        for one in role.shares:
            if one.source not in shares:
                given = f"name one of: {', '.join(sorted(shares))}" if shares else "there is none that is given"
                hint = f"{given}; or have the owner add it to shares in vmrole.toml, and restart the daemon"
                told = f"this host's owner does not give {one.source} to guests"
                return Problem(told, key=f"shares.{one.name}.source", hint=hint)
        return unfit(role)

    return fault


def fault(role: Role, servers: Collection[str] = SERVERS) -> Problem | None:
    """Why the host cannot serve the role's shares."""
    if role.shares and server_of(servers) is None:
        return Problem("this host has no virtiofsd, which serves shares", key="shares", hint=f"run: {INSTALL}")
    for one in role.shares:
        if (found := source_fault(Path(one.source))) is not None:
            told, hint = found
            return Problem(told, key=f"shares.{one.name}.source", hint=hint)
    return None


def server_of(servers: Collection[str] = SERVERS) -> str | None:
    """The virtiofsd that serves shares on this host; None where there is none."""
    return next((server for server in servers if os.access(server, os.X_OK)), None)


def source_fault(source: Path) -> tuple[str, str] | None:
    """Why no guest can be given that directory, and the remedy."""
    if is_mute(source):
        return f"{source} does not answer", "see to the server, or the program, that its file system comes from"
    try:
        real = source.resolve(strict=True)
        if real != source:
            return f"{source} is {real} by its real name", "name it so, here and in shares of vmrole.toml"
        if not source.is_dir():
            return f"{source} is no directory", "share the directory that it is in"
        others = others_hold(source.parent)
    except OSError as error:
        return f"{source} cannot be looked at: {error.strerror}", "make it, or name another"
    if others:
        return f"another could be put in the place of {source}: {others}", "have it where only root can write"
    return None


def is_mute(source: Path) -> bool:
    """Whether nothing is heard of it: of a network's file system whose server is away. Who asks may hang with it, so
    a child does.
    """
    try:
        run(["stat", "--dereference", "--format=%F", str(source)], within_s=LOOK_S)
    except CommandFailed as error:
        return error.status == STILL_RUNS
    return False


def require(instance: Instance, layout: Layout) -> None:
    """Has the program there that serves the instance's shares. Raises Transient while one of them is not there."""
    if not instance.role.shares:
        return
    if (found := fault(instance.role)) is not None:
        raise Transient(f"start {instance.name}: {found.message}", hint=found.hint)
    program = layout.share_server
    if not program.exists() or program.read_text() != PROGRAM:
        unfinished = program.with_name(f".{program.name}.{instance.name}")
        unfinished.write_text(PROGRAM)
        unfinished.chmod(0o755)
        unfinished.rename(program)

"""Tries everything that vmrole needs of a host, without the daemon: `checks()` is what `vmrole doctor` shows.

Each check is one small function that does what vmrole will do (boots a guest, loads the firewall in a namespace that
is thrown away, makes an overlay and locks it, has HAProxy read a configuration) instead of reading a version and
hoping. Rendering is the CLI's.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

from orchestrator.errors import ConfigError, VmroleError
from orchestrator.host import config
from orchestrator.host.config import Config
from orchestrator.host.doctor import (
    confinement,
    consoles,
    firmware,
    host,
    libvirt_log,
    listener,
    passage,
    pci,
    programs,
    reach,
    readable,
    reimages,
    room,
    shares,
)
from orchestrator.host.doctor.check import Check, Verdict, fail, ok, warn

log = logging.getLogger(__name__)

_SAID_MAX = 200  # characters of an exception

__all__ = ["CHECKS", "Check", "Verdict", "checks", "each", "untried"]

CHECKS: tuple[tuple[str, Callable[[Config], Check]], ...] = (
    ("root", host.root),
    ("program", host.program),
    ("qemu", programs.qemu),
    ("accelerator", programs.accelerator),
    ("qemu-img", programs.qemu_img),
    ("libvirt", programs.libvirt),
    ("virtlogd", programs.virtlogd),
    (consoles.NAME, consoles.bounded),
    (libvirt_log.NAME, libvirt_log.outputs),
    ("haproxy", programs.haproxy),
    ("dnsmasq", programs.dnsmasq),
    ("nftables", programs.nftables),
    ("devices", programs.devices),
    ("limits", programs.limits),
    (reimages.ROADS, reimages.warmest),
    ("uefi", firmware.uefi),
    ("tpm", firmware.tpm),
    ("kvm", reach.kvm),
    ("apparmor", confinement.apparmor),
    (confinement.PROCESS, confinement.process),
    ("state directory", host.state_dir),
    ("records", readable.records),
    ("disks", room.disks),
    (reimages.ROOM, reimages.room),
    ("run directory", host.run_dir),
    ("qemu's way", reach.ways),
    ("secrets directory", host.secrets_dir),
    ("swap", reach.swap),
    ("socket group", host.socket_group),
    (listener.NAME, listener.certificate),
    ("vip interface", host.vip_interface),
    ("network pool", host.network_pool),
    ("egress", host.egress),
    ("forwarding", host.forwarding),
    ("ipv6 of guests", host.ipv6),
    ("dns and dhcp ports", host.ports),
    ("host firewall", passage.host_firewall),
    ("connections", room.connections),
    ("memory", room.memory),
    ("huge pages", room.huge_pages),
    ("shares", shares.shares),
    (pci.NAME, pci.devices),
    ("clock", host.clock),
)


def checks(settings: Config | None = None) -> list[Check]:
    """Every check, in the order in which things depend on each other. `settings` default to the configuration's."""
    return list(each(settings))


def each(settings: Config | None = None) -> Iterator[Check]:
    """The same one by one as they end; the accelerator may take its time."""
    if settings is None:
        try:
            settings = config.load()
        except ConfigError as error:
            yield fail(
                "configuration",
                "; ".join(str(error).splitlines()),
                error.hint or "correct it; the other checks use the defaults",
            )
            settings = Config()
        else:
            yield ok("configuration", "is valid")
    for name, look in CHECKS:
        yield untried(_told(name, look, settings), is_root=os.geteuid() == 0)


# What the kernel, and we, say to who is not root.
_NOT_ROOT = ("Permission denied", "Operation not permitted", "cannot be written", "you may not use")


def untried(check: Check, *, is_root: bool) -> Check:
    """What failed for want of root's rights tells nothing of the host: no package is missing for that."""
    if is_root or check.verdict is Verdict.PASS or not any(word in check.message for word in _NOT_ROOT):
        return check
    return warn(check.name, f"only root can try it ({check.message})", "sudo vmrole doctor")


_ASK_US = "run: vmrole doctor"  # what is said elsewhere of a program that cannot be run
_PROVISION = "install what a host needs: vagrant/provision.sh host, or the Debian package"


def _told(name: str, look: Callable[[Config], Check], settings: Config) -> Check:
    """A check that ends in an error of ours has failed, and the error says why."""
    try:
        return look(settings)
    except VmroleError as error:
        return fail(name, str(error), _PROVISION if error.hint == _ASK_US else error.hint)
    except OSError as error:
        return fail(name, f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), "")
    except Exception as error:  # What a program says that is not what it should be: the other checks go on.
        log.debug("the check %s failed", name, exc_info=True)
        told = f"it cannot be told: {type(error).__name__}: {str(error)[:_SAID_MAX]}"
        return fail(name, told, "is a program, or what it says, another than the distribution's?")

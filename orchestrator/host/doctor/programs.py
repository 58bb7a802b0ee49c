"""Programs and kernel features, each tried with what vmrole will ask of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.drivers.balancer import haproxy_config, haproxy_host, haproxy_leads, haproxy_process
from orchestrator.drivers.balancer.desired import Shape
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.hypervisor import accelerator as accelerators
from orchestrator.drivers.hypervisor import host_limits
from orchestrator.drivers.hypervisor.domain_xml import Accelerator
from orchestrator.drivers.network import tables
from orchestrator.drivers.tools import nft
from orchestrator.drivers.tools.command import run
from orchestrator.errors import CommandFailed, Permanent, VmroleError
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, Verdict, existing, fail, ok, warn
from orchestrator.model import Frontend, HttpProbe, InstanceName, Member, Mode, PoolName

_QEMU_LEAST, _HAPROXY_LEAST, _LIBVIRT_LEAST, _DNSMASQ_LEAST = (7, 0), (2, 6), (9, 0), (2, 89)
_LIBVIRT_S = 10.0  # opening a connection to a libvirtd that is stopped has no end of its own
_VIRTLOGD_S: Final = 5
_VIRTLOGD: Final = Path("/run/libvirt/virtlogd-sock")
_THROW_AWAY_NAMESPACE = ("unshare", "--net", "--")
_ASK_LIBVIRT: Final = (
    "import libvirt, sys; libvirt.registerErrorHandler(lambda *_: None, None)\n"
    "try: connection = libvirt.open(sys.argv[1])\n"
    "except libvirt.libvirtError as error: sys.exit(str(error))\n"
    "connection.listAllNetworks(); print(connection.getLibVersion(), connection.getType())\n"
)
_SOCKET: Final = Path("/run/vmrole-doctor.sock")  # Never made; how long paths may be is the run directory's check.
_WEB, _TCP, _MEMBER = PoolName("doctor.web.http"), PoolName("doctor.web.tcp"), InstanceName("web-0.doctor")
_SHAPE: Final = Shape(  # An endpoint of each kind, with a member.
    frontends=(
        Frontend(pool=_WEB, vip="127.0.0.1", port=80, mode=Mode.HTTP, probe=HttpProbe()),
        Frontend(pool=_TCP, vip="127.0.0.1", port=81, mode=Mode.TCP, probe=None),
    ),
    members={_MEMBER: Member(name=_MEMBER, address="127.0.0.1", pools=((_WEB, 8080), (_TCP, 8081)))},
)
# QEMU's image locking, block/file-posix.c: whoever does not share writing holds a read lock on byte 201.
_NO_OTHER_WRITER_BYTE = 201


def qemu(settings: Config) -> Check:
    """QEMU runs and is new enough."""
    del settings
    argv = (str(accelerators.EMULATOR), "--version")
    return _version("qemu", argv, r"version (\d+)\.(\d+)", _QEMU_LEAST, "qemu-system-x86")


def accelerator(settings: Config) -> Check:
    """A guest boots, and in what."""
    name = "accelerator"
    cache = settings.state_dir / "cache"
    with _place(settings.state_dir) as place:  # The daemon makes the state directory, with its own mode.
        choice = accelerators.choose(
            "auto", cache if settings.state_dir.is_dir() else place, emulator=accelerators.EMULATOR
        )
    found = f"{choice.because}{f' ({choice.evidence})' if choice.evidence else ''}{', found before' * choice.cached}"
    remedy = f"to try again: rm -f {cache}/accelerator.json"
    match settings.accelerator, choice.accelerator:
        case ("tcg", _):
            return ok(name, "TCG, as the configuration says")
        case (_, Accelerator.KVM):
            return ok(name, f"KVM: {found}")
        case ("kvm", _):
            return fail(name, f"the configuration says kvm, but: {found}", f'set accelerator = "auto"; {remedy}')
        case _:
            return warn(
                name, f"TCG, which is many times slower than KVM: {found}", f"turn KVM on if you can; {remedy}"
            )


def qemu_img(settings: Config) -> Check:
    """An overlay can be made where overlays will lie, and a second writer is refused."""
    name, missing = "qemu-img", "apt-get install qemu-utils"
    with _place(settings.state_dir) as place:
        base, overlay = place / "base.qcow2", place / "overlay.qcow2"
        try:
            run(["qemu-img", "create", "-q", "-f", "qcow2", str(base), "16M"])
            run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(overlay)])
        except CommandFailed as error:
            return fail(name, str(error), f"can {settings.state_dir} be written, and is there room?")
        except Permanent:
            return fail(name, "there is no qemu-img", missing)
        with overlay.open("r+b") as held:
            request = struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, _NO_OTHER_WRITER_BYTE, 1, 0)
            fcntl.fcntl(held, fcntl.F_OFD_SETLK, request)
            try:
                run(["qemu-img", "resize", "-q", "-f", "qcow2", str(overlay), "32M"])
            except CommandFailed as error:
                if "lock" in error.stderr:
                    return ok(name, f"makes overlays in {place.parent}, and locks keep a second writer out")
                return fail(name, str(error), "")
    return fail(
        name,
        f"locks do not work on the file system of {place.parent}: two VMs could write one disk",
        "move state_dir to a local file system",
    )


def libvirt(settings: Config) -> Check:
    """libvirtd answers at the configured URI, its network driver too, and is new enough."""
    name, uri = "libvirt", settings.libvirt_uri
    try:
        version, kind = run([sys.executable, "-c", _ASK_LIBVIRT, uri], within_s=_LIBVIRT_S).split()
    except CommandFailed as error:
        said = error.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        remedy = (
            "start libvirtd (systemctl start libvirtd; where its daemons are modular, systemctl start "
            "virtqemud.socket virtnetworkd.socket), or install it: apt-get install libvirt-daemon-system"
        )
        return fail(name, f"{uri} does not answer: {said[0]}", remedy)
    number = (int(version) // 1_000_000, int(version) // 1000 % 1000)
    if number < _LIBVIRT_LEAST:
        return warn(name, f"{_dotted(number)} is older than any that was tested", f"use {_dotted(_LIBVIRT_LEAST)}")
    return ok(name, f"{kind} {_dotted(number)} answers at {uri}")


def virtlogd(settings: Config) -> Check:
    """The keeper of consoles accepts connections."""
    del settings
    with socket.socket(socket.AF_UNIX) as probe:
        # One that accepts nobody has a queue that is full; Python's own timeout would not wait for it at all.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _VIRTLOGD_S, 0))
        try:
            probe.connect(str(_VIRTLOGD))
        except OSError as error:
            remedy = "start it: systemctl start virtlogd.socket, or virtlogd -d"
            return fail("virtlogd", f"{_VIRTLOGD}: {error.strerror}; no VM can start without it", remedy)
    return ok("virtlogd", "accepts connections")


def haproxy(settings: Config) -> Check:
    """HAProxy has the runtime commands that members are added by, and takes a configuration of ours."""
    found = _version("haproxy", (settings.haproxy, "-v"), r"version (\d+)\.(\d+)", _HAPROXY_LEAST, "haproxy")
    if found.verdict is Verdict.FAIL:
        return found
    with _place(settings.run_dir) as place:
        written = place / "haproxy.cfg"
        try:
            leads = place / haproxy_leads.FILE
            leads.write_text(haproxy_leads.text(haproxy_leads.leads(_SHAPE)))
            written.write_text(haproxy_config.render(_SHAPE, _SOCKET, haproxy_host.surroundings(place), leads=leads))
        except Permanent as error:  # Nobody to be but root.
            return fail("haproxy", f"{found.message}, but {error}", error.hint)
        try:
            haproxy_process.try_config(settings.haproxy, written)
        except Permanent as error:
            remedy = "use the distribution's build of HAProxy: apt-get install haproxy"
            return fail("haproxy", f"{found.message}, but {error}", remedy)
    if (old := haproxy_process.outdated(settings.run_dir / "haproxy", settings.haproxy, SystemClock())) != "":
        return warn("haproxy", old, "restart the daemon: it reloads HAProxy, and no connection is lost")
    return ok("haproxy", f"{found.message} and takes our configuration")


def dnsmasq(settings: Config) -> Check:
    """Dnsmasq, which libvirt starts for each network, runs."""
    del settings
    return _version("dnsmasq", ("dnsmasq", "--version"), r"[Vv]ersion (\d+)\.(\d+)", _DNSMASQ_LEAST, "dnsmasq-base")


def nftables(settings: Config) -> Check:
    """Our own tables load, in a network namespace that is thrown away."""
    del settings
    rules = [command for table in (tables.INET, tables.BRIDGE) for command in nft.remake(table, None)]
    try:
        run([*_THROW_AWAY_NAMESPACE, "nft", "-j", "-f", "-"], stdin=json.dumps({"nftables": rules}))
    except VmroleError as error:
        remedy = "apt-get install nftables; the kernel needs nf_tables with the inet, bridge and nat families"
        return fail("nftables", str(error), remedy)
    return ok("nftables", f"{len(rules)} rules, sets and chains load")


def devices(settings: Config) -> Check:
    """The kernel makes bridges and taps."""
    del settings
    for what, make in (
        ("bridge", ("ip", "link", "add", "vrb-doctor", "type", "bridge")),
        ("tap", ("ip", "tuntap", "add", "dev", "vrt-doctor", "mode", "tap")),
    ):
        try:
            run([*_THROW_AWAY_NAMESPACE, *make])
        except VmroleError as error:
            return fail("devices", f"the kernel makes no {what}: {error}", "load the modules bridge and tun")
    return ok("devices", "the kernel makes bridges and taps")


def limits(settings: Config) -> Check:
    """Guests are limited in all that they share: disks always are, by QEMU itself."""
    del settings
    faults = {
        "CPUs": (host_limits.cpu_fault(), "mount the control groups of this host, with the controller cpu"),
        "networks": (host_limits.traffic_fault(_THROW_AWAY_NAMESPACE), "load act_police, sch_htb, sch_sfq, cls_fw"),
    }
    missing = {what: found for what, found in faults.items() if found[0]}
    if missing:
        told = "; ".join(f"guests' use of {what} is not limited: {why}" for what, (why, _) in missing.items())
        return warn("limits", told, "; ".join(remedy for _, remedy in missing.values()))
    return ok("limits", "guests' use of CPUs, disks and networks is limited")


@contextlib.contextmanager
def _place(directory: Path) -> Iterator[Path]:
    """A directory that goes again, in `directory` or in the nearest one above it that exists."""
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=existing(directory)) as place:
        yield Path(place)


def _version(name: str, argv: tuple[str, ...], pattern: str, least: tuple[int, int], package: str) -> Check:
    install = f"apt-get install {package}"
    try:
        said = run(argv)
    except VmroleError as error:
        return fail(name, str(error), install)
    found = re.search(pattern, said)
    if found is None:
        return fail(name, f"{argv[0]} says no version: {said[:80]!r}", install)
    number = (int(found[1]), int(found[2]))
    if number < least:
        return fail(
            name, f"{argv[0]} is {_dotted(number)}, too old", f"{_dotted(least)} or newer is needed: {install}"
        )
    return ok(name, f"{argv[0]} is {_dotted(number)}")


def _dotted(number: tuple[int, int]) -> str:
    return ".".join(map(str, number))

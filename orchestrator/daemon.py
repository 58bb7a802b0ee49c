"""The composition root: configuration in, drivers picked, core started, and everything ended in the right order.

What the daemon starts beside itself (HAProxy, guests, dnsmasq) outlives it on purpose: an end of the daemon, asked
for or not, is no end of the service.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from orchestrator import log, ports
from orchestrator.api.app import create_app
from orchestrator.api.gate import Gate
from orchestrator.api.network import Network, listen
from orchestrator.api.records_routes import BACKUPS_MAX
from orchestrator.api.server import serve
from orchestrator.control import verify
from orchestrator.control.attaching import Attaching
from orchestrator.control.catalogue import Catalogue
from orchestrator.control.deployment import Capacity
from orchestrator.control.drives import Drives
from orchestrator.control.first_reading import read_all
from orchestrator.control.guest_desk import GuestDesk
from orchestrator.control.healing import Budget
from orchestrator.control.installation import installation_id, ipv6_prefix
from orchestrator.control.loop import Reconciler
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.control.tokens import Tokens
from orchestrator.control.upgrade import upgrade
from orchestrator.drivers.balancer.command_checks import CommandChecks
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.balancer.per_endpoint import PerEndpoint
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.disks import answers_told
from orchestrator.drivers.disks.answer_media import AnswerDiscs
from orchestrator.drivers.disks.blobs import BlobDirectory
from orchestrator.drivers.disks.drives import RawDrives
from orchestrator.drivers.disks.overlays import QemuImgDisks
from orchestrator.drivers.evidence import Source, ledger
from orchestrator.drivers.hypervisor import accelerator, host_devices, host_limits, sharing
from orchestrator.drivers.hypervisor.domain_xml import MachineType
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.kept_evidence import KeptEvidence
from orchestrator.drivers.network import egress, ipv6_host, routes, routing, tables, vip
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.network.vip import VipAddresses
from orchestrator.drivers.secrets import HostSecrets
from orchestrator.drivers.sole_daemon import sole_daemon
from orchestrator.drivers.store.pending import Pending
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.drivers.tools import host_bridges, host_pci
from orchestrator.drivers.tools.event_loop import event_loop_thread
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.host_memory import memory_bytes
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.ownership import others_hold
from orchestrator.drivers.tools.pressure import memory_strain
from orchestrator.drivers.tools.room import Room
from orchestrator.drivers.tools.ruleset_watch import ruleset_watch
from orchestrator.drivers.tools.server_tls import ServerTls
from orchestrator.drivers.virtual_machines import virtual_machines
from orchestrator.errors import ConfigError, InvalidInput, Problem, VmroleError
from orchestrator.host import config, process
from orchestrator.host.caps import blob_caps, evidence_caps
from orchestrator.host.config import Config
from orchestrator.host.config_keys import address_and_port
from orchestrator.host.listeners import on_this_host
from orchestrator.host.process import End, Inherited
from orchestrator.model import Instance, InstanceName, Service
from orchestrator.ports import Front, Host, Store

logger = logging.getLogger(__name__)
MIB, GIB = 1 << 20, 1 << 30
EXIT_CONFIG = 78


def _image_files(settings: Config, layout: Layout) -> LocalImageFiles:
    size_max = settings.image_virtual_size_max_gib * GIB
    return LocalImageFiles(layout, virtual_size_max=size_max, reserve_bytes=settings.disk_reserve_mib * MIB)


def _budget(settings: Config) -> Budget:
    return Budget(settings.service_reimages_per_hour, settings.host_reimages_per_hour, memory_strain)


class Bell:
    """Where drivers ring before there is somebody to wake, and when everybody must be woken."""

    def __init__(self) -> None:
        self._reconciler: Reconciler | None = None

    def connect(self, reconciler: Reconciler) -> None:
        """From now on the reconciler hears."""
        self._reconciler = reconciler

    def ring(self, name: str, why: str) -> None:
        """Wakes one instance, or all of them when the name is empty: events were lost."""
        if self._reconciler is None:
            return
        if name:
            self._reconciler.wake_instance(InstanceName(name), why)
            return
        logger.info("looking at everything again: %s", why)
        try:
            self._reconciler.wake_all()
        except VmroleError as error:  # It is a driver's thread, which must go on; the audits look again as well.
            logger.warning("not everything could be looked at: %s", error)

    def ring_vip(self, vip: str, why: str) -> None:
        """Has the services of a virtual address looked at."""
        if self._reconciler is not None:
            self._reconciler.wake_vip(vip, why)

    def ring_service(self, name: str, why: str) -> None:
        """Has what the instances of a service share looked at."""
        if self._reconciler is not None:
            logger.info("looking at service %s: %s", name, why)
            self._reconciler.wake("service", name)


@contextlib.contextmanager
def running(settings: Config, end: End) -> Iterator[Callable[[], float]]:
    """The whole daemon, serving its API, until the context ends. Raises ConfigError before anything is touched.

    Gives what says how long it has not gone on with anything (seconds).
    """
    layout, bell, clock = _directories(settings), Bell(), SystemClock()
    with contextlib.ExitStack() as stack:
        stack.enter_context(sole_daemon(settings.libvirt_uri))
        door = _door(settings, stack)
        pending = Pending(layout.records, reserve_bytes=settings.disk_reserve_mib * MIB, staged=end.begin_anew)
        pending.apply()
        store = stack.enter_context(SqliteStore(layout.records))
        if brought := upgrade(store):
            logger.info("%d records were brought to their new form", brought)
        read_all(present := Present(store))
        images = Catalogue(present, clock, _image_files(settings, layout), lambda: host.machine.hypervisor.fit().qemu)
        images.sweep()
        secrets = HostSecrets(settings.secrets_dir, variables=settings.secrets_env)
        kept = stack.enter_context(KeptEvidence(layout, clock, evidence_caps(settings)).sweeping())
        reconciler = Reconciler(
            store,
            host := stack.enter_context(_host(settings, layout, bell, secrets, present, store, kept)),
            present=present,
            workers=settings.workers,
            goes_back=lambda service, to, at: control.undo(service, to=to, expected=at, by_itself=True),
            budget=_budget(settings),
            boot_together=settings.boot_together or max(2, os.cpu_count() or 2),
        )
        control = Control(
            store,
            find_image=images.find,
            secret_fault=secrets.fault,
            capacity=_capacity(settings, layout, installation_id(store), host),
            clock=clock,
            wake=reconciler.wake,
            seats=host.front.balancer.seats,
            traffic=host.front.balancer.traffic,
            probed=host.front.balancer.probed,
            agent=host.machine.guest.agent,
            inside=host.machine.inside,
            kept_keys=host.machine.media.host_keys,
            present=present,
            attendance=reconciler.attendance,
        )
        tokens, drives = Tokens(present, clock), _drives(present, settings, layout, control, host)
        app = create_app(
            control,
            images,
            tokens=tokens,
            attaching=Attaching(present, drives, host.machine, control.instance),
            blobs=host.machine.blobs,
            console=layout.console,
            evidence=kept,
            findings=lambda: [
                *verify.restore_findings(pending.last(), str(pending.refused)),
                *_findings(present, host, images, drives),
            ],
            repair=lambda: verify.repair(host, _findings(present, host, images, drives), _recorded(present)),
            backup=lambda: _backup(store, layout, settings),
            restores=pending,
        )
        listeners = on_this_host(settings, process.inherited(), stack)
        bell.connect(reconciler)
        reconciler.start()
        stack.callback(reconciler.stop)
        server = serve(app, *listeners, network=door(Gate(tokens, clock)) if door else None)
        stack.callback(server.stop)
        yield reconciler.stalled_s
        if end.is_anew and not end.asked:
            end.listening = [Inherited(each.socket, each.is_lent) for each in server.handed_over()]


def _drives(present: Present, settings: Config, layout: Layout, control: Control, host: Host) -> Drives:
    machine, files = host.machine, RawDrives(layout, reserve_bytes=settings.disk_reserve_mib * MIB)
    enlarge, most_mib = machine.hypervisor.enlarge, _disk_mib(settings)
    return Drives(present, files, machine.clock, control.custody, enlarge, most_mib, lambda: _blobs_mib(host))


def _directories(settings: Config) -> Layout:
    """Makes those that are not there, and refuses those that others may write to."""
    layout = Layout(settings.state_dir, settings.run_dir, settings.checkpoint_memory_dir)
    # Who may pass through the state directory need not see the names of what is in it.
    for key, directory, mode in (("state_dir", layout.state, 0o711), ("run_dir", layout.run, 0o755)):
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=mode)
        except OSError as error:
            told = f"{key}: {directory} cannot be made: {error.strerror}"
            raise ConfigError(told, hint=f"run the daemon as root, or set {key}") from error
        if others := others_hold(directory):
            hint = f"nobody else may write there: chown root, chmod go-w; or set {key}"
            raise ConfigError(f"{key}: {others}", hint=hint)
    for directory in layout.to_pass_through:
        with file_faults(directory, "look at who may change it, and at the file system"):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o711)  # Former versions let everybody list them.
    return layout


def _door(settings: Config, stack: contextlib.ExitStack) -> Callable[[Gate], Network] | None:
    """That to the network, where the host's owner wants one; it lacks who lets people in."""
    if not settings.api_listen:
        return None
    if not settings.api_certificate:
        hint = "api_certificate: a file with its certificate and private key"
        raise ConfigError("api_listen: it is not said what the daemon proves itself with", hint=hint)
    key, ca = (Path(name) if name else None for name in (settings.api_key, settings.api_client_ca))
    tls = ServerTls(Path(settings.api_certificate), key, ca)
    listener = stack.enter_context(listen(*address_and_port(settings.api_listen)))
    return functools.partial(Network, listener, tls.context)


@contextlib.contextmanager
def _host(
    settings: Config,
    layout: Layout,
    bell: Bell,
    secrets: HostSecrets,
    present: Present,
    store: Store,
    kept: KeptEvidence,
) -> Iterator[Host]:
    """The drivers of a real host; the only place that picks them."""
    clock, installation = kept.clock, installation_id(store)
    machine = _machine(settings, layout, installation)
    sources: dict[str, Source] = {"answers": answers_told.told, "ledger": functools.partial(ledger, store)}
    blobs = BlobDirectory(layout, clock, blob_caps(settings), reserve_bytes=settings.disk_reserve_mib * MIB)
    desk = GuestDesk(present, clock, blobs, store)
    with (
        event_loop_thread() as loop,
        virtual_machines(
            settings.libvirt_uri, layout, machine, loop, bell.ring, clock, kept, sources, desk
        ) as machines,
        HaproxyBalancer(layout.run / "haproxy", settings.haproxy, bell.ring, clock, secrets=secrets.of) as haproxy,
        CommandChecks(machines.probes, clock) as commands,
        NftablesBalancer(layout.run / "pools", bell.ring, clock, commands=commands) as nftables,
        ruleset_watch(tables.INET.name, lambda why: bell.ring("", why)),
        contextlib.ExitStack() as stack,
    ):
        pool, denied = settings.network_pool, egress.denied(settings.egress_deny, settings.egress_allow)
        before = routing.befores(layout.routing, layout.routing6) if settings.forwarding == "auto" else {}
        network = HostNetwork(machines.connection, clock, installation, denied, before, layout.names, pool)
        stack.enter_context(network.watch(bell.ring_service, bell.ring))
        vips = VipAddresses(settings.vip_interface, clock)
        stack.enter_context(vips.watch(bell.ring_vip))
        yield Host(
            machine=ports.Machine(
                disks=QemuImgDisks(layout, reserve_bytes=settings.disk_reserve_mib * MIB),
                blobs=blobs,
                media=AnswerDiscs(layout, secrets.of),
                hypervisor=machines.hypervisor,
                guest=machines.guest,
                inside=machines.inside,
                channel=machines.channel,
                network=network,
                clock=clock,
                pci=host_pci.HostPci(settings.pci, (settings.vip_interface,)),
            ),
            front=Front(
                balancer=stack.enter_context(PerEndpoint(haproxy, nftables, clock, commands=commands)),
                doors=nftables,
                vips=vips,
            ),
        )


def _machine(settings: Config, layout: Layout, installation: str) -> MachineType:
    choice = accelerator.choose(settings.accelerator, layout.state / "cache")
    logger.info("guests run with %s: %s", choice.accelerator, choice.because)
    cpus, traffic = host_limits.cpu_fault(), host_limits.traffic_fault()
    for what, fault in (("use of CPUs", cpus), ("network", traffic)):
        if fault:
            logger.warning("guests' %s is not limited: %s", what, fault)
    return MachineType(
        accelerator=choice.accelerator, installation=installation, shares_cpus=not cpus, shapes_traffic=not traffic
    )


def vip_pool(settings: Config) -> Sequence[str]:
    """Where VIPs are taken from (CIDR). Raises InvalidInput while it is not said to which interface they go."""
    if not settings.vip_interface:
        told, hint = "no interface for VIPs is configured", f"set vip_interface in {config.DEFAULT_FILE} of the host"
        raise InvalidInput(told, problems=(Problem(told, key="vip", hint=hint),), hint=hint)
    return settings.vip_pool.split() or vip.networks(settings.vip_interface)


def _capacity(settings: Config, layout: Layout, installation: str, host: Host) -> Capacity:
    return Capacity(
        pool=settings.network_pool,
        pool6=ipv6_prefix(installation),
        memory_mib=_memory_mib(settings),
        disk_mib=_disk_mib(settings),
        blobs_mib=lambda: _blobs_mib(host),
        vcpus=(os.cpu_count() or 1) * settings.vcpu_overcommit,
        require_room=lambda: Room(layout.state, settings.disk_reserve_mib * MIB).require(0, "new disks"),
        vip_pool=lambda: vip_pool(settings),
        held=host.front.vips.held,
        own=vip.own,
        laid=host.machine.network.laid,
        ipv6_fault=ipv6_host.fault,
        bridge_fault=functools.partial(host_bridges.permitted, settings.bridges),
        unfit=sharing.permitted(settings.shares, host.machine.hypervisor.unfit),
        huge_pages_mib=host_devices.huge_pages_mib,
        pci=host.machine.pci.look,
        routed=lambda: [str(network) for network in routes.all_of_them()],  # also of what no record tells of
    )


def _blobs_mib(host: Host) -> int:
    """Not what they may come to: most guests put little by, and each is let in by the room that there is then."""
    return -(-host.machine.blobs.used_bytes() // MIB)


def _backup(store: SqliteStore, layout: Layout, settings: Config) -> BinaryIO:
    """A copy, and a sealed one of that, lie on the disk meanwhile: what is kept for running guests stays theirs."""
    size_bytes = layout.records.stat().st_size
    Room(layout.state, settings.disk_reserve_mib * MIB).require(BACKUPS_MAX * 2 * size_bytes, "a backup")
    return store.backup()


def _disk_mib(settings: Config) -> int:
    total = shutil.disk_usage(settings.state_dir).total // MIB
    return max(0, total - settings.disk_reserve_mib) * settings.disk_overcommit


def _memory_mib(settings: Config) -> int:
    return max(0, memory_bytes() // MIB - settings.memory_reserve_mib) * settings.memory_overcommit_percent // 100


def _findings(present: Present, host: Host, images: Catalogue, drives: Drives) -> list[verify.Finding]:
    unread = present.set_aside()
    return [
        *verify.image_findings(images.strays(), images.missing()),
        *verify.drive_findings([one.drive for one in drives.all()], drives.lies(), unread),
        *verify.findings(host, present.all(Service), present.all(Instance), unread),
    ]


def _recorded(present: Present) -> Callable[[str], bool]:
    return lambda name: bool(present.find(Instance, name) or present.find(Service, name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit status."""
    parser = argparse.ArgumentParser(prog="vmrole daemon", description="Runs the daemon in the foreground.")
    parser.add_argument("--config", type=Path, help="configuration file (/etc/vmrole/vmrole.toml, if it exists)")
    options = parser.parse_args(arguments)
    os.umask(0o022)  # QEMU's user must reach its disks; what others must not read is made with a mode of its own.
    try:
        settings = config.load(options.config)
        log.set_up(style=settings.log_style, level=settings.log_level)
        logger.info("may open %d files", process.raise_descriptor_limit())
        process.hear(end := End())
        with contextlib.suppress(OSError, RuntimeError):  # a stderr that is closed
            faulthandler.enable()  # Where each thread was, when the watchdog ends it.
        with process.anew_after(end), running(settings, end) as stalled_s:
            logger.info("listening on %s", " and ".join(filter(None, (str(settings.socket), settings.api_listen))))
            process.tell_systemd("READY=1")
            process.attend(end.due, stalled_s)
            if end.is_anew:
                logger.info("beginning anew with other records; guests and the balancer go on")
            else:
                logger.info("stopping; guests and the balancer go on")
                process.tell_systemd("STOPPING=1")
    except VmroleError as error:
        for line in str(error).splitlines():
            logger.error("%s%s", line, f" ({error.hint})" if error.hint else "")
        return EXIT_CONFIG if isinstance(error, ConfigError) else 1
    return 0

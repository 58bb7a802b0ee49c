"""The Hypervisor port over libvirt. What a domain is made of is `domain_xml`'s; who watches it is `qmp_watch`'s.

A domain is ours when it carries our metadata and nothing else counts: a foreign one with our name is never touched.
One instance has one VM because libvirt keeps names unique, and each generation has its own UUID, which is compared
before anything is started.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Final

import libvirt

from orchestrator.drivers.evidence import Evidence
from orchestrator.drivers.hypervisor import (
    domain_board,
    domain_devices,
    domain_xml,
    domains,
    ejecting,
    firmwares,
    host_devices,
    saved_memory,
    sharing,
    trial,
)
from orchestrator.drivers.hypervisor.domain_parts import PID_FILES, paths_of
from orchestrator.drivers.hypervisor.domain_xml import Accelerator, MachineType
from orchestrator.drivers.hypervisor.plugging import Plugging
from orchestrator.drivers.hypervisor.qmp_watch import Monitors, Run
from orchestrator.drivers.hypervisor.running_limits import RunningLimits
from orchestrator.drivers.hypervisor.start_faults import require_parts, why_not_started
from orchestrator.drivers.tools.agent_channel import AgentChannel, AgentRefused, AgentSilent
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.errors import Busy, Foreign, Permanent, Problem
from orchestrator.model import Domain, Firmware, HostFit, Instance, InstanceName, PausedBy, Power, Role

log = logging.getLogger(__name__)

# virDomainState and its reasons, as far as we tell them apart; libvirt-domain.h.
_POWER: Final = {
    libvirt.VIR_DOMAIN_NOSTATE: Power.RUNNING,
    libvirt.VIR_DOMAIN_RUNNING: Power.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: Power.RUNNING,
    libvirt.VIR_DOMAIN_SHUTDOWN: Power.RUNNING,  # The guest is down, QEMU is not yet: its disks are still locked.
    libvirt.VIR_DOMAIN_PAUSED: Power.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: Power.PAUSED,
    libvirt.VIR_DOMAIN_SHUTOFF: Power.OFF,
    libvirt.VIR_DOMAIN_CRASHED: Power.CRASHED,
}
_REASON: Final = {
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR): "a disk of the host failed or is full",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER): "somebody paused it",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP): "it is being started",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED): "the guest's kernel panicked",
    (libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_CRASHED_PANICKED): "the guest's kernel panicked",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN): "the guest shut down",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED): "it was ended from outside",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED): "its QEMU ended unexpectedly",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED): "it could not be started",
}
_PAUSED_BY: Final = {
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER): PausedBy.USER,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR): PausedBy.DISK,
}
_RECONNECT_MS = 9_002_000  # QEMU 9.2 counts the wait in milliseconds, and later ones do not know seconds any more
_QEMU_ENDED = "its QEMU ended unexpectedly"
_FORGET_ALL = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_TPM
)


class LibvirtHypervisor(Plugging):
    """Domains of one libvirtd. Thread-safe; one turn per instance at a time is the reconciler's promise."""

    def __init__(
        self,
        connection: LibvirtConnection,
        channel: AgentChannel,
        monitors: Monitors,
        evidence: Evidence,
        layout: Layout,
        machine: MachineType,
        forget: Callable[[InstanceName], None],
    ) -> None:
        """`forget` is called with an instance whose domain is gone for good."""
        super().__init__(connection, monitors, layout, machine)
        self._channel = channel
        self._evidence = evidence
        self._forget = forget
        self._limits = RunningLimits()
        self._is_open = False
        self._knows_qemu = False

    # Looking ---------------------------------------------------------------------------------------------------

    def look(self, name: InstanceName) -> Domain | None:
        """See ports.Hypervisor."""
        with self._connection.use(f"look at {name}") as connection:
            self._let_qemu_in(connection)
            found = domains.find(connection, name)
            return None if found is None else self._describe(found)

    def inventory(self) -> Sequence[Domain]:
        """See ports.Hypervisor."""
        domains = []
        with self._connection.use("list the domains") as connection:
            self._let_qemu_in(connection)
            for found in connection.listAllDomains(0):
                try:
                    domains.append(self._describe(found))
                except Foreign:
                    continue
                except libvirt.libvirtError as error:  # It may have gone since it was listed.
                    if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                        raise
        return sorted(domains, key=lambda domain: domain.name)

    def _describe(self, found: libvirt.virDomain) -> Domain:
        """Raises Foreign. Begins or ends the watch of the VM's monitor as the state demands."""
        ownership = domains.ownership(found, self._machine.installation)
        name, uuid, run = InstanceName(found.name()), found.UUIDString(), domains.run_of(found)
        self._limits.see(name, run)
        state, why = found.state()
        power, reason = _POWER.get(state, Power.RUNNING), _REASON.get((state, why), "")
        by_guest = why == libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN and not self._monitors.signalled(name, uuid)
        shut_down = by_guest if state == libvirt.VIR_DOMAIN_SHUTOFF else None
        if power is Power.OFF or run is None:
            self._monitors.unfollow(name)
        elif self._monitors.ended(name, run):
            power, reason = Power.OFF, _QEMU_ENDED
        else:
            self._follow(name, run)
        return Domain(
            name=name,
            uuid=uuid,
            generation=ownership.generation,
            claimed=bool(ownership.installation) or not self._machine.installation,
            power=power,
            reason=reason,
            shut_down=shut_down,
            paused_by=_PAUSED_BY.get((state, why), PausedBy.OTHER) if power is Power.PAUSED else None,
            stuck=self._monitors.why_stuck(name, run) if power is Power.RUNNING and run is not None else "",
            resets=self._monitors.resets(name, uuid),
            disc=domain_devices.disc_of(found.XMLDesc(domains.INACTIVE)),
            disks=domain_devices.serials(found.XMLDesc(0)),
        )

    # Power -----------------------------------------------------------------------------------------------------

    def start(self, instance: Instance) -> None:
        """See ports.Hypervisor. An absent disc file means an empty drive.

        A VM that QEMU paused because a disk of the host was full goes on where it was; without room it pauses again.
        One that somebody else paused stays so.
        """
        with self._connection.use(f"start {instance.name}") as connection:
            self._let_qemu_in(connection)
            found = domains.find(connection, instance.name)
            if found is not None:
                self._check_same(found, instance)
                if self._is_running(found):
                    if found.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]:
                        found.resume()
                    return
                domains.destroy(found)  # Its QEMU may have ended before libvirt noticed.
            require_parts(instance)
            if instance.from_checkpoint:
                saved_memory.let_qemu_at(connection, self._layout.checkpoint_dir(instance.name))
            try:
                found = self._define(connection, instance)
                found.create()
            except libvirt.libvirtError as error:
                if found is None or not found.isActive():  # Otherwise somebody was quicker, which is as good.
                    raise why_not_started(instance, error) from error
            self._follow_started(connection, instance.name)

    def _check_same(self, found: libvirt.virDomain, instance: Instance) -> None:
        """Raises Permanent when the domain is another VM, or the same of another generation."""
        owned = domains.ownership(found, self._machine.installation)
        if (found.UUIDString(), owned.generation) != (instance.vm_uuid, instance.generation):
            raise Permanent(
                f"{instance.name}: a VM of another generation has the name",
                hint=f"reimage it again, or look at it: virsh dominfo {instance.name}",
            )

    def _define(self, connection: libvirt.virConnect, instance: Instance) -> libvirt.virDomain:
        """Anew at each start: the disc may have been taken away since, and the host may have changed."""
        with file_faults(self._layout.consoles, "the daemon's directories must be writable for it"):
            sharing.require(instance, self._layout)
            self._prepare_places(instance)
        xml = domain_xml.render(instance, paths_of(self._layout, instance), self._machine_of(connection))
        return connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)

    def _follow_started(self, connection: libvirt.virConnect, name: InstanceName) -> None:
        run = domains.run_of(connection.lookupByName(name))
        if run is not None:
            self._follow(name, run)

    # Memory ----------------------------------------------------------------------------------------------------

    def fit(self) -> HostFit:
        """See ports.Hypervisor."""
        with self._connection.use("ask what saved memory depends on") as connection:
            return saved_memory.host_fit(connection, self._machine.emulator)

    def unfit(self, role: Role) -> Problem | None:
        """See ports.Hypervisor."""
        lacks = host_devices.hugepages_fault(role) or host_devices.cache_fault(role, self._layout.state)
        if (lacks := lacks or sharing.fault(role)) is not None:
            return lacks
        with self._connection.use("ask which machines guests can have") as connection:
            machine = self._machine_of(connection)
            return trial.model_fault(connection, role, machine) or trial.fault(
                connection, role, self._layout, machine
            )

    def save(self, instance: Instance) -> None:
        """See ports.Hypervisor."""
        with self._connection.use(f"save the memory of {instance.name}") as connection:
            found = domains.find(connection, instance.name)
            if found is not None:
                self._check_same(found, instance)
                if self._is_running(found):
                    saved_memory.let_qemu_at(connection, self._layout.checkpoint_dir(instance.name))
                    self._monitors.expect_answer(instance.name, domains.run_of(found))
                    saved_memory.save(found, self._layout.memory(instance.name, instance.generation))

    def restore(self, instance: Instance) -> None:
        """See ports.Hypervisor. Defined before it is restored, so that it stays defined when it goes off."""
        assert instance.checkpoint is not None, instance.name
        with self._connection.use(f"restore the memory of {instance.name}") as connection:
            self._let_qemu_in(connection)
            found = domains.find(connection, instance.name)
            if found is not None:
                self._check_same(found, instance)
                if self._is_running(found):
                    return
                domains.destroy(found)
            saved_memory.let_qemu_at(connection, self._layout.checkpoint_dir(instance.name))
            self._define(connection, instance)
            memory = self._layout.memory(instance.name, instance.checkpoint.generation)
            saved_memory.restore(connection, memory, instance, paths_of(self._layout, instance))
            self._follow_started(connection, instance.name)

    def ask_restart(self, name: InstanceName) -> None:
        """See ports.Hypervisor."""
        self._ask(name, "reboot")

    def ask_shutdown(self, name: InstanceName) -> None:
        """See ports.Hypervisor."""
        self._ask(name, "powerdown")

    def _ask(self, name: InstanceName, mode: str) -> None:
        """Through the agent, which says nothing when it obeys (qga/qapi-schema.json); else by the power button.

        libvirt's own agent mode of reboot would wait for up to 60 s for the guest to go down.
        """
        with self._connection.use(f"ask {name} to {mode}") as connection:
            found = domains.find(connection, name)
            if found is None:
                return
            domains.ownership(found, self._machine.installation)
            if not self._is_running(found):
                return
            self._monitors.expect_answer(name, domains.run_of(found))
            try:
                self._channel.call(name, "guest-ping")
                self._channel.tell(name, "guest-shutdown", mode=mode)
            except (AgentSilent, AgentRefused) as error:
                log.info("%s: %s; pressing the power button", name, error)
                if mode == "reboot":
                    found.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)
                else:
                    found.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    def reset(self, name: InstanceName) -> None:
        """See ports.Hypervisor. A domain that is off or absent is fine."""
        with self._connection.use(f"reset {name}") as connection:
            found = domains.find(connection, name)
            if found is not None:
                domains.ownership(found, self._machine.installation)
                if self._is_running(found):
                    self._monitors.expect_answer(name, domains.run_of(found))
                    found.reset(0)

    def power_off(self, name: InstanceName, *, erased: bool = False) -> None:
        """See ports.Hypervisor."""
        with self._connection.use(f"power off {name}") as connection:
            found = domains.find(connection, name)
            if found is not None:
                domains.ownership(found, self._machine.installation)
                domains.destroy(found, erased=erased)
        self._monitors.unfollow(name)

    def limit(self, instance: Instance) -> None:
        """See ports.Hypervisor. Of a run that `look` saw and that has them, libvirt is asked nothing."""
        if self._limits.hold(instance, self._machine):
            return
        with self._connection.use(f"limit {instance.name}") as connection:
            found = domains.find(connection, instance.name)
            run = None if found is None else domains.run_of(found)
            if found is not None and run is not None:
                domains.ownership(found, self._machine.installation)
                self._monitors.expect_answer(instance.name, run)
                self._limits.give(found, run, instance, self._machine)

    def eject(self, name: InstanceName) -> None:
        """See ports.Hypervisor. A guest that holds the drive shut is not asked twice."""
        with self._connection.use(f"eject the disc of {name}") as connection:
            found = domains.find(connection, name)
            if found is None:
                return
            domains.ownership(found, self._machine.installation)
            if found.isActive():
                self._monitors.expect_answer(name, domains.run_of(found))
                ejecting.eject(found, libvirt.VIR_DOMAIN_AFFECT_LIVE, found.XMLDesc(0))
            ejecting.eject(found, libvirt.VIR_DOMAIN_AFFECT_CONFIG, found.XMLDesc(domains.INACTIVE))

    def undefine(self, name: InstanceName) -> None:
        """See ports.Hypervisor. Its console log, and what its firmware and TPM remember, go."""
        with self._connection.use(f"undefine {name}") as connection:
            found = domains.find(connection, name)
            if found is not None:
                domains.ownership(found, self._machine.installation)
                if self._is_running(found):
                    raise Busy(f"{name}: its VM runs and cannot be forgotten")
                # Its QEMU has ended and libvirt may not know: undefining would leave it transient.
                domains.destroy(found)
                found.undefineFlags(_FORGET_ALL)
        self._limits.forget(name)
        self._monitors.forget(name)
        self._channel.forget(name)
        self._forget(name)
        shutil.rmtree(self._layout.nvram_dir(name), ignore_errors=True)
        console = self._layout.console(name)
        for log_file in console.parent.glob(f"{console.name}*"):  # virtlogd keeps NAME.log, NAME.log.0, ...
            log_file.unlink(missing_ok=True)

    def keep_evidence(self, instance: Instance) -> None:
        """See ports.Hypervisor."""
        self._evidence.keep(instance)

    def keep_disk(self, instance: Instance) -> None:
        """See ports.Hypervisor."""
        self._evidence.keep_disk(instance)

    def erase_evidence(self, name: InstanceName) -> None:
        """See ports.Hypervisor."""
        self._evidence.erase(name)

    def _machine_of(self, connection: libvirt.virConnect) -> MachineType:
        """The kind of machine, with what this host's QEMU and its KVM can do."""
        if not self._knows_qemu:
            self._knows_qemu = True
            if connection.getVersion() >= _RECONNECT_MS:
                self._machine = dataclasses.replace(self._machine, reconnect="reconnect-ms=1000")
        machine = self._machine
        if machine.accelerator is Accelerator.KVM and machine.hyperv is None:  # libvirt keeps the answer, too.
            told: str = connection.getDomainCapabilities(machine.emulator, machine.arch, machine.machine, "kvm")
            self._machine = dataclasses.replace(machine, hyperv=domain_board.supported_hyperv(told))
        return dataclasses.replace(self._machine, secure_uefi_alone=firmwares.keyless_is_secure())

    def _follow(self, name: InstanceName, run: Run) -> None:
        """Has the VM's process watched. Without its number there is no proof of its end but libvirt's word."""
        try:
            pid = int((PID_FILES / f"{name}.pid").read_text())
        except (OSError, ValueError) as error:
            log.debug("%s: which process it is cannot be read: %s", name, error)
            return
        self._monitors.follow(name, run, pid)

    def _prepare_places(self, instance: Instance) -> None:
        """The directories that QEMU and virtlogd write to."""
        self._layout.consoles.mkdir(parents=True, exist_ok=True)
        if instance.role.hardware.firmware is not Firmware.BIOS:
            self._layout.nvram_dir(instance.name).mkdir(mode=0o711, parents=True, exist_ok=True)

    def _let_qemu_in(self, connection: libvirt.virConnect) -> None:
        """Once: QEMU's group may connect to our sockets, which stay ours. Who comes is looked at there."""
        if self._is_open:
            return
        for place in (self._layout.monitor, self._layout.channel):
            with file_faults(place, "the daemon makes it at its start: restart it"):
                os.chown(place, -1, domains.qemu_group(connection.getCapabilities()))
                place.chmod(0o660)
        self._is_open = True

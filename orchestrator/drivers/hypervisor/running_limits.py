"""Other limits for VMs that run, by libvirt; what each has is remembered, so that it is told once for each change."""

from __future__ import annotations

from typing import Final

import libvirt

from orchestrator.drivers.hypervisor import domain_devices, domain_limits
from orchestrator.drivers.hypervisor.domain_limits import Taken
from orchestrator.drivers.hypervisor.domain_parts import MachineType
from orchestrator.drivers.hypervisor.qmp_watch import Run
from orchestrator.model import Instance, InstanceName

_LIVE: Final = libvirt.VIR_DOMAIN_AFFECT_LIVE


class RunningLimits:
    """Thread-safe, for one thread at a time asks for the same instance."""

    def __init__(self) -> None:
        self._given: dict[InstanceName, tuple[Run, Taken]] = {}
        self._seen: dict[InstanceName, Run | None] = {}  # None: its VM is off

    def see(self, name: InstanceName, run: Run | None) -> None:
        """Takes in which run of the VM somebody has just looked at."""
        self._seen[name] = run

    def hold(self, instance: Instance, machine: MachineType) -> bool:
        """Whether the run that was seen last is known to have the limits of its role; nobody is asked."""
        given = self._given.get(instance.name)
        return given is not None and given == (self._seen.get(instance.name), domain_limits.of(instance, machine))

    def give(self, found: libvirt.virDomain, run: Run, instance: Instance, machine: MachineType) -> None:
        """Has that run of the instance's VM keep the limits of its role. Raises libvirtError."""
        limits = domain_limits.of(instance, machine)
        if self._given.get(instance.name) == (run, limits):
            return
        for target in domain_devices.limited_disks(instance):
            found.setBlockIoTune(target, dict(limits.disk), _LIVE)
        if scheduler := domain_limits.scheduler(limits):
            found.setSchedulerParametersFlags(dict(scheduler), _LIVE)
        if interface := domain_limits.interface(limits):
            for tap in (instance.nic.tap, *([instance.lan.tap] if instance.lan else [])):
                found.setInterfaceParameters(tap, dict(interface), _LIVE)
        self._given[instance.name] = run, limits
        self._seen[instance.name] = run

    def forget(self, name: InstanceName) -> None:
        """The instance has no VM any more."""
        self._given.pop(name, None)
        self._seen.pop(name, None)

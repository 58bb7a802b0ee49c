"""The hypervisor and the guests of the fake world."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from orchestrator.drivers.fake import passing
from orchestrator.drivers.fake.mounting import FakeMounting
from orchestrator.drivers.fake.plugging import FakePlugging
from orchestrator.drivers.fake.world import AGENT_AFTER_S, SHUTDOWN_TAKES_S, FakeMachine, FakeMemory, World
from orchestrator.errors import Busy, Permanent, Problem, Transient
from orchestrator.model import (
    Agent,
    Domain,
    HostFit,
    Identity,
    Instance,
    InstanceName,
    PausedBy,
    Power,
    Probe,
    Role,
    Services,
    Silence,
    Unit,
    UnitState,
)

CPU_MODELS = ("Nehalem", "qemu64")  # of the fake host
HALF = 0  # the generation of a memory whose saving has failed in its middle


class FakeHypervisor(FakePlugging):
    """Machines in memory."""

    def look(self, name: InstanceName) -> Domain | None:
        """See ports.Hypervisor."""
        self._away(name)
        machine = self._world.machines.get(name)
        if machine is None:
            return None
        return Domain(
            name=name,
            uuid=machine.uuid,
            generation=machine.instance.generation,
            power=machine.power,
            paused_by=machine.paused_by,
            shut_down=machine.shut_down if machine.power is Power.OFF else None,
            claimed=machine.claimed,
            stuck="its QEMU is stopped" if machine.stopped and machine.power is Power.RUNNING else "",
            resets=machine.resets,
            disc="disc" if machine.disc else "",
            disks=machine.serials(),
        )

    def start(self, instance: Instance) -> None:
        """See ports.Hypervisor."""
        self._away(instance.name)
        world = self._world
        with world.lock:
            machine = world.machines.get(instance.name)
            _check_same(machine, instance)
            if machine is None:
                laid = world.overlays.get(instance.name, set())
                assert instance.generation in laid, f"{instance.name}: started without its overlay"
                disc = world.discs.get(instance.name) == instance.generation
                machine = FakeMachine(
                    instance,
                    disc=disc,
                    limits=instance.role.limits,
                    setup_boot_id=world.set_up.get(instance.name, ""),
                )
                world.machines[instance.name] = machine
            if machine.power is Power.OFF:
                if instance.lan is not None and instance.lan.bridge in world.faults.bridges_gone:
                    raise Transient(f"start {instance.name}: there is no bridge {instance.lan.bridge} on this host")
                passing.require(world, instance)
                if (lacking := self.unfit(instance.role)) is not None:
                    kind = Permanent if lacking.key in ("devices.cpuModel", "libvirt.xml") else Transient
                    raise kind(f"start {instance.name}: {lacking}", hint=lacking.hint)
                guarded = world.networks.get(instance.service, ())
                assert instance.name in guarded, f"{instance.name}: no network, no guard"
                machine.has_port = True
                if instance.from_checkpoint and instance.name in world.faults.not_started:
                    raise Permanent(f"{instance.name}: its QEMU does not start")
                if instance.name in world.empty:  # Its disk is another than it had.
                    machine.setup_boot_id, machine.system_marker = world.set_up.get(instance.name, ""), ""
                world.empty.discard(instance.name)
                machine.storage, machine.ejects_disks = world.own_storage(instance), False
                machine.drives = world.taken_drives(instance)
                machine.bare = {one.drive for one in instance.goal.attached if not one.mounted}
                machine.start_boot(world.time_s)
            elif machine.paused_by is PausedBy.DISK and not world.faults.disk_is_full:
                world.resume(instance.name)

    def fit(self) -> HostFit:
        """See ports.Hypervisor."""
        self._away()
        return HostFit(qemu="fake", cpu="fake", boot=str(self._world.host_boots))

    def unfit(self, role: Role) -> Problem | None:
        """See ports.Hypervisor."""
        self._away()
        wanted, faults = role.devices, self._world.faults
        if wanted.hugepages and faults.no_huge_pages:
            return Problem("this host has reserved no huge pages", key="devices.hugepages", hint="reserve some")
        if wanted.cpu_model and wanted.cpu_model not in CPU_MODELS:
            told = f"guests of this host cannot have a processor {wanted.cpu_model}"
            return Problem(told, key="devices.cpuModel", hint=f"use one of: {', '.join(CPU_MODELS)}")
        for share in role.shares:
            if share.source in faults.shares_gone:
                return Problem(
                    f"{share.source} cannot be looked at", key=f"shares.{share.name}.source", hint="make it"
                )
        if "name='nonesuch'" in role.libvirt_xml.replace('"', "'"):
            return Problem("libvirt takes no such VM: nonesuch", key="libvirt.xml", hint="change it")
        return None

    def save(self, instance: Instance) -> None:
        """See ports.Hypervisor."""
        self._away(instance.name)
        self._answers(instance.name)
        world, name = self._world, instance.name
        with world.lock:
            machine = world.machines.get(name)
            _check_same(machine, instance)
            if machine is None or machine.power is not Power.RUNNING:
                return
            assert name not in world.seats_taken, f"{name} is saved, which ends it, while it is in the pool"
            assert not machine.disc, f"{name}: its memory knows of a disc that will not be there"
            if machine.storage or machine.drives:
                raise Busy(f"{name}: its guest has not let go of its disks")
            assert not machine.misses_disks, f"{name}: its memory has yet to take note that its disks have gone"
            if name in world.faults.not_saved:
                world.memories[name] = _memory_of(machine, HALF, world.time_s)
                raise Transient(f"{name}: its QEMU does not give its memory away")
            world.memories[name] = _memory_of(machine, instance.generation, world.time_s)
            world.kill(name)

    def restore(self, instance: Instance) -> None:
        """See ports.Hypervisor."""
        self._away(instance.name)
        world, name = self._world, instance.name
        with world.lock:
            machine = world.machines.get(name)
            _check_same(machine, instance)
            if machine is not None and machine.power is not Power.OFF:
                return
            memory = world.memories[name]
            assert name in world.empty, f"{name}: its disk is not what its memory knows"
            assert memory.uuid == instance.vm_uuid, f"{name}: another VM's memory"
            assert name in world.networks.get(instance.service, ()), f"{name}: no network, no guard"
            assert name not in world.faults.memory_damaged, f"{name}: damaged memory runs"
            if name in world.faults.not_restored:
                raise Permanent(f"{name}: its QEMU does not take the memory")
            world.empty.discard(name)
            machine = FakeMachine(instance, setup_boot_id=memory.setup_boot_id, limits=instance.role.limits)
            machine.power, machine.has_port = Power.RUNNING, True
            machine.boot_id, machine.boots, machine.system_marker = memory.boot_id, memory.boots, memory.system_marker
            machine.booted_at_s = world.time_s - memory.up_s
            machine.clock_off_s = max(world.time_s - memory.at_s, 1.0)
            world.machines[name] = machine

    def _go_down(self, name: InstanceName, to: Power) -> None:
        self._away(name)
        self._answers(name)
        world = self._world
        assert name not in world.seats_taken, f"{name} is stopped on purpose while it is in the pool"
        machine = world.machines.get(name)
        if machine is None or machine.power is not Power.RUNNING or name in world.faults.deaf_to_requests:
            return
        if world.time_s - machine.booted_at_s < world.faults.agent_after_s.get(name, 0.0):
            return  # Early in a boot nothing hears of the power button yet, and no agent is there.
        if machine.going_down_at_s is None:
            machine.going_down_since_s, machine.written = world.time_s, False  # Its services write as they end.
            machine.going_down_at_s = world.time_s + world.faults.shutdown_takes_s.get(name, SHUTDOWN_TAKES_S)
            machine.going_to = to

    def ask_restart(self, name: InstanceName) -> None:
        """See ports.Hypervisor."""
        self._go_down(name, Power.RUNNING)

    def ask_shutdown(self, name: InstanceName) -> None:
        """See ports.Hypervisor."""
        self._go_down(name, Power.OFF)

    def reset(self, name: InstanceName) -> None:
        """See ports.Hypervisor."""
        self._away(name)
        self._answers(name)
        assert name not in self._world.seats_taken, f"{name} is reset on purpose while it is in the pool"
        machine = self._world.machines.get(name)
        if machine is not None and machine.power is Power.RUNNING:
            machine.resets += 1
            machine.start_boot(self._world.time_s)

    def power_off(self, name: InstanceName, *, erased: bool = False) -> None:
        """See ports.Hypervisor."""
        self._away(name)
        machine = self._world.machines.get(name)
        if machine is not None:
            assert name not in self._world.seats_taken, f"{name} is ended on purpose while it is in the pool"
            assert not (erased and (machine.storage or machine.drives)), f"{name} has disks that are not erased"
            if machine.power is not Power.OFF:
                machine.shut_down = False
            machine.power, machine.paused_by = Power.OFF, None
            machine.going_down_at_s, machine.stopped = None, False

    def limit(self, instance: Instance) -> None:
        """See ports.Hypervisor."""
        self._away(instance.name)
        self._answers(instance.name)
        machine = self._world.machines.get(instance.name)
        if machine is not None and machine.power is Power.RUNNING:
            machine.limits = instance.role.limits

    def eject(self, name: InstanceName) -> None:
        """See ports.Hypervisor."""
        if name in self._world.faults.holds_disc:
            raise Busy(f"{name}: its disc is still in the drive")
        self._away(name)
        self._answers(name)
        machine = self._world.machines.get(name)
        if machine is not None:
            assert machine.setup_boot_id, f"{name}: the disc is taken away before setup has read it"
            machine.disc = False

    def undefine(self, name: InstanceName) -> None:
        """See ports.Hypervisor."""
        self._away(name)
        with self._world.lock:
            machine = self._world.machines.get(name)
            assert machine is None or machine.power is Power.OFF, f"{name}: a running VM is forgotten"
            self._world.machines.pop(name, None)
            self._world.words.pop(name, None)
            self._world.partings.pop(name, None)
            self._world.unanswered.discard(name)

    def keep_evidence(self, instance: Instance) -> None:
        """See ports.Hypervisor."""
        self._world.meet("evidence")
        self._world.evidence.add((instance.name, instance.generation))

    def keep_disk(self, instance: Instance) -> None:
        """See ports.Hypervisor."""
        self._world.meet("evidence")
        if instance.generation in self._world.overlays.get(instance.name, set()):
            self._world.kept_disks.add((instance.name, instance.generation))

    def erase_evidence(self, name: InstanceName) -> None:
        """See ports.Hypervisor."""
        self._world.meet("evidence")
        self._world.evidence = {kept for kept in self._world.evidence if kept[0] != name}

    def inventory(self) -> Sequence[Domain]:
        """See ports.Hypervisor."""
        self._away()
        looks = [self.look(name) for name in sorted(self._world.machines.keys() - self._world.faults.foreign)]
        return [domain for domain in looks if domain is not None]


def _memory_of(machine: FakeMachine, generation: int, at_s: float) -> FakeMemory:
    return FakeMemory(
        generation=generation,
        uuid=machine.uuid,
        boot_id=machine.boot_id,
        boots=machine.boots,
        setup_boot_id=machine.setup_boot_id,
        up_s=at_s - machine.booted_at_s,
        at_s=at_s,
        system_marker=machine.system_marker,
    )


def _check_same(machine: FakeMachine | None, instance: Instance) -> None:
    """Raises Permanent when there is a VM of another generation."""
    if machine is not None and (machine.uuid, machine.instance.generation) != (instance.vm_uuid, instance.generation):
        raise Permanent(f"{instance.name} already runs in another VM")


class FakeGuest(FakeMounting):
    """What the guests of the fake machines say."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _silence(self, instance: Instance) -> Silence | None:
        machine = self._world.machines.get(instance.name)
        if machine is None or machine.power is not Power.RUNNING:
            return Silence(reason="the VM does not run")
        if machine.stopped:
            return Silence(reason="the agent does not answer")
        if self._world.faults.no_agent:
            return Silence(reason="the agent is not connected", absent=True)
        if self._world.time_s - machine.booted_at_s < self._world.faults.agent_after_s.get(
            instance.name, AGENT_AFTER_S
        ):
            return Silence(reason="the agent is not connected", rebooting=machine.boots > 1, absent=True)
        if machine.hung:
            return Silence(reason="the agent is not connected", absent=True)
        if instance.name in self._world.faults.agent_silent:
            return Silence(reason="the agent does not answer")
        if instance.name in self._world.faults.agent_broken:
            return Silence(reason="the agent sent garbage", broken=True)
        if instance.name in self._world.faults.frozen:
            return Silence(reason="its file systems are frozen", frozen=True)
        return None

    def identity(self, instance: Instance) -> Identity | Silence:
        """See ports.Guest."""
        silence = self._silence(instance)
        if silence is not None:
            return silence
        if self._world.faults.agent_shows_no_files:
            return Identity(boot_id="", source="ping")
        machine = self._world.machines[instance.name]
        if instance.name in self._world.faults.other_boot_each_look:
            return Identity(boot_id=str(uuid.uuid4()), setup_boot_id=machine.setup_boot_id)
        if self._world.faults.agent_is_confined:
            return Identity(boot_id=machine.boot_id, source="ping", confined="the agent is confined")
        return Identity(boot_id=machine.boot_id, setup_boot_id=machine.setup_boot_id)

    def services(self, instance: Instance) -> Services | Silence:
        """See ports.Guest."""
        silence = self._silence(instance)
        if silence is not None:
            return silence
        if instance.name in self._world.faults.services_unheard:
            return Services(started=False, note="the guest is being asked", unheard=True)
        if (error := self._world.faults.setup_error.get(instance.name)) and (
            "cloud-init" not in instance.goal.role.ready.ignore
        ):
            unit = Unit("", UnitState.FAILED, error)
            return Services(started=False, units=(unit,), verdict=f"setup has finished with an error: {error}")
        if instance.name in self._world.faults.services_crash:
            return Services(started=False, units=(Unit("app.service", UnitState.FAILED, "it ended with error 7"),))
        if self._world.services_run(self._world.machines[instance.name]):
            return Services(started=True)
        return Services(started=False, units=(Unit("app.service", UnitState.PENDING),))

    def clock_off_s(self, instance: Instance) -> float | None:
        """See ports.Guest."""
        return self._world.faults.clock_off_s.get(instance.name, 0.0)

    def agent(self, instance: Instance) -> Agent | Silence:
        """See ports.Guest."""
        files = ("guest-file-read",)
        blind = self._world.faults.agent_shows_no_files
        return self._silence(instance) or Agent(
            host_name=instance.hostname,
            system="fake",
            version="1",
            allowed=() if blind else files,
            forbidden=files if blind else (),
            marks={} if blind else self._marks(instance),
        )

    def _marks(self, instance: Instance) -> dict[str, str]:
        baked = self._world.faults.baked_marks
        return {kind: kind if kind in baked else instance.vm_uuid for kind in ("machine-id", "SSH host key (rsa)")}

    def unfit(self, instance: Instance) -> str | Silence:
        """See ports.Guest."""
        return self._silence(instance) or (
            "its kernel is too old" if instance.name in self._world.faults.unfit else ""
        )

    def write_out(self, instance: Instance) -> str | Silence:
        """See ports.Guest."""
        if (silence := self._silence(instance)) is not None:
            return silence
        if instance.name in self._world.faults.unwritten:
            return "its agent runs no commands"
        self._world.machines[instance.name].written = True
        return ""

    def awaken(self, instance: Instance) -> str | Silence:
        """See ports.Guest."""
        if (silence := self._silence(instance)) is not None:
            return silence
        if instance.name in self._world.faults.clockless:
            return "its agent does not set the clock"
        self._world.machines[instance.name].clock_off_s = 0.0
        return ""

    def randomness(self, instance: Instance) -> str:
        """See ports.Guest."""
        return "a program in it" if instance.name in self._world.faults.no_vmgenid else "its kernel"

    def probe(self, instance: Instance, probe: Probe, port: int) -> str:  # noqa: ARG002 - the port's shape
        """See ports.Guest."""
        machine = self._world.machines.get(instance.name)
        if self._world.is_cut_off(instance.name):
            return "no route to host"
        if instance.name in self._world.faults.check_fails:
            return "connection refused"
        if instance.name in self._world.faults.ready_probe_fails:
            return "503 Service Unavailable"
        return "" if machine is not None and self._world.services_run(machine) else "connection refused"

"""The Hypervisor port: what every implementation does. No test here waits for a guest."""

from __future__ import annotations

import dataclasses
import time

import pytest

from orchestrator.errors import Busy, Permanent, Transient
from orchestrator.model import Attachment, Devices, Domain, Instance, Limits, PausedBy, Power
from orchestrator.model.pci import Passed
from orchestrator.model.share import Share
from tests.contract.suites.stage import (
    NO_SUCH_DEVICE,
    NO_SUCH_SHARE,
    Stage,
    kept,
    make_instance,
    next_generation,
    with_storage,
)


class HypervisorContract:
    """Subclasses give the fixture `stage`."""

    def test_absent_domain(self, stage: Stage) -> None:
        """Every verb on an instance without a domain is fine and makes none."""
        name = make_instance(stage).name
        for verb in ("ask_restart", "ask_shutdown", "reset", "power_off", "eject", "undefine"):
            getattr(stage.hypervisor, verb)(name)
        assert stage.hypervisor.look(name) is None
        assert list(stage.hypervisor.inventory()) == []

    def test_start(self, stage: Stage) -> None:
        """A started domain runs, is of its generation, has its disc, and is the only one however often started."""
        instance = started(stage)
        seen = look(stage, instance)
        assert (seen.name, seen.uuid, seen.generation) == (instance.name, instance.vm_uuid, 1)
        assert (seen.power, seen.resets, bool(seen.disc)) == (Power.RUNNING, 0, True)
        stage.hypervisor.start(instance)
        assert list(stage.hypervisor.inventory()) == [seen]

    def test_a_machine_that_the_host_cannot_give(self, stage: Stage) -> None:
        """It is told before, with its key; one that was recorded all the same does not start, until it is changed."""
        instance = make_instance(stage)
        assert stage.hypervisor.unfit(instance.role) is None
        no_such = dataclasses.replace(instance.role, devices=Devices(cpu_model="Nonesuch-v7"))
        fault = stage.hypervisor.unfit(no_such)
        assert fault is not None
        assert (fault.key, "Nonesuch-v7" in fault.message, bool(fault.hint)) == ("devices.cpuModel", True, True)
        stage.lay(instance)
        with pytest.raises(Permanent, match="Nonesuch-v7") as refused:
            stage.hypervisor.start(dataclasses.replace(instance, role=no_such))
        assert refused.value.hint
        seen = stage.hypervisor.look(instance.name)
        assert seen is None or seen.power is Power.OFF
        model = fault.hint.rpartition(" ")[2]  # one that there is
        there = dataclasses.replace(instance.role, devices=Devices(cpu_model=model))
        assert stage.hypervisor.unfit(there) is None
        stage.hypervisor.start(dataclasses.replace(instance, role=there))
        assert look(stage, instance).power is Power.RUNNING

    def test_extra_xml_that_libvirt_takes_no_vm_with(self, stage: Stage) -> None:
        """Is told before, with its key and libvirt's word for it; nothing is left of the question."""
        role = make_instance(stage).role
        known, unknown = (
            f"<domain><cpu><feature name='{name}' policy='disable' /></cpu></domain>" for name in ("aes", "nonesuch")
        )
        assert stage.hypervisor.unfit(dataclasses.replace(role, libvirt_xml=known)) is None
        fault = stage.hypervisor.unfit(dataclasses.replace(role, libvirt_xml=unknown))
        assert fault is not None
        assert (fault.key, "nonesuch" in fault.message, bool(fault.hint)) == ("libvirt.xml", True, True)
        assert list(stage.hypervisor.inventory()) == []

    def test_a_share_that_is_not_there(self, stage: Stage) -> None:
        """It is told before, with its key; who has it by his record waits for it, and has no other VM meanwhile."""
        instance = make_instance(stage)
        share = Share(name="data", source=NO_SUCH_SHARE, mount="/data")
        wants = dataclasses.replace(instance.role, shares=(share,))
        fault = stage.hypervisor.unfit(wants)
        assert fault is not None
        assert (fault.key, share.source in fault.message) == ("shares.data.source", True)
        stage.lay(instance)
        with pytest.raises(Transient, match=share.source) as waits:
            stage.hypervisor.start(dataclasses.replace(instance, role=wants))
        assert waits.value.hint
        seen = stage.hypervisor.look(instance.name)
        assert seen is None or seen.power is Power.OFF

    def test_a_device_of_the_host_that_is_not_there(self, stage: Stage) -> None:
        """Who has it by his record waits for it, as does who has none yet of what his role names."""
        instance = make_instance(stage)
        stage.lay(instance)
        role = dataclasses.replace(instance.role, devices=Devices(pci=(NO_SUCH_DEVICE,)))
        passed = (Passed(wanted=NO_SUCH_DEVICE, address=NO_SUCH_DEVICE, kind="10de:2204"),)
        for given, told in (((), f"no device of the host is free for {NO_SUCH_DEVICE}"), (passed, "no PCI device")):
            goal = dataclasses.replace(instance.goal, role=role, passed=given)
            with pytest.raises(Transient, match=told) as waits:
                stage.hypervisor.start(dataclasses.replace(instance, role=role, goal=goal))
            assert waits.value.hint
            seen = stage.hypervisor.look(instance.name)
            assert seen is None or seen.power is Power.OFF
        stage.hypervisor.start(instance)
        assert look(stage, instance).power is Power.RUNNING

    def test_limits_of_a_running_vm(self, stage: Stage) -> None:
        """Other limits disturb nothing, however often they are given, and where no VM runs there is nothing to do."""
        instance = make_instance(stage)
        stage.hypervisor.limit(instance)
        assert stage.hypervisor.look(instance.name) is None
        instance = started(stage)
        seen = look(stage, instance)
        limits = Limits(cpu_weight=10, cpu_limit_percent=50, disk_rate_mib_per_s=20, network_rate_mib_per_s=5)
        other = dataclasses.replace(instance, role=dataclasses.replace(instance.role, limits=limits))
        for each in (other, other, instance):
            stage.hypervisor.limit(each)
            assert look(stage, instance) == seen
        stage.hypervisor.power_off(instance.name)
        stage.hypervisor.limit(other)
        assert look(stage, instance).power is Power.OFF

    def test_a_drive_comes_to_a_vm_that_runs(self, stage: Stage) -> None:
        """Once, however often it is given; taken from who has none, is off or is absent, nothing happens."""
        orders = Attachment(name="orders", drive="orders")
        stage.lay_drive("orders")
        absent = make_instance(stage, 1)
        stage.hypervisor.plug(absent, orders)
        assert stage.hypervisor.unplug(absent.name, "orders")
        instance = started(stage)
        assert stage.hypervisor.unplug(instance.name, "orders")
        seen = look(stage, instance)
        for _ in range(2):
            stage.hypervisor.plug(instance, orders)
            assert look(stage, instance) == dataclasses.replace(seen, disks=frozenset({orders.serial}))
        stage.hypervisor.power_off(instance.name)
        stage.hypervisor.plug(instance, orders)
        assert stage.hypervisor.unplug(instance.name, "orders")
        assert look(stage, instance).power is Power.OFF

    def test_no_memory_knows_of_local_storage(self, stage: Stage) -> None:
        """It is not saved while the VM has some, which goes on as it was. What it has already it is not given again,
        and from who is off or absent nothing is taken.
        """
        absent, instance = (with_storage(make_instance(stage, index)) for index in (1, 0))
        stage.hypervisor.plug_disks(absent)
        assert stage.hypervisor.unplug_disks(absent)
        stage.lay(instance, disc=False)
        stage.hypervisor.start(instance)
        seen = look(stage, instance)
        assert seen.disks == frozenset(instance.disk_serials), seen
        stage.hypervisor.plug_disks(instance)
        stage.disks.prepare_checkpoint(instance, memory=True)
        with pytest.raises(Busy):
            stage.hypervisor.save(instance)
        assert look(stage, instance) == seen
        stage.hypervisor.power_off(instance.name)
        stage.hypervisor.plug_disks(instance)
        assert stage.hypervisor.unplug_disks(instance)
        assert look(stage, instance).power is Power.OFF

    def test_start_without_disc(self, stage: Stage) -> None:
        """A domain whose disc was destroyed starts with an empty drive."""
        instance = make_instance(stage)
        stage.lay(instance, disc=False)
        stage.hypervisor.start(instance)
        assert look(stage, instance).power is Power.RUNNING
        assert look(stage, instance).disc == ""

    def test_a_saved_vm_goes_on(self, stage: Stage) -> None:
        """Its memory saved it is off; restored it is the VM that it was, once, and the next generation's as well.

        While one is there, running or off, no other generation is restored or started, though it has the same UUID.
        """
        instance = make_instance(stage)
        stage.lay(instance, disc=False)
        stage.hypervisor.start(instance)
        stage.disks.prepare_checkpoint(instance, memory=True)
        stage.hypervisor.save(instance)
        assert look(stage, instance).power is Power.OFF
        stage.hypervisor.save(instance)
        files = stage.disks.keep_checkpoint(instance, memory=True)
        assert files is not None
        saved = kept(instance, files, stage.hypervisor.fit())
        assert stage.hypervisor.fit() == saved.checkpoint.fit if saved.checkpoint else None
        stage.disks.renew_overlay(saved)
        for _ in range(2):
            stage.hypervisor.restore(saved)
            assert [(one.uuid, one.power) for one in stage.hypervisor.inventory()] == [
                (instance.vm_uuid, Power.RUNNING)
            ]

        after = next_generation(saved)
        assert after.vm_uuid == instance.vm_uuid
        for power in (Power.RUNNING, Power.OFF):
            if power is Power.OFF:
                stage.hypervisor.power_off(instance.name)
            for begin in (stage.hypervisor.restore, stage.hypervisor.start, stage.hypervisor.save):
                with pytest.raises(Permanent):
                    begin(after)
            assert (look(stage, instance).generation, look(stage, instance).power) == (1, power)
        stage.hypervisor.undefine(instance.name)
        stage.disks.erase_overlay(instance.name)
        stage.disks.renew_overlay(after)
        stage.hypervisor.restore(after)
        seen = look(stage, after)
        assert (seen.uuid, seen.generation, seen.power) == (instance.vm_uuid, 2, Power.RUNNING)
        stage.hypervisor.power_off(after.name)
        stage.hypervisor.start(after)
        seen = look(stage, after)
        assert (seen.uuid, seen.generation, seen.power) == (instance.vm_uuid, 2, Power.RUNNING)

    def test_a_vm_boots_from_the_disk_that_was_kept(self, stage: Stage) -> None:
        """The VM that it was, in this generation and in the next."""
        instance = make_instance(stage)
        stage.lay(instance, disc=False)
        stage.hypervisor.start(instance)
        stage.disks.prepare_checkpoint(instance, memory=False)
        stage.hypervisor.power_off(instance.name)
        files = stage.disks.keep_checkpoint(instance, memory=False)
        assert files is not None
        saved = kept(instance, files, stage.hypervisor.fit())
        stage.hypervisor.start(saved)
        assert (look(stage, instance).uuid, look(stage, instance).power) == (instance.vm_uuid, Power.RUNNING)
        stage.hypervisor.power_off(instance.name)
        stage.hypervisor.undefine(instance.name)
        stage.disks.erase_overlay(instance.name)
        after = next_generation(saved)
        stage.disks.renew_overlay(after)
        stage.hypervisor.start(after)
        seen = look(stage, after)
        assert (seen.uuid, seen.generation, seen.power) == (instance.vm_uuid, 2, Power.RUNNING)

    def test_another_generation_is_refused(self, stage: Stage) -> None:
        """One instance, one VM: while one generation's domain is there, running or off, no other can be started."""
        first = started(stage)
        for power in (Power.RUNNING, Power.OFF):
            if power is Power.OFF:
                stage.hypervisor.power_off(first.name)
            with pytest.raises(Permanent):
                stage.hypervisor.start(next_generation(first))
            seen = look(stage, first)
            assert (seen.uuid, seen.power) == (first.vm_uuid, power)

    @pytest.mark.parametrize("erased", [False, True])
    def test_power_off_and_start_again(self, stage: Stage, erased: bool) -> None:
        """A VM that was ended is off, also when ended twice, and the same VM can be started again."""
        instance = started(stage)
        stage.hypervisor.power_off(instance.name, erased=erased)
        assert look(stage, instance).power is Power.OFF
        stage.hypervisor.power_off(instance.name, erased=erased)
        stage.hypervisor.ask_shutdown(instance.name)
        assert look(stage, instance).power is Power.OFF
        stage.hypervisor.start(instance)
        assert look(stage, instance).power is Power.RUNNING
        assert look(stage, instance).uuid == instance.vm_uuid

    def test_death_is_seen(self, stage: Stage) -> None:
        """A VM whose process was killed is off, and can be started again."""
        instance = started(stage)
        stage.kill(instance.name)
        stage.until(lambda: look(stage, instance).power is Power.OFF, 120)
        stage.until(lambda: look(stage, instance).shut_down is not None, 120)
        assert look(stage, instance).shut_down is False
        stage.hypervisor.start(instance)
        assert (look(stage, instance).power, look(stage, instance).shut_down) == (Power.RUNNING, None)

    def test_reset_is_counted(self, stage: Stage) -> None:
        """A reset is told once by the next looks; the VM stays the same and runs."""
        instance = started(stage)

        def seen_after_a_reset() -> bool:
            stage.hypervisor.reset(instance.name)
            return look(stage, instance).resets > 0

        stage.until(seen_after_a_reset, 30)  # One that comes before the monitor listens is not seen: it is a hint.
        time.sleep(1.0)  # Whatever is still to be told of those has been told.
        before = look(stage, instance).resets
        stage.hypervisor.reset(instance.name)
        stage.until(lambda: look(stage, instance).resets > before, 120)
        seen = look(stage, instance)
        assert (seen.resets, seen.power, seen.uuid) == (before + 1, Power.RUNNING, instance.vm_uuid)

    def test_who_paused_is_told(self, stage: Stage) -> None:
        """A VM that a human paused says so, stays paused however often it is started, and goes on when he says so."""
        instance = started(stage)
        assert look(stage, instance).paused_by is None
        stage.suspend(instance.name)
        stage.hypervisor.start(instance)
        seen = look(stage, instance)
        assert (seen.power, seen.paused_by, seen.uuid) == (Power.PAUSED, PausedBy.USER, instance.vm_uuid)
        stage.resume(instance.name)
        assert (look(stage, instance).power, look(stage, instance).paused_by) == (Power.RUNNING, None)

    def test_a_stopped_qemu_is_told_and_holds_up_nobody(self, stage: Stage) -> None:
        """It runs by its power and is stuck; what would wait for it is refused, and others are looked at and asked.

        It goes on in the same VM, and one that is stopped can be ended and started again.
        """
        stuck, well = started(stage, 1), started(stage, 2)
        assert look(stage, stuck).stuck == ""
        stage.stop_qemu(stuck.name)
        stage.until(lambda: look(stage, stuck).stuck != "", 60)
        assert (look(stage, stuck).power, look(stage, well).stuck) == (Power.RUNNING, "")
        for verb in ("ask_restart", "ask_shutdown", "reset", "eject"):
            with pytest.raises(Busy):
                getattr(stage.hypervisor, verb)(stuck.name)
        stage.hypervisor.reset(well.name)
        stage.continue_qemu(stuck.name)
        stage.until(lambda: look(stage, stuck).stuck == "", 60)
        assert look(stage, stuck).uuid == stuck.vm_uuid
        stage.stop_qemu(stuck.name)
        stage.hypervisor.power_off(stuck.name)
        assert look(stage, stuck).power is Power.OFF
        stage.hypervisor.start(stuck)
        assert (look(stage, stuck).power, look(stage, stuck).stuck) == (Power.RUNNING, "")

    def test_a_paused_vm_can_be_ended(self, stage: Stage) -> None:
        """Whoever paused it, an end asked for is an end, and then nobody pauses it any more."""
        instance = started(stage)
        stage.suspend(instance.name)
        stage.hypervisor.power_off(instance.name)
        assert (look(stage, instance).power, look(stage, instance).paused_by) == (Power.OFF, None)

    def test_running_domain_is_not_forgotten(self, stage: Stage) -> None:
        """A running VM cannot be undefined: it would be a VM without a record."""
        instance = started(stage)
        with pytest.raises((Transient, AssertionError)):
            stage.hypervisor.undefine(instance.name)
        assert look(stage, instance).power is Power.RUNNING

    def test_undefine(self, stage: Stage) -> None:
        """An undefined domain is gone, also when undefined twice; the next generation takes its name."""
        first = started(stage)
        stage.hypervisor.power_off(first.name)
        stage.hypervisor.undefine(first.name)
        stage.hypervisor.undefine(first.name)
        assert stage.hypervisor.look(first.name) is None
        second = next_generation(first)
        stage.lay(second)
        stage.hypervisor.start(second)
        assert (look(stage, second).generation, look(stage, second).uuid) == (2, second.vm_uuid)

    def test_inventory_holds_all_of_ours(self, stage: Stage) -> None:
        """Two instances are two domains; ending one leaves the other as it was."""
        one, two = started(stage, 1), started(stage, 2)
        assert [domain.name for domain in stage.hypervisor.inventory()] == [one.name, two.name]
        stage.hypervisor.power_off(one.name)
        stage.hypervisor.undefine(one.name)
        assert list(stage.hypervisor.inventory()) == [look(stage, two)]
        assert look(stage, two).power is Power.RUNNING

    def test_evidence_is_kept_again_and_again(self, stage: Stage) -> None:
        """Keeping evidence of a failure can be repeated, with and without a domain; so can erasing it."""
        instance = started(stage)
        stage.hypervisor.keep_evidence(instance)
        stage.hypervisor.power_off(instance.name)
        stage.hypervisor.undefine(instance.name)
        stage.hypervisor.keep_evidence(instance)
        for _ in range(2):
            stage.hypervisor.erase_evidence(instance.name)


def started(stage: Stage, index: int = 0) -> Instance:
    """An instance whose VM has just been started."""
    instance = make_instance(stage, index)
    stage.lay(instance)
    stage.hypervisor.start(instance)
    return instance


def look(stage: Stage, instance: Instance) -> Domain:
    """The domain, which must be there."""
    seen = stage.hypervisor.look(instance.name)
    assert seen is not None, f"{instance.name} has no domain"
    return seen

"""What every Disks and every AnswerMedia keeps. Who runs it gives the fixtures `disks`, `save_memory`, `media`,
`instance`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import pytest

from orchestrator.errors import Foreign, Permanent, Whose
from orchestrator.model import AnswerFormat, HostFit, Instance, LocalStorage
from orchestrator.ports import AnswerMedia, Disks
from orchestrator.rules import host_keys
from tests.contract.suites.stage import kept


def next_generation(instance: Instance) -> Instance:
    """The same instance after a reimage."""
    return dataclasses.replace(instance, generation=instance.generation + 1)


class DisksContract:
    """The suite of ports.Disks."""

    def test_overlay_and_local_storage_are_laid_once(self, disks: Disks, instance: Instance) -> None:
        """Laying again changes nothing; the inventory names what there is."""
        for _ in range(2):
            disks.lay_overlay(instance)
            disks.lay_local_storage(instance)
        assert disks.inventory() == {instance.name: frozenset({"overlay:1", "storage:cache"})}

    def test_a_reimage_keeps_local_storage_alone(self, disks: Disks, instance: Instance) -> None:
        """Erasing overlays leaves local storage, and the next generation has an overlay of its own."""
        disks.lay_overlay(instance)
        disks.lay_local_storage(instance)
        for _ in range(2):
            disks.erase_overlay(instance.name)
        assert disks.inventory() == {instance.name: frozenset({"storage:cache"})}
        disks.lay_overlay(next_generation(instance))
        assert disks.inventory() == {instance.name: frozenset({"overlay:2", "storage:cache"})}

    def test_everything_goes(self, disks: Disks, instance: Instance) -> None:
        """After both are erased nothing is named any more; erasing what is absent is fine."""
        disks.lay_overlay(instance)
        disks.lay_local_storage(instance)
        for _ in range(2):
            disks.erase_overlay(instance.name)
            disks.erase_local_storage(instance.name)
        assert disks.inventory() == {}

    def test_a_checkpoint_is_kept_below_an_empty_overlay(
        self, disks: Disks, instance: Instance, save_memory: Callable[[Instance], None]
    ) -> None:
        """Only with a memory that was saved whole; kept again it is the same, and a reimage leaves it."""
        disks.lay_overlay(instance)
        disks.prepare_checkpoint(instance, memory=True)
        assert disks.keep_checkpoint(instance, memory=True) is None
        assert disks.inventory() == {instance.name: frozenset({"overlay:1"})}
        save_memory(instance)
        files = disks.keep_checkpoint(instance, memory=True)
        assert files is not None
        assert disks.keep_checkpoint(instance, memory=True) == files
        with pytest.raises(Foreign):  # A VM that runs on the layer's overlay is none that was not saved.
            disks.prepare_checkpoint(instance, memory=True)
        assert disks.keep_checkpoint(instance, memory=True) == files
        saved = kept(instance, files, HostFit(qemu="", cpu="", boot=""))
        assert disks.layer_damage(saved) == disks.memory_damage(saved) == ""
        of_checkpoint = {"layer:1", "memory:1"}
        assert disks.inventory() == {instance.name: frozenset({"overlay:1", *of_checkpoint})}
        disks.erase_overlay(instance.name)
        for _ in range(2):
            disks.renew_overlay(next_generation(saved))
        assert disks.inventory() == {instance.name: frozenset({"overlay:2", *of_checkpoint})}
        assert disks.layer_damage(saved) == disks.memory_damage(saved) == ""
        for _ in range(2):
            disks.erase_overlay(instance.name)
            disks.erase_checkpoint(instance.name)
        assert disks.inventory() == {}
        assert "is not there" in disks.layer_damage(saved)
        assert "is not there" in disks.memory_damage(saved)

    def test_a_disk_is_kept_without_memory(
        self, disks: Disks, instance: Instance, save_memory: Callable[[Instance], None]
    ) -> None:
        """Also where an earlier try has left one; kept again it is the same, and who runs on it is none of ours."""
        disks.lay_overlay(instance)
        disks.prepare_checkpoint(instance, memory=True)
        save_memory(instance)
        disks.prepare_checkpoint(instance, memory=False)
        files = disks.keep_checkpoint(instance, memory=False)
        assert files is not None
        assert files.memory is None
        assert disks.keep_checkpoint(instance, memory=False) == files
        with pytest.raises(Foreign):
            disks.prepare_checkpoint(instance, memory=False)
        saved = kept(instance, files, HostFit(qemu="", cpu="", boot=""))
        assert disks.inventory() == {instance.name: frozenset({"overlay:1", "layer:1"})}
        assert disks.layer_damage(saved) == ""
        assert disks.memory_damage(saved), "there is none to be restored"
        disks.erase_overlay(instance.name)
        disks.renew_overlay(next_generation(saved))
        assert disks.inventory() == {instance.name: frozenset({"overlay:2", "layer:1"})}
        assert disks.layer_damage(saved) == ""

    def test_what_was_saved_and_is_not_kept_goes(
        self, disks: Disks, instance: Instance, save_memory: Callable[[Instance], None]
    ) -> None:
        """The next try begins with nothing, and nothing stays of one that is given up."""
        disks.lay_overlay(instance)
        prepare = functools.partial(disks.prepare_checkpoint, instance, memory=True)
        for forget in (prepare, lambda: disks.erase_memory(instance.name)):
            disks.prepare_checkpoint(instance, memory=True)
            save_memory(instance)
            assert disks.inventory() == {instance.name: frozenset({"overlay:1", "memory:1"})}
            for _ in range(2):
                forget()
            assert disks.keep_checkpoint(instance, memory=True) is None
            assert disks.inventory() == {instance.name: frozenset({"overlay:1"})}

    def test_without_its_image_no_overlay_is_laid(self, disks: Disks, instance: Instance) -> None:
        """An image that is not in the repository is a matter for a human."""
        role = dataclasses.replace(instance.role, image_sha256="f" * 64)
        with pytest.raises(Permanent) as refused:
            disks.lay_overlay(dataclasses.replace(instance, role=role))
        assert refused.value.whose is Whose.IMAGE
        assert disks.inventory() == {}

    def test_new_storage_joins_the_old(self, disks: Disks, instance: Instance) -> None:
        """A role that gets another storage keeps the one it has."""
        disks.lay_local_storage(instance)
        more = (*instance.role.local_storage, LocalStorage(name="logs", size_mib=1))
        disks.lay_local_storage(
            dataclasses.replace(instance, role=dataclasses.replace(instance.role, local_storage=more))
        )
        assert disks.inventory() == {instance.name: frozenset({"storage:cache", "storage:logs"})}


class AnswerMediaContract:
    """The suite of ports.AnswerMedia."""

    def test_a_disc_is_there_until_it_is_erased(self, media: AnswerMedia, instance: Instance) -> None:
        """Writing and erasing may be repeated."""
        assert media.inventory() == frozenset()
        for _ in range(2):
            media.write(instance)
        assert media.inventory() == {instance.name}
        for _ in range(2):
            media.erase(instance.name)
        assert media.inventory() == frozenset()

    def test_an_image_that_reads_no_answers_has_no_disc(self, media: AnswerMedia, instance: Instance) -> None:
        """Writing is fine, and does nothing."""
        role = dataclasses.replace(instance.role, answers=AnswerFormat.NONE)
        media.write(dataclasses.replace(instance, role=role))
        assert media.inventory() == frozenset()

    def test_what_an_instance_keeps_outlives_its_discs(self, media: AnswerMedia, instance: Instance) -> None:
        """It is there until it is erased by itself, which may be repeated."""
        keeps = dataclasses.replace(instance, role=dataclasses.replace(instance.role, keep_ssh_host_keys=True))
        media.erase_identity(instance.name)
        media.write(keeps)
        kept = media.host_keys(instance.name)
        assert kept
        assert all(host_keys.public_key(kind, text) is not None for kind, text in kept.items())
        media.erase(instance.name)
        assert (media.inventory(), media.keepers()) == (frozenset(), {instance.name})
        assert media.host_keys(instance.name) == kept
        for _ in range(2):
            media.erase_identity(instance.name)
        assert media.keepers() == frozenset()
        assert media.host_keys(instance.name) == {}

    def test_the_next_generation_has_a_disc_of_its_own(self, media: AnswerMedia, instance: Instance) -> None:
        """One erase takes the discs of all generations."""
        media.write(instance)
        media.write(next_generation(instance))
        media.erase(instance.name)
        assert media.inventory() == frozenset()

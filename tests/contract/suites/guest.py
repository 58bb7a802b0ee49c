"""The Guest port: what every implementation tells of a guest that is set up, restarts, and serves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from orchestrator.model import Agent, Identity, Instance, Power, Services, Silence, TcpProbe
from tests.contract.suites.hypervisor import look, started
from tests.contract.suites.stage import Stage, make_instance, with_storage

PORT = 8080  # where the micro image serves


class GuestContract:
    """Subclasses give the fixture `stage`."""

    def test_absent_guest_is_silent(self, stage: Stage) -> None:
        """Without a VM the agent is silent, which is no error, and a probe does not pass."""
        instance = make_instance(stage)
        assert isinstance(stage.guest.identity(instance), Silence)
        assert isinstance(stage.guest.services(instance), Silence)
        assert isinstance(stage.guest.agent(instance), Silence)
        assert stage.guest.probe(instance, TcpProbe(), PORT) != ""

    def test_setup_and_restart(self, stage: Stage) -> None:
        """Setup shows by a setup boot that is not the present boot; then services start; a restart is another boot
        of the same setup, with or without the disc.
        """
        instance = started(stage)
        assert isinstance(stage.guest.identity(instance), Silence)
        setup = until_another_boot(stage, instance, set_up=True)
        assert setup.setup_boot_id
        assert setup.setup_boot_id != setup.boot_id
        assert look(stage, instance).resets == 1

        instance = dataclasses.replace(instance, boot_id=setup.boot_id)
        stage.until(lambda: has_started(stage, instance))
        assert stage.guest.probe(instance, TcpProbe(), PORT) == ""

        agent = stage.guest.agent(instance)
        assert isinstance(agent, Agent)
        assert agent.host_name == instance.hostname
        assert agent.system
        assert agent.version
        assert "guest-file-read" in agent.allowed

        stage.hypervisor.eject(instance.name)
        assert look(stage, instance).disc == ""
        stage.hypervisor.eject(instance.name)

        stage.hypervisor.ask_restart(instance.name)
        restarted = until_another_boot(stage, instance)
        assert restarted.setup_boot_id == setup.setup_boot_id
        assert restarted.boot_id not in (setup.boot_id, setup.setup_boot_id)
        after = dataclasses.replace(instance, boot_id=restarted.boot_id)
        stage.until(lambda: has_started(stage, after))
        assert look(stage, instance).disc == ""

        stage.hypervisor.ask_shutdown(instance.name)
        stage.until(lambda: look(stage, instance).shut_down is not None)
        assert (look(stage, instance).power, look(stage, instance).shut_down) == (Power.OFF, True)
        assert isinstance(stage.guest.identity(after), Silence)

    def test_setup_without_restart(self, stage: Stage) -> None:
        """A role that asks for no setup restart is set up in the boot in which it goes on."""
        instance = make_instance(stage, restart=False)
        stage.lay(instance)
        stage.hypervisor.start(instance)
        setup = until_another_boot(stage, instance, set_up=True)
        assert setup.setup_boot_id == setup.boot_id
        instance = dataclasses.replace(instance, boot_id=setup.boot_id)
        stage.until(lambda: has_started(stage, instance))
        assert stage.guest.identity(instance) == setup

    def test_local_storage_goes_and_comes_back(self, stage: Stage) -> None:
        """Put aside, it can be taken; a guest that misses it says so; given back, it is mounted again; each of them
        once, however often it is asked for.
        """
        instance = with_storage(make_instance(stage, restart=False))
        stage.lay(instance)
        stage.hypervisor.start(instance)
        setup = until_another_boot(stage, instance, set_up=True)
        instance = dataclasses.replace(instance, boot_id=setup.boot_id)
        stage.until(lambda: has_started(stage, instance))
        assert said(stage, lambda: stage.guest.take_back(instance)) == ""
        for _ in range(2):
            assert said(stage, lambda: stage.guest.put_aside(instance)) == ""
            stage.until(lambda: stage.hypervisor.unplug_disks(instance))
        assert said(stage, lambda: stage.guest.take_back(instance)) == "it sees no such disk"
        for _ in range(2):
            stage.hypervisor.plug_disks(instance)
            assert said(stage, lambda: stage.guest.take_back(instance)) == ""
        assert stage.guest.identity(instance) == setup


def said(stage: Stage, ask: Callable[[], str | Silence]) -> str:
    """What a guest says once it is silent no more."""
    heard: list[str] = []

    def answers() -> bool:
        told = ask()
        if isinstance(told, str):
            heard.append(told)
        return bool(heard)

    stage.until(answers)
    return heard[0]


def until_another_boot(
    stage: Stage, instance: Instance, *, set_up: bool = False, within_s: float = 120.0
) -> Identity:
    """Waits until the guest is in a boot that the instance does not know; with `set_up`, in one that ends setup."""
    found: list[Identity] = []
    restart = instance.role.setup.restart

    def other() -> bool:
        said = stage.guest.identity(instance)
        if isinstance(said, Silence) or said.boot_id in ("", instance.boot_id):
            return False
        if set_up and (not said.setup_boot_id or (said.setup_boot_id == said.boot_id) is restart):
            return False
        found.append(said)
        return True

    stage.until(other, within_s)
    return found[-1]


def has_started(stage: Stage, instance: Instance) -> bool:
    """Whether all auto-start services have started."""
    said = stage.guest.services(instance)
    return isinstance(said, Services) and said.started

"""What begins anew in an instance's record as it enters a phase: the leaves of the table's column. Pure.

Each is given the record as it is in the phase before.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model import Apart, Instance, Phase
from orchestrator.rules import parting


def phase(seen: Instance, entered: Phase, now_s: float) -> Instance:
    """What every phase begins anew: its time, what it waits for, what it asks of the guest, and what went amiss."""
    begun = replace(seen, phase=entered, phase_since_s=now_s, waits_for=None, unwell_since_s=0.0)
    begun = replace(begun, sick_s=0.0, sick_since_s=0.0, asked_at_s=0.0, asks=0, forced=False)
    begun = replace(begun, frozen_since_s=0.0, only_probe=False, powered_on=seen.is_off, apart=Apart.NOT)
    begun = replace(begun, farewell=parting.due(seen, entered))
    begun = lease(begun) if entered.traits.is_off else begun
    return begun if entered.traits.has_failed else replace(begun, retry_at_s=0.0, revisit_at_s=0.0)


def generation(seen: Instance) -> Instance:
    """Another VM. Healing changes no template, and forgets neither how often it was tried nor why."""
    asked_for = seen.goal.wanted.generation > seen.generation
    role = seen.goal.role if asked_for or seen.phase.traits.is_gone else seen.role
    return replace(
        lease(agent(services(seen))),
        proven=(seen.proven or seen.served_at_s > 0) and role.builds_like(seen.role),
        generation=seen.generation + 1,
        boot=0,
        boot_id="",
        resets=0,
        role=role,
        served_at_s=0.0,
        by_request=False,
        restarts=(),
        layered=0,
        road="",
        word=None,
        parting=None,
        no_checkpoint=seen.no_checkpoint if role.builds_like(seen.role) else "",
        no_memory=seen.no_memory if role.builds_like(seen.role) else "",
        no_checkpoint_lasts=seen.no_checkpoint_lasts and role.builds_like(seen.role),
        no_memory_lasts=seen.no_memory_lasts and role.builds_like(seen.role),
        calms=0,
        calm_until_s=0.0,
        strikes=0 if asked_for else seen.strikes,
        healed_at_s=0.0 if asked_for else seen.healed_at_s,
        failed_by=None if asked_for else seen.failed_by,
    )


def hindrance(begun: Instance) -> Instance:
    """What was in the way of the checkpoint of the generation before, by a chance of that moment, has been told."""
    return replace(
        begun,
        no_checkpoint=begun.no_checkpoint if begun.no_checkpoint_lasts else "",
        no_memory=begun.no_memory if begun.no_memory_lasts else "",
    )


def boot(seen: Instance) -> Instance:
    """Another boot, which somebody has asked for or nobody has."""
    return replace(warning(seen), failed_by=None, by_request=seen.restart_asked or seen.is_off)


def services(seen: Instance) -> Instance:
    """Nothing is known of the guest's services."""
    return replace(seen, units=())


def lease(seen: Instance) -> Instance:
    """Nobody has given it an address since: what it had by DHCP its next VM asks for anew."""
    return replace(seen, lan_given="", lan_refused="")


def setup_complete(seen: Instance) -> Instance:
    """The generation has completed its setup."""
    return replace(services(seen), set_up=True)


def setup_lost(seen: Instance) -> Instance:
    """The generation's setup is worth nothing any more."""
    return replace(services(seen), set_up=False)


def agent(seen: Instance) -> Instance:
    """Nobody asks its agent any more, nor looks at what its VM has."""
    return replace(seen, agent_fault="", agent_fault_since_s=0.0, agent_silent_since_s=0.0, clock_off_s=0.0, lacks=())


def request(seen: Instance) -> Instance:
    """What somebody asked for has come about."""
    return replace(seen, by_request=False)


def warning(seen: Instance) -> Instance:
    """What the next stop or restart costs is yet to be seen."""
    return replace(seen, warning="")

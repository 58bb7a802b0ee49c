"""How long a guest is waited for, and which time of a phase counts against it. Pure."""

from __future__ import annotations

from orchestrator.model import Farewell, Instance, Os, Road

# How long a guest may take to shut down before it is reset or ended, unless its role says; and then to come back.
# systemd's own patience with a service is 90 s; Windows may be installing updates.
STOP_WITHIN_S = {Os.LINUX: 120.0, Os.WINDOWS: 600.0}
RESTART_WITHIN_S = {Os.LINUX: 300.0, Os.WINDOWS: 1800.0}
THAW_WITHIN_S = 600.0  # No backup needs a guest frozen for longer, and one that has died never thaws it.
AFTER_WITHIN_S = 600.0  # A role that does not come to serve holds up those after it no longer than that.
MEMORY_MIB_PER_S = 32.0  # of a slow disk that others use as well
LEASE_SILENCE_S = 30.0  # A client that says nothing for so long is gone: nobody waits for what he keeps.
CHECKED_SOON_S = 1.0  # after it has become ready
BOOT_TOGETHER_WITHIN_S = 300.0  # After a boot of the host; who has not come to serve by then holds up nobody.


def memory_moves_s(instance: Instance) -> float:
    """How long the host may take to write the guest's memory to its disk, or to read it and its digest (seconds)."""
    return instance.role.size.memory_mib / MEMORY_MIB_PER_S


def stop_within_s(instance: Instance) -> float:
    """How long the guest may take to shut down before it is reset or ended (seconds)."""
    within_s = instance.goal.role.stop.within_s
    return STOP_WITHIN_S[instance.role.os] if within_s is None else within_s


def is_asked_to_stop(instance: Instance) -> bool:
    """Whether the guest is asked to shut down before its generation ends.

    What its shutdown would write is erased with the system disk: a role that begins its reimages with a checkpoint,
    keeps nothing else, and does not say `stop.within`, is not made to wait for that.
    """
    role, goal = instance.role, instance.goal
    keeps = role.local_storage or instance.drives or goal.role.keep_failed_disk or goal.role.stop.within_s is not None
    return bool(keeps) or not goal.serve or not instance.phase.traits.shuts_down or goal.role.reimage is Road.COLD


def restart_within_s(instance: Instance) -> float:
    """How long the guest may take from the end of its shutdown until it answers (seconds)."""
    within_s = instance.goal.role.restart.within_s
    return RESTART_WITHIN_S[instance.role.os] if within_s is None else within_s


def first_check_s(instance: Instance) -> float:
    """By when, after it has joined its pools, it is asked in each of them for the first time (seconds)."""
    probes = [end.probe for end in instance.goal.role.endpoints if end.probe is not None]
    return max(((probe.initial_delay_s or 0.0) + probe.interval() for probe in probes), default=0.0)


def check_seen_s(instance: Instance, now_s: float) -> float:
    """Between looks whether the first check of a member has passed (seconds): one that is well passes at once."""
    return 0.02 if now_s - instance.phase_since_s < CHECKED_SOON_S else 0.05


def asked_after_s(instance: Instance) -> float:
    """After how long in the phase the guest was asked, or will be at the latest: its patience begins there."""
    if instance.asked_at_s:
        return max(instance.asked_at_s - instance.phase_since_s, 0.0)
    told_s = 0.0 if instance.farewell is Farewell.NONE else instance.goal.role.drain_s
    if not instance.frozen_since_s:
        return told_s
    return max(told_s, instance.frozen_since_s + THAW_WITHIN_S - instance.phase_since_s)


def in_phase_s(instance: Instance, now_s: float) -> float:
    """How long it has been in its phase (seconds), without the time for which it cannot be blamed."""
    return now_s - instance.phase_since_s - blameless_s(instance, now_s)


def blameless_s(instance: Instance, now_s: float) -> float:
    """How long, in its phase, it could not help waiting (seconds)."""
    return instance.sick_s + (now_s - instance.sick_since_s if instance.sick_since_s else 0.0)

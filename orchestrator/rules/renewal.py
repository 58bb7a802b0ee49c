"""When a checkpoint is renewed by itself, by a cold reimage of its instance, and what it waits for before. Pure.

A renewal mends nothing that is broken: it takes out who serves, so it waits for whatever else there is to do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from orchestrator.model import Goal, HostFit, Incarnation, Instance, InstanceName
from orchestrator.model.checkpoint import DAY_S
from orchestrator.rules import roads, words
from orchestrator.rules.lease import length, may_be_given
from orchestrator.rules.standing import is_out

EARLY: Final = 0.8  # of its greatest age: the rest of it is left for waiting
REST_S: Final = 600.0  # that an instance has been in rotation before it is taken out again for this
HEALED_S: Final = DAY_S  # likewise since healing has made it anew: what fails is not tried again and again


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What else is so, of the instance's role, service and host."""

    others: tuple[Instance, ...] = ()  # of its role
    operation: str = ""  # the id of one that runs on its service
    standstill: str = ""  # in words: automation is paused
    strain: str = ""  # what the host is short of, in words
    suspect: bool = False  # its image has failed others
    elsewhere: InstanceName | None = None  # whose checkpoint is being renewed on this host


_Holds = Callable[[Instance, Around, float], str]

# What a renewal waits for, the first that is so is told.
_HINDRANCES: Final[tuple[_Holds, ...]] = (
    lambda _, around, __: around.standstill,
    lambda _, around, __: around.strain,
    lambda _, around, __: "its image is suspect" if around.suspect else "",
    lambda _, around, __: f"{around.operation} is under way" if around.operation else "",
    lambda one, _, __: "it is leased" if one.leased else "",
    lambda one, _, __: "it is protected" if one.held else "",
    lambda one, _, __: "it awaits a rollout" if one.stale else "",
    lambda one, _, __: "" if may_be_given(one) else "it does not serve, or something else is asked of it",
    lambda one, _, now_s: "its guest is busy" if words.busy(one, now_s) else "",
    lambda one, _, now_s: _rests(one.phase_since_s, REST_S, now_s, "it has come into rotation just now"),
    lambda one, _, now_s: _rests(
        max(one.reimages, default=0.0), HEALED_S, now_s, "healing has made it anew within a day"
    ),
    lambda _, around, now_s: next((why for one in around.others if (why := _missing(one, now_s))), ""),
    lambda _, around, __: f"the checkpoint of {around.elsewhere} is being renewed" if around.elsewhere else "",
)


def due(instance: Instance, fit: HostFit, now_s: float) -> str:
    """Why the checkpoint of the instance is to be renewed; "" where it is not."""
    role, of = instance.goal.role, instance.checkpoint
    if not (role.checkpoint.refresh and roads.keeps(role) and instance.goal.serve) or _is_barred(instance):
        return ""
    if of is None:
        return "it has no checkpoint" if _would_have_one(instance) else ""
    if why := roads.against(instance, of, fit, now_s):
        return why
    if _may_be_warm(instance) and (why := roads.against_memory(instance, of, fit, now_s)):
        return why
    return "its checkpoint nears checkpoint.maxAge" if now_s >= due_from_s(instance) else ""


def due_from_s(instance: Instance) -> float:
    """From when on its checkpoint is old enough for it (seconds since the epoch); infinity where there is none."""
    of = instance.checkpoint
    return float("inf") if of is None else of.taken_at_s + EARLY * _max_age_s(instance)


def waits_for(instance: Instance, around: Around, now_s: float) -> str:
    """What the renewal of its checkpoint waits for, in words; "" for nothing."""
    return next((why for holds in _HINDRANCES if (why := holds(instance, around, now_s))), "")


def told(instance: Instance, around: Around, now_s: float) -> str:
    """What becomes of its checkpoint by itself, in a sentence; "" for nothing. As far as records tell: whether the
    host has started again, or has another QEMU, is asked as it is decided.
    """
    of = instance.checkpoint
    if not instance.goal.role.checkpoint.refresh or is_under_way(instance):
        return ""
    if of is not None and not due(instance, of.fit, now_s):
        return f"It is renewed by itself from an age of {length(EARLY * _max_age_s(instance))} on."
    if of is None and not (roads.keeps(instance.goal.role) and _would_have_one(instance)):
        return ""
    if why := waits_for(instance, around, now_s):
        return f"It is to be renewed, which waits: {why}."
    return "It is renewed within a minute or two."


def wished(instance: Instance) -> Goal:
    """Its goal, with the cold reimage that renews its checkpoint."""
    generation = instance.generation + 1
    return dataclasses.replace(instance.goal, wanted=Incarnation(generation, 1), renews=generation)


def is_under_way(instance: Instance | None) -> bool:
    """Whether the renewal that it was taken out for has yet to come to an end, good or bad."""
    if instance is None or not instance.goal.renews:
        return False
    ahead = instance.goal.renews > instance.generation and instance.going  # Else somebody has taken it back.
    return instance.goal.serve and (ahead or not (instance.served_at_s or instance.phase.traits.is_settled))


def _would_have_one(instance: Instance) -> bool:
    """Whether who has no checkpoint might have one when it is made anew: not where nobody knows which boot its guest
    is in, nor who was made anew for that already.
    """
    return bool(instance.boot_id) and not (_is_barred(instance) or _was_made_for_it(instance))


def _is_barred(instance: Instance) -> bool:
    """Whether another of the same would not be kept either, as far as is known."""
    return bool(instance.no_checkpoint) and (instance.no_checkpoint_lasts or _was_made_for_it(instance))


def _may_be_warm(instance: Instance) -> bool:
    """Whether another of the same might be kept with what it knows, where this one was not."""
    barred = instance.no_memory and (instance.no_memory_lasts or _was_made_for_it(instance))
    return roads.keeps_memory(instance.goal.role) and not barred


def _was_made_for_it(instance: Instance) -> bool:
    return instance.generation == instance.goal.renews


def _max_age_s(instance: Instance) -> float:
    return instance.goal.role.checkpoint.max_age_s


def _missing(other: Instance, now_s: float) -> str:
    """How another of its role is out: as many as can be are in rotation while one is taken out without need."""
    if not (other.goal.serve and other.goal.runs):
        return ""
    if other.leased:
        return f"{other.name} is leased"
    if words.busy(other, now_s):
        return f"the guest of {other.name} is busy"
    return f"{other.name} is out of rotation" if is_out(other) or other.sick_since_s else ""


def _rests(since_s: float, for_s: float, now_s: float, told: str) -> str:
    """`told`, while that is not long enough ago. A clock that was set back is no reason to wait."""
    return told if since_s and 0 <= now_s - since_s < for_s else ""

"""What follows from what a guest says of itself. Pure.

A word counts in the boot in which it was said, until it lapses or another takes its place. Busy is obeyed wherever
the instance is in rotation or on its way there. Ready is asked for by roles with `ready.guest: true` alone: to become
ready, and while it serves once the guest has given it a time after which it lapses. A serving guest that has said
nothing stays where it is: its VM may be older than the channel.
"""

from __future__ import annotations

from typing import Final

from orchestrator.model import Cause, Instance, Says, Word
from orchestrator.model.cause import Kind
from orchestrator.model.phase import Seating

LATEST_S: Final = 60.0  # Between looks at one that is out by its word, however long that is to last.
SOONEST_S: Final = 0.05


def last(instance: Instance) -> Word | None:
    """What the guest has said last in its present boot, lapsed or not.

    Of one whose boots have no names here, what was said before it began to start counts for nothing.
    """
    word = instance.word
    if word is None:
        return None
    if word.boot_id and instance.boot_id:
        return word if word.boot_id == instance.boot_id else None
    earlier = instance.phase.traits.awaits_services and word.at_s < instance.phase_since_s
    return None if earlier else word


def in_force(instance: Instance, now_s: float) -> Word | None:
    """What it has said last, unless that has lapsed."""
    word = last(instance)
    return None if word is None or (word.until_s and now_s >= word.until_s) else word


def busy(instance: Instance, now_s: float) -> Word | None:
    """The word by which it is busy now."""
    word = in_force(instance, now_s)
    return word if word is not None and word.says is Says.BUSY else None


def keeps_out(instance: Instance, now_s: float) -> Cause | None:
    """Why an instance that is ready for all else gets no new connections: by its guest's word, or for want of it."""
    if (word := busy(instance, now_s)) is not None:
        return Cause(Kind.GUEST_BUSY, detail=word.reason)
    if not instance.goal.role.ready.guest or in_force(instance, now_s) is not None:
        return None
    said = last(instance)
    if instance.phase.traits.awaits_services:
        had_said = instance.is_restored and said is None  # before its checkpoint was taken
        return None if had_said else Cause(Kind.GUEST_WORD_AWAITED)
    lapsed = said is not None and said.says is Says.READY
    return Cause(Kind.GUEST_WORD_LAPSED, detail=said.reason) if said is not None and lapsed else None


def again_s(instance: Instance, now_s: float) -> float:
    """When to look again at one that its guest keeps out, seconds: as its word lapses; another word wakes earlier."""
    word = busy(instance, now_s)
    return LATEST_S if word is None else min(LATEST_S, max(SOONEST_S, word.until_s - now_s))


def lapses_in_s(instance: Instance, now_s: float) -> float:
    """In how many seconds a word that counts will count no more; infinity: not by itself."""
    word = in_force(instance, now_s)
    return max(SOONEST_S, word.until_s - now_s) if word is not None and word.until_s else float("inf")


def acted_upon(instance: Instance) -> Word | None:
    """The recorded word, once nothing is left to be done about it: nobody new comes to who is busy.

    In its own record that is so when the turn that has taken the word has come as far as to wait for it.
    """
    word = instance.word
    if word is None or word.says is Says.READY or last(instance) is None:
        return word
    may_have_a_seat = instance.phase.traits.seat in (Seating.TAKEN, Seating.KEPT)
    waits = instance.waits_for is not None and instance.waits_for.kind is Kind.GUEST_BUSY
    return word if waits or not may_have_a_seat else None

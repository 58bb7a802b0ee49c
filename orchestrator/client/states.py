"""What the name of a phase, and an instance as it is told, mean to who asks the daemon. Pure.

The model's table has the same of phases, and costs a quick answer.

A test keeps the two equal. A phase that is in no function here is one on the way.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator.client import wire

GONE = "gone"  # also of an instance whose record is no longer there


def serves(phase: str) -> bool:
    """Whether the instance serves, well or not."""
    return phase == "serving"


def is_off(phase: str) -> bool:
    """Whether it is off, because somebody asked for that."""
    return phase == "stopped"


def is_leased(phase: str) -> bool:
    """Whether one client has it, out of rotation."""
    return phase == "leased"


def has_failed(phase: str) -> bool:
    """Whether it keeps its evidence until somebody acts, or until it is tried again."""
    return phase == "failed"


def winds_down(phase: str) -> bool:
    """Whether connections or parts of it are coming to their end."""
    return phase in ("draining", "erasing")


def is_there(phase: str) -> bool:
    """Whether there may be a guest that answers."""
    return not is_off(phase) and phase != "requested"


def settled(row: wire.InstanceView) -> bool:
    """Whether an instance serves, at least as new as it was asked to be, or is off as it was asked to be, or is a
    client's; one that is to go is not settled yet.
    """
    if row["stop_asked"]:
        return off(row)
    if is_leased(row["phase"]):
        return not row["removing"]
    return serves(row["phase"]) and not _behind(row) and not row["removing"]


def off(row: wire.InstanceView) -> bool:
    """Whether an instance is stopped because somebody asked for that."""
    return is_off(row["phase"]) and row["stop_asked"] and not row["removing"]


def hopeless(row: wire.InstanceView) -> bool:
    """Whether an instance has failed and nobody has asked for another try: waiting cannot help."""
    return has_failed(row["phase"]) and not _behind(row) and not row["removing"] and not row["stop_asked"]


def _behind(row: wire.InstanceView) -> bool:
    return (row["generation"], row["boot"]) < (row["wanted_generation"], row["wanted_boot"])


def held_up_hint(service: str) -> str:
    """What to type where a service does not go because of what cannot be read of it."""
    return (
        "see: vmrole verify; it goes on when that can be read: vmrole restore FILE; to shut down those VMs unread: "
        f"vmrole delete service {service} --forget-unreadable"
    )

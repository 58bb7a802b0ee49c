"""What a guest is shown of the others of its deployment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.model import Instance

BUSY: Final = "busy"
UNWELL: Final = "unwell"


def shown(instance: Instance) -> Mapping[str, str]:
    """Its name, its role, its address, and its state: the phase, `busy` or `unwell` of one that serves nobody new."""
    return {
        "name": instance.name,
        "role": instance.role_name,
        "address": instance.nic.address,
        "state": state(instance),
    }


def state(instance: Instance) -> str:
    """How it stands, in a word."""
    if instance.kept_out:
        return BUSY
    return UNWELL if instance.serving and instance.unwell_since_s else instance.phase.value

"""What is asked of the host's PCI bus."""

from __future__ import annotations

from typing import Protocol

from orchestrator.model.pci import PciLook


class Pci(Protocol):
    """Devices that the host's owner gives to guests."""

    def look(self) -> PciLook:
        """Which there are now, and why a guest can have none of some. Nothing is asked where none is given."""

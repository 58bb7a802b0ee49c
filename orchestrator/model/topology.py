"""How the guests of a role learn that peers have come or gone."""

from __future__ import annotations

import enum


class Topology(enum.StrEnum):
    """As Azure's topologyChangeDiscovery."""

    BLAST = "blast"  # all at once
    WALK = "walk"  # one after the other

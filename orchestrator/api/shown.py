"""Instances as they are shown, as JSON: each is encoded once, as long as nothing of it and of its service changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import TypeAdapter

from orchestrator.api.views import InstanceView, view_instance
from orchestrator.control.requests import Control
from orchestrator.model import Instance, InstanceName, Seat, Service

KEPT_MAX: Final = 1 << 15  # a kilobyte each
_JSON: Final = TypeAdapter(InstanceView)


class Shown:
    """What has been encoded. Thread-safe: two at once encode the same twice."""

    def __init__(self) -> None:
        self._kept: dict[InstanceName, tuple[Instance, Service | None, bytes]] = {}

    def listed(self, instances: Sequence[Instance], control: Control, seats: Mapping[InstanceName, Seat]) -> bytes:
        """An array of InstanceView, in this order; a seat is looked at anew each time, and so is who has one."""
        return b"[%b]" % b",".join(self._one(one, control.service_of(one), seats.get(one.name)) for one in instances)

    def _one(self, instance: Instance, service: Service | None, seat: Seat | None) -> bytes:
        if seat is not None:
            return _JSON.dump_json(view_instance(instance, service, seat))
        kept = self._kept.get(instance.name)
        if kept is not None and kept[0] is instance and kept[1] is service:
            return kept[2]
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        text = _JSON.dump_json(view_instance(instance, service))
        self._kept[instance.name] = instance, service, text
        return text

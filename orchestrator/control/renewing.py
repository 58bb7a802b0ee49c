"""Has checkpoints renewed before they are too old: the rule decides, one instance at a time, one commit each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.control import records
from orchestrator.control.present import Present
from orchestrator.control.standstill import standstill_of
from orchestrator.control.turns import BRAKE
from orchestrator.errors import Permanent
from orchestrator.model import Event, Image, Instance, InstanceName, Service
from orchestrator.ports import Host
from orchestrator.rules import renewal


class Renewals:
    """Who is renewed on this host: by the records, which a daemon that starts anew reads once."""

    def __init__(self, strain: Callable[[], str]) -> None:
        self._strain = strain
        self._under_way: list[InstanceName] | None = None  # None: not read yet

    def tend(self, present: Present, host: Host, service: str) -> InstanceName | None:
        """Begins with one of the service's instances, if that is due and in nobody's way; returns which."""
        candidates = [one for one in present.instances_of(service).values() if one.goal.role.checkpoint.refresh]
        if not candidates:
            return None
        fit, now_s = host.machine.hypervisor.fit(), host.machine.clock.now_s()
        due = [(one, why) for one in candidates if (why := renewal.due(one, fit, now_s))]
        if not due:
            return None
        with BRAKE:  # Nobody else takes anybody out, or counts who is out, meanwhile.
            elsewhere = self._elsewhere(present)
            for instance, why in sorted(due, key=lambda pair: (renewal.due_from_s(pair[0]), pair[0].index)):
                around = around_of(present, instance, strain=self._strain(), elsewhere=elsewhere)
                if not renewal.waits_for(instance, around, now_s):
                    self._begin(present, instance, why, now_s)
                    return instance.name
        return None

    def _elsewhere(self, present: Present) -> InstanceName | None:
        if self._under_way is None:
            self._under_way = [one.name for one in present.all(Instance)]
        self._under_way = [name for name in self._under_way if renewal.is_under_way(present.find(Instance, name))]
        return self._under_way[0] if self._under_way else None

    def _begin(self, present: Present, instance: Instance, why: str, now_s: float) -> None:
        told = Event(at_s=now_s, subject=instance.name, message=f"its checkpoint is to be renewed: {why}")
        service = present.find(Service, instance.service)
        checks = [records.state_stands(instance), *([records.stands(service)] if service else [])]
        present.commit([records.put_wish(replace(instance, goal=renewal.wished(instance)))], [told], checks=checks)
        self._under_way = [*(self._under_way or ()), instance.name]


def around_of(
    present: Present, instance: Instance, *, strain: str = "", elsewhere: InstanceName | None = None
) -> renewal.Around:
    """What the rule is given of the rest: the records of now."""
    still = standstill_of(present, instance.service)
    running = present.running_operations(instance.service)
    alike = [one for one in present.instances_of(instance.service).values() if one.role_name == instance.role_name]
    return renewal.Around(
        others=tuple(one for one in alike if one.name != instance.name),
        operation=running[0].id if running else "",
        standstill=still.says if still else "",
        strain=strain,
        suspect=_is_suspect(present, instance),
        elsewhere=elsewhere,
    )


def sentence(present: Present, instance: Instance, now_s: float) -> str:
    """What `why` says of it; "" for nothing."""
    if not instance.goal.role.checkpoint.refresh:
        return ""
    return renewal.told(instance, around_of(present, instance), now_s)


def _is_suspect(present: Present, instance: Instance) -> bool:
    """Whether nothing should be made of its image without need: also where nobody can read what is known of that."""
    try:
        image = present.find(Image, instance.role.image_sha256)
    except Permanent:
        return True
    return image is None or bool(image.suspect)

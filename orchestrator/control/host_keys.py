"""The public SSH host keys of an instance: those that it keeps, else those that its guest shows now."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from orchestrator.errors import Conflict, NotFound
from orchestrator.model import Instance, InstanceName, Service
from orchestrator.ports import Inside
from orchestrator.rules import host_keys

Kept = Callable[[InstanceName], Mapping[str, bytes]]  # ports.AnswerMedia.host_keys


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HostKeys:
    """Public keys of an instance's sshd, each "ALGORITHM BASE64", and by what clients know it."""

    name: str
    hosts: tuple[
        str, ...
    ]  # as known_hosts(5) spells them: its name, its address, [VIP]:PORT that leads to its port 22
    keys: tuple[str, ...]
    kept: bool  # they are of the instance, in all its generations; else its guest has shown them


def asked(instance: Instance, service: Service | None, kept_keys: Kept, inside: Inside | None) -> HostKeys:
    """Raises Conflict while nobody can be asked, or for what is no key; NotFound without any; Transient."""
    of_its_own = kept_keys(instance.name) if instance.role.keep_ssh_host_keys else {}
    texts = of_its_own or _shown(instance, inside)
    keys = [key for kind, text in texts.items() if (key := host_keys.public_key(kind, text)) is not None]
    if not keys:
        raise Conflict(
            f"{instance.name} shows no SSH host key, but something else",
            hint=f"look into it: vmrole exec {instance.name} ls -l /etc/ssh",
        )
    vip = service.vip if service else ""
    hosts = host_keys.known_as(instance.name, instance.nic.address, instance.goal.role, vip, instance.index)
    return HostKeys(name=instance.name, hosts=tuple(hosts), keys=tuple(keys), kept=bool(of_its_own))


def _shown(instance: Instance, inside: Inside | None) -> Mapping[str, bytes]:
    """The files that the guest has, by kind."""
    why = f"ask: vmrole why {instance.name}"
    if inside is None or not instance.phase.traits.has_vm:
        raise Conflict(f"{instance.name} is {instance.phase}: nothing runs there", hint=why)
    if not instance.set_up:
        raise Conflict(f"{instance.name} is being set up: it has its own SSH host keys when it is done", hint=why)
    texts = {}
    for kind, path in host_keys.files(instance.role.os).items():
        try:
            texts[kind] = inside.read(instance, path, 0, host_keys.TEXT_MAX_BYTES + 1)
        except NotFound:
            continue
    if not texts:
        raise NotFound(f"{instance.name} has no SSH host keys", hint="its image has no sshd, or keeps them elsewhere")
    return texts

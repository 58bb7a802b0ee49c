"""What differs between a service as it is and as it would be, in the words of its file, and what that does.

An entry for each key of the file that differs. Texts that may hold secrets are told to differ and never shown.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from vmrole_unattend.secret import SecretRef

from orchestrator.model import Instance, Mode, Ports, Road, Role, ServiceHealing, ServiceSpec, Upgrade
from orchestrator.rules import roads
from orchestrator.servicefile.spelling import unit_of, word_of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference: its key, the values as text ("" where there is none), and the effect on running instances."""

    key: str
    before: str
    after: str
    effect: str


_NEVER_SHOWN = ("user_data", "vendor_data", "unattend")
_OF_THE_IMAGE = ("image", "image_format", "image_mib", "os", "hardware")  # told by `image_sha256`
_MOVES = "no restart; clients connect by the other from then on, and what is open may be cut"
_ROLLING = "rolling reimage, "
_EXTRA = "libvirt.xml is yours to answer for: whether a guest starts and works with it nobody has tried"


def difference(before: ServiceSpec | None, after: ServiceSpec) -> tuple[Change, ...]:
    """What differs between two specs, key by key; () when nothing does."""
    if before is None:
        effect = f"{_instances(sum(role.instances for role in after.roles))} deployed"
        effect += "".join(f"; {role.name}: {why_not}" for role in after.roles if (why_not := _warned(role)))
        return (Change(key=after.name, before="", after="new service", effect=effect),)
    changes = []
    if before.vip != after.vip:
        changes.append(Change(key="vip", before=before.vip, after=after.vip, effect=_address_effect(before, after)))
    if before.shared_vip != after.shared_vip:
        was, is_now = (str(one.shared_vip).lower() for one in (before, after))
        changes.append(Change(key="sharedVip", before=was, after=is_now, effect="no restart"))
    if before.staging_vip != after.staging_vip:
        moves = "the address of what is in staging moves; no restart"
        changes.append(Change(key="stagingVip", before=before.staging_vip, after=after.staging_vip, effect=moves))
    if before.labels != after.labels:  # Each role has them, and tells of them.
        olds, news = (",".join(f"{key}={text}" for key, text in spec.labels) for spec in (before, after))
        changes.append(Change(key="labels", before=olds, after=news, effect="no restart"))
    changes += _upgrade_difference(before.upgrade, after.upgrade)
    changes += _healing_difference(before.healing, after.healing)
    rolling = _ROLLING + _pace(after.upgrade)
    for role in after.roles:
        old = before.role(role.name)
        if old is None:
            effect = "; ".join(filter(None, (f"{_instances(role.instances)} deployed", _warned(role))))
            changes.append(Change(key=f"roles.{role.name}", before="", after="new role", effect=effect))
        else:
            changes += _role_difference(old, role, rolling)
    for role in before.roles:
        if after.role(role.name) is None:
            effect = f"{_instances(role.instances)} removed"
            changes.append(Change(key=f"roles.{role.name}", before="role", after="", effect=effect))
    return tuple(changes)


def _address_effect(before: ServiceSpec, after: ServiceSpec) -> str:
    """What another VIP, or one where there was none, or none any more, is to clients and instances."""
    if not after.vip:
        return "the host gives the address up, and no client reaches the service; no restart"
    return "the address moves; no restart" if before.vip else "clients reach the service there; no restart"


def unfinished(left: Sequence[Instance], upgrade: Upgrade) -> tuple[Change, ...]:
    """What there is to do for instances that a halted rollout has not reached, or that have failed in it and are as
    the file says: an entry for each role.
    """
    numbers = collections.Counter(one.role_name for one in left if one.stale)
    failed = collections.Counter(one.role_name for one in left if not one.stale)
    changes = [
        Change(
            key=f"roles.{role}",
            before="1 instance has failed" if number == 1 else f"{number} instances have failed",
            after="made anew",
            effect=_ROLLING + _pace(upgrade),
        )
        for role, number in failed.items()
        if role not in numbers
    ]
    changes += [
        Change(
            key=f"roles.{role}",
            before=f"{_instances(number)} not as the file says",
            after="as it says",
            effect=_ROLLING + _pace(upgrade),
        )
        for role, number in numbers.items()
    ]
    return tuple(changes)


def _upgrade_difference(before: Upgrade, after: Upgrade) -> list[Change]:
    olds, news = (_flat("upgrade", upgrade) for upgrade in (before, after))
    effect = "no restart; the next rollout, and one that runs, go by it"
    return [
        Change(key=key, before=olds.get(key, ""), after=news.get(key, ""), effect=effect)
        for key in {**olds, **news}
        if olds.get(key, "") != news.get(key, "")
    ]


def _healing_difference(before: ServiceHealing, after: ServiceHealing) -> list[Change]:
    olds, news = (_flat("healing", healing) for healing in (before, after))
    return [
        Change(key=key, before=olds.get(key, ""), after=news.get(key, ""), effect="holds at once; no restart")
        for key in {**olds, **news}
        if olds.get(key, "") != news.get(key, "")
    ]


def _pace(upgrade: Upgrade) -> str:
    """How many instances a rollout takes out together."""
    part, number = upgrade.max_unavailable_percent, upgrade.may_miss(0)
    pace = f"{part} % of a role" if part is not None else "one instance" if number == 1 else f"{number} instances"
    return f"{pace} at a time" + (f", by {upgrade.domains} domains" if upgrade.domains else "")


def _role_difference(before: Role, after: Role, rolling: str) -> list[Change]:
    changes = []
    before, after = _carried(before), _carried(after)
    carriers = {f"endpoints.{end.name}.balancer" for end in before.endpoints}
    for name in (field.name for field in dataclasses.fields(Role)):
        if name in _OF_THE_IMAGE or getattr(before, name) == getattr(after, name):
            continue
        olds, news = _said(before, name), _said(after, name)
        keys = [key for key in {**olds, **news} if olds.get(key, "") != news.get(key, "")]
        if not keys:  # A value of another kind that the file says in the same words, or one that is never shown.
            keys = list(news)
            olds, news = dict.fromkeys(keys, "…"), dict.fromkeys(keys, "… (changed)")
        effect = _effect(before, after, name, rolling)
        kept = _kept_storage(before, after) if name == "local_storage" else {}
        changes += [
            Change(
                key=f"roles.{after.name}.{key}",
                before=olds.get(key, ""),
                after=news.get(key, ""),
                effect=_MOVES if key in carriers else effect + kept.get(key, ""),
            )
            for key in keys
        ]
    return changes


def _carried(role: Role) -> Role:
    """The role with who carries each endpoint that either balancer could."""
    choices = {end.name: end.carrier if end.mode is Mode.TCP else end.balancer for end in role.endpoints}
    ends = tuple(dataclasses.replace(end, balancer=choices[end.name]) for end in role.endpoints)
    return dataclasses.replace(role, endpoints=ends)


def _kept_storage(before: Role, after: Role) -> dict[str, str]:
    """What a reimage leaves as it is, by the key of each local storage that changes."""
    sizes = {one.name: one.size_mib for one in after.local_storage}
    kept = {}
    for old in before.local_storage:
        if old.name not in sizes:
            kept[old.name] = "; what is in it is kept until a rebuild"
        elif sizes[old.name] < old.size_mib:
            kept[old.name] = f"; disks that have {old.size_mib} MiB keep them until a rebuild"
        else:
            kept[old.name] = "; it grows, and keeps what is in it"
    return {f"localStorage.{name}.size": words for name, words in kept.items()}


def _effect(before: Role, after: Role, name: str, rolling: str) -> str:
    if name == "instances":
        more = after.instances - before.instances
        return f"{_instances(abs(more))} {'deployed' if more > 0 else 'removed'}"
    if name in ("limits", "healing"):
        return "holds at once; no restart"
    if getattr(before.template(), name) != getattr(after.template(), name):
        return f"{rolling}; {_EXTRA}" if name == "libvirt_xml" and after.libvirt_xml else rolling
    return "; ".join(filter(None, ("no restart", _colder(after) if name in ("reimage", "fitness") else "")))


def _warned(role: Role) -> str:
    """What is to be known of a role that is new."""
    return "; ".join(filter(None, (_colder(role), _EXTRA if role.libvirt_xml else "")))


def _colder(role: Role) -> str:
    """How much less than its file says a role's reimages go on from; "" where they do."""
    if role.reimage is Road.COLD:
        return ""
    if why := roads.unfit(role):
        return f"warning: reimages begin with the image all the same: {why}"
    if role.reimage is Road.WARM and (why := roads.unfit_memory(role)):
        return f"warning: reimages boot the disk that was kept, without its memory: {why}"
    return ""


def _instances(number: int) -> str:
    return "1 instance is" if number == 1 else f"{number} instances are"


def _said(role: Role, name: str) -> dict[str, str]:
    """What the file says of one field of the role: each key below the role, and its value as text."""
    value = getattr(role, name)
    if name in _NEVER_SHOWN:
        return {word_of(name): "…" if value else ""}
    if name == "image_sha256":
        return {"image": f"{role.image} ({value[:12]})"}
    if name == "labels":
        return {f"labels.{key}": text or '""' for key, text in value}
    if name == "answers":
        return {"image (its answers)": str(value)}
    if name == "fitness":
        return {"image (its reimages)": f"{value.warmest}: {value.why}" if value.why else str(value.warmest)}
    return _flat(word_of(name), value, unit_of(name))


def _flat(key: str, value: Any, unit: str = "") -> dict[str, str]:  # noqa: ANN401
    """The leaves below a value, whatever of `model` it is."""
    match value:
        case None:
            return {}
        case bool():
            return {key: str(value).lower()}
        case float():
            return {key: f"{value:g}{unit}"}
        case int():
            return {key: f"{value}{unit}"}
        case SecretRef() | Ports():
            return {key: str(value)}
        case tuple() if all(isinstance(one, str) for one in value):
            return {key: ", ".join(value)}
        case tuple():
            leaves = [_flat(f"{key}.{one.name}", one) for one in value]
        case _ if dataclasses.is_dataclass(value):
            fields = [field.name for field in dataclasses.fields(value) if field.name != "name"]
            leaves = [_flat(f"{key}.{word_of(field)}", getattr(value, field), unit_of(field)) for field in fields]
        case _:
            return {key: str(value)}
    return {key: text for leaf in leaves for key, text in leaf.items()}

"""Which revisions of a service's file there are, and what an apply adds to them. Pure."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from vmrole_unattend.secret import SecretRef

from orchestrator.control import records
from orchestrator.errors import Conflict, NotFound
from orchestrator.model import Certificate, Image, Instance, Revision, Service, ServiceSpec, service_of
from orchestrator.servicefile.resolution import SecretFault

KEPT = 10  # of each service, the newest
DROPPED_AT_ONCE = 5  # of those that are more; an apply adds two at most


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Revised:
    """The service with its newest revision's number, and what is written and dropped together with it."""

    service: Service
    fresh: tuple[Revision, ...]
    dropped: tuple[Revision, ...]


def known(service: Service, stored: Sequence[Revision]) -> list[Revision]:
    """The service's own revisions, the oldest first; its spec is that of the last one, but for what was scaled.

    What no revision says of it yet is its next one: it was applied by a version that kept none.
    """
    own = _own(service, stored)
    if own and _same_file(own[-1].spec, service.spec):
        return own
    taken_over = _revision(service, max(service.file_revision, own[-1].number if own else 0) + 1, service.spec)
    return [*own, taken_over][-KEPT:]


def revise(
    before: Service | None,
    after: Service,
    stored: Sequence[Revision],
    *,
    now_s: float,
    by: int | None = None,
    restores: int = 0,
    scales: bool = False,
) -> Revised:
    """What an apply of the spec of `after` makes of the revisions `stored` under the service's name.

    The spec of the newest one makes no other, nor does a number of instances that is no file's (`scales`).
    """
    whole = replace(after, uid=after.uid or str(uuid.uuid4()))
    own = _own(whole, stored)
    have = known(replace(before, uid=whole.uid), stored) if before is not None else own
    number = max([whole.file_revision, *(one.number for one in have)])
    if not scales and (not have or have[-1].digest != records.spec_digest(whole.spec)):
        number += 1
        new = _revision(whole, number, whole.spec)
        have = [*have, replace(new, applied_at_s=now_s, applied_by=by, restores=restores)]
    kept = have[-KEPT:]
    keys = {one.key for one in kept}
    return Revised(
        service=replace(whole, file_revision=number),
        fresh=tuple(one for one in kept if not one.revision),
        dropped=tuple(one for one in stored if one.key not in keys)[:DROPPED_AT_ONCE],
    )


def to_restore(known: Sequence[Revision], number: int | None) -> Revision:
    """Of the revisions that are kept, the oldest first, the one of that number; the last but one for None.

    Raises NotFound, or Conflict when there is none before the last.
    """
    service = known[-1].service
    if number is None:
        if len(known) < 2:
            why_not = f"service {service} has no revision before {known[-1].number}"
            raise Conflict(why_not, hint=f"change its file and apply that; ask: vmrole rollout history {service}")
        return known[-2]
    found = next((one for one in known if one.number == number), None)
    if found is None:
        was = 0 < number < known[-1].number
        raise NotFound(
            f"revision {number} of service {service} {'is no longer kept' if was else 'has never been'}",
            hint=f"ask which there are: vmrole rollout history {service}",
        )
    return found


def restored(
    known: Sequence[Revision], wanted: Revision, now: ServiceSpec, *, by_itself: bool = False
) -> ServiceSpec:
    """What the service is by the wanted revision, but for what somebody has scaled since its last file.

    What goes back by itself removes nobody, for local storage goes with an instance: of no role are there fewer than
    now, and Conflict is raised where a whole one would go.
    """
    lost = [role.name for role in now.roles if role.instances and wanted.spec.role(role.name) is None]
    if by_itself and lost:
        raise Conflict(
            f"revision {wanted.number} has no role {lost[0]}, whose instances would be removed",
            hint=f"to have them removed: vmrole rollout undo {service_of(now.name)}",
        )
    roles = []
    for role in wanted.spec.roles:
        filed, present = known[-1].spec.role(role.name), now.role(role.name)
        if filed is not None and present is not None and filed.instances != present.instances:
            role = replace(role, instances=present.instances)
        elif by_itself and present is not None:
            role = replace(role, instances=max(role.instances, present.instances))
        roles.append(role)
    return replace(wanted.spec, roles=tuple(roles))


def check_whole(wanted: Revision, find_image: Callable[[str], Image | None], secret_fault: SecretFault) -> None:
    """Raises Conflict when an image, a secret or a certificate of the revision is not good any more."""
    named = f"revision {wanted.number} of service {wanted.service}"
    for role in wanted.spec.roles:
        if find_image(role.image_sha256) is None:
            raise Conflict(
                f"{named} needs image {role.image} ({role.image_sha256[:12]}), which is gone",
                hint="add these bytes again: vmrole image add; or apply a file that names another image",
            )
        secrets: tuple[SecretRef | Certificate, ...] = (*role.secrets, *role.certificates)
        for secret in secrets:
            if why_not := secret_fault(service_of(wanted.service), secret):
                raise Conflict(
                    f"{named} needs {secret}: {why_not}", hint="give the secret back, or apply another file"
                )


def of_instance(instance: Instance, revisions: Sequence[Revision]) -> int:
    """The number of the newest revision that says what the instance's VM is built from; 0 when it is none of them."""
    for revision in reversed(revisions):
        role = revision.spec.role(instance.role_name)
        if role is not None and role.builds_like(instance.role):
            return revision.number
    return 0


def _own(service: Service, stored: Sequence[Revision]) -> list[Revision]:
    return sorted((one for one in stored if one.service_uid == service.uid), key=lambda one: one.number)


def _revision(service: Service, number: int, spec: ServiceSpec) -> Revision:
    return Revision(
        service=service.name,
        service_uid=service.uid,
        number=number,
        spec=spec,
        digest=records.spec_digest(spec),
    )


def _same_file(one: ServiceSpec, other: ServiceSpec) -> bool:
    return _uncounted(one) == _uncounted(other)


def _uncounted(spec: ServiceSpec) -> ServiceSpec:
    return replace(spec, roles=tuple(replace(role, instances=0) for role in spec.roles))

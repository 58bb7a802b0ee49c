"""What a verb that is asked of instances comes to: the operation, or why it cannot be. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.errors import Conflict, InvalidInput, NotFound, StaleRevision
from orchestrator.model import Event, Instance, Operation, Role, Service, ServiceSpec, Verb
from orchestrator.rules import selector, targets
from orchestrator.servicefile.difference import Change


def selected(instances: Sequence[Instance], labels: str) -> list[Instance]:
    """Those that the selector `labels` names, all for ""; raises InvalidInput."""
    terms = selector.parse(labels)
    return [one for one in instances if selector.matches(terms, dict(one.goal.role.labels))]


def narrowed(subject: str, instances: Sequence[Instance], labels: str) -> list[Instance]:
    """As `selected`; raises Conflict when there were some, and none of them has the labels."""
    chosen = selected(instances, labels)
    if instances and not chosen:
        why_not = f"no instance of {subject} has the labels {labels[:80]!r}"
        raise Conflict(why_not, hint="run: vmrole get instances --show-labels")
    return chosen


def labelled(services: Sequence[Service], labels: str) -> list[Service]:
    """Those whose own labels the selector names, all for ""; raises InvalidInput."""
    terms = selector.parse(labels)
    return [one for one in services if selector.matches(terms, dict(one.spec.labels))]


def nobody(subject: str) -> NotFound:
    """For a subject that is neither an instance nor a role nor a service."""
    return NotFound(f"there is no instance, role or service {subject[:80]!r}", hint="run: vmrole get instances")


def no_instance(name: str, role: str, service: Service | None, several: Sequence[Instance]) -> NotFound:
    """For who wants an instance and names something else: a role or a `service`, which has `several`, or nothing."""
    if service is None or (role and service.spec.role(role) is None):
        return NotFound(f"there is no instance {name[:80]!r}", hint="run: vmrole get instances")
    hint = f"name one of its instances, such as {several[0].name}" if several else "it has no instances"
    return NotFound(f"{name} is a {'role' if role else 'service'}, not an instance", hint=hint)


def expect(service: Service | None, revision: int | None, name: str) -> None:
    """Raises StaleRevision when the service is at another revision than the caller has read (0: there is none)."""
    if revision is None or revision == (service.revision if service else 0):
        return
    present = f"is at revision {service.revision}" if service else "does not exist"
    expected = f"revision {revision} was expected" if revision else "none was expected"
    raise StaleRevision(f"service {name} {present}; {expected}", hint="read it again, then try again")


def check_doors(roles: Iterable[Role]) -> None:
    """Raises InvalidInput when a role has more instances than one of its endpoints has ports for."""
    for role in roles:
        for end in role.instance_endpoints:
            if end.ports.number < role.instances:
                told = f"role {role.name} cannot have {role.instances} instances"
                why = f"its endpoint {end.name} has a port for {end.ports.number} ({end.ports})"
                raise InvalidInput(f"{told}: {why}", hint="apply a file that gives it more ports first")


def operation(
    verb: Verb,
    subject: str,
    present: Sequence[Instance],
    running: Sequence[Operation],
    *,
    together: int,
    cold: bool,
    now_s: float,
) -> Operation:
    """The operation over the instances that the subject names, of which `running` are those of their service.

    Raises Conflict when there is none that the verb could be done to.
    """
    if cold and verb is not Verb.REIMAGE:
        raise InvalidInput(f"a {verb} is neither cold nor warm", hint="ask for a reimage, or leave cold out")
    chosen = [one for one in present if one.goal.serve]
    if not chosen:
        raise Conflict(f"{subject} is being removed" if present else f"{subject} has no instances")
    if all(one.goal.protected or one.leased for one in chosen):
        raise _conflict(chosen)
    if verb is Verb.RESTART:
        _check_restart(subject, chosen)
    switched = chosen if verb in (Verb.STOP, Verb.START) else []
    alone = len(chosen) == 1 and subject in (chosen[0].name, chosen[0].hostname)
    return Operation(
        id=f"{verb}-{uuid.uuid4().hex[:12]}",
        verb=verb,
        subject=chosen[0].name if alone else subject,
        service=chosen[0].service,
        targets=tuple((one.name, targets.target(verb, one)) for one in chosen),
        storage=tuple(targets.storage(one) for one in chosen) if verb is Verb.REBUILD else (),
        halts=tuple(targets.halts(verb, one, running) for one in switched),
        together=together,
        cold=cold,
        created_at_s=now_s,
    )


def _check_restart(subject: str, chosen: Sequence[Instance]) -> None:
    """Raises Conflict when a restart is nothing for what was chosen."""
    if not any(_restarts(one) for one in chosen):
        raise Conflict(f"{subject} is stopped", hint=f"run: vmrole start {subject}")
    half = [one.name for one in chosen if one.has_failed and not one.set_up and _restarts(one)]
    if half:
        why_not = f"{', '.join(half)} failed before setup was complete, which no restart makes up for"
        raise Conflict(why_not, hint=f"run: vmrole reimage {half[0]}")


def _restarts(instance: Instance) -> bool:
    return instance.goal.runs and not instance.goal.protected and not instance.leased


# Protection --------------------------------------------------------------------------------------------------

_AT_ONCE = 20  # wishes with their checks and lines in one commit


def protections(instances: Sequence[Instance], *, on: bool) -> Iterator[list[Instance]]:
    """The instances with their protection on or off, as many at a time as fit into a commit."""
    for first in range(0, len(instances), _AT_ONCE):
        yield [_protected(one, on=on) for one in instances[first : first + _AT_ONCE]]


def protection_told(instances: Iterable[Instance], now_s: float, *, on: bool) -> list[Event]:
    """Their lines in the ledger."""
    message = "protected" if on else "no longer protected"
    return [Event(at_s=now_s, subject=one.name, message=message) for one in instances]


def _protected(instance: Instance, *, on: bool) -> Instance:
    """The instance with its protection on or off. On, it takes back what was asked for and has not begun."""
    goal = replace(instance.goal, protected=on)
    if on and instance.phase.traits.wishes_wait:
        wanted = min(goal.wanted, instance.at)
        goal = replace(goal, wanted=wanted, storage=instance.storage, halts=goal.halts + (not goal.runs))
    return replace(instance, goal=goal)


def check_removal(leaving: Iterable[Instance]) -> None:
    """Raises Conflict when one of those that would be removed is protected, or a client has it."""
    if kept := [one for one in leaving if one.goal.protected or one.leased]:
        raise _conflict(kept)


def staying(chosen: Sequence[Instance], services: Mapping[str, Service]) -> list[Instance]:
    """Those whose removal nobody has asked for, also where their own records do not say so yet.

    Raises Conflict when all of them are to go.
    """
    stay = [one for one in chosen if one.goal.serve and _wanted(one, services.get(one.service))]
    if chosen and not stay:
        raise Conflict(f"{chosen[0].name} is being removed", hint=f"run: vmrole get instances {chosen[0].service}")
    return stay


def _wanted(instance: Instance, service: Service | None) -> bool:
    role = None if service is None or service.removing else service.spec.role(instance.role_name)
    return role is not None and instance.index < role.instances


def check_staying(spec: ServiceSpec, present: Iterable[Instance]) -> None:
    """Raises Conflict when the service as it shall be has no place for an instance that is protected, or a
    client's.
    """
    counts = {role.name: role.instances for role in spec.roles}
    check_removal(one for one in present if one.index >= counts.get(one.role_name, 0))


def left_as_they_are(spec: ServiceSpec, present: Iterable[Instance]) -> tuple[Change, ...]:
    """What an apply says of those whose VM it would replace, were they not protected."""
    return tuple(
        Change(
            key=one.name,
            before="",
            after="protected",
            effect=f"keeps the VM that it has; to replace it: vmrole unprotect {one.name}, then apply again",
        )
        for one in present
        if one.goal.protected and (role := spec.role(one.role_name)) and not role.builds_like(one.role)
    )


def _conflict(kept: Sequence[Instance]) -> Conflict:
    """`kept`: protected or leased, all of them; what is protected is told first."""
    protected = [one for one in kept if one.goal.protected]
    told = protected or kept
    names = ", ".join(one.name for one in told[:3]) + (", …" if len(told) > 3 else "")
    are = "is" if len(told) == 1 else "are"
    if protected:
        return Conflict(f"{names} {are} protected", hint=f"run: vmrole unprotect {told[0].name}")
    return Conflict(
        f"{names} {are} leased", hint=f"wait for the lease's end, or run: vmrole lease end {told[0].goal.lease}"
    )

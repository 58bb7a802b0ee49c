"""Whose VM may begin: roles in their order when they are deployed and after a boot of the host. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from orchestrator.model import Instance, Role


def begins_first(instance: Instance) -> bool:
    """Whether its next step starts the VM of an instance that there has never been."""
    return instance.phase.traits.starts_vm and instance.generation == 1


def boots_again(instance: Instance) -> bool:
    """Whether its step starts a VM again that is off: one that nobody has asked for a restart or a start of."""
    here = instance.phase.traits
    return here.keeps_vm and not here.restarts


def awaited(
    after: Iterable[str], present: Collection[Instance], seen: Collection[str]
) -> Mapping[str, list[Instance]]:
    """The roles of `after` of which nobody serves yet, with who may come to. `seen`: uids whose VM was seen to run.

    A role whose instances are all stopped, failed or leaving is not waited for: it would be for ever.
    """
    found = {}
    for name in after:
        of = [one for one in present if one.role_name == name and one.goal.serve and one.goal.runs]
        if of and not any(one.serving and one.uid in seen for one in of):
            found[name] = [one for one in of if not one.has_failed]
    return {name: of for name, of in found.items() if of}


def cycle(roles: Sequence[Role]) -> tuple[str, ...]:
    """Roles that wait each for the next, and the last for the first, which stands at the end again; () for none."""
    left = {role.name: set(role.after) & {other.name for other in roles} for role in roles}
    while free := [name for name, after in left.items() if not after & left.keys()]:
        for name in free:
            del left[name]
    path: list[str] = []
    name = next(iter(left), "")
    while name and name not in path:
        path.append(name)
        name = min(left[name] & left.keys())
    return (*path[path.index(name) :], name) if name else ()

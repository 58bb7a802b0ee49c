"""The name of a role as its service's guests ask for it, and whom it leads to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.model import Instance, Service

_RESERVED = "localhost"


def taken_by(name: str, roles: Iterable[str]) -> str:
    """Whose name that of a role would be as well, in words; "" when it is nobody's.

    With other numbers of instances than now, too: a name must not change what it means when a role is scaled.
    """
    if name == _RESERVED:
        return "each machine calls itself so"
    stem, dash, index = name.rpartition("-")
    if dash and stem in roles and index.isascii() and index.isdecimal() and str(int(index)) == index:
        return f"instance {index} of role {stem} is called so"
    return ""


def called(service: Service, instances: Iterable[Instance]) -> Mapping[str, frozenset[str]]:
    """The DIPs that the name of each role leads to: of those of its instances that serve and are well, and
    whose guests let new connections come.

    A role whose name is somebody else's as well has none here; new files with such a role are refused.
    """
    names = [role.name for role in service.spec.roles]
    well = [one for one in instances if one.available]
    return {
        name: frozenset(one.nic.address for one in well if one.role_name == name)
        for name in names
        if not taken_by(name, names)
    }

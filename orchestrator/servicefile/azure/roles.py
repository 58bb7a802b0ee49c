"""One virtual machine role: its image, number, size, local storage and answers, and what has no counterpart. Pure."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from vmrole_unattend.local_storage import DEVICES

from orchestrator.errors import InvalidInput, Problem
from orchestrator.model import INSTANCES_MAX, image_name
from orchestrator.servicefile import STORAGE_NAME_MAX
from orchestrator.servicefile.azure import sizes
from orchestrator.servicefile.azure.definition import Element, plain
from orchestrator.servicefile.azure.endpoints import Endpoints
from orchestrator.servicefile.azure.ledger import Ledger, title
from orchestrator.servicefile.azure.naming import Names
from orchestrator.servicefile.azure.wishes import Wishes

_STORAGE_MIB = 100  # of a LocalStorage that does not say its size
_STORAGE_MIB_MAX = 64 * 1024 * 1024
_COMPUTER_NAME_MAX = 15  # NetBIOS
_SCALED_TO = 99  # the index that a computer's name leaves room for
_FIRST = "a role has one, and the first counts"


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A role in both files, its number (from 1) and its label."""

    defined: Element
    configured: Element
    number: int
    label: str


def role(
    source: Source, endpoints: Endpoints, wishes: Wishes, ledger: Ledger, faults: list[Problem]
) -> dict[str, Any]:
    """The role as the service file says it."""
    defined, configured = source.defined, source.configured
    ledger.use(defined, "name", "vmsize")
    ledger.use(configured, "name")
    said: dict[str, Any] = {
        "image": _image(source, wishes, ledger, faults),
        "instances": _instances(configured, ledger, faults),
        "size": _size(defined, ledger, faults),
    }
    if (ends := endpoints.read(defined, said["instances"])) != {}:
        said["endpoints"] = ends
    if (storage := _storage(defined, ledger, faults)) != {}:
        said["localStorage"] = storage
    if wishes.windows is not None:
        said["answers"] = {"unattend": _answers(source, said["instances"], wishes, ledger)}
    _drop_the_rest(source, ledger)
    return said


def _image(source: Source, wishes: Wishes, ledger: Ledger, faults: list[Problem]) -> str:
    """The image that was asked for, or the one named as the VHD."""
    named = source.configured.all("OsImage")
    wanted = wishes.role_images.get(source.defined.get("name") or "") or wishes.image
    for one in named if wanted else named[1:]:
        ledger.drop(one, f"the image is {wanted}, as asked" if wanted else _FIRST)
    if wanted:
        return wanted
    href = named[0].get("href") if named else None
    if not href:
        message = (
            f"{source.configured.place}: Role {plain(source.configured.get('name') or '')!r} has no OsImage href"
        )
        faults.append(Problem(message, hint="name an image: --image NAME or --role-image ROLE=NAME"))
        return "missing"
    ledger.use(named[0], "href")
    file = re.split(r"[/\\]", href.partition("?")[0])[-1].lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", re.sub(r"\.vhdx?$", "", file))
    try:
        image_name(name)
    except InvalidInput:
        message = f"{named[0].place}: no image can be called as its href says"  # An href may hold a key.
        faults.append(Problem(message, hint="name the image: --image NAME or --role-image ROLE=NAME"))
        return "missing"
    if name != href:
        system = " --os windows" if wishes.windows is not None else ""
        command = f"vmrole image add FILE.vhd --convert{system} --name {name}"
        ledger.change(named[0], f"is image {name}", f"add the VHD under that name: {command}")
    return name


def _instances(configured: Element, ledger: Ledger, faults: list[Problem]) -> int:
    found = configured.all("Instances")
    where = found[0] if found else configured
    ledger.use(where, "count")
    for one in found[1:]:
        ledger.drop(one, _FIRST)
    count = where.get("count") or ""
    if not (count.isascii() and count.isdigit() and len(count) <= 9 and 1 <= int(count) <= INSTANCES_MAX):
        message = f"{where.place}: Instances count {plain(count)!r} of a role is not a number of instances"
        faults.append(Problem(message, hint=f'write <Instances count="1"/>; 1 to {INSTANCES_MAX}'))
        return 1
    return int(count)


def _size(defined: Element, ledger: Ledger, faults: list[Problem]) -> dict[str, Any]:
    name = defined.get("vmsize") or sizes.DEFAULT
    size = sizes.SIZES.get(name)
    if size is None:
        meant = {one.casefold(): one for one in sizes.SIZES}.get(name.casefold())
        hint = f"write {meant}" if meant else f"the sizes of Cloud Services are {', '.join(sizes.SIZES)}"
        faults.append(Problem(f"{defined.place}: vmsize {plain(name)!r} is not known", hint=hint))
        return {}
    if not defined.get("vmsize"):
        ledger.change(defined, f"gets size {name}", "it names no vmsize, and Azure's default was that")
    if name == "ExtraSmall":
        ledger.change(defined, "has one processor", "ExtraSmall shared one with others")
    return {"vcpus": size.vcpus, "memory": f"{size.memory_mib} MiB"}


def _storage(defined: Element, ledger: Ledger, faults: list[Problem]) -> dict[str, Any]:
    found, names = dict[str, Any](), Names(ledger, faults)
    for group in defined.all("LocalResources"):
        ledger.use(group)
    for one in defined.all("LocalResources", "LocalStorage"):
        ledger.use(one, "name", "sizeInMB")
        said = one.get("sizeInMB") or str(_STORAGE_MIB)
        if not (said.isascii() and said.isdigit() and len(said) <= 8 and 1 <= int(said) <= _STORAGE_MIB_MAX):
            message = f"{one.place}: sizeInMB {plain(said)!r} of {title(one)} is not a size"
            faults.append(Problem(message, hint=f"a whole number of MB, 1 to {_STORAGE_MIB_MAX}"))
            said = str(_STORAGE_MIB)
        elif not one.get("sizeInMB"):
            ledger.change(one, f"gets {said} MiB", "it names no sizeInMB, and Azure's default was that")
        if one.get("cleanOnRoleRecycle") == "false":
            ledger.use(one, "cleanOnRoleRecycle")
        else:
            ledger.drop_attribute(one, "cleanOnRoleRecycle", "local storage outlives restarts; rebuild cleans it")
            if one.get("cleanOnRoleRecycle") is None:
                why = "on Azure it was cleaned when the role was restarted, for that was the default"
                ledger.change(one, "keeps its files across restarts", why)
        name = names.label(one, STORAGE_NAME_MAX)
        if name in DEVICES:
            message = f"{one.place}: {title(one)} is called as a device of Windows, and can be no directory there"
            faults.append(Problem(message, hint="rename it, in the program that asks for it as well"))
        found[name] = {"size": f"{int(said)} MiB"}
    return found


def _answers(source: Source, instances: int, wishes: Wishes, ledger: Ledger) -> dict[str, Any]:
    """What the answer file needs and neither file says: on Azure its Integration Components wrote it."""
    assert wishes.windows is not None
    password = wishes.administrator_password
    said: dict[str, Any] = {"windows": wishes.windows.value}
    if len(f"{source.label}-{instances - 1}") > _COMPUTER_NAME_MAX:
        room = _COMPUTER_NAME_MAX - len(f"{source.number}-{max(instances - 1, _SCALED_TO)}")
        said["computerName"] = f"{source.label[:room].rstrip('-')}{source.number}-{{index}}"
        ledger.change(
            source.defined,
            f"has computers called {said['computerName']}",
            f"Windows allows {_COMPUTER_NAME_MAX} characters",
        )
    said["administratorPassword"] = {password.source.value: password.name}
    why = f"neither file says the administrator's password; the daemon reads it from {password}"
    ledger.change(source.configured, "gets an answer file", why)
    return said


_DECLARED = {
    "ConfigurationSettings": "there is no settings service; write what the instances need into the role's answers",
    "Certificates": "no certificate is installed; let the image or the role's answers bring it",
    "Imports": "Azure's modules are not there",
}


def _drop_the_rest(source: Source, ledger: Ledger) -> None:
    """Lists settings, certificates and imports one by one: by name only, for a value may be a secret."""
    for kind, why in _DECLARED.items():
        for group in (*source.defined.all(kind), *source.configured.all(kind)):
            ledger.use(group)
            for one in group.children:
                ledger.drop(one, _why(one, why))
    ledger.drop_attribute(source.configured, "vmName", f"instances are called {source.label}-0 and so on")
    ledger.drop_attribute(source.defined, "enableNativeCodeExecution", "an image runs what it holds")


def _why(one: Element, why: str) -> str:
    if one.name == "Certificate" and one.get("thumbprint"):
        return f"{why} (thumbprint {plain(one.get('thumbprint') or '')})"
    if one.name == "Import":
        module = plain(one.get("moduleName") or "")
        remote = "; for RDP say remoteDesktop: true under answers.unattend" if module == "RemoteAccess" else ""
        return f"{why}: {module}{remote}"
    return why

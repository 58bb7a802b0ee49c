"""Extra libvirt XML of a role: the elements that may be in it, each with its attributes. Pure.

It is a list of what is let through, and not of what is refused: whoever may apply a service must not come by it to a
file, a device, a program or a network of the host, and what is decided here (name, disks, cards, channels, monitor,
labels, what happens when it ends) stays decided here. libvirt learns new elements with each release; none of them is
known here until somebody has looked at it.
"""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from typing import Final

from orchestrator.errors import InvalidInput

CHARACTERS_MOST: Final = 8192
DEVICES_MOST: Final = 8
_FEW: Final = "it is for a few elements"
_SWITCH: Final = "on|off"
_TEXT: Final = r"[ -+\--~]{1,64}"  # without a comma, which begins another option of QEMU's


@dataclasses.dataclass(frozen=True, slots=True)
class Element:
    """What an element may have: attributes, each with a pattern of its whole value, and elements within. `text`: the
    pattern of what stands in it; "" for none. `needs`: the attributes that it must have.
    """

    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    within: Mapping[str, Element] = dataclasses.field(default_factory=dict)
    text: str = ""
    needs: tuple[str, ...] = ()


_STATE: Final = Element({"state": _SWITCH}, needs=("state",))
_ENTRIES: Final = {  # as libvirt's grammar has them; without the UUID, which is the VM's
    "bios": "vendor|version",
    "system": "family|manufacturer|product|serial|sku|version",
    "baseBoard": "asset|location|manufacturer|product|serial|version",
    "chassis": "asset|manufacturer|serial|sku|version",
}


def _table(names: str) -> Element:
    return Element(within={"entry": Element({"name": names}, text=_TEXT, needs=("name",))})


ALLOWED: Final = Element(
    within={
        "features": Element(
            within={
                "hap": _STATE,
                "kvm": Element(within={"hidden": _STATE}),
                "pae": Element(),
                "pmu": _STATE,
                "vmport": _STATE,
            }
        ),
        "cpu": Element(
            within={
                "feature": Element(
                    {"name": "[a-z0-9_.-]{1,40}", "policy": "require|disable|optional"}, needs=("name", "policy")
                )
            }
        ),
        "clock": Element(
            within={
                "timer": Element(
                    {
                        "name": "hpet|hypervclock|kvmclock|pit|rtc|tsc",
                        "present": "yes|no",
                        "tickpolicy": "catchup|delay|discard|merge",
                    },
                    needs=("name",),
                )
            }
        ),
        "sysinfo": Element(
            {"type": "smbios"}, {part: _table(names) for part, names in _ENTRIES.items()}, needs=("type",)
        ),
        "devices": Element(
            within={
                "input": Element({"type": "keyboard|mouse|tablet", "bus": "virtio"}, needs=("type", "bus")),
                "sound": Element({"model": "ac97|ich6|ich9"}, needs=("model",)),
                "watchdog": Element(
                    {"model": "i6300esb|ib700", "action": "inject-nmi|none|reset"}, needs=("model", "action")
                ),
            }
        ),
    }
)


def canonical(text: str) -> str:
    """The same on one line, attributes by name. Raises InvalidInput where anything is in it that is not allowed."""
    root = _parsed(text)
    _check(root, ALLOWED, "domain")
    if len(root.findall("devices/*")) > DEVICES_MOST:
        raise InvalidInput(f"more than {DEVICES_MOST} devices", hint="leave some out")
    seen = set[str]()
    for name in _singles(root):
        if name in seen:
            raise InvalidInput(f"<{name}> is in it twice", hint="once each")
        seen.add(name)
    if not len(root):
        raise InvalidInput("there is nothing in <domain>", hint="leave libvirt out")
    made = ElementTree.tostring(_plain(root), encoding="unicode", short_empty_elements=True)
    if len(made) > CHARACTERS_MOST:  # It is read again as it was kept, and that is longer at times.
        raise InvalidInput(f"it has more than {CHARACTERS_MOST} characters as it is kept", hint=_FEW)
    return made


def _parsed(text: str) -> ElementTree.Element:
    if len(text) > CHARACTERS_MOST:
        raise InvalidInput(f"it has more than {CHARACTERS_MOST} characters", hint=_FEW)
    if "<!" in text or "<?" in text or "\0" in text:
        hint = "elements, their attributes and text alone"
        raise InvalidInput("it has a comment, a declaration or an instruction in it", hint=hint)
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without declarations there are no entities
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidInput(f"it is no XML: {error}", hint="write <domain>…</domain>") from error
    if root.tag != "domain":
        raise InvalidInput(f"<{_shown(root.tag)}> stands outside", hint="write <domain>…</domain>")
    return root


def _check(element: ElementTree.Element, allowed: Element, path: str) -> None:
    for name, value in element.attrib.items():
        pattern = allowed.attributes.get(name)
        if pattern is None:
            hint = f"there it may have: {', '.join(allowed.attributes) or 'none'}"
            raise InvalidInput(f"{path} may not have an attribute {_shown(name)}", hint=hint)
        if not re.fullmatch(pattern, value):
            raise InvalidInput(f"{path} may not have {name}={_shown(value)!r}", hint=f"there it may be: {pattern}")
    for name in allowed.needs:
        if name not in element.attrib:
            raise InvalidInput(f"{path} has no attribute {name}", hint=f"it may be: {allowed.attributes[name]}")
    if not re.fullmatch(allowed.text, (element.text or "").strip()):
        raise InvalidInput(f"{path} may not have the text {_shown((element.text or '').strip())!r}", hint="see there")
    for child in element:
        known = allowed.within.get(child.tag)
        if known is None:
            hint = f"what is allowed there: {', '.join(sorted(allowed.within)) or 'nothing'} (docs/devices.md)"
            raise InvalidInput(f"{path} may not have <{_shown(child.tag)}> in it", hint=hint)
        if (child.tail or "").strip():
            raise InvalidInput(f"{path} may not have text between its elements", hint="leave it out")
        _check(child, known, f"{path}/{child.tag}")


def _singles(root: ElementTree.Element) -> Iterator[str]:
    """What there may be one of, each as often as it is there."""
    for part in root:
        yield part.tag
        if part.tag != "devices":
            for each in part:
                yield f"{part.tag}/{each.tag} {each.get('name', '')}".rstrip()
        else:
            yield from (f"devices/{each.tag}" for each in part if each.tag == "watchdog")


def _plain(element: ElementTree.Element) -> ElementTree.Element:
    """The same without blanks between its elements, and with its attributes by name."""
    plain = ElementTree.Element(element.tag, dict(sorted(element.attrib.items())))
    plain.text = (element.text or "").strip() or None
    plain.extend(_plain(child) for child in element)
    return plain


def _shown(text: str) -> str:
    return ascii(text)[1:-1][:60]

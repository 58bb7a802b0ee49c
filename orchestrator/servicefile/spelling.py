"""What a service file calls the fields of `model`, and in which unit it gives their amounts."""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = {
    "limits": "size",
    "mode": "protocol",
    "walking": "mode",
    "affinity": "affinityTime",
    "kept_by": "affinity",
    "range": "ports",
    "callers": "from",
    "instance_endpoints": "endpoints",
    "internal_endpoints": "endpoints",
    "user_data": "answers.userData",
    "user_data_from": "answers.userData",
    "vendor_data": "answers.vendorData",
    "admin_password": "answers.adminPassword",
    "public_keys": "answers.publicKeys",
    "install_agent": "answers.installAgent",
    "keep_ssh_host_keys": "identity.sshHostKeys",
    "keep_failed_disk": "evidence.disk",
    "unattend": "answers.unattend",
    "libvirt_xml": "libvirt.xml",
}
_UNITS: Final = {"_mib_per_s": " MiB/s", "_percent": " %", "_mib": " MiB", "_s": " s"}


def word_of(field: str) -> str:
    """The key of a field, e.g. "localStorage" of `local_storage`."""
    word = re.sub("_(mib_per_s|percent|mib|s)$", "", field)
    return _WORDS.get(word, re.sub("_([a-z])", lambda letter: letter[1].upper(), word))


def unit_of(field: str) -> str:
    """What follows an amount: " MiB" of `size_mib`; "" where there is none."""
    return next((unit for ending, unit in _UNITS.items() if field.endswith(ending)), "")

"""The files of a NoCloud disc: who the instance is, its network, and user-data made of the user's parts and ours.

cloud-init's documentation: reference/datasources/nocloud. Nothing here knows how the disc reaches the guest.

Ours stand around the user's. First a boot hook (guest/setup-begin.sh): it runs before anything of the user's, shares
no key with his cloud-config, and may so use any; it records the boot and the generation under /var/lib/vmrole, tells
cloud-init to trust its cache once the disc is gone, and mounts local storage. Last a cloud-config with the one key
`power_state`: it replaces (`dict(replace)`) whatever the user said there, so that `setup_restart` alone decides
whether setup ends in a restart; its condition (guest/setup-end.sh) keeps cloud-init's result before the restart. All
other keys of the user's stay as they are, and his parts merge with each other as cloud-init always does.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
import re
from collections.abc import Mapping

from unattend import multipart
from unattend.errors import AnswersInvalid

LABEL = "cidata"  # DataSourceNoCloud and ds-identify look for this volume label, or for it in capitals
INTERFACE = "eth0"  # what the first interface is called in the guest, whatever its slot
STORAGE_NAME_MAX = 16  # bytes of an ext4 label; also "ls-" + name fits the 20 bytes of a virtio-blk serial

_HOSTNAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_INSTANCE = re.compile(rf"{_HOSTNAME.pattern}\.{_HOSTNAME.pattern}")
_STORAGE = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{STORAGE_NAME_MAX - 2}}}[a-z0-9])?")
_INSTANCE_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_RESULT_WAIT_S = 600  # how long power_state waits for cloud-init's own end


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Who an instance is in one generation. A new `instance_id` makes cloud-init set up anew; the same one does not.

    `instance` is `web-0.shop`, `hostname` `web-0`; `mac` as 52:54:00:… in lower case; `local_storage` the names of
    virtio disks with the serials ls-NAME. AnswersInvalid when one of them cannot be meant; `user_data` is checked
    when it is used.
    """

    instance_id: str
    hostname: str
    service: str
    instance: str
    generation: int
    mac: str
    setup_restart: bool = True
    user_data: str = dataclasses.field(default="", repr=False)  # may hold secrets
    local_storage: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _must(_INSTANCE_ID, self.instance_id, "instance_id", "1 to 64 letters, digits and '-'")
        _must(_HOSTNAME, self.hostname, "hostname", "a label of RFC 1123 in lower case")
        _must(_HOSTNAME, self.service, "service", "a label of RFC 1123 in lower case")
        _must(_INSTANCE, self.instance, "instance", "two labels joined by a dot, like web-0.shop")
        _must(_MAC, self.mac, "mac", "six bytes in lower case, like 52:54:00:12:34:56")
        for name in self.local_storage:
            _must(_STORAGE, name, "local_storage", f"a label of at most {STORAGE_NAME_MAX} characters")
        if len(set(self.local_storage)) != len(self.local_storage):
            raise AnswersInvalid("a name occurs twice", where="local_storage")
        if self.generation < 1:
            raise AnswersInvalid(
                f"{self.generation} is not a generation", where="generation", hint="they count from 1"
            )


def files(answers: Answers) -> Mapping[str, bytes]:
    """The disc's files by name; equal answers give equal bytes. AnswersInvalid for user-data that is refused."""
    return {
        "meta-data": _json(_meta_data(answers)),
        "network-config": _json(_network_config(answers.mac)),
        "user-data": multipart.join(
            [_setup_begin(answers), *multipart.user_parts(answers.user_data), _setup_end(answers.setup_restart)]
        ),
    }


def check_user_data(user_data: str) -> None:
    """Raises AnswersInvalid where `files` would, long before there is an instance."""
    multipart.user_parts(user_data)


def _meta_data(answers: Answers) -> dict[str, object]:
    return {
        "instance-id": answers.instance_id,
        "local-hostname": answers.hostname,
        "vmrole-service": answers.service,
        "vmrole-instance": answers.instance,
        "vmrole-generation": answers.generation,
        "vmrole-setup-restart": answers.setup_restart,
    }


def _network_config(mac: str) -> dict[str, object]:
    """Version 2. Without `set-name`, ifupdown would be told to raise an interface by the name of this entry."""
    return {
        "version": 2,
        "ethernets": {INTERFACE: {"match": {"macaddress": mac}, "set-name": INTERFACE, "dhcp4": True}},
    }


def _setup_begin(answers: Answers) -> multipart.Part:
    assigned = (
        "#!/bin/sh\n"
        f"instance_id='{answers.instance_id}'\n"
        f"generation='{answers.generation}'\n"
        f"storages='{' '.join(answers.local_storage)}'\n"
    )
    return multipart.part("text/cloud-boothook", assigned + _guest_script("setup-begin.sh"), "vmrole-setup-begin")


def _setup_end(restart: bool) -> multipart.Part:
    script = f"restart={'yes' if restart else 'no'}\n" + _guest_script("setup-end.sh")
    config = {
        "merge_how": "dict(replace)+list()+str()",
        "power_state": {
            "mode": "reboot",
            "delay": "now",
            "message": "vmrole: setup restart",
            "timeout": _RESULT_WAIT_S,
            "condition": ["/bin/sh", "-c", script],
        },
    }
    return multipart.part(
        "text/cloud-config", "#cloud-config\n" + json.dumps(config, indent=1) + "\n", "vmrole-setup-end"
    )


@functools.cache
def _guest_script(name: str) -> str:
    return importlib.resources.files("unattend").joinpath("guest", name).read_text(encoding="utf-8")


def _json(value: Mapping[str, object]) -> bytes:
    """JSON is YAML that no text can break out of; one key per line, for readers that have only sed."""
    return (json.dumps(value, indent=1) + "\n").encode("ascii")


def _must(pattern: re.Pattern[str], text: str, where: str, right: str) -> None:
    if not pattern.fullmatch(text):
        raise AnswersInvalid(f"{text[:80]!r} cannot be used", where=where, hint=f"use {right}")

"""The files of a NoCloud disc: who the instance is, its network, and user-data made of the user's parts and ours.

cloud-init's documentation: reference/datasources/nocloud. Nothing here knows how the disc reaches the guest.

Ours stand around the user's. First a boot hook (guest/setup-begin.sh): it runs before anything of the user's, shares
no key with his cloud-config, and may so use any; it records the boot and the generation under /var/lib/vmrole, tells
cloud-init to trust its cache once the disc is gone, and mounts local storage. Last a cloud-config with the one key
`power_state`: it replaces (`dict(replace)`) whatever the user said there, so that `setup_restart` alone decides
whether setup ends in a restart; its condition (guest/setup-end.sh) keeps cloud-init's result before the restart.
Between the two a script leaves `vmrole-guest` behind, by which a guest speaks to us.
All other keys of the user's stay as they are, and his parts merge with each other as cloud-init always does.
Vendor-data is his, too: cloud-init reads it last, and a key of user-data puts the same key there out of force. What
the service file asks of cloud-init (the guest agent, SSH host keys) adds to his lists and leaves his keys: it stands
in vendor-data, but for a list that his user-data has as well.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping, Sequence

from vmrole_unattend import multipart, network_config
from vmrole_unattend.errors import AnswersInvalid

LABEL = "cidata"  # DataSourceNoCloud and ds-identify look for this volume label, or for it in capitals
STORAGE_NAME_MAX = 16  # bytes of an ext4 label; also "ls-" + name fits the 20 bytes of a virtio-blk serial

CLIENTS = "00-vmrole-guest"  # the name of the part that brings them: the first of all by its name

_HOSTNAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_INSTANCE = re.compile(rf"{_HOSTNAME.pattern}\.{_HOSTNAME.pattern}")
_STORAGE = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{STORAGE_NAME_MAX - 2}}}[a-z0-9])?")
_PLACE = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._-]{0,63}){1,8}")
PROXY = r"https?://[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?"
_PROXY = re.compile(PROXY)
_INSTANCE_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_AGENT = "qemu-guest-agent"  # the package and the service, in every distribution
_RESULT_WAIT_S = 600  # how long power_state waits for cloud-init's own end


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Who an instance is in one generation. A new `instance_id` makes cloud-init set up anew; the same one does not.

    `instance` is `web-0.shop`, `hostname` `web-0`; `mac` as 52:54:00:… in lower case; `local_storage` the names of
    virtio disks with the serials ls-NAME. `address` is in CIDR, and `gateway`, `dns` and `search` go with it; without
    one the guest asks DHCP. `address6`, in CIDR, with `gateway6` comes besides.
    AnswersInvalid when one of them cannot be meant; `user_data` and `vendor_data` are checked when
    they are used.
    """

    instance_id: str
    hostname: str
    service: str
    instance: str
    generation: int
    mac: str
    setup_restart: bool = True
    user_data: str = dataclasses.field(default="", repr=False)  # may hold secrets
    vendor_data: str = dataclasses.field(default="", repr=False)
    public_keys: tuple[str, ...] = ()  # lines of an authorized_keys file, for the user that the image names
    local_storage: tuple[str, ...] = ()
    blank_storage: tuple[str, ...] = ()
    places: tuple[tuple[str, str], ...] = ()  # of local storage: its name, and a path that leads to it as well
    shares: tuple[tuple[str, str], ...] = ()  # directories of the host's: the tag of each, and where it is mounted
    grows: bool = False  # whether the disk is larger than the image: its last partition and file system follow
    address: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    address6: str = ""
    gateway6: str = ""
    more: tuple[network_config.Network, ...] = ()  # its other interfaces
    proxy: str = ""  # a URL, of what installs packages
    install_agent: bool = False  # QEMU's guest agent, from the distribution's packages
    ssh_host_keys: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)  # "ed25519_private": text

    def __post_init__(self) -> None:
        _must(_INSTANCE_ID, self.instance_id, "instance_id", "1 to 64 letters, digits and '-'")
        _must(_HOSTNAME, self.hostname, "hostname", "a label of RFC 1123 in lower case")
        _must(_HOSTNAME, self.service, "service", "a label of RFC 1123 in lower case")
        _must(_INSTANCE, self.instance, "instance", "two labels joined by a dot, like web-0.shop")
        for one in (self.network, *self.more):
            network_config.check(one)
        for key in self.public_keys:
            check_public_key(key)
        if self.proxy:
            _must(_PROXY, self.proxy, "proxy", "a URL without a password, like http://192.0.2.1:3128")
        for name in self.local_storage:
            _must(_STORAGE, name, "local_storage", f"a label of at most {STORAGE_NAME_MAX} characters")
        if len(set(self.local_storage)) != len(self.local_storage):
            raise AnswersInvalid("a name occurs twice", where="local_storage")
        for name, place in self.places:
            _must(_PLACE, place, "places", "an absolute path without '..'")
            if name not in self.local_storage:
                raise AnswersInvalid(f"there is no local storage {name[:40]!r}", where="places")
        for name, place in self.shares:
            _must(_STORAGE, name, "shares", f"a label of at most {STORAGE_NAME_MAX} characters")
            _must(_PLACE, place, "shares", "an absolute path without '..'")
        if self.generation < 1:
            raise AnswersInvalid(
                f"{self.generation} is not a generation", where="generation", hint="they count from 1"
            )

    @property
    def network(self) -> network_config.Network:
        """The first interface."""
        return network_config.Network(
            mac=self.mac,
            address=self.address,
            gateway=self.gateway,
            dns=self.dns,
            search=self.search,
            address6=self.address6,
            gateway6=self.gateway6,
        )


def files(answers: Answers) -> Mapping[str, bytes]:
    """The disc's files by name; equal answers give equal bytes. AnswersInvalid for user-data that is refused."""
    parts = multipart.user_parts(answers.user_data)
    vendor_parts = multipart.user_parts(answers.vendor_data, where="vendor-data")
    beside_user, beside_vendor = _agent(parts) if answers.install_agent else ([], [])
    made = {
        "meta-data": to_json(_meta_data(answers)),
        "network-config": to_json(network_config.version_2(answers.network, *answers.more)),
        "user-data": multipart.join(
            [
                _setup_begin(answers),
                *_led("places", answers.places),
                *_led("shares", answers.shares),
                *_network(answers),
                *_proxy(answers.proxy),
                *_growing(answers.grows),
                _clients(),
                *parts,
                *beside_user,
                *_host_keys(answers.ssh_host_keys),
                _setup_end(answers.setup_restart),
            ]
        ),
    }
    vendor = [*vendor_parts, *beside_vendor]
    return {**made, "vendor-data": multipart.join(vendor)} if vendor else made


def check_user_data(user_data: str) -> None:
    """Raises AnswersInvalid where `files` would, long before there is an instance."""
    multipart.user_parts(user_data)


def check_vendor_data(vendor_data: str) -> None:
    """As `check_user_data`."""
    multipart.user_parts(vendor_data, where="vendor-data")


def check_public_key(key: str) -> None:
    """Raises AnswersInvalid for what is not one line with a type and a key; the private half is not repeated."""
    words = key.split()
    if key.isprintable() and len(words) > 1 and "PRIVATE" not in words:
        return
    raise AnswersInvalid(
        "is not a line of an authorized_keys file",
        where="public_keys",
        hint="like ssh-ed25519 AAAA… somebody: what stands in the .pub file",
    )


def _meta_data(answers: Answers) -> dict[str, object]:
    keys: dict[str, object] = {"public-keys": list(answers.public_keys)} if answers.public_keys else {}
    return {
        **keys,
        "instance-id": answers.instance_id,
        "local-hostname": answers.hostname,
        "vmrole-service": answers.service,
        "vmrole-instance": answers.instance,
        "vmrole-generation": answers.generation,
        "vmrole-setup-restart": answers.setup_restart,
    }


def _setup_begin(answers: Answers) -> multipart.Part:
    assigned = (
        "#!/bin/sh\n"
        f"instance_id='{answers.instance_id}'\n"
        f"generation='{answers.generation}'\n"
        f"storages='{' '.join(answers.local_storage)}'\n"
    )
    return multipart.part("text/cloud-boothook", assigned + guest_script("setup-begin.sh"), "vmrole-setup-begin")


def _led(what: str, pairs: Sequence[tuple[str, str]]) -> Iterator[multipart.Part]:
    """What leads to each place. Twice: cloud-init runs a boot hook before anything of the user's, and `micro` runs no
    boot hooks.
    """
    if pairs:
        said = " ".join(f"{name}:{place}" for name, place in pairs)
        script = f"#!/bin/sh\n{what}='{said}'\n{guest_script(f'{what}.sh')}"
        yield multipart.part("text/cloud-boothook", script, f"vmrole-{what}")
        yield multipart.part(multipart.SCRIPT, script, f"vmrole-{what}.sh")


def _network(answers: Answers) -> list[multipart.Part]:
    """What is written down, for systems whose own programs cannot do it. Where DHCP tells it there is nothing to do,
    and `micro`, which runs no boot hooks, is told nothing of it.
    """
    networks = (answers.network, *answers.more)
    ways = [way for one in networks for way in (one.gateway, one.gateway6) if way]
    if not ways and not answers.dns:
        return []
    assigned = (
        f"#!/bin/sh\nways='{' '.join(ways)}'\nservers='{' '.join(answers.dns)}'\n"
        f"searched='{' '.join(answers.search)}'\n"
    )
    return [multipart.part("text/cloud-boothook", assigned + guest_script("network.sh"), "vmrole-network")]


def _proxy(proxy: str) -> list[multipart.Part]:
    """Before any package is installed. `micro`, which runs no boot hooks, installs none."""
    if not proxy:
        return []
    script = f"#!/bin/sh\nproxy='{proxy}'\n{guest_script('proxy.sh')}"
    return [multipart.part("text/cloud-boothook", script, "vmrole-proxy")]


def _growing(grows: bool) -> list[multipart.Part]:
    """Before the user's own words, so that they may say otherwise."""
    if not grows:
        return []
    config = {"growpart": {"mode": "auto", "devices": ["/"]}, "resize_rootfs": True}
    return [multipart.part("text/cloud-config", "#cloud-config\n" + json.dumps(config) + "\n", "vmrole-growing")]


def _clients() -> multipart.Part:
    """Puts `vmrole-guest` into the guest, before the first of the user's own scripts. A guest that has no room for it
    is set up all the same.

    By its name it is the first that cloud-init runs; what is like cloud-init goes by the order of the parts.
    """
    script = (
        "#!/bin/sh\n"
        "place=/usr/local/bin\n"
        "put() {\n"
        "    mkdir -p $place && cat >$place/.vmrole-guest && chmod 755 $place/.vmrole-guest &&\n"
        "        mv $place/.vmrole-guest $place/vmrole-guest\n"
        "}\n"
        "if command -v python3 >/dev/null 2>&1; then\n"
        f"    put <<'END_OF_CLIENT'\n{guest_script('vmrole-guest')}END_OF_CLIENT\n"
        "else\n"
        f"    put <<'END_OF_CLIENT'\n{guest_script('vmrole-guest.sh')}END_OF_CLIENT\n"
        "fi\n"
        "exit 0\n"
    )
    return multipart.part(multipart.SCRIPT, script, CLIENTS)


def _agent(user_parts: Sequence[multipart.Part]) -> tuple[list[multipart.Part], list[multipart.Part]]:
    """What installs and starts QEMU's guest agent: parts for user-data, and parts for vendor-data.

    The package's name is the same everywhere. Who starts it is not, and Debian leaves that to the next boot.
    """
    by_systemd = f"systemctl enable {_AGENT}; systemctl start {_AGENT}"
    by_openrc = f"rc-update add {_AGENT}; rc-service {_AGENT} start"
    start = f"if [ -d /run/systemd/system ]; then {by_systemd}; else {by_openrc}; fi; true"
    lists: dict[str, list[object]] = {"packages": [_AGENT], "runcmd": [["/bin/sh", "-c", start]]}
    said = "\n".join(multipart.text_of(part) for part in user_parts if part.is_text)
    his = [key for key in lists if re.search(rf"""(?m)^[\s{{,-]*["']?{key}["']?\s*:""", said)]
    add = {"merge_how": "dict(recurse_list)+list(append)+str()"}
    beside_user = {key: lists[key] for key in his}
    beside_vendor: dict[str, object] = {key: value for key, value in lists.items() if key not in his}
    beside_vendor["package_update"] = True
    return (
        [_config({**add, **beside_user}, "vmrole-agent")] if beside_user else [],
        [_config({**add, **beside_vendor}, "vmrole-agent")],
    )


def _host_keys(keys: Mapping[str, str]) -> Iterator[multipart.Part]:
    """The instance's own, unless the user brings some for all of them."""
    if keys:
        yield _config({"merge_how": "dict(no_replace)+list()+str()", "ssh_keys": dict(keys)}, "vmrole-identity")


def _config(config: Mapping[str, object], name: str) -> multipart.Part:
    return multipart.part("text/cloud-config", "#cloud-config\n" + json.dumps(config, indent=1) + "\n", name)


def _setup_end(restart: bool) -> multipart.Part:
    script = f"restart={'yes' if restart else 'no'}\n" + guest_script("setup-end.sh")
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
    return _config(config, "vmrole-setup-end")


@functools.cache
def guest_script(name: str) -> str:
    """The text of a script of ours that runs in a guest."""
    return importlib.resources.files("vmrole_unattend").joinpath("guest", name).read_text(encoding="utf-8")


def to_json(value: Mapping[str, object]) -> bytes:
    """JSON is YAML that no text can break out of; one key per line, for readers that have only sed."""
    return (json.dumps(value, indent=1) + "\n").encode("ascii")


def _must(pattern: re.Pattern[str], text: str, where: str, right: str) -> None:
    if not pattern.fullmatch(text):
        raise AnswersInvalid(f"{text[:80]!r} cannot be used", where=where, hint=f"use {right}")

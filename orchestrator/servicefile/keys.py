"""Every key of a service file and what it is: for the schema, the reference page, and whoever writes one.

NAME stands for a name of the user's own, [] for an item of a list. What a key takes is known by its reader alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

SECRET_KEYS: Final = ("secret", "file", "env", "credential")


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """What a key is, in a few words, and what it is unless given ("": nothing, or it must be given)."""

    about: str
    default: str = ""


_ROLLING: Final = (
    "image",
    "size.vcpus",
    "size.memory",
    "size.disk",
    "localStorage",
    "drives",
    "network",
    "devices",
    "libvirt",
    "answers",
    "identity",
    "setup.restart",
)


def rolls(key: str) -> bool:
    """Whether a change of a role's key, such as "size.memory", needs other VMs; see `model.Role.template`."""
    return any(key == own or key.startswith(f"{own}.") for own in _ROLLING)


_ROLE: Final = {
    "image": Key("a name, NAME@sha256:DIGEST, or a digest: the repository's image as it is at the apply"),
    "instances": Key("how many", "1"),
    "size": Key("what an instance gets of its host, and the most that it may take of what all share"),
    "size.vcpus": Key("virtual CPUs", "1"),
    "size.memory": Key("its memory, all of it kept for it unless the host overcommits", "512 MiB"),
    "size.disk": Key("of the system disk; a guest grows into it", "as large as the image"),
    "size.cpuWeight": Key("its part of CPUs that all want", "100 for each vCPU"),
    "size.cpuLimit": Key("the most of a CPU of the host, for each vCPU", "all of it"),
    "size.diskRate": Key("the most that is read and written, of each disk", "400 MiB/s"),
    "size.diskOperations": Key("the most in a second, of each disk", "10000"),
    "size.networkRate": Key("the most each way", "250 MiB/s"),
    "endpoints": Key("ports of the VIP, and the ports of instances behind them; or what other roles reach"),
    "endpoints.NAME.type": Key(
        "input: clients reach the role; instance: each instance at a port of its own; internal: only other roles do",
        "input",
    ),
    "endpoints.NAME.port": Key("of the VIP; of internal that of the instances"),
    "endpoints.NAME.ports": Key("several instead, such as 8000-8010; of instance the first is that of index 0"),
    "endpoints.NAME.target": Key("of the instances; of several the first", "the same as port"),
    "endpoints.NAME.from": Key("of internal: the roles that reach it, as a list", "all of the service"),
    "endpoints.NAME.protocol": Key("what the balancer takes it for", "tcp"),
    "endpoints.NAME.probe": Key("how a member's health is asked", "a TCP connection to the target"),
    "endpoints.NAME.probe.path": Key("what GET must answer", "a TCP connection is enough"),
    "endpoints.NAME.probe.status": Key("with which statuses, such as 200-299,401", "200-399"),
    "endpoints.NAME.probe.interval": Key("how often", "1 s (command: 10 s), or the timeout; of 200 members less"),
    "endpoints.NAME.probe.timeout": Key("how long an answer may take", "2 s (command: 5 s), or a shorter interval"),
    "endpoints.NAME.probe.rise": Key("so many good answers in a row put it back", "1"),
    "endpoints.NAME.probe.fall": Key("so many bad ones take it out", "2"),
    "endpoints.NAME.probe.initialDelay": Key("before it is asked for the first time; up until then", "0 s"),
    "endpoints.NAME.probe.port": Key("of the instance", "the target"),
    "endpoints.NAME.probe.command": Key("instead of a port: what must exit 0 in the guest, as a list", "none"),
    "endpoints.NAME.balancer": Key(
        "who carries it; HAProxy alone knows http, and keeps what is marked as its own; nftables alone udp",
        "haproxy of http and of what it alone keeps, else nftables",
    ),
    "endpoints.NAME.timeout": Key("HAProxy: how long either side may be silent", "60 s of http, 1 h of tcp"),
    "endpoints.NAME.maxConnections": Key("at a time", "a share of what the host's memory is good for"),
    "endpoints.NAME.maxConnectionsPerClient": Key("at a time, from one address", "half of the endpoint's"),
    "endpoints.NAME.affinity": Key("a client keeps its member, by its address or, of http, a cookie", "none"),
    "endpoints.NAME.affinityTime": Key("of source: for how long after its last connection", "3 h"),
    "endpoints.NAME.tls": Key("HAProxy: who connects speaks TLS; the members are spoken to in the clear"),
    "endpoints.NAME.tls.certificate": Key("PEM: it and its chain; read again when it changes"),
    "endpoints.NAME.tls.key": Key("its private key", "behind it, in the same secret"),
    "endpoints.NAME.tls.more": Key("certificates for clients that ask for other names", "none"),
    "endpoints.NAME.tls.more.[].certificate": Key("PEM: it and its chain"),
    "endpoints.NAME.tls.more.[].key": Key("its private key", "behind it, in the same secret"),
    "endpoints.NAME.tls.redirectFrom": Key("a port of the VIP, such as 80, that sends clients of http on", "none"),
    "endpoints.NAME.allow": Key("from which networks clients may come, as a list", "any"),
    "endpoints.NAME.proxyProtocol": Key("HAProxy: tells members by PROXY v2 where a client comes from", "false"),
    "endpoints.NAME.memberConnections": Key("HAProxy: at a time to a member; others wait up to 5 s", "no limit"),
    "localStorage": Key("disks of each instance that a restart and a reimage leave: /local/NAME, C:\\local\\NAME"),
    "localStorage.NAME.size": Key("it may grow later"),
    "drives": Key("disks of your own (`vmrole drive create`), which outlive the service; found as local storage"),
    "drives.NAME.drive": Key("which one; {index} is the instance's, for no two have one drive"),
    "drives.NAME.mount": Key("a path of a Linux that leads to it as well, such as /data", "none"),
    "shares": Key("directories of the host's that its owner gives, which guests read: docs/devices.md"),
    "shares.NAME.source": Key("the directory, by its real path, as it stands in shares of vmrole.toml"),
    "shares.NAME.mount": Key("where the guest has it, such as /data", "nobody mounts it"),
    "network": Key("cards and names beside what the private network gives: docs/networks.md"),
    "network.bridge": Key("of the host, on which each instance has a second card", "none: the private network alone"),
    "network.addresses": Key("on the bridge: dhcp, or a list of IPv4 in CIDR, first that of index 0", "dhcp"),
    "network.gateway": Key("the bridge's router, for all other networks; dhcp: as told", "by the private network"),
    "network.dns": Key("whom the guest asks for names, as a list", "the private network's own name server"),
    "network.search": Key("domains in which it looks for names, as a list", "none"),
    "network.proxy": Key("a URL, which what installs packages in the guest asks: apt, dnf, yum", "none"),
    "network.mtu": Key("bytes, of the card on the bridge, or without one of that in the private network", "as usual"),
    "devices": Key("the machine around the guest, where it is another than usual: docs/devices.md"),
    "devices.cpuModel": Key("its processor, as libvirt calls it", "the host's own; without KVM, all that QEMU has"),
    "devices.sockets": Key("of processors", "1; of a role that names none of the three, as QEMU has it"),
    "devices.cores": Key("of each socket", "as many as size.vcpus wants"),
    "devices.threads": Key("of each core", "1"),
    "devices.diskCache": Key("how the host keeps what guests write, until they flush it or go on", "writeback"),
    "devices.screen": Key("whether it has one, which vmrole console --vnc leads to on its host", "false"),
    "devices.hugepages": Key("whether its memory is of huge pages that the host has reserved", "false"),
    "devices.pci": Key("devices of the host that each instance has to itself: docs/devices.md", "none"),
    "libvirt": Key("what of libvirt has no key here"),
    "libvirt.xml": Key("elements of <domain> that are merged with ours, of those that docs/devices.md lists", "none"),
    "answers": Key("what the first boot of a generation is told; `none` for an image that reads nothing"),
    "answers.kept": Key("keys that stay as the service has them: their texts are never shown", "none"),
    "answers.userData": Key("cloud-init's, or cloudbase-init's; merged with ours", "none"),
    "answers.vendorData": Key("cloud-init's, beneath the user-data", "none"),
    "answers.publicKeys": Key("for the user that the image names", "none"),
    "answers.installAgent": Key("whether cloud-init installs QEMU's guest agent, which the image lacks", "false"),
    "answers.adminPassword": Key("cloudbase-init's, for the user that the image names", "one that nobody knows"),
    "identity": Key("what an instance keeps over its generations"),
    "identity.sshHostKeys": Key("whether a reimage makes new ones", "new"),
    "setup": Key("the first boot of a generation"),
    "setup.restart": Key("whether the guest restarts once when it is set up", "true"),
    "setup.within": Key("how long it may take", "as the image's test suggests, else 10 min; of Windows 45 min"),
    "ready": Key("when an instance may serve, beyond: all auto-start services have started"),
    "ready.units": Key("systemd units that must be active", "none"),
    "ready.services": Key("Windows services that must run", "none"),
    "ready.delayed": Key("whether Windows services with a delayed start are waited for", "false"),
    "ready.ignore": Key("units or services whose failure does not matter", "none"),
    "ready.command": Key("what must exit 0 in the guest, as a list", "none"),
    "ready.probe": Key("asked from the host", "none"),
    "ready.probe.path": Key("what GET must answer", "a TCP connection is enough"),
    "ready.probe.status": Key("with which statuses, such as 200-299,401", "200-399"),
    "ready.probe.port": Key("of the instance", "the target of its first endpoint"),
    "ready.within": Key("how long after a boot", "as the image's test suggests, else 5 min"),
    "ready.watch": Key("whether services that have failed after their start are looked for each minute", "false"),
    "ready.silence": Key("how long the agent of a role without endpoints may be silent", "10 min"),
    "ready.guest": Key("whether the guest must say that it is ready: docs/runtime-channel.md", "false"),
    "ready.agent": Key("false: the guest has none; the monitor and the probe decide", "true"),
    "drain": Key("how long open connections may take to finish before a planned stop", "30 s"),
    "stop": Key("a planned shutdown"),
    "stop.within": Key("how long the guest may take before it is reset or ended", "2 min or more, by its system"),
    "restart": Key("a planned restart"),
    "restart.within": Key("how long the guest may take to come back", "as usual for its system"),
    "healing": Key("how far healing goes by itself: restart, reimage after that, or off; or the two keys below"),
    "healing.ladder": Key("likewise", "reimage"),
    "healing.maxUnavailable": Key(
        "of the role, out by healing, rollouts and verbs together: none of them takes out more; "
        "a part is rounded down to 1 or more", "healing one; others by upgrade.maxUnavailable",
    ),
    "evidence": Key("what is kept of a failure, beside what always is"),
    "evidence.disk": Key("whether the system disk of what healing makes anew is kept for a day, read-only", "false"),
    "reimage": Key(
        "cold: it begins with the image; prepared: with a boot from the instance's checkpoint, if it has one; warm: "
        "with that and its memory", "cold",
    ),
    "checkpoint": Key("an instance as it became ready, disk and where warm memory, for its reimages to begin with"),
    "checkpoint.maxAge": Key("no reimage begins with an older one", "7 d"),
    "checkpoint.memory": Key(
        "whether warm memory is kept in RAM, which counts as the instance's; on disk while there is no room", "false"
    ),
    "checkpoint.refresh": Key(
        "whether checkpoints are renewed before that, by cold reimages: one instance at a time, while all others "
        "serve and nothing else is under way", "false",
    ),
    "lease": Key("instances that are given to one client each for a while, and made anew after him"),
    "lease.longest": Key("for how long at most", "2 h"),
    "topology": Key(
        "blast: the guests that ask learn at once that peers have come or gone; walk: one after the other", "blast"
    ),
    "after": Key(
        "roles, as a list, of which one each serves before it is deployed, or booted with the host; 10 min at most",
        "none",
    ),
    "labels": Key("to select by, with the service's own", "none"),
    "labels.NAME": Key("as Kubernetes has them"),
}  # fmt: skip

_UNATTEND: Final = {
    "kept": Key("keys that stay as the service has them: their texts are never shown", "none"),
    "windows": Key("the release of the image", "2022"),
    "edition": Key("of the image", "server"),
    "architecture": Key("of the image", "amd64"),
    "computerName": Key("at most 15 bytes; {role}, {index} and {service} are put in", "{role}-{index}"),
    "timeZone": Key("as Windows calls it: tzutil /l", "UTC"),
    "locale": Key("of users and system", "en-US"),
    "uiLanguage": Key("of what is shown", "the image's"),
    "keyboard": Key("0407:00000407, or a locale", "the locale's"),
    "organization": Key("whom it is registered to", "nobody"),
    "owner": Key("likewise", "nobody"),
    "productKey": Key("where the product key is", "the image's"),
    "administratorPassword": Key("where the password is", "none: the account stays as the image has it"),
    "accounts": Key("local accounts, by name"),
    "accounts.NAME.password": Key("where the password is"),
    "accounts.NAME.group": Key("whose member it is", "Administrators"),
    "accounts.NAME.displayName": Key("of the account", "its name"),
    "accounts.NAME.description": Key("of the account", "none"),
    "join": Key("a domain or a workgroup"),
    "join.domain": Key("its DNS name", "none"),
    "join.user": Key("who may join machines", "none"),
    "join.userDomain": Key("whose user that is", "the domain"),
    "join.password": Key("where his password is"),
    "join.unit": Key("the organizational unit", "the domain's default"),
    "join.blob": Key("where djoin's blob is, for one instance"),
    "join.unsecure": Key("whether it joins without a user, by a pre-made account", "false"),
    "join.workgroup": Key("its name", "Windows' own"),
    "staticNetwork": Key("the address that it has anyway, written down instead of asked by DHCP", "false"),
    "remoteDesktop": Key("whether it is switched on, with its firewall group", "false"),
    "firewallGroups": Key("that are opened: @FirewallAPI.dll,-28752 is the same in every language", "none"),
    "specialize": Key("commands while Setup specializes, in order"),
    "specialize.[].run": Key("the command line"),
    "specialize.[].description": Key("of the command", "none"),
    "specialize.[].restart": Key("whether Windows restarts after it", "Never"),
    "firstLogon": Key("command lines when an administrator logs on for the first time", "none"),
    "scripts": Key("files in %VMROLE%, by name: their text"),
    "scripts.NAME": Key("the text"),
    "xml": Key("your own Unattend.xml, as a text or by where it is: ours is merged into it", "none"),
}  # fmt: skip

KEYS: Final[Mapping[str, Key]] = {
    "service": Key("its name: at most 40 lower-case letters, digits and hyphens"),
    "vip": Key("the virtual address of its endpoints; a service without endpoints needs none"),
    "sharedVip": Key("whether services that say so, too, may have other ports of the same vip", "false"),
    "stagingVip": Key("that of what is in staging: vmrole apply --slot staging; a swap exchanges both", "none"),
    "labels": Key("of all its roles", "none"),
    "labels.NAME": Key("as Kubernetes has them"),
    "upgrade": Key("how its instances are made anew when a rollout, a restart, a reimage or a rebuild is of several"),
    "upgrade.domains": Key("instances are spread over so many by index; one begins when the last is done", "one"),
    "upgrade.maxUnavailable": Key(
        "of a role at a time, whatever took them out, and no more than its healing.maxUnavailable; a part is rounded "
        "down to 1 or more",
        "1",
    ),
    "upgrade.mode": Key("whether a rollout waits before each domain for: vmrole rollout next", "auto"),
    "upgrade.order": Key("of a role's instances, and of the domains", "ascending"),
    "upgrade.within": Key("how long an instance may take until it serves", "as long as its phases may"),
    "upgrade.soak": Key("how long a new instance must serve before the next domain begins", "0 s"),
    "upgrade.onFailure": Key("what a rollout does when an instance fails, or is unwell within its soak", "halt"),
    "upgrade.canary": Key("so many instances first; a rollout then pauses until: vmrole rollout resume", "0"),
    "healing": Key("what healing may do to all its instances together"),
    "healing.reimagesPerHour": Key("the most that it makes anew within an hour", "as vmrole.toml says"),
    "roles": Key("its kinds of instances, by name"),
    **{f"roles.NAME.{key}": about for key, about in _ROLE.items()},
    "roles.NAME.answers.unattend": Key("for images that read Unattend.xml"),
    **{f"roles.NAME.answers.unattend.{key}": about for key, about in _UNATTEND.items()},
}


_MEANT: Final = {"heartbeat": "silence", "heartbeatTimeout": "silence"}  # what others call a key
_VERBS: Final = {
    "maintenance": "a verb: vmrole protect INSTANCE, until: vmrole unprotect INSTANCE",
    "protected": "a verb: vmrole protect INSTANCE, until: vmrole unprotect INSTANCE",
    "paused": "a verb: vmrole pause SERVICE, until: vmrole resume SERVICE",
}


def elsewhere(word: str) -> str:
    """Where a key of this name stands and what it is there, for who has put it somewhere else; "" when nowhere, or
    in several places. What is no key but a verb, or what others call a key, is found as well.
    """
    if word in _VERBS:
        return _VERBS[word]
    word = _MEANT.get(word, word)
    places = [path for path in KEYS if path.rpartition(".")[2] == word]
    return f"{places[0]}: {KEYS[places[0]].about}" if len(places) == 1 else ""

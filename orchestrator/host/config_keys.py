"""The keys of vmrole.toml in one table: what each means, and what it takes. Standard library only.

The reader, the example of docs/examples, the manual page and `vmrole init` are made of it; the defaults are those of
`config.Config`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_WIDTH = 118


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key. `sample` (as TOML) is shown where the default, or none, shows nothing."""

    about: str
    sample: str = ""
    choices: tuple[str, ...] = ()
    bounds: tuple[int, int] | None = None  # both included
    environment: str = ""  # the variable that is laid over it


KEYS: Final[dict[str, Key]] = {
    "vip_interface": Key(
        about=(
            "The interface of this host at which services get their virtual addresses (VIPs). Without it no service "
            "with a VIP can be applied, so this is the line to begin with: `ip -br link` lists the interfaces."
        ),
        sample='"eth0"',
    ),
    "vip_pool": Key(
        about=("Networks that VIPs are taken from, with a blank between them. Without it: those of vip_interface."),
        sample='"203.0.113.0/28"',
    ),
    "network_pool": Key(
        about=(
            "Private networks are cut from this one, a /24 for each service. Nothing else of the site may use it."
        ),
    ),
    "egress_deny": Key(
        about=(
            "Networks that guests do not reach by way of this host, whatever it reaches itself: what they send there "
            "is refused at once. Names, DHCP, VIPs and their own service are not meant, nor what answers clients of "
            "a VIP. [] for none; 169.254.0.0/16 is refused in any case, unless egress_allow names it."
        ),
    ),
    "egress_allow": Key(
        about=(
            'Exceptions: your own network, or the mirror and the domain controller in it, "192.168.1.5/32". Where '
            "both lists name an address, the longer prefix decides, and of two that are equal the exception."
        ),
    ),
    "bridges": Key(
        about=(
            "Bridges of this host that service files may name (network.bridge): whoever may apply a service puts "
            "guests on them, who speak to whatever is there. Without it, none. What is applied keeps its bridge."
        ),
    ),
    "shares": Key(
        about=(
            "Directories of this host that service files may name (shares.NAME.source), by their real paths: guests "
            "of whoever may apply a service read all that is in them, whatever its modes say, and write nothing. "
            "Without it, none. Only root may be able to write above them. What is applied keeps its share."
        ),
    ),
    "pci": Key(
        about=(
            'PCI devices of this host that service files may name (devices.pci): by their place, "0000:01:00.0", by '
            'what they are, "10de:2204", or by their class, "class:0300", as lspci -Dnn shows them. Guests of '
            "whoever may apply a service have them to themselves, their firmware too, and the host does without them "
            "meanwhile. Without it, none. What is applied keeps its devices."
        ),
    ),
    "forwarding": Key(
        about=(
            "Guests need a host that routes (net.ipv4.ip_forward). Where it did not before, it goes on to forward "
            "nothing that is neither from nor to a guest, so that it is no router between its other networks; it "
            'says so in its log, and the switch is off again when the last service is deleted. "all" lets everything '
            "pass: for containers or VMs of others that came later."
        ),
        choices=("auto", "all"),
    ),
    "state_dir": Key(
        about=(
            "Images, overlays, local storage, the records. QEMU's user must be able to pass through it and what is "
            "above it, so nothing below /root or a home directory. Only root may be able to write to it."
        ),
        environment="VMROLE_STATE_DIR",
    ),
    "run_dir": Key(
        about=(
            "Sockets and answer discs. Passwords lie there while a guest is set up, so it must be in memory: /run is."
        ),
        environment="VMROLE_RUN_DIR",
    ),
    "checkpoint_memory_dir": Key(
        about=(
            "The tmpfs for the memory of checkpoints whose role would have it in RAM (checkpoint: {memory: true}); "
            "vmrole makes a directory of its own in it. Where it is no tmpfs, has no room, or what is to be made "
            "there is somebody else's, the memory lies in state_dir, which why and the ledger tell. What lies at a "
            "former place is found no more: those instances boot at their next reimage, and it is for you to erase."
        ),
    ),
    "socket": Key(
        about="The daemon's socket. Without it: vmrole.sock in run_dir.",
        environment="VMROLE_SOCKET",
    ),
    "socket_group": Key(
        about=(
            "Members may use the socket: apply, reimage, delete any service. Where there is no such group, root "
            "alone may."
        ),
    ),
    "readers_group": Key(
        about="Members may look, by vmrole-read.sock beside the socket: no console, no change.",
    ),
    "api_listen": Key(
        about=(
            "Where the daemon listens to the network besides its socket, by TLS alone: ADDRESS:PORT, of IPv6 "
            "[ADDRESS]:PORT. Without it no one reaches it from another host. Who may ask for what is said by tokens: "
            "`vmrole token create`."
        ),
        sample='"203.0.113.1:8443"',
    ),
    "api_certificate": Key(
        about=(
            "What it proves itself with there: a file with its certificate, the chain behind it, and behind that the "
            "private key unless api_key has it. It is root's, and read anew when it changes."
        ),
        sample='"/etc/vmrole/api.pem"',
    ),
    "api_key": Key(
        about="The private key of that certificate; a file that root alone can read.",
        sample='"/etc/vmrole/api.key"',
    ),
    "api_client_ca": Key(
        about=(
            "Who signs certificates of clients: a file with one or more. A certificate alone opens nothing: its "
            "common name is given a right by `vmrole token create NAME --certificate`."
        ),
        sample='"/etc/vmrole/clients-ca.pem"',
    ),
    "secrets_dir": Key(
        about=(
            "What a service file names {secret: NAME} is the file NAME in SERVICE/ of this directory, which only "
            "that service may name, or else in the directory itself. Directories and files belong to root, and "
            "nobody else may write to them."
        ),
    ),
    "secrets_env": Key(
        about=(
            "Variables of the daemon's environment that a service file may name {env: NAME}. They are for every "
            "service."
        ),
    ),
    "libvirt_uri": Key(about="The hypervisor."),
    "accelerator": Key(
        about=('"auto" boots a guest to find out whether KVM works here; "kvm" and "tcg" are taken without trying.'),
        choices=("auto", "kvm", "tcg"),
    ),
    "haproxy": Key(about="The load balancer's program."),
    "image_virtual_size_max_gib": Key(about="The largest disk that an image may have.", bounds=(1, 2**20)),
    "memory_reserve_mib": Key(about="Memory that instances leave to the host.", bounds=(0, 2**30)),
    "memory_overcommit_percent": Key(
        about=(
            "The memory of all instances together is at most so many per cent of what the host has for them. 100 "
            "promises none twice. More needs memory that guests do not use or that they have alike (KSM), or swap: "
            "when neither is left the kernel ends a VM, which is healed. `vmrole doctor` says what there is."
        ),
        bounds=(100, 1_000),
    ),
    "disk_reserve_mib": Key(
        about=(
            "Room below state_dir that instances and images leave to the host; of a small file system a twentieth is "
            "left."
        ),
        bounds=(0, 2**40),
    ),
    "vcpu_overcommit": Key(
        about="All vCPUs together are at most so many times the CPUs of this host.",
        bounds=(1, 10_000),
    ),
    "disk_overcommit": Key(
        about=(
            "All disks together, as large as they may become, are at most so many times the room that there is. An "
            "overlay holds what its guest has written since the last reimage, most often a small part of the disk; 1 "
            "promises nothing twice, so that no guest is ever paused by what others write. `vmrole doctor` says how "
            "many times it is by now."
        ),
        bounds=(1, 10_000),
    ),
    "service_reimages_per_hour": Key(
        about=(
            "Healing makes at most so many instances of a service anew within an hour, unless its file says another "
            "number (healing.reimagesPerHour). What people ask for is not counted."
        ),
        bounds=(0, 100_000),
    ),
    "host_reimages_per_hour": Key(
        about="The same of all services together.",
        bounds=(0, 100_000),
    ),
    "evidence_most": Key(
        about=(
            "Of how many failures on this host what explains them is kept, beside the last five of each instance; "
            "the oldest go first: vmrole evidence ls."
        ),
        bounds=(1, 100_000),
    ),
    "evidence_mib": Key(about="How many MiB all of it may take.", bounds=(1, 1_000_000)),
    "evidence_days": Key(about="For how many days it is kept at most.", bounds=(1, 3650)),
    "evidence_disks_mib": Key(
        about="How many MiB the disks of failures may take that roles ask for (evidence: {disk: true}).",
        bounds=(0, 100_000_000),
    ),
    "evidence_disk_hours": Key(about="For how many hours such a disk is kept.", bounds=(1, 10_000)),
    "blob_mib": Key(
        about="How many MiB a blob may have that a guest puts by (vmrole-guest blob put).", bounds=(1, 1_000)
    ),
    "blobs_mib": Key(
        about=(
            "How many MiB the blobs of an instance may have together, and likewise those of a role; 0: no more are "
            "put, and what is there can be got."
        ),
        bounds=(0, 1_000_000),
    ),
    "boot_together": Key(
        about=(
            "How many VMs boot at a time when the host comes up; who has served, failed, or taken five minutes makes "
            "room for the next. 0: as many as the host has CPUs, and two at least."
        ),
        bounds=(0, 10_000),
    ),
    "workers": Key(about="How many instances are worked on at the same time.", bounds=(1, 1024)),
    "log_style": Key(
        about=(
            '"auto" writes lines for people on a terminal, fields where systemd\'s journal is connected, and '
            'JSON elsewhere; or "text", "journal" or "json".'
        ),
        choices=("auto", "text", "journal", "json"),
    ),
    "log_level": Key(
        about='"debug", "info", "warning" or "error".',
        choices=("debug", "info", "warning", "error"),
    ),
}
API_FILES = ("api_certificate", "api_key", "api_client_ca")
NETWORK_LISTS = ("egress_deny", "egress_allow")
_SYSTEM = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/var/lib/libvirt",
)
PCI_NAMES: Final = (  # as a service file has them
    "^(([0-9A-Fa-f]{4}:)?[0-9A-Fa-f]{2}:[01][0-9A-Fa-f][.][0-7]|[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}|class:[0-9A-Fa-f]{4})$"
)
PCI_NAMED: Final = "0000:01:00.0, 10de:2204 (vendor and device) or class:0300, as lspci -Dnn shows them"
_NOBODY_S = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")  # RFC 6890: addresses of no one machine


def block(key: str, written: str, *, takes_effect: bool) -> str:
    """The lines of a key in a file: its words, then `key = written`, as a comment unless it takes effect."""
    words = textwrap.fill(KEYS[key].about, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    return f"{words}\n{'' if takes_effect else '#'}{key} = {written}\n"


def shares_fault(shares: Sequence[str], own: Sequence[Path]) -> str:
    """Which of these directories no guest may read, for what is in it; "" for none. `own`: where the daemon keeps
    what it has. Links are followed.
    """
    for share in shares:
        place = Path(share).resolve()
        system = next((name for name in _SYSTEM if place.is_relative_to(name)), None)
        if place == Path("/") or system is not None:
            return f"{share} is the system's own"
        for ours in (each.resolve() for each in own):
            if place.is_relative_to(ours) or ours.is_relative_to(place):
                return f"{share} and {ours}, where vmrole keeps what is its own, lie in each other"
    return ""


def api_fault(key: str, text: str) -> tuple[str, str] | None:
    """What is wrong with a key of the listener for the network, and what would be right; None when nothing is."""
    if key in API_FILES:
        return None if not text or text.startswith("/") else (text, "use an absolute path")
    if key != "api_listen" or not text:
        return None
    try:
        address_and_port(text)
    except ValueError:
        return f"{text[:80]!r} is no address and port", "write 203.0.113.1:8443, or [2001:db8::1]:8443"
    return None


def address_and_port(text: str) -> tuple[str, int]:
    """Of `203.0.113.1:8443` or `[2001:db8::1]:8443`. Raises ValueError."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    if bracketed != (address.version == 6):
        raise ValueError(text)
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise ValueError(text)
    return str(address), int(port)


def network_fault(key: str, value: str | Sequence[str]) -> tuple[str, str] | None:
    """What is wrong with the networks of a key, and what would be right; None when nothing is."""
    if key in NETWORK_LISTS:
        return next((fault for each in value if (fault := _no_network(each))), None)
    text = str(value)
    if key == "vip_pool":
        for each in text.split():
            try:
                ipaddress.ip_network(each)
            except ValueError as error:
                return str(error), "networks, with a blank between them, such as 203.0.113.0/28"
    return _pool_fault(text) if key == "network_pool" else None


def _pool_fault(text: str) -> tuple[str, str] | None:
    try:
        pool = ipaddress.IPv4Network(text)
    except ValueError as error:
        return str(error), "an IPv4 network such as 10.90.0.0/16"
    if pool.prefixlen > 24:
        return f"{pool} is too small", "each service takes a /24 of it"
    if any(pool.overlaps(ipaddress.IPv4Network(each)) for each in _NOBODY_S):
        hint = "an IPv4 network for machines, such as 10.90.0.0/16"
        return f"no machine can have every address of {pool}", hint
    return None


def _no_network(text: str) -> tuple[str, str] | None:
    """Why the text is no IPv4 network, and what would be; None when it is."""
    try:
        ipaddress.IPv4Network(text)
    except ValueError as error:
        try:
            meant = ipaddress.IPv4Network(text, strict=False)
        except ValueError:
            return f"{text[:80]!r} is not an IPv4 network", "write ADDRESS/LENGTH, such as 192.168.1.0/24"
        return str(error), f"{meant} for the whole network, or {text.partition('/')[0]}/32"
    return None

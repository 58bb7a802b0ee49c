"""The public SSH host keys of a guest, as lines of a known_hosts file. What a guest shows is judged here. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

from orchestrator.model import Mode, Os, Role

TEXT_MAX_BYTES: Final = 8192  # of a public key's file: of RSA with 16384 bits and a comment it is a third
SSH_PORT: Final = 22
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {  # what stands in a file, by what sshd calls it
    "ed25519": ("ssh-ed25519",),
    "ecdsa": ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    "rsa": ("ssh-rsa",),
}
_FOLDERS: Final = {Os.LINUX: "/etc/ssh/", Os.WINDOWS: "C:\\ProgramData\\ssh\\"}
_LENGTH_BYTES: Final = 4  # RFC 4253: before the name of the algorithm in a key's blob


def files(system: Os) -> Mapping[str, str]:
    """Where sshd has its public keys in a guest: path by kind."""
    return {kind: f"{_FOLDERS[system]}ssh_host_{kind}_key.pub" for kind in _KINDS}


def public_key(kind: str, text: bytes) -> str | None:
    """ALGORITHM and BASE64 of a public key's file, without its comment; None when it is no key of that kind.

    It is what it says: base64 in its own spelling, of a blob that begins with the same algorithm.
    """
    line, _, more = text.rstrip(b"\r\n").partition(b"\n")
    words = line.split(b" ", 2)
    if len(text) > TEXT_MAX_BYTES or more or len(words) < 2:
        return None
    algorithm = next((name for name in _KINDS[kind] if name.encode() == words[0]), None)
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        return None
    if algorithm is None or base64.b64encode(blob) != words[1]:
        return None
    named = len(algorithm).to_bytes(_LENGTH_BYTES) + algorithm.encode()
    return f"{algorithm} {words[1].decode()}" if blob.startswith(named) and len(blob) > len(named) else None


def known_as(name: str, address: str, role: Role, vip: str, index: int) -> Sequence[str]:
    """By what a client knows the instance's sshd, as known_hosts spells it: its name, its address, and where ports
    of the VIP lead to port 22 of it alone.
    """
    doors = [
        end.ports.first + index
        for end in role.instance_endpoints
        if vip and end.target == SSH_PORT and end.mode is Mode.TCP and index < end.ports.number
    ]
    return (name, address, *(vip if port == SSH_PORT else f"[{vip}]:{port}" for port in doors))

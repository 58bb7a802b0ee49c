"""What is taken for a public host key of a guest, and by what clients know its sshd."""

from __future__ import annotations

import base64
import dataclasses

import pytest

from orchestrator.model import InstanceEndpoint, Mode, Os
from orchestrator.model.template import Ports
from orchestrator.rules import host_keys
from tests.world.instances import instance


def blob(algorithm: str, named: str = "") -> str:
    """The base64 of a key that names its algorithm, or another one."""
    name = (named or algorithm).encode()
    return base64.b64encode(len(name).to_bytes(4) + name + bytes(range(64))).decode()


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("ed25519", "ssh-ed25519"),
        ("ecdsa", "ecdsa-sha2-nistp256"),
        ("ecdsa", "ecdsa-sha2-nistp521"),
        ("rsa", "ssh-rsa"),
    ],
)
@pytest.mark.parametrize("comment", ["", " root@web-0", " two words", " \x1b]0;owned\x07", " \xff"])
def test_a_key_is_told_without_its_comment(kind: str, algorithm: str, comment: str) -> None:
    """Whatever stands there: it is the guest's."""
    text = f"{algorithm} {blob(algorithm)}{comment}\n".encode("latin-1")
    assert host_keys.public_key(kind, text) == f"{algorithm} {blob(algorithm)}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "ssh-ed25519",
        "ssh-ed25519 ",
        "ssh-ed25519 AAAA",
        f"ssh-rsa {blob('ssh-rsa')}",  # of another kind than its file
        f"ssh-ed25519 {blob('ssh-ed25519', 'ssh-rsa')}",  # it is another than it says
        f"ssh-dss {blob('ssh-dss')}",
        f"@cert-authority * ssh-ed25519 {blob('ssh-ed25519')}",
        f'command="x" ssh-ed25519 {blob("ssh-ed25519")}',
        f"* ssh-ed25519 {blob('ssh-ed25519')}",
        f"ssh-ed25519\t{blob('ssh-ed25519')}",
        f"ssh-ed25519 {blob('ssh-ed25519')}\nbank.example ssh-ed25519 {blob('ssh-ed25519')}\n",
        f"ssh-ed25519 {blob('ssh-ed25519')}\0",
        f"ssh-ed25519 {blob('ssh-ed25519')[:-4]}!!!!",
        f"ssh-ed25519 {blob('ssh-ed25519')}====",
        f"ssh-ed25519 {blob('ssh-ed25519')} {'x' * host_keys.TEXT_MAX_BYTES}",
        "root:$6$salt$hash:19000:0:99999:7:::\n",
    ],
)
def test_what_is_no_key_is_not_told(text: str) -> None:
    """A line that a known_hosts file would take for something else, and a text without an end, among it."""
    assert host_keys.public_key("ed25519", text.encode()) is None


def test_an_instance_is_known_by_its_ports_that_lead_to_ssh() -> None:
    """Port 22 of the VIP has no brackets in a known_hosts file; ports that lead elsewhere are not of its sshd."""
    role = dataclasses.replace(
        instance().role,
        instance_endpoints=(
            InstanceEndpoint(name="ssh", ports=Ports(10022, 10031), target=22),
            InstanceEndpoint(name="low", ports=Ports(21, 30), target=22),
            InstanceEndpoint(name="few", ports=Ports(11022, 11022), target=22),
            InstanceEndpoint(name="udp", ports=Ports(12022, 12031), target=22, mode=Mode.UDP),
            InstanceEndpoint(name="http", ports=Ports(8080, 8090), target=80),
        ),
    )
    known = host_keys.known_as("web-1.shop", "10.90.0.11", role, "203.0.113.10", 1)
    assert [*known] == ["web-1.shop", "10.90.0.11", "[203.0.113.10]:10023", "203.0.113.10"]
    assert [*host_keys.known_as("web-1.shop", "10.90.0.11", role, "", 1)] == ["web-1.shop", "10.90.0.11"]


def test_each_system_has_its_keys_in_its_own_place() -> None:
    """Fixed ones: nothing that a guest says becomes a path."""
    assert host_keys.files(Os.LINUX)["rsa"] == "/etc/ssh/ssh_host_rsa_key.pub"
    assert host_keys.files(Os.WINDOWS)["ed25519"] == r"C:\ProgramData\ssh\ssh_host_ed25519_key.pub"

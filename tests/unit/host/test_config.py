"""The configuration: defaults, file, environment, and every fault with what would be right."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.host import config
from tests.world.places import REPOSITORY

EXAMPLE = REPOSITORY / "docs" / "examples" / "vmrole.toml"


def loaded(tmp_path: Path, text: str, **environment: str) -> config.Config:
    """The configuration that a file with this text makes."""
    file = tmp_path / "vmrole.toml"
    file.write_text(text)
    return config.load(file, environment)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    """Every key has a default."""
    assert loaded(tmp_path, "") == config.Config()


def test_the_docstring_names_every_key() -> None:
    """What the reader finds in the module's docstring is all there is."""
    assert config.__doc__ is not None
    for name in config.Config.__dataclass_fields__:
        assert f"{name} = " in config.__doc__


def test_the_socket_follows_the_run_directory(tmp_path: Path) -> None:
    """Moving run_dir moves the socket, unless that is named too."""
    assert loaded(tmp_path, 'run_dir = "/run/x"').socket == Path("/run/x/vmrole.sock")
    assert loaded(tmp_path, 'run_dir = "/run/x"\nsocket = "/run/y.sock"').socket == Path("/run/y.sock")


def test_the_environment_wins(tmp_path: Path) -> None:
    """What is in the environment is laid over the file."""
    found = loaded(tmp_path, 'state_dir = "/a"', VMROLE_STATE_DIR="/b", VMROLE_SOCKET="/c.sock")
    assert (found.state_dir, found.socket) == (Path("/b"), Path("/c.sock"))


def test_a_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    """VMROLE_CONFIG names the file."""
    (tmp_path / "x.toml").write_text("workers = 3")
    assert config.load(None, {"VMROLE_CONFIG": str(tmp_path / "x.toml")}).workers == 3


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('vip_interfase = "eth0"', "did you mean vip_interface?"),
        ("workers = 0", "1 to 1024"),
        ("workers = 99999999", "1 to 1024"),
        ('haproxy = ""', "leave it out for 'haproxy'"),
        ('state_dir = "/a\\u0000b"', "leave it out"),
        ('workers = "many"', "not a number"),
        ("workers = true", "not a number"),
        ("libvirt_uri = 5", "not a string"),
        ('secrets_env = "ADMIN"', 'secrets_env = ["NAME"]'),
        ("secrets_env = [1]", 'secrets_env = ["NAME"]'),
        ('accelerator = "xen"', "auto, kvm, tcg"),
        ('forwarding = "none"', "auto, all"),
        ('state_dir = "here"', "absolute path"),
        ('network_pool = "10.90.0.0/30"', "a /24 of it"),
        ('network_pool = "10.90.0.1/16"', "IPv4 network"),
        ('network_pool = "0.0.0.0/0"', "for machines"),
        ('network_pool = "127.0.0.0/8"', "for machines"),
        ('network_pool = "224.0.0.0/8"', "for machines"),
        ('vip_pool = "203.0.113.0/28 eth0"', "vip_pool"),
        ('vip_pool = "203.0.113.10/24"', "vip_pool"),
        ('egress_deny = "10.0.0.0/8"', "not a list of networks"),
        ("egress_deny = [10]", 'egress_deny = ["192.168.1.0/24"]'),
        ('egress_deny = ["10.0.0.1/8"]', "10.0.0.0/8 for the whole network, or 10.0.0.1/32"),
        ('egress_allow = ["192.168.1.0/24", "the LAN"]', "egress_allow: 'the LAN' is not an IPv4 network"),
        ('egress_allow = ["fd00::/8"]', "192.168.1.0/24"),
        ('egress_allow = ["10.0.0.0/33"]', "not an IPv4 network"),
        ("workers", "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
    ],
)
def test_a_fault_names_file_key_and_remedy(tmp_path: Path, text: str, word: str) -> None:
    """The daemon refuses to start with a sentence that helps."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert "vmrole.toml" in str(caught.value)
    assert word in f"{caught.value} {caught.value.hint}"


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """Each with its line, in the order of the file, and what would be right; what the environment says has none."""
    text = """\
# of this host
workers = 0
vip_interfase = "eth0"

"network_pool" = "10.90.0.0/30"
accelerator = "xen"
secrets_env = "ADMIN"
[log_level]
"""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, VMROLE_RUN_DIR="here")
    file = tmp_path / "vmrole.toml"
    assert str(caught.value).splitlines() == [
        f"{file}: run_dir: 'here' (use an absolute path)",
        f"{file}: socket: 'here/vmrole.sock' (use an absolute path)",
        f"{file}:2: workers: 0 (use 1 to 1024)",
        f"{file}:3: vip_interfase: there is no such key (did you mean vip_interface?)",
        f"{file}:5: network_pool: 10.90.0.0/30 is too small (each service takes a /24 of it)",
        f"{file}:6: accelerator: 'xen' (use one of: auto, kvm, tcg)",
        f"{file}:7: secrets_env: 'ADMIN' is not a list of names (write secrets_env = [\"NAME\"])",
        f'{file}:8: log_level: {{}} is not a string (write log_level = "…")',
    ]


def test_the_example_has_every_key_with_its_default(tmp_path: Path) -> None:
    """Its lines can be taken as they are; all but those about VIPs say what holds without them."""
    text = EXAMPLE.read_text()
    assert loaded(tmp_path, text) == config.Config()
    switched_on = re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)
    found = loaded(tmp_path, switched_on)
    assert set(tomllib.loads(switched_on)) == set(config.Config.__dataclass_fields__)
    assert dataclasses.replace(found, vip_interface="", vip_pool="") == config.Config()
    blocks = text.split("\n\n")
    assert [block for block in blocks if "\n#" in block and not block.startswith("# ")] == []


def test_networks_that_guests_reach_or_not(tmp_path: Path) -> None:
    """A list of its own is instead of the one that holds without it."""
    found = loaded(tmp_path, 'egress_deny = ["203.0.113.0/24"]\negress_allow = ["203.0.113.7", "203.0.113.8/30"]')
    assert (found.egress_deny, found.egress_allow) == (("203.0.113.0/24",), ("203.0.113.7", "203.0.113.8/30"))
    assert loaded(tmp_path, "egress_deny = []").egress_deny == ()


def test_a_missing_file_that_was_named_is_a_fault(tmp_path: Path) -> None:
    """The default file may be absent; a named one may not."""
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        config.load(tmp_path / "absent.toml", {})

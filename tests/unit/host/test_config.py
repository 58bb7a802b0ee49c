"""The configuration: defaults, files, environment, and every fault with what would be right.

`python -m tests.unit.host.test_config` writes docs/examples/vmrole.toml.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.host import config, config_file, config_keys
from orchestrator.model import pci
from tests.world.places import REPOSITORY

EXAMPLE = REPOSITORY / "docs" / "examples" / "vmrole.toml"
SHOWN = ("vip_interface", "vip_pool", "api_listen", "api_certificate", "api_key", "api_client_ca")  # by a sample


def loaded(tmp_path: Path, text: str, **environment: str) -> config.Config:
    """The configuration that a file with this text makes."""
    file = tmp_path / "vmrole.toml"
    file.write_text(text)
    return config.load(file, environment)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    """Every key has a default."""
    assert loaded(tmp_path, "") == config.Config()


def test_the_table_has_every_key_and_its_bounds() -> None:
    """What the example and the manual are made of is all there is; a number has bounds."""
    assert set(config_keys.KEYS) == set(config.Config.__dataclass_fields__)
    numbers = {key for key, value in config.defaults().items() if isinstance(value, int)}
    assert {key for key, one in config_keys.KEYS.items() if one.bounds} == numbers


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
        ('checkpoint_memory_dir = "shm"', "absolute path"),
        ('checkpoint_memory_dir = ""', "leave it out for '/dev/shm'"),
        ("checkpoint_memory_dir = true", "not a string"),
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
        ('bridges = "br0"', 'bridges = ["NAME"]'),
        ('bridges = ["br 0"]', "can be no bridges"),
        ('bridges = ["br0", "../x"]', "can be no bridges"),
        ('bridges = ["br0123456789abcde"]', "ip -brief link show type bridge"),
        ('pci = "0000:01:00.0"', 'pci = ["NAME"]'),
        ('pci = ["gpu"]', "'gpu' names no PCI device"),
        ('pci = ["10de:2204", "../../etc"]', "such as 0000:01:00.0, 10de:2204 (vendor and device) or class:0300"),
        ('shares = "/srv"', 'shares = ["NAME"]'),
        ('shares = ["srv/data"]', "'srv/data' is no path of a directory"),
        ('shares = ["/srv/data", "/srv/../etc"]', "'/srv/../etc' is no path of a directory"),
        ('shares = ["/"]', "'/' is no path of a directory"),
        ('shares = ["/srv/a,b"]', "'/srv/a,b' is no path of a directory"),
        ('shares = ["/etc/ssl"]', "/etc/ssl is the system's own"),
        ('shares = ["/var/lib"]', "/var/lib and /var/lib/vmrole, where vmrole keeps what is its own"),
        ('shares = ["/var/lib/vmrole/images"]', "/var/lib/vmrole/images and /var/lib/vmrole, where vmrole keeps"),
        ('shares = ["/var/lib/libvirt/swtpm"]', "/var/lib/libvirt/swtpm is the system's own"),
        ('shares = ["/srv/ram"]\ncheckpoint_memory_dir = "/srv/ram"', "/srv/ram and /srv/ram, where vmrole keeps"),
        ('shares = ["/srv/s"]\nsecrets_dir = "/srv/s/ecret"', "/srv/s and /srv/s/ecret, where vmrole keeps"),
        ('api_listen = "8443"', "write 203.0.113.1:8443"),
        ('api_listen = "host:8443"', "is no address and port"),
        ('api_listen = "203.0.113.1"', "is no address and port"),
        ('api_listen = "203.0.113.1:0"', "is no address and port"),
        ('api_listen = "203.0.113.1:65536"', "is no address and port"),
        ('api_listen = "2001:db8::1:8443"', "[2001:db8::1]:8443"),
        ('api_listen = "[203.0.113.1]:8443"', "is no address and port"),
        ("api_listen = 8443", "not a string"),
        ('api_certificate = "api.pem"', "absolute path"),
        ('api_key = "api.key"', "absolute path"),
        ('api_client_ca = "~/ca.pem"', "absolute path"),
        ("workers", "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
        ("a = " + "9" * 6000, "not TOML"),
        ('api_key = "\\u001b[31m"', "nobody sees"),
        ('socket_group = "a\\u0007b"', "nobody sees"),
        ('secrets_env = ["A\\u0000"]', "nobody sees"),
        ('haproxy = "a\\u202eb"', "nobody sees"),
        ('vip_interface = "far-too-long-a-name"', "can be no interface"),
        ('vip_interface = "a/b"', "can be no interface"),
        ('vip_interface = "a b"', "can be no interface"),
        ('vip_interface = ".."', "can be no interface"),
    ],
)
def test_a_fault_names_file_key_and_remedy(tmp_path: Path, text: str, word: str) -> None:
    """The daemon refuses to start with a sentence that helps."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert "vmrole.toml" in str(caught.value)
    assert word in f"{caught.value} {caught.value.hint}"
    assert str(caught.value).isprintable()


def test_where_to_listen_is_an_address_and_a_port(tmp_path: Path) -> None:
    """Of both kinds; none is the default: nobody reaches the daemon from the network."""
    assert config.Config().api_listen == ""
    for text, pair in (("0.0.0.0:1", ("0.0.0.0", 1)), ("[2001:DB8::1]:65535", ("2001:db8::1", 65535))):
        assert config_keys.address_and_port(loaded(tmp_path, f'api_listen = "{text}"').api_listen) == pair


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
        f"{file}:2: workers: 0 (use 1 to 1024)",
        f"{file}:3: vip_interfase: there is no such key (did you mean vip_interface?)",
        f"{file}:5: network_pool: 10.90.0.0/30 is too small (each service takes a /24 of it)",
        f"{file}:6: accelerator: 'xen' (use one of: auto, kvm, tcg)",
        f"{file}:7: secrets_env: 'ADMIN' is not a list of names (write secrets_env = [\"NAME\"])",
        f'{file}:8: log_level: {{}} is not a string (write log_level = "…")',
        "environment VMROLE_RUN_DIR: run_dir: 'here' (use an absolute path)",
    ]


def test_the_example_has_every_key_with_its_default(tmp_path: Path) -> None:
    """Its lines can be taken as they are; all but those that show a sample say what holds without them."""
    text = EXAMPLE.read_text()
    assert loaded(tmp_path, text) == config.Config()
    switched_on = re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)
    found = loaded(tmp_path, switched_on)
    assert set(tomllib.loads(switched_on)) == set(config.Config.__dataclass_fields__)
    assert dataclasses.replace(found, **dict.fromkeys(SHOWN, "")) == config.Config()
    blocks = text.split("\n\n")
    assert [block for block in blocks if "\n#" in block and not block.startswith("# ")] == []


def test_the_example_is_made_of_the_table() -> None:
    """A key that is added there stands in the example."""
    assert EXAMPLE.read_text() == config_file.text({}), "run: python -m tests.unit.host.test_config"


def test_a_file_is_written_as_it_is_read(tmp_path: Path) -> None:
    """Whatever is said, quotes and backslashes included, is what the reader finds in it."""
    values = {"haproxy": 'a "b" \\ c', "workers": 3, "egress_allow": ("192.0.2.1/32",), "state_dir": Path("/s")}
    assert loaded(tmp_path, config_file.text(values)) == config.Config(**values)


def parts(tmp_path: Path, **texts: str) -> Path:
    """vmrole.toml and files of conf.d, by name; returns the first."""
    (tmp_path / "conf.d").mkdir()
    for name, text in texts.items():
        (tmp_path / "conf.d" / f"{name}.toml").write_text(text)
    (tmp_path / "vmrole.toml").write_text("workers = 1\nvcpu_overcommit = 2\negress_allow = ['192.0.2.1']\n")
    return tmp_path / "vmrole.toml"


def test_files_of_conf_d_come_after_it_by_name(tmp_path: Path) -> None:
    """The later one wins, key by key; a list is instead of the earlier one; hidden and other files are not read."""
    file = parts(tmp_path, b="workers = 3\n", a="workers = 2\negress_allow = ['192.0.2.2']\n")
    (tmp_path / "conf.d" / ".c.toml").write_text("disk_overcommit = 9")
    (tmp_path / "conf.d" / "d.toml.dpkg-old").write_text("workers = 9")
    found = config.settle(file, {"VMROLE_RUN_DIR": "/r", "VMROLE_STATE_DIR": ""})
    assert found.config == config.Config(
        workers=3,
        vcpu_overcommit=2,
        egress_allow=("192.0.2.2",),
        run_dir=Path("/r"),
        socket=Path("/r/vmrole.sock"),
    )
    said = {key: origin for key, origin in found.origins.items() if origin != "default"}
    assert said == {
        "workers": f"{tmp_path}/conf.d/b.toml:1",
        "vcpu_overcommit": f"{tmp_path}/vmrole.toml:2",
        "egress_allow": f"{tmp_path}/conf.d/a.toml:2",
        "run_dir": "environment VMROLE_RUN_DIR",
        "socket": "run_dir (environment VMROLE_RUN_DIR)",
    }
    assert list(found.origins) == list(config_keys.KEYS)


def test_conf_d_is_read_without_the_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever installs a file there needs no other."""
    parts(tmp_path, a="workers = 7").unlink()
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "vmrole.toml")
    assert config.load(None, {}).workers == 7


def test_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    """Each with its file and line and the nearest key; also what a later file would stand in for."""
    file = parts(tmp_path, a="\nvip_interfase = 'eth0'\nworkers = 0\n", b="workers = 3\n", c="workers")
    with pytest.raises(ConfigError) as caught:
        config.load(file, {})
    first, second, third = str(caught.value).splitlines()
    assert first == f"{tmp_path}/conf.d/a.toml:2: vip_interfase: there is no such key (did you mean vip_interface?)"
    assert second == f"{tmp_path}/conf.d/a.toml:3: workers: 0 (use 1 to 1024)"
    assert third.startswith(f"{tmp_path}/conf.d/c.toml: not TOML: ")


def test_the_order_of_faults_is_that_of_the_files(tmp_path: Path) -> None:
    """Also where the first file is no TOML at all."""
    file = parts(tmp_path, a="workers", b="worker = 1")
    with pytest.raises(ConfigError) as caught:
        config.load(file, {"VMROLE_RUN_DIR": "x"})
    assert re.findall(r"(\w+)\.toml|environment", str(caught.value)) == ["a", "b", ""]


@pytest.mark.parametrize("kind", ["directory", "dangling", "binary", "file"])
def test_what_cannot_be_read_of_conf_d_is_a_fault(tmp_path: Path, kind: str) -> None:
    """A part that is silently passed by would be a setting that does not hold."""
    file = parts(tmp_path)
    part = tmp_path / "conf.d" / "a.toml"
    match kind:
        case "directory":
            part.mkdir()
        case "dangling":
            part.symlink_to(tmp_path / "none")
        case "binary":
            part.write_bytes(b"\xff")
        case _:
            part.parent.rmdir()
            part = part.parent
            part.write_text("")
    with pytest.raises(ConfigError, match=re.escape(str(part))) as caught:
        config.load(file, {})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("qemu+ssh://me:pa$s@host/system", "qemu+ssh://me:***@host/system"),
        ("qemu+ssh://me:p@ss@host/system", "qemu+ssh://me:***@host/system"),
        ("qemu+ssh://me@host:22/system", "qemu+ssh://me@host:22/system"),
        ("qemu:///system", "qemu:///system"),
    ],
)
def test_a_password_is_not_shown(tmp_path: Path, uri: str, shown: str) -> None:
    """Neither with the value nor in a fault of it; it is used as it is."""
    assert loaded(tmp_path, f'libvirt_uri = "{uri}"').libvirt_uri == uri
    assert config.written(uri) == f'"{shown}"'
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f'libvirt_uri = "{uri}\\u0000"')
    assert repr(f"{shown}\0") in str(caught.value)


def test_networks_that_guests_reach_or_not(tmp_path: Path) -> None:
    """A list of its own is instead of the one that holds without it."""
    found = loaded(tmp_path, 'egress_deny = ["203.0.113.0/24"]\negress_allow = ["203.0.113.7", "203.0.113.8/30"]')
    assert (found.egress_deny, found.egress_allow) == (("203.0.113.0/24",), ("203.0.113.7", "203.0.113.8/30"))
    assert loaded(tmp_path, "egress_deny = []").egress_deny == ()


def test_a_missing_file_that_was_named_is_a_fault(tmp_path: Path) -> None:
    """The default file may be absent; a named one may not."""
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        config.load(tmp_path / "absent.toml", {})


if __name__ == "__main__":
    EXAMPLE.write_text(config_file.text({}))


def test_devices_are_named_as_in_service_files() -> None:
    """The configuration reads by itself, and takes the same."""
    assert (config_keys.PCI_NAMES, config_keys.PCI_NAMED) == (pci.PATTERN, pci.NAMED)

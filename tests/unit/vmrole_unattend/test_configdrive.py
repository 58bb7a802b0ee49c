"""The config drive: what stands on it, what is refused, and what cloud-init's own code reads there."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell
from hypothesis import given, settings
from hypothesis import strategies as st
from vmrole_unattend import AnswersInvalid, configdrive, iso, nocloud
from vmrole_unattend.secret import Secret

from tests.world.config_drives import parts_of
from tests.world.linux_answers import ANSWERS

_STATIC = dataclasses.replace(ANSWERS, address="192.0.2.10/24", gateway="192.0.2.1", dns=("192.0.2.53",))
_STATIC_6 = dataclasses.replace(ANSWERS, address="2001:db8::10/64", gateway="2001:db8::1", dns=("2001:db8::53",))
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 somebody"

# Debian's interpreter: cloud-init is a Debian package and is not in the virtual environment.
_CONSUMER = """
import json, sys
from cloudinit import helpers, sources
from cloudinit.sources import DataSourceConfigDrive as drive

place = sys.argv[1]
drive.find_candidate_devs = lambda dslist=None: []
paths = helpers.Paths({"cloud_dir": place, "run_dir": place})
source = drive.DataSourceConfigDrive({"datasource_list": ["ConfigDrive"]}, None, paths)
assert source._get_data()
source.known_macs = {"52:54:00:12:34:56": "eth0"}
print(json.dumps({
    "id": source.get_instance_id(), "name": source.metadata["local-hostname"], "version": source.version,
    "keys": source.get_public_ssh_keys(), "user": source.userdata_raw.decode(), "vendor": source.vendordata_raw,
    "network": source.network_config,
}))
"""


def _read_by_cloudinit(place: Path, disc: bytes) -> dict[str, object]:
    """What cloud-init's data source makes of the disc, unpacked by the names that Linux sees."""
    seed = place / "seed" / "config_drive"
    seed.mkdir(parents=True)
    (place / "disc.iso").write_bytes(disc)
    argv = ["bsdtar", "--options", "iso9660:!joliet", "-x", "-f", str(place / "disc.iso"), "-C", str(seed)]
    subprocess.run(argv, capture_output=True, check=True, timeout=20)
    done = subprocess.run(
        ["/usr/bin/python3", "-c", _CONSUMER, str(place)], capture_output=True, text=True, check=True, timeout=30
    )
    seen = json.loads(done.stdout)
    assert isinstance(seen, dict)
    return seen


def _meta_data(answers: nocloud.Answers, password: Secret | None = None) -> dict[str, object]:
    made = json.loads(configdrive.files(answers, admin_password=password)["openstack/latest/meta_data.json"])
    assert isinstance(made, dict)
    return made


def test_cloudinit_reads_a_config_drive(tmp_path: Path) -> None:
    """Identity, keys, user-data and vendor-data are where version 2 has them."""
    answers = dataclasses.replace(ANSWERS, vendor_data="#cloud-config\npackages: [vim]\n", public_keys=(_KEY,))
    made = configdrive.files(answers)
    seen = _read_by_cloudinit(tmp_path, iso.write_iso(made, configdrive.LABEL))
    assert seen["id"] == ANSWERS.instance_id
    assert (seen["name"], seen["version"], seen["keys"]) == ("web-0", 2, [_KEY])
    assert seen["user"] == made["openstack/latest/user_data"].decode()
    assert seen["vendor"] == answers.vendor_data


@pytest.mark.parametrize(
    ("answers", "subnet"),
    [
        (ANSWERS, {"type": "dhcp4"}),
        (
            _STATIC,
            {
                "type": "static",
                "address": "192.0.2.10",
                "netmask": "255.255.255.0",
                "ipv4": True,
                "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}],
            },
        ),
        (
            _STATIC_6,
            {
                "type": "static6",
                "address": "2001:db8::10",
                "netmask": "ffff:ffff:ffff:ffff::",
                "ipv6": True,
                "routes": [{"network": "::", "netmask": "::", "gateway": "2001:db8::1"}],
            },
        ),
    ],
)
def test_cloudinit_reads_the_network(tmp_path: Path, answers: nocloud.Answers, subnet: dict[str, object]) -> None:
    """network_data.json becomes one interface, found by its MAC address, and a name server where one is given."""
    disc = iso.write_iso(configdrive.files(answers), configdrive.LABEL)
    network = _read_by_cloudinit(tmp_path, disc)["network"]
    assert isinstance(network, dict)
    interface, *servers = network["config"]
    assert (interface["name"], interface["mac_address"]) == ("eth0", ANSWERS.mac)
    (found,) = interface["subnets"]
    assert {key: found.get(key) for key in subnet} == subnet
    assert [server["address"] for server in servers] == list(answers.dns)


def test_a_password_stands_in_one_place_and_only_when_given() -> None:
    """admin_pass is in meta_data.json alone; without a secret there is no such key."""
    password = Secret("hunter2-Ä\"'")
    made = configdrive.files(ANSWERS, admin_password=password)
    assert _meta_data(ANSWERS, password)["admin_pass"] == password.reveal()
    assert [name for name, content in made.items() if b"hunter2" in content] == ["openstack/latest/meta_data.json"]
    assert "admin_pass" not in _meta_data(ANSWERS)
    assert b"admin_pass" not in b"".join(configdrive.files(ANSWERS).values())


def test_an_empty_password_is_refused() -> None:
    """A file that happens to be empty never becomes an administrator without a password."""
    with pytest.raises(AnswersInvalid) as refused:
        configdrive.files(ANSWERS, admin_password=Secret(""))
    assert refused.value.where == "admin_password"


@pytest.mark.parametrize(
    "key", ["", "ssh-ed25519", "ssh-ed25519 AAAA\nssh-rsa BBBB", "-----BEGIN OPENSSH PRIVATE KEY-----"]
)
def test_a_key_that_is_none_is_refused(key: str) -> None:
    """One key is one line."""
    with pytest.raises(AnswersInvalid) as refused:
        dataclasses.replace(ANSWERS, public_keys=(key,))
    assert refused.value.where == "public_keys"
    assert "PRIVATE" not in str(refused.value)


@pytest.mark.parametrize("name", ["a-name-of-sixteen", "sixteen-letters0", "0123"])
def test_a_name_that_windows_would_change_is_refused(name: str) -> None:
    """cloudbase-init would cut it, and two instances could be one computer."""
    for refuse in (
        configdrive.check_hostname,
        lambda name: configdrive.files(dataclasses.replace(ANSWERS, hostname=name)),
    ):
        with pytest.raises(AnswersInvalid) as refused:
            refuse(name)
        assert refused.value.where == "hostname"
        assert "role" in refused.value.hint


def _mime(part: str) -> str:
    return f'Content-Type: multipart/mixed; boundary="x"\nMIME-Version: 1.0\n\n--x\n{part}\n--x--\n'


@pytest.mark.parametrize(
    ("user_data", "what"),
    [
        ("hello", "names no type that cloudbase-init knows"),
        ("#cloud-boothook\n#!/bin/sh\n", "names no type"),
        ("#include\nhttp://x\n", "names no type"),
        ("#cloud-config-archive\n- a\n", "names no type"),
        ("#ps1_nonsense\nGet-Date\n", "names no type"),
        ("## template: jinja\n#ps1_sysnative\n", "templates"),
        ("#ps1_sysnative\n\x00", "U+0000"),
        (_mime("Content-Type: text/cloud-boothook\n\n#!/bin/sh\n"), "means nothing to cloudbase-init"),
        (_mime("Content-Type: text/plain\n\n#ps1_sysnative\n"), "means nothing to cloudbase-init"),
        (_mime("Content-Type: text/x-shellscript\n\nGet-Date\n"), "names no type"),
    ],
)
def test_user_data_that_cloudbaseinit_would_pass_over_is_refused(user_data: str, what: str) -> None:
    """Each is refused by the check and by the files alike, and the text is not shown."""

    def files(text: str) -> None:
        configdrive.files(dataclasses.replace(ANSWERS, user_data=text))

    for refuse in (configdrive.check_user_data, files):
        with pytest.raises(AnswersInvalid) as refused:
            refuse(user_data)
        assert what in refused.value.message
        assert "hello" not in str(refused.value)


def test_user_data_follows_ours() -> None:
    """Our script comes first and names instance, generation and id; the user's part has a file name."""
    ours, theirs = parts_of(dataclasses.replace(ANSWERS, user_data="#ps1_x86\nGet-Date\n"))
    assert ours[:2] == ("text/x-shellscript", "vmrole-setup.ps1")
    assert ours[2].startswith("#ps1_sysnative\nparam([switch]$End)\n")
    for line in (
        f"$instance_id = '{ANSWERS.instance_id}'",
        "$instance = 'web-0.shop'",
        "$generation = '3'",
        "$restart = $true",
    ):
        assert f"\n{line}\n" in ours[2]
    assert theirs == ("text/x-shellscript", "user-part-1", "#ps1_x86\nGet-Date\n")
    (calm,) = parts_of(dataclasses.replace(ANSWERS, setup_restart=False))
    assert "\n$restart = $false\n" in calm[2]


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=300))
def test_whatever_the_user_writes_arrives_to_the_letter(text: str) -> None:
    """Any text of a script is read back unchanged behind ours."""
    script = f"#ps1_sysnative\n{text}"
    assert parts_of(dataclasses.replace(ANSWERS, user_data=script))[1:] == [
        ("text/x-shellscript", "user-part-1", script)
    ]


def test_equal_answers_make_equal_discs() -> None:
    """Byte for byte, secrets included."""
    answers = dataclasses.replace(_STATIC, public_keys=(_KEY,))
    made = configdrive.files(answers, admin_password=Secret("x"))
    assert made == configdrive.files(answers, admin_password=Secret("x"))


def _faults(node: tree_sitter.Node) -> list[str]:
    """Where the parser had to guess."""
    found = [f"line {node.start_point.row + 1}"] if node.is_error or node.is_missing else []
    return found + [fault for child in node.children for fault in _faults(child)]


def test_our_script_is_powershell() -> None:
    """Its syntax is PowerShell's, and it stands on the disc in ASCII, whatever the code page of the guest."""
    script = parts_of(ANSWERS)[0][2]
    assert script.isascii()
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    assert _faults(parser.parse(script.encode()).root_node) == []
    assert _faults(parser.parse(b"if ($End { exit 0 }").root_node), "a parser that finds no fault proves nothing"

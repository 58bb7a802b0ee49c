"""What Debian's own cloud-init makes of our files: its code reads them here, in a process of its own."""

from __future__ import annotations

import dataclasses
import email
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from vmrole_unattend import iso, nocloud

from tests.world.cloudinit_reader import Consumed, consumed
from tests.world.linux_answers import ANSWERS

pytestmark = pytest.mark.slow

SHOP = dataclasses.replace(ANSWERS, local_storage=("cache",))


def _consume(place: Path, user_data: str, *, restart: bool = True) -> Consumed:
    answers = dataclasses.replace(SHOP, user_data=user_data, setup_restart=restart)
    (read,) = consumed(place, [nocloud.files(answers)["user-data"].decode()])
    return read


@pytest.mark.parametrize(
    ("user_data", "content_type"),
    [
        ("#cloud-config\nruncmd:\n- [touch, /x]\n", "text/cloud-config"),
        ("#!/bin/sh\ntouch /x\n", "text/x-shellscript"),
        ("#cloud-boothook\n#!/bin/sh\ntouch /x\n", "text/cloud-boothook"),
        ("#!/bin/sh\necho häß € 🙂 " + "x" * 2000, "text/x-shellscript"),
        ("#!/bin/sh\r\necho dos\r\n", "text/x-shellscript"),
    ],
)
def test_cloudinit_sees_the_users_text_between_ours(tmp_path: Path, user_data: str, content_type: str) -> None:
    """First our hook, then the user's part of his type and to the letter, last our configuration."""
    seen = _consume(tmp_path, user_data)
    assert seen.types == ["text/cloud-boothook", content_type, "text/cloud-config"]
    assert seen.parts[1]["text"] == user_data


def test_nothing_of_the_users_leaves_ours(tmp_path: Path) -> None:
    """Without user-data there are our two parts, and a configuration of power_state alone."""
    seen = _consume(tmp_path, "")
    assert seen.types == ["text/cloud-boothook", "text/cloud-config"]
    assert seen.merged.keys() == {"power_state"}


def test_an_archive_is_opened_in_its_place(tmp_path: Path) -> None:
    """cloud-init explodes the user's archive between our parts."""
    archive = '#cloud-config-archive\n- type: text/cloud-config\n  content: |\n    a: 1\n- "#!/bin/sh\\ntrue"\n'
    seen = _consume(tmp_path, archive)
    assert seen.types == ["text/cloud-boothook", "text/cloud-config", "text/x-shellscript", "text/cloud-config"]
    assert seen.merged["a"] == 1


def test_parts_of_a_mime_message_arrive_with_their_headers(tmp_path: Path) -> None:
    """A nested message in base64 and plain arrives part by part, file names and merge rules included."""
    user_data = _mime()
    wanted = [
        (part.get_content_type(), part.get_filename(), _text(part))
        for part in email.message_from_string(user_data).walk()
        if not part.is_multipart()
    ]
    seen = _consume(tmp_path, user_data)
    assert [(part["type"], part["filename"], part["text"]) for part in seen.parts[1:-1]] == wanted
    assert seen.merged["runcmd"] == ["one", "two"]  # Merge-Type: list(append) of the user's second part


def _text(part: email.message.Message) -> str:
    whole = part.get_payload(decode=True)
    assert isinstance(whole, bytes)
    return whole.decode()


def _mime() -> str:
    return (
        'Content-Type: multipart/mixed; boundary="==outer=="\nMIME-Version: 1.0\n\n'
        '--==outer==\nContent-Type: text/x-shellscript; charset="us-ascii"\n'
        'Content-Disposition: attachment; filename="50-first.sh"\n\n#!/bin/sh\ntrue\n\n'
        '--==outer==\nContent-Type: multipart/mixed; boundary="==inner=="\n\n'
        '--==inner==\nContent-Type: text/cloud-config\nContent-Disposition: attachment; filename="a.cfg"\n\n'
        "#cloud-config\nruncmd: [one]\n"
        "--==inner==\nContent-Type: text/cloud-config\nMerge-Type: list(append)+dict(recurse_array)+str()\n"
        'Content-Disposition: attachment; filename="b.cfg"\nContent-Transfer-Encoding: base64\n\n'
        "I2Nsb3VkLWNvbmZpZwpydW5jbWQ6IFt0d29dCg==\n--==inner==--\n"
        "--==outer==--\n"
    )


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize(
    "user_data",
    [
        "#cloud-config\npower_state: {mode: poweroff, delay: 5, condition: false}\n",
        "#cloud-config\nmerge_how: dict(replace)+list()+str()\npower_state: {mode: halt, timeout: 1}\n",
        "#cloud-config-archive\n- content: |\n    #cloud-config\n    power_state: {mode: poweroff}\n",
        '#cloud-config-jsonp\n[{"op": "add", "path": "/power_state", "value": {"mode": "poweroff"}}]\n',
        "#cloud-config\npower_state: poweroff\n",
    ],
)
def test_the_users_power_state_never_wins(tmp_path: Path, user_data: str, *, restart: bool) -> None:
    """However the user asks to power off, what is left is our restart with our condition."""
    ours = _consume(tmp_path, "", restart=restart).merged["power_state"]
    merged = _consume(tmp_path, user_data, restart=restart).merged["power_state"]
    assert merged == ours
    assert merged["mode"] == "reboot"
    assert merged["condition"][2].startswith(f"restart={'yes' if restart else 'no'}\n")


def test_every_other_key_of_the_users_stays(tmp_path: Path) -> None:
    """Ours adds power_state and takes nothing away: lists, hooks and files of the user's are as he wrote them."""
    user_data = (
        "#cloud-config\nbootcmd: [a]\nruncmd: [b]\nwrite_files:\n- {path: /x, content: y}\nmounts: [[c, /d]]\n"
    )
    assert _consume(tmp_path, user_data).merged == {
        **_consume(tmp_path, "").merged,
        "bootcmd": ["a"],
        "runcmd": ["b"],
        "write_files": [{"path": "/x", "content": "y"}],
        "mounts": [["c", "/d"]],
    }


@pytest.mark.parametrize("restart", [True, False])
def test_our_configuration_is_valid_for_cloudinit(tmp_path: Path, *, restart: bool) -> None:
    """`cloud-init schema` accepts the cloud-config part that we add."""
    ours = tmp_path / "ours.yaml"
    ours.write_text(_consume(tmp_path, "", restart=restart).parts[-1]["text"])
    done = subprocess.run(
        ["cloud-init", "schema", "--config-file", ours], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid" in done.stdout


_SOURCE = """
import json, sys
from cloudinit import helpers
from cloudinit.sources import DataSourceNoCloud as nocloud

nocloud.util.find_devs_with = lambda *args, **kwargs: []
nocloud.dmi.read_dmi_data = lambda key: ""
nocloud.util.get_cmdline = lambda: ""
paths = helpers.Paths({"cloud_dir": sys.argv[1], "run_dir": sys.argv[1]})
source = nocloud.DataSourceNoCloud({}, None, paths)
source.seed_dirs = [sys.argv[2]]
assert source._get_data()
print(json.dumps({
    "id": source.get_instance_id(), "name": source.metadata["local-hostname"], "network": source.network_config,
    "user": source.userdata_raw.decode(), "vendor": source.vendordata_raw.decode(),
}))
"""


def test_cloudinits_source_takes_every_file_of_the_disc(tmp_path: Path) -> None:
    """DataSourceNoCloud finds identity, network, user-data and vendor-data where we put them."""
    answers = dataclasses.replace(SHOP, vendor_data="#!/bin/sh\ntrue\n", address="192.0.2.10/24", gateway="192.0.2.1")
    made = nocloud.files(answers)
    seed = tmp_path / "seed"
    seed.mkdir()
    (tmp_path / "disc.iso").write_bytes(iso.write_iso(made, nocloud.LABEL))
    argv = ["bsdtar", "--options", "iso9660:!joliet", "-x", "-f", str(tmp_path / "disc.iso"), "-C", str(seed)]
    subprocess.run(argv, capture_output=True, check=True, timeout=20)
    done = subprocess.run(
        ["/usr/bin/python3", "-c", _SOURCE, str(tmp_path), str(seed)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert json.loads(done.stdout) == {
        "id": SHOP.instance_id,
        "name": "web-0",
        "network": json.loads(made["network-config"]),
        "user": made["user-data"].decode(),
        "vendor": made["vendor-data"].decode(),
    }


def test_cloudinit_knows_who_it_is_from_the_meta_data(tmp_path: Path) -> None:
    """cloud-init's own YAML reader finds identity, name and our facts in the meta-data."""
    program = "import json, sys; from cloudinit.util import load_yaml; print(json.dumps(load_yaml(sys.stdin.read())))"
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program],
        input=nocloud.files(dataclasses.replace(SHOP, public_keys=("ssh-ed25519 AAAA me",)))["meta-data"],
        check=True,
        timeout=30,
        capture_output=True,
    )
    assert json.loads(done.stdout) == {
        "public-keys": ["ssh-ed25519 AAAA me"],
        "instance-id": SHOP.instance_id,
        "local-hostname": "web-0",
        "vmrole-service": "shop",
        "vmrole-instance": "web-0.shop",
        "vmrole-generation": 3,
        "vmrole-setup-restart": True,
    }


_MERGER = """
import json, os, sys
from cloudinit import handlers, helpers, user_data
from cloudinit.handlers.cloud_config import CloudConfigPartHandler

class Source:
    def get_instance_id(self):
        return "iid"

paths = helpers.Paths({"cloud_dir": sys.argv[1], "run_dir": sys.argv[1]}, Source())
os.symlink(os.path.join(sys.argv[1], "instances", "iid"), os.path.join(sys.argv[1], "instance"))
for text, where in zip(json.load(sys.stdin), ("cloud_config", "vendor_cloud_config")):
    config = CloudConfigPartHandler(paths, cloud_config_path=where)
    handlers.call_begin(config, None, "always")
    def seen(data, filename, payload, headers):
        if headers["Content-Type"] in config.list_types():
            handlers.run_part(config, None, filename, payload, "always", headers)
    handlers.walk(user_data.UserDataProcessor(paths).process(text.encode()), seen, None)
    handlers.call_end(config, None, "always")
print(json.dumps(helpers.ConfigMerger(paths=paths, base_cfg={"base": 1}).cfg))
"""


@pytest.mark.parametrize("restart", [True, False])
def test_vendor_data_yields_to_user_data_and_to_our_restart(tmp_path: Path, *, restart: bool) -> None:
    """cloud-init merges vendor-data under all else: what only it says counts, and it cannot power the guest off."""
    answers = dataclasses.replace(
        SHOP,
        setup_restart=restart,
        user_data="#cloud-config\nruncmd: [mine]\n",
        vendor_data="#cloud-config\nruncmd: [theirs]\npackages: [vim]\npower_state: {mode: poweroff, delay: 5}\n",
    )
    made = nocloud.files(answers)
    (tmp_path / "instances" / "iid").mkdir(parents=True)
    done = subprocess.run(
        ["/usr/bin/python3", "-c", _MERGER, str(tmp_path)],
        input=json.dumps([made["user-data"].decode(), made["vendor-data"].decode()]),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    ours = json.loads(_ours(made["user-data"]).partition("\n")[2])["power_state"]
    assert json.loads(done.stdout) == {"base": 1, "runcmd": ["mine"], "packages": ["vim"], "power_state": ours}


def _ours(user_data: bytes) -> str:
    """The cloud-config that we add."""
    return _text([part for part in email.message_from_bytes(user_data).walk() if not part.is_multipart()][-1])


# What a service file asks of cloud-init -------------------------------------------------------------------------

_WHOLE = """
import json, sys
from cloudinit.util import mergemanydict
print(json.dumps(mergemanydict(json.load(sys.stdin))))
"""


def _effect(place: Path, answers: nocloud.Answers) -> dict[str, Any]:
    """The configuration that cloud-init acts on: user-data first, vendor-data where that says nothing."""
    merged = []
    for name, content in nocloud.files(answers).items():
        if name not in ("user-data", "vendor-data"):
            continue
        merged.append(consumed(place / name, [content.decode()])[0].merged)
    argv = ["/usr/bin/python3", "-c", _WHOLE]
    done = subprocess.run(argv, input=json.dumps(merged).encode(), capture_output=True, check=True, timeout=30)
    effect: dict[str, Any] = json.loads(done.stdout)
    return effect


_VENDOR = "#cloud-config\npackages: [tree]\nruncmd: [echo vendor]\nbootcmd: [echo vendor]\n"
_MIME_USER = """Content-Type: multipart/mixed; boundary="b"
MIME-Version: 1.0

--b
Content-Type: text/cloud-config
Content-Transfer-Encoding: base64

I2Nsb3VkLWNvbmZpZwpwYWNrYWdlczogW2h0b3BdCg==
--b--
"""


@pytest.mark.parametrize(
    ("user_data", "vendor_data", "packages", "commands"),
    [
        ("", "", [], []),
        ("#cloud-config\npackages: [htop]\n", "", ["htop"], []),
        ("#cloud-config\npackages: [htop]\nruncmd: [echo user]\n", "", ["htop"], ["echo user"]),
        ("", _VENDOR, ["tree"], ["echo vendor"]),
        ("#cloud-config\nruncmd: [echo user]\n", _VENDOR, ["tree"], ["echo user"]),
        ("#cloud-config\npackages: [htop]\n", _VENDOR, ["htop"], ["echo vendor"]),
        ('#cloud-config\n{"packages": ["htop"]}\n', _VENDOR, ["htop"], ["echo vendor"]),
        ("#!/bin/sh\ntrue\n", _VENDOR, ["tree"], ["echo vendor"]),
        (_MIME_USER, _VENDOR, ["htop"], ["echo vendor"]),
    ],
)
def test_the_agent_is_installed_beside_all_that_the_user_wants(
    tmp_path: Path, user_data: str, vendor_data: str, packages: list[str], commands: list[str]
) -> None:
    """Whatever lists the user has in user-data or vendor-data, all of it stays in force beside the agent."""
    plain = dataclasses.replace(SHOP, user_data=user_data, vendor_data=vendor_data)
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    before = _effect(tmp_path / "without", plain)
    after = _effect(tmp_path / "with", dataclasses.replace(plain, install_agent=True))
    assert before.pop("packages", []) == packages
    assert before.pop("runcmd", []) == commands
    assert after.pop("packages") == [*packages, "qemu-guest-agent"]
    *kept, start = after.pop("runcmd")
    assert kept == commands
    assert start[:2] == ["/bin/sh", "-c"]
    assert "qemu-guest-agent" in start[2]
    assert after.pop("package_update") is True
    assert after == before


def test_a_user_s_wish_not_to_update_stays(tmp_path: Path) -> None:
    """He may have a mirror that is up to date, or none."""
    wish = dataclasses.replace(SHOP, user_data="#cloud-config\npackage_update: false\n", install_agent=True)
    assert _effect(tmp_path, wish)["package_update"] is False


def test_kept_host_keys_are_given_unless_the_user_gives_some(tmp_path: Path) -> None:
    """`ssh_keys` of the instance, as cloud-init takes them; the role's own are left as they are."""
    keys = {"ed25519_private": "-----BEGIN\nx\n-----END\n", "ed25519_public": "ssh-ed25519 AAAA root"}
    kept = dataclasses.replace(SHOP, ssh_host_keys=keys)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert _effect(tmp_path / "a", kept)["ssh_keys"] == keys
    own = dataclasses.replace(kept, user_data="#cloud-config\nssh_keys: {rsa_private: mine}\n")
    assert _effect(tmp_path / "b", own)["ssh_keys"]["rsa_private"] == "mine"
    assert "BEGIN" not in repr(kept)

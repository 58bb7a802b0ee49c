"""What other tools take of us: Ansible's inventory, ssh's configuration, and ssh itself."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.verbs.inventory import groups
from orchestrator.control import records
from orchestrator.model import Phase
from tests.world.api_daemon import SHOP, Daemon
from tests.world.command_line import Run


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose world stands still, with the service `shop` of three instances."""
    with Daemon(tmp_path_factory.mktemp("daemon")) as running:
        running.give_image()
        running.control.apply(SHOP)
        yield running


def test_the_inventory_is_ansibles(run: Run) -> None:
    """Groups that name their hosts, every group under `all`, and the variables of all hosts in one answer."""
    status, out, err = run("inventory", "--list", "--user", "debian")
    told = json.loads(out)
    names = ["web-0.shop", "web-1.shop", "web-2.shop"]
    assert (status, err) == (0, "")
    for group in ("service_shop", "role_web", "phase_requested"):
        assert told[group] == {"hosts": names}
    assert set(told["all"]["children"]) == set(told) - {"_meta", "all"} | {"ungrouped"}
    first = told["_meta"]["hostvars"]["web-0.shop"]
    assert (first["ansible_host"], first["ansible_user"]) == ("10.90.0.10", "debian")
    assert (first["vmrole_service"], first["vmrole_role"], first["vmrole_index"]) == ("shop", "web", 0)
    assert json.loads(run("inventory")[1])["_meta"]["hostvars"]["web-0.shop"].get("ansible_user") is None
    assert json.loads(run("inventory", "--host", "web-0.shop", "--user", "debian")[1]) == first


def test_an_inventory_is_asked_for_one_thing(run: Run) -> None:
    """As Ansible does; a host that there is not is told as that."""
    assert run("inventory", "--list", "--host", "web-0.shop")[0] == 2
    status, _, err = run("inventory", "--host", "web-9.shop")
    assert status == 3
    assert "web-9.shop" in err


def test_a_group_is_named_as_ansible_allows(daemon: Daemon) -> None:
    """Letters, digits, underscores: anything else makes Ansible warn, and leave the group out of patterns."""
    from orchestrator.client.client import Client

    one = Client(str(daemon.socket)).instance("web-0.shop")
    one["service"], one["role"] = "my-shop", "front-end"
    told = groups([one], "Node-1.example.org", None)
    assert set(told) == {"_meta", "all", "service_my_shop", "role_front_end", "phase_requested", "host_node_1"}


def test_an_empty_host_has_an_empty_inventory() -> None:
    """Ansible asks for nothing more than `_meta` and `all`."""
    assert groups([], "host", None) == {"_meta": {"hostvars": {}}, "all": {"children": ["ungrouped"]}}


def test_ssh_knows_the_instances(run: Run, tmp_path: Path) -> None:
    """The blocks are read by ssh itself: address, user, a name for the host's key that outlives the address, and no
    way through another host, whatever the user's own file says of all hosts.
    """
    status, out, _ = run("ssh-config", "shop", "--user", "debian")
    assert status == 0
    (tmp_path / "config").write_text(f"{out}\nHost *\n    ProxyJump bastion.example.org\n")
    asked = ["ssh", "-G", "-F", str(tmp_path / "config"), "web-1.shop"]
    seen = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"user debian", "hostname 10.90.0.11", "hostkeyalias web-1.shop"} <= set(seen)
    assert [line for line in seen if line.startswith("proxy") and "bastion" in line] == []


@pytest.mark.parametrize("user", ["two words", "a\nProxyCommand rm", "-oProxyCommand=x", ""])
def test_a_user_is_a_name_alone(run: Run, user: str) -> None:
    """Nothing else comes into ssh's configuration or its command line by it."""
    assert run("ssh-config", f"--user={user}")[0] == 2
    assert run("ssh", f"--user={user}", "web-0")[0] == 2


def test_ssh_is_run_for_the_instance(daemon: Daemon, tmp_path: Path) -> None:
    """With its address, its own name for the host key, and the words behind it; the exit status is ssh's."""
    stand_in = tmp_path / "ssh"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n')
    stand_in.chmod(0o755)
    environment = os.environ | {"VMROLE_SOCKET": str(daemon.socket), "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def ssh(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "orchestrator.cli", "ssh", *words]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    refused = ssh("web-0")
    assert (refused.returncode, refused.stdout) == (5, "")
    assert "web-0.shop is requested: nothing answers there" in refused.stderr

    first = daemon.control.instances("shop")[0]
    daemon.present.commit([records.put_state(dataclasses.replace(first, phase=Phase.SERVING))])
    run = ssh("--user", "debian", "web-0", "ls", "-l", "--", "a b")
    assert (run.returncode, run.stderr.count("\n")) == (7, 1)
    assert "its host key cannot be had" in run.stderr, "the record alone was set to serving: its guest is not set up"
    settings = ["-o", "HostKeyAlias=web-0.shop", "-o", "ProxyJump=none", "-l", "debian"]
    expected = [*settings, "--", "10.90.0.10", "ls", "-l", "--", "a b"]
    assert run.stdout.splitlines() == expected

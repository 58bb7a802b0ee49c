"""`vmrole swap`, `--slot` and SERVICE@staging against a daemon whose world stands still."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from orchestrator.control import records
from orchestrator.model import Instance, Phase
from tests.world.api_daemon import SHOP, Daemon
from tests.world.command_line import Run

VIP, STAGING_VIP = "203.0.113.10", "203.0.113.11"
BOTH = SHOP.replace("\nroles:", f"\nstagingVip: {STAGING_VIP}\nroles:")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of both."""
    assert f"vip: {VIP}\n" in BOTH
    assert "stagingVip" in BOTH
    path = tmp_path / "shop.yaml"
    path.write_text(BOTH)
    return path


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """It, with the service in production and in staging; all instances serve."""
    daemon.client().apply(BOTH)
    staged = daemon.client().apply(BOTH, slot="staging")["service"]
    assert staged is not None
    assert (staged["name"], staged["deployment"]) == ("shop@staging", "shop--b")
    serve(daemon)
    return daemon


def serve(daemon: Daemon) -> None:
    """All of them."""
    for one in daemon.present.all(Instance):
        daemon.present.commit([records.put_state(dataclasses.replace(one, phase=Phase.SERVING, boot=2, set_up=True))])


def services(run: Run) -> dict[str, str]:
    """Each with its VIP, as `get` lists them."""
    lines = run("get", "services", "--no-headers")[1].splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


@pytest.mark.usefixtures("daemon")
def test_a_swap_says_what_is_where_and_another_goes_back(run: Run) -> None:
    """With the VIP of each slot."""
    assert services(run) == {"shop": VIP, "shop@staging": STAGING_VIP}
    assert run("swap", "shop")[:2] == (
        0,
        f"shop: shop--b is in production now at {VIP} (3 of 3 serve)\n"
        f"shop@staging: shop is in staging now at {STAGING_VIP} (3 of 3 serve)\n",
    )
    assert services(run) == {"shop": VIP, "shop@staging": STAGING_VIP}
    assert "Deployment:  shop--b" in run("describe", "shop")[1]
    assert "web-0.shop--b" in run("describe", "shop")[1]
    assert "web-0.shop " in run("describe", "shop@staging")[1]
    assert run("swap", "shop")[1].startswith(f"shop: shop is in production now at {VIP}")


@pytest.mark.usefixtures("daemon")
def test_verbs_take_a_slot_behind_the_name(run: Run) -> None:
    """Services, roles and instances; what is not there is told with what is."""
    [rows] = [json.loads(run("get", "instances", "web.shop@staging", "-o", "json")[1])]
    assert {(row["service"], row["name"]) for row in rows} == {("shop@staging", f"web-{n}.shop--b") for n in range(3)}
    assert run("why", "web-0.shop@staging")[1].startswith("web-0.shop--b is serving")
    assert run("scale", "web.shop@staging", "--instances", "2")[1] == "web.shop@staging: 2 instances\n"
    assert run("rollout", "status", "shop@staging")[1].startswith("shop@staging: revision 1")
    assert run("get", "services", "shop@staging", "-o", "yaml")[1].startswith("service: shop\n")
    status, _, err = run("rollout", "status", "shop@stage")
    assert (status, "no slot 'stage'" in err, "production, staging" in err) == (2, True, True)


def test_an_apply_changes_what_is_in_its_slot(run: Run, file: Path, daemon: Daemon) -> None:
    """So does `diff`, and production is that after a swap, too; files of other VIPs are refused with their line."""
    run("swap", "shop")
    file.write_text(BOTH.replace("memory: 128 MiB", "memory: 256 MiB"))
    assert run("diff", "-f", file, "--slot", "staging")[0] == 1
    assert run("apply", "-f", file, "--slot", "staging")[1].startswith("shop@staging: applied\n~ roles.web.size")
    assert run("diff", "-f", file, "--slot", "staging")[:2] == (0, "")
    assert {one.service for one in daemon.present.all(Instance) if one.stale} == {"shop"}
    file.write_text(BOTH.replace(STAGING_VIP, "203.0.113.12"))
    status, _, err = run("apply", "-f", file)
    assert status == 2
    line = BOTH[: BOTH.index("stagingVip")].count("\n") + 1
    assert f"shop.yaml:{line}: stagingVip: 203.0.113.12, but {STAGING_VIP} in the file of shop@staging" in err
    assert "delete one first: --slot staging" in err


def test_what_clients_would_notice_is_refused(run: Run, daemon: Daemon) -> None:
    """By exit status 5, with what to do; forced, it is done."""
    assert run("delete", "service", "shop", "--slot", "staging")[:2] == (0, "shop@staging: being deleted\n")
    status, _, err = run("swap", "shop")
    assert (status, "is being deleted" in err) == (5, True)
    daemon.present.commit(
        [write for one in daemon.control.instances("shop@staging") for write in records.drop_instance(one)]
    )
    daemon.present.commit([records.drop(daemon.control.service("shop@staging"))])
    status, _, err = run("swap", "shop")
    assert status == 5
    assert "nothing in staging" in err
    assert "vmrole swap shop --force" in err
    assert run("swap", "shop", "--force")[:2] == (
        0,
        f"shop@staging: shop is in staging now at {STAGING_VIP} (3 of 3 serve)\n",
    )
    assert run("swap", "blog")[0] == 3


@pytest.mark.usefixtures("daemon")
def test_a_service_is_deleted_whole_unless_a_slot_is_named(run: Run, file: Path) -> None:
    """By its name and by its file; a slot is one of them."""
    assert run("delete", "-f", file, "--slot", "production")[1] == "shop@production: being deleted\n"
    assert run("delete", "service", "shop")[1] == "shop: being deleted\nshop@staging: being deleted\n"
    status, _, err = run("delete", "service", "-l", "a=b", "--slot", "staging")
    assert (status, "leave --slot out" in err) == (2, True)


def test_no_service_is_called_as_a_second_deployment(run: Run, tmp_path: Path) -> None:
    """With line, key and what to do."""
    path = tmp_path / "b.yaml"
    path.write_text(SHOP.replace("service: shop\n", "service: shop--b\n"))
    status, _, err = run("check", path)
    out = run("check", path)[1]
    assert status == 2
    assert "service: name 'shop--b' cannot be used" in out + err
    assert "vmrole apply --slot staging" in out + err

"""What cloudbase-init makes of our discs: its own code sets up a Windows that is a record of what was asked of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from vmrole_unattend import configdrive, iso, nocloud
from vmrole_unattend.secret import Secret

from tests.world.cloudbase_guest import Guest, windows
from tests.world.linux_answers import ANSWERS

pytestmark = pytest.mark.slow

__all__ = ["windows"]

_STATIC = dataclasses.replace(ANSWERS, address="192.0.2.10/24", gateway="192.0.2.1", dns=("192.0.2.53", "192.0.2.54"))
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA somebody"


def _drive(answers: nocloud.Answers, **extra: object) -> bytes:
    return iso.write_iso(configdrive.files(answers, **extra), configdrive.LABEL)  # type: ignore[arg-type]


def _mime(*parts: str) -> str:
    head = 'Content-Type: multipart/mixed; boundary="==x=="\nMIME-Version: 1.0\n'
    return "".join([head, *(f"\n--==x==\n{part}" for part in parts), "\n--==x==--\n"])


def test_a_config_drive_sets_up_a_windows(windows: Guest) -> None:
    """Name, network by DHCP, keys, password and scripts: all is done that the disc asks for, each once."""
    windows.insert(
        _drive(
            dataclasses.replace(ANSWERS, user_data="#ps1_sysnative\nWrite-Host hello\n", public_keys=(_KEY,)),
            admin_password=Secret("Pässword-1"),
        )
    )
    did = windows.live()
    assert (did.hostname, did.password) == ("web-0", "Pässword-1")
    assert did.links == [("52:54:00:12:34:56", "Ethernet")]
    assert did.networks == []
    assert (windows.home / ".ssh" / "authorized_keys").read_text() == f"{_KEY}\n"
    assert [program for program, _ in did.scripts] == ["powershell native", "powershell native"]
    assert did.scripts[1][1] == "#ps1_sysnative\nWrite-Host hello\n"
    assert did.boots == 2, "one restart, for the name"
    assert {section for section, _ in windows.registry} == {f"{ANSWERS.instance_id}/Plugins"}


def test_a_static_address_is_set(windows: Guest) -> None:
    """The interface with our MAC address gets address, gateway and name servers."""
    windows.insert(_drive(_STATIC))
    assert windows.live().networks == [("Ethernet", "192.0.2.10", 24, "192.0.2.1", ["192.0.2.53", "192.0.2.54"])]


def test_another_generation_is_set_up_anew(windows: Guest, tmp_path: Path) -> None:
    """cloudbase-init goes by the instance id: with the same one nothing is done twice, with another all is."""
    windows.insert(_drive(ANSWERS))
    first = windows.live()
    boots, scripts = first.boots, len(first.scripts)
    assert windows.live().scripts == first.scripts
    windows.insert(_drive(dataclasses.replace(ANSWERS, instance_id="another", generation=4)))
    again = windows.live()
    assert again.boots > boots + 1
    assert len(again.scripts) == scripts + 1


def test_without_a_password_one_is_made_up(windows: Guest) -> None:
    """An image whose user has no password of ours gets one that nobody knows."""
    windows.insert(_drive(ANSWERS))
    assert len(windows.live().password) >= 14


@pytest.mark.parametrize(
    ("user_data", "program"),
    [
        ("#ps1_sysnative\nGet-Date\n", "powershell native"),
        ("#ps1\nGet-Date\n", "powershell native"),
        ("#ps1_x86\nGet-Date\n", "powershell x86"),
        ("rem cmd\r\necho hello\r\n", "cmd"),
        ("#!/usr/bin/env python\nprint(1)\n", "python"),
        ("#!/bin/bash\ntrue\n", "bash"),
        ("#ps1_sysnative\nWrite-Host 'Grüße 🙂'\n", "powershell native"),
    ],
)
def test_a_script_of_the_users_runs_after_ours(windows: Guest, user_data: str, program: str) -> None:
    """Whatever language its first line names; its text arrives to the letter."""
    windows.insert(_drive(dataclasses.replace(ANSWERS, user_data=user_data)))
    (_, ours), theirs = windows.live().scripts
    assert "vmrole" in ours
    assert theirs == (program, user_data.replace("\r\n", "\n"))


def test_a_tagged_script_runs_as_amazon_has_it(windows: Guest) -> None:
    """The text between the tags is what is run."""
    windows.insert(_drive(dataclasses.replace(ANSWERS, user_data="<powershell>\nGet-Date\n</powershell>\n")))
    assert windows.live().scripts[1] == ("powershell native", "Get-Date")


def test_a_cloud_config_of_the_users_is_applied(windows: Guest, tmp_path: Path) -> None:
    """cloudbase-init's cloud-config plugins work on it."""
    place = tmp_path / "written"
    text = f"#cloud-config\nwrite_files:\n- path: {place}\n  content: hello\n"
    windows.insert(_drive(dataclasses.replace(ANSWERS, user_data=text)))
    windows.live()
    assert place.read_text() == "hello"


def test_a_mime_message_of_the_users_runs_part_by_part(windows: Guest) -> None:
    """Scripts with a file name and scripts without; cloudbase-init alone would fail on those without."""
    user_data = _mime(
        'Content-Type: text/x-shellscript\nContent-Disposition: attachment; filename="a.cmd"\n\necho one',
        "Content-Type: text/x-shellscript\n\n#ps1_x86\necho two",
        "Content-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\nI3BzMQplY2hvIHRocmVlCg==",
    )
    windows.insert(_drive(dataclasses.replace(ANSWERS, user_data=user_data)))
    assert windows.live().scripts[1:] == [
        ("cmd", "echo one"),
        ("powershell x86", "#ps1_x86\necho two"),
        ("powershell native", "#ps1\necho three\n"),
    ]


@pytest.mark.parametrize(
    ("status", "boots", "runs"), [(0, 2, 1), (7, 2, 1), (1001, 3, 1), (1002, 2, 1), (1003, 3, 2)]
)
def test_the_users_exit_status_keeps_its_meaning(windows: Guest, status: int, boots: int, runs: int) -> None:
    """1001 restarts and goes on, 1003 restarts and runs all parts again, ours as well; the password comes last."""
    windows.insert(
        _drive(dataclasses.replace(ANSWERS, user_data="#ps1_sysnative\nhello\n"), admin_password=Secret("Password-1"))
    )
    windows.statuses["hello"] = status
    assert windows.boot(), "for the name"
    restarted = windows.boot()
    assert restarted == (status in (1001, 1003))
    assert (windows.did.password == "") == restarted, "what comes after user-data waits for the next boot"
    windows.statuses.clear()
    if restarted:
        assert not windows.boot()
    assert windows.did.boots == boots
    assert windows.did.password == "Password-1"
    assert len(windows.did.scripts) == 2 * runs


def test_a_nocloud_disc_names_a_windows(windows: Guest) -> None:
    """The disc that is meant for cloud-init tells cloudbase-init id, name and network, too."""
    windows.insert(iso.write_iso(nocloud.files(_STATIC), nocloud.LABEL))
    did = windows.live()
    assert did.hostname == "web-0"
    assert did.networks == [("eth0", "192.0.2.10", 24, "192.0.2.1", ["192.0.2.53", "192.0.2.54"])]
    assert {section for section, _ in windows.registry} == {f"{ANSWERS.instance_id}/Plugins"}

"""The answer disc of a Windows instance: what stands on it, and that its secrets never reach a disk."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from vmrole_unattend.secret import SecretRef, SecretSource
from vmrole_unattend.windows.answers import Answers
from vmrole_unattend.windows.passwords import encode

from orchestrator.drivers.disks.answer_media import AnswerDiscs
from orchestrator.drivers.secrets import HostSecrets
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import Permanent
from orchestrator.model import AnswerFormat
from tests.unit.drivers.disks.windows_instances import OWN, instance

CANARY = "canary-Hunter2"
ADMIN = SecretRef(source=SecretSource.ENV, name="ADMIN")
ON_DISK = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
IN_MEMORY = "31 22 0:25 / {place} rw,nosuid - tmpfs tmpfs rw\n"


def secrets(environment: Mapping[str, str]) -> HostSecrets:
    """A host whose owner lets service files name all of these variables."""
    return HostSecrets(Path("/nowhere"), variables=environment, environment=environment)


def discs(
    place: Path, mounts: str, environment: Mapping[str, str] = MappingProxyType({"ADMIN": CANARY})
) -> AnswerDiscs:
    """Discs on a host whose mount table reads so."""
    table = place / "mountinfo"
    table.write_text(mounts.format(place=place))
    return AnswerDiscs(Layout(place / "state", place / "run"), secrets(environment).of, table)


def test_a_disc_with_secrets_is_written_to_memory_alone(tmp_path: Path) -> None:
    """On a tmpfs it is made, 0600; on a disk it is refused with what to do, and nothing is written."""
    secret = instance(Answers(administrator_password=ADMIN))
    with pytest.raises(Permanent, match="must not reach a disk") as caught:
        discs(tmp_path, ON_DISK).write(secret)
    assert "tmpfs" in caught.value.hint
    assert not list(tmp_path.glob("run/discs/*/*"))

    discs(tmp_path, ON_DISK + IN_MEMORY).write(secret)
    (disc,) = tmp_path.glob("run/discs/*/*.iso")
    assert disc.stat().st_mode & 0o777 == 0o600
    extracted = subprocess.run(["isoinfo", "-J", "-x", "/Unattend.xml", "-i", disc], capture_output=True, check=True)
    assert encode(secrets({"ADMIN": CANARY}).of("shop")(ADMIN), "AdministratorPassword").encode() in extracted.stdout


def test_secrets_of_cloud_init_are_kept_as_those_of_windows(tmp_path: Path) -> None:
    """User-data kept elsewhere and cloudbase-init's password: in memory alone, and what is there now."""
    user_data = replace(ADMIN, name="USER_DATA")
    role = replace(
        instance(Answers()).role,
        answers=AnswerFormat.CONFIG_DRIVE,
        unattend=None,
        user_data_from=user_data,
        admin_password=ADMIN,
        public_keys=("ssh-ed25519 AAAA me",),
    )
    cloud = replace(instance(Answers()), role=role)
    with pytest.raises(Permanent, match="must not reach a disk"):
        discs(tmp_path, ON_DISK).write(cloud)
    with pytest.raises(Permanent, match="env USER_DATA"):
        discs(tmp_path, ON_DISK + IN_MEMORY).write(cloud)
    environment = {"ADMIN": CANARY, "USER_DATA": "#ps1_sysnative\nWrite-Output canary-script\n"}
    discs(tmp_path, ON_DISK + IN_MEMORY, environment).write(cloud)
    (disc,) = tmp_path.glob("run/discs/*/*.iso")
    assert disc.stat().st_mode & 0o777 == 0o600
    listed = subprocess.run(["bsdtar", "-xOf", disc], capture_output=True, check=True, timeout=20).stdout
    assert all(word in listed for word in (b"Write-Output canary-script", b"ssh-ed25519 AAAA me", CANARY.encode()))


def test_a_disc_without_secrets_may_lie_anywhere(tmp_path: Path) -> None:
    """Who has nothing to hide needs no tmpfs."""
    discs(tmp_path, ON_DISK).write(instance(Answers(own_xml=OWN)))
    assert list(tmp_path.glob("run/discs/*/*.iso"))


def test_a_secret_that_has_gone_is_said_without_a_disc(tmp_path: Path) -> None:
    """The reference is named; the disc is not there at all."""
    gone = replace(ADMIN, name="GONE")
    with pytest.raises(Permanent, match="env GONE"):
        discs(tmp_path, ON_DISK + IN_MEMORY).write(instance(Answers(administrator_password=gone)))
    assert not list(tmp_path.glob("run/discs/*/*"))

"""The client of the runtime channel for Windows. No PowerShell is here to run it: what it is made of is looked at."""

from __future__ import annotations

import base64
import dataclasses
import re

import pytest
from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.nocloud import guest_script
from vmrole_unattend.secret import Secret, SecretRef, SecretSource
from vmrole_unattend.windows import files, guest_command
from vmrole_unattend.windows.answers import Answers, Machine, Script

from orchestrator.drivers.guest.runtime_blobs import NOT_THERE, STALE
from orchestrator.drivers.guest.runtime_channel import METHODS
from orchestrator.drivers.guest.runtime_requests import LINE_MAX_BYTES, TOO_OFTEN
from tests.world.config_drives import parts_of
from tests.world.linux_answers import ANSWERS as LINUX_ANSWERS

TEXT = guest_script("vmrole-guest.ps1")
MACHINE = Machine(
    role="web",
    index=0,
    service="shop",
    instance="web-0.shop",
    generation=1,
    instance_id="00000000-0000-4000-8000-000000000001",
    mac="52:54:00:00:00:01",
    address="10.90.0.10/24",
    gateway="10.90.0.1",
)
ADMIN = SecretRef(source=SecretSource.ENV, name="admin")
ANSWERS = Answers(administrator_password=ADMIN)


def reveal(_ref: SecretRef) -> Secret:
    """The one secret."""
    return Secret("Pa55word.1")


# What came with PowerShell 3 and later.
LATER = (
    r"ConvertTo-Json|ConvertFrom-Json|Invoke-(Web|Rest)\w*|Get-Cim\w*|\$PSScriptRoot|\$PSItem|\[ordered\]|\[pscustom"
    r"|::new\(|-(not)?in\b|-sh[lr]\b|Get-Content.*-Raw|-split\b.*\bOptions|\busing\b|\bclass\b|\?\?|&&|\|\||\$using:"
)


def test_it_stands_on_the_disc_and_is_copied_from_it() -> None:
    """With Windows' ends of lines, in ASCII, which is the same in every code page; no script of a user's is it."""
    own = Script(name="Vmrole-Guest.ps1", text="x")
    with pytest.raises(AnswersInvalid, match="a script of vmrole's"):
        files.files(dataclasses.replace(ANSWERS, scripts=(own,)), MACHINE, reveal)
    made = files.files(ANSWERS, MACHINE, reveal)
    found = made["vmrole/vmrole-guest.ps1"]
    assert found.isascii()
    assert found.count(b"\n") == found.count(b"\r\n") == TEXT.count("\n") > 100
    assert found.decode().replace("\r\n", "\n") == TEXT
    assert 'copy /y "%~dp0*.*" "%notes%\\files"' in guest_command.specialize("web-0.shop", 1)


def test_a_config_drive_brings_it_as_well() -> None:
    """Within the script that cloudbase-init runs first, whole, for the place where an answer file puts it."""
    (script,) = (text for _, name, text in parts_of(LINUX_ANSWERS) if name == "vmrole-setup.ps1")
    brought = re.findall(r"^\$client = '([A-Za-z0-9+/=]+)'$", script, re.MULTILINE)
    assert [base64.b64decode(one).decode() for one in brought] == [TEXT]
    assert '"$place\\files\\vmrole-guest.ps1", [Convert]::FromBase64String($client)' in script
    assert script.index("FromBase64String($client)") < script.index("schtasks.exe /create")


def test_it_uses_nothing_that_powershell_2_has_not() -> None:
    """As far as words tell."""
    assert not re.findall(LATER, TEXT, re.IGNORECASE)
    assert re.findall(LATER, "$a = $b | ConvertTo-Json")


def test_its_words_are_the_channel_s() -> None:
    """Each that it offers is a method, written as there; it asks at the port's name."""
    offered = set(re.findall(r"^    '([a-z-]+)' \{", TEXT, re.MULTILINE))
    offered |= set(re.findall(r"\$_ -ceq '([a-z]+)'", TEXT))
    blobs = re.findall(r"'([a-z]+)' = \d", TEXT)
    assert blobs == ["put", "get", "ls", "rm"]
    offered |= {f"blob.{one}" for one in blobs}
    assert {one.replace("-", "_") for one in offered - {"blob"}} == set(METHODS)
    assert set(re.findall(r"Get-Answer '([a-z.]+)'", TEXT)) == {"blob.put", "blob.get", "subscribe"}
    assert r"'\\.\Global\com.vmrole.guest.0'" in TEXT
    assert set(re.findall(r"\bexit (\d)", TEXT)) == {"0", "1", "2", "3", "4", "5"}


def test_a_part_of_a_blob_fits_into_a_line() -> None:
    """With the longest name and version that there are, and an empty line before it."""
    part = int(re.search(r"\$part_bytes = (\d+)", TEXT)[1])  # type: ignore[index]
    said = (
        '{"jsonrpc":"2.0","id":"","method":"blob.put","params":{"offset":16777216,"data":"","put":"","size":16777216'
    )
    said += ',"sha256":"","of":"role","if_version":"","name":""}}'
    assert len(base64.b64encode(b"x" * part)) + len(said) + 2 * 36 + 64 + 16 + 100 < LINE_MAX_BYTES
    numbers = dict(re.findall(r"^\$(\w+) = (-32\d+)", TEXT, re.MULTILINE))
    known = {"too_often": TOO_OFTEN, "stale": STALE, "not_there": NOT_THERE}
    assert numbers == {name: str(code) for name, code in known.items()}


def test_its_brackets_are_in_pairs() -> None:
    """Outside of its texts and comments."""
    plain = re.sub(r"@'\n.*?\n'@", "", TEXT, flags=re.DOTALL)
    plain = re.sub(r"'[^'\n]*'|\"[^\"\n]*\"", "", plain)
    plain = re.sub(r"#.*", "", plain)
    for opens, closes in ("{}", "()", "[]"):
        assert plain.count(opens) == plain.count(closes) > 10 or (opens, closes) == ("[", "]")
    assert plain.count("[") == plain.count("]")

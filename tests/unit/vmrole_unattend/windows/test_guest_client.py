"""The client of the runtime channel for Windows. No PowerShell is here to run it: what it is made of is looked at."""

from __future__ import annotations

import dataclasses
import re

import pytest
from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.nocloud import guest_script
from vmrole_unattend.secret import Secret, SecretRef, SecretSource
from vmrole_unattend.windows import files, guest_command
from vmrole_unattend.windows.answers import Answers, Machine, Script

from orchestrator.drivers.guest.runtime_channel import METHODS

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


def test_it_uses_nothing_that_powershell_2_has_not() -> None:
    """As far as words tell."""
    assert not re.findall(LATER, TEXT, re.IGNORECASE)
    assert re.findall(LATER, "$a = $b | ConvertTo-Json")


def test_its_words_are_the_channel_s() -> None:
    """Each that it offers is a method, written as there; it asks at the port's name."""
    offered = set(re.findall(r"^    '([a-z-]+)' \{", TEXT, re.MULTILINE))
    offered |= set(re.findall(r"\$_ -ceq '([a-z]+)'", TEXT))
    assert offered == {"whoami", "ready", "busy", "log", "peers", "stopping", "let-go"}
    assert {one.replace("-", "_") for one in offered} <= set(METHODS)
    assert r"'\\.\Global\com.vmrole.guest.0'" in TEXT
    assert set(re.findall(r"\bexit (\d)", TEXT)) == {"0", "1", "2", "3", "4"}


def test_its_brackets_are_in_pairs() -> None:
    """Outside of its texts and comments."""
    plain = re.sub(r"@'\n.*?\n'@", "", TEXT, flags=re.DOTALL)
    plain = re.sub(r"'[^'\n]*'|\"[^\"\n]*\"", "", plain)
    plain = re.sub(r"#.*", "", plain)
    for opens, closes in ("{}", "()", "[]"):
        assert plain.count(opens) == plain.count(closes) > 10 or (opens, closes) == ("[", "]")
    assert plain.count("[") == plain.count("]")

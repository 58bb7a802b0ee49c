"""The scripts that run in a Windows guest: sound, old enough, and deaf to what a name may hold."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.drivers.guest import windows_scripts


@pytest.mark.parametrize("script", ["status.ps1", "services.ps1", "flush.ps1"])
def test_scripts_are_sound_powershell(script: str) -> None:
    """A grammar of PowerShell finds no error in what runs in the guest, and would."""
    text = Path(windows_scripts.__file__).with_name("windows").joinpath(script).read_bytes()
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    assert text.isascii()
    assert not parser.parse(text).root_node.has_error
    assert parser.parse(text.replace(b"{", b"", 1)).root_node.has_error


@pytest.mark.parametrize("newer", [b"Get-CimInstance", b"ConvertTo-Json", b"-in ", b"::new(", b"wmic", b"&&"])
def test_scripts_need_no_more_than_powershell_2(newer: bytes) -> None:
    """2008 R2 has PowerShell 2: what came later is not used."""
    for script in Path(windows_scripts.__file__).with_name("windows").iterdir():
        assert newer.lower() not in script.read_bytes().lower()


@given(st.lists(st.text(min_size=1, max_size=40), max_size=5))
def test_names_reach_the_script_as_they_are(names: list[str]) -> None:
    """No name of a service can become a command: it stands in base64, and its comment stays one line."""
    script = base64.b64decode(windows_scripts.services(names)[-1]).decode("utf-16-le")
    first, _, rest = script.partition("\n")
    assert first.startswith("# vmrole services 1")
    assert first.isascii()
    assert first.isprintable()
    assert base64.b64encode("\n".join(names).encode()).decode() in rest
    assert rest.replace(base64.b64encode("\n".join(names).encode()).decode(), "") == Path(
        windows_scripts.__file__
    ).with_name("windows").joinpath("services.ps1").read_text().partition("\n")[2].replace("REQUIRED", "")

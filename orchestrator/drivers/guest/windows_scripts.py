"""The commands that are run in a Windows guest, as argv. Pure; what they print is read in `windows_guest`.

The scripts lie in `windows/` and run on PowerShell 2 and later. They reach the guest as one argument in base64 of
UTF-16 (about_PowerShell.exe), which no quoting rule can touch and no execution policy holds back. Their first line is
a comment that names them, with its arguments, for whoever reads a process list or plays a guest in a test.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

POWERSHELL: Final = "powershell.exe"
_COMMAND_LINE_CHARS_MAX = 32767  # CreateProcessW; the program's own name and options take less than a hundred.
_SCRIPTS: Final = Path(__file__).parent / "windows"
_NAME_SAFE: Final = "!#$&'()*+,-.:;=@[]^_`{}~"  # What a name of a service may hold beside letters and digits.

Argv = tuple[str, ...]

# Where there is no PowerShell: every service with its state, and from the registry how each is started. Numbers and
# key names are the same in every language of Windows.
WITHOUT_POWERSHELL: Final[Argv] = (
    "cmd.exe",
    "/d",
    "/c",
    " & ".join(
        (
            "sc.exe queryex type= service state= all bufsize= 262144",
            *(
                rf"reg.exe query HKLM\SYSTEM\CurrentControlSet\Services /s {what}"
                for what in ("/v Start", "/v Type", "/v DelayedAutoStart", "/k /f TriggerInfo")
            ),
        )
    ),
)


def status() -> Argv:
    """Asks how far Setup has come: `key=value` lines."""
    return _powershell(_text("status.ps1"))


def services(required: Sequence[str]) -> Argv:
    """Asks for the auto-start services that do not run, and for those of these names whatever their state.

    Raises ValueError when the names do not fit into a command line.
    """
    script = _text("services.ps1")
    first, newline, rest = script.partition("\n")
    named = " ".join((first, *(quote(name, safe=_NAME_SAFE) for name in required)))
    handed_over = base64.b64encode("\n".join(required).encode()).decode()
    argv = _powershell(named + newline + rest.replace("REQUIRED", handed_over, 1))
    if sum(len(word) + 3 for word in argv) > _COMMAND_LINE_CHARS_MAX:
        raise ValueError("the names of the services do not fit into a command line")
    return argv


def flush() -> Argv:
    """Has it write to its volumes what it holds back; ends in 1 and says why where it cannot."""
    return _powershell(_text("flush.ps1"))


def _powershell(script: str) -> Argv:
    encoded = base64.b64encode(script.encode("utf-16-le")).decode()
    return (POWERSHELL, "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded)


@functools.cache
def _text(name: str) -> str:
    return (_SCRIPTS / name).read_text(encoding="utf-8")

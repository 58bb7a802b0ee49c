"""Command lines that find our disc from inside Windows, whose drive letter nobody can know beforehand."""

from __future__ import annotations

from collections.abc import Sequence

DRIVES = "D E F G H I J K L M N O P Q R S T U V W X Y Z"  # Local storage gets letters before a CD does.
SPECIALIZE = "vmrole\\specialize.cmd"
STORAGE = "vmrole\\local-storage.ps1"
CLIENT = "vmrole\\vmrole-guest.ps1"  # by which the guest speaks to us; it is copied with the rest
FIRST_LOGON = "vmrole\\first-logon.cmd"
FILES = "%SystemRoot%\\Setup\\vmrole\\files"  # our files of the disc, which is taken away when setup is complete
HEADER = "@echo off"


def from_disc(script: str) -> str:
    """Runs a script of the disc, wherever that is; Path of a RunSynchronousCommand has 259 characters at most."""
    return f'cmd.exe /d /c "for %d in ({DRIVES}) do @if exist %d:\\{script} call %d:\\{script}"'


def from_copy(script: str) -> str:
    """Runs a script of the disc from its copy, long after the disc has gone."""
    return f'cmd.exe /d /c "{FILES}\\{script.rpartition(chr(92))[2]}"'


def first_logon(lines: Sequence[str]) -> str:
    """The one script of the first logon: the user's lines in their order, each whatever the last one returned.

    Windows 10 and later start all FirstLogonCommands at once; Microsoft's reference of SynchronousCommand.
    """
    return _crlf(
        [HEADER, "rem vmrole: commands of the first logon, one after the other", 'set "VMROLE=%~dp0"', *lines]
    )


def specialize(instance: str, generation: int, *, storage: bool = False) -> str:
    """Notes which boot ran setup, for which generation of which instance, and copies what the first logon runs: that
    may come years later. With `storage`, local storage gets its place. Holds no secret; may run again.
    """
    return _crlf(
        [
            HEADER,
            "rem vmrole: which boot runs setup, and for whom; read later through the guest agent",
            "setlocal",
            'set "notes=%SystemRoot%\\Setup\\vmrole"',
            'if not exist "%notes%" mkdir "%notes%"',
            'if not exist "%notes%\\files" mkdir "%notes%\\files"',
            'copy /y "%~dp0*.*" "%notes%\\files" > nul',
            f'> "%notes%\\instance" echo {instance}',
            f'> "%notes%\\generation" echo {generation}',
            *(_STORAGE_LINES if storage else ()),
            "set boot=",
            f'for /f "delims=" %%b in (\'{_POWERSHELL}\') do set "boot=%%b"',
            "if defined boot goto note",
            f'for /f "tokens=2 delims==" %%b in (\'{_WMIC}\') do if not defined boot set "boot=%%b"',
            ":note",
            '> "%notes%\\setup-boot" echo %boot%',
            "exit /b 0",
        ]
    )


# The same question as the driver's status script asks later: the creation date of the first process of this boot.
BOOT_SCRIPT = (
    "Get-WmiObject -Query \"SELECT CreationDate FROM Win32_Process WHERE Name='smss.exe'\" |\r\n"
    "    ForEach-Object { $_.CreationDate } | Sort-Object | Select-Object -First 1\r\n"
)
_POWERSHELL = 'powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "%~dp0boot.ps1"'
_STORAGE_LINES = (
    'powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "%~dp0local-storage.ps1"',
    'if errorlevel 1 echo local storage: PowerShell does not run in the guest>> "%notes%\\storage-problem"',
)
_WMIC = 'wmic.exe process where name^="smss.exe" get CreationDate /value'


def _crlf(lines: Sequence[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)

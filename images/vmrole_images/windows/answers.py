"""The answer disc of a build: Autounattend.xml and the script that runs inside Windows before it is sealed.

Setup wipes the machine's only disk, installs, restarts into audit mode, runs the script, and generalizes: no
AutoLogon and no secret. Source of the settings: Microsoft's Unattended Windows Setup Reference, CC-BY-4.0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from vmrole_unattend.iso import write_iso
from vmrole_unattend.windows.answers import Architecture, Windows
from vmrole_unattend.windows.check import Deployment, check

from vmrole_images.report import BuildError

LABEL = "VMROLE_BUILD"
SAYS = "vmrole-build:"  # begins each line that the script writes to the serial port
TOOLS = "virtio-win-gt-x64.msi"
AGENT = "guest-agent/qemu-ga-x86_64.msi"
SCRIPT = Path(__file__).parent / "build.ps1"
DRIVERS: Mapping[str, str] = {"2016": "2k16", "2019": "2k19", "2022": "2k22", "2025": "2k25", "10": "w10"}
"""Releases that can be built, and what virtio-win calls them. Windows 11 wants a TPM, which the build has not."""
_KINDS = ("viostor", "NetKVM", "vioserial", "Balloon")
_LETTERS = "DEF"  # three CDs; which letter each gets is Windows' choice
_COMMAND = (
    r"cmd.exe /c for %d in (D E F G) do if exist %d:\vmrole\build.ps1"
    r" powershell.exe -NoProfile -ExecutionPolicy Bypass -File %d:\vmrole\build.ps1"
)
_ATTRIBUTES = (
    'processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"'
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which Windows. `edition` is the image's name in install.wim: "Windows Server 2022 SERVERSTANDARDCORE"."""

    edition: str
    release: str = Windows.W2022.value
    locale: str = "en-US"
    disk_gib: int = 40

    @property
    def drivers(self) -> tuple[str, ...]:
        """The driver directories of this release on the virtio-win disc: of one release and one architecture."""
        return tuple(f"{kind}/{DRIVERS[self.release]}/amd64" for kind in _KINDS)


def disc(wanted: Wanted) -> bytes:
    """The ISO; the same bytes for the same wish."""
    script = SCRIPT.read_text().replace("\n", "\r\n").encode()
    return write_iso({"Autounattend.xml": autounattend(wanted), "vmrole/build.ps1": script}, LABEL)


def autounattend(wanted: Wanted) -> bytes:
    """The answer file. Raises BuildError when what is wanted cannot be said in one that our check passes."""
    if wanted.release not in DRIVERS:
        raise BuildError(f"Windows {wanted.release!r} cannot be built", hint=f"one of: {', '.join(DRIVERS)}")
    if not wanted.edition.strip() or not wanted.edition.isprintable():
        raise BuildError("the edition has no name", hint="the image's name in install.wim, as wiminfo shows it")
    text = _settings(
        "windowsPE", _international(wanted, "International-Core-WinPE"), _drivers(wanted), _setup(wanted)
    )
    text += _settings("oobeSystem", _deployment("<Reseal><Mode>Audit</Mode></Reseal>"))
    text += _settings("auditUser", _deployment(_build_and_seal()))
    wcm = 'xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State"'
    source = f'<?xml version="1.0" encoding="utf-8"?>\n<unattend xmlns="urn:schemas-microsoft-com:unattend" {wcm}>\n'
    made = f"{source}{text}</unattend>\n".encode()
    found = check(made, architecture=Architecture.AMD64, ours=True, deployment=Deployment.INSTALL)
    if found:
        raise BuildError(f"the answer file would be faulty: {found[0]}")
    return made


def _settings(of_pass: str, *components: str) -> str:
    return f'<settings pass="{of_pass}">\n' + "".join(components) + "</settings>\n"


def _component(name: str, inside: str) -> str:
    return f'<component name="Microsoft-Windows-{name}" {_ATTRIBUTES}>\n{inside}</component>\n'


def _international(wanted: Wanted, name: str) -> str:
    locale = escape(wanted.locale)
    keys = ("InputLocale", "SystemLocale", "UILanguage", "UserLocale")
    setup = f"<SetupUILanguage><UILanguage>{locale}</UILanguage></SetupUILanguage>\n"
    return _component(name, setup + "".join(f"<{key}>{locale}</{key}>\n" for key in keys))


def _drivers(wanted: Wanted) -> str:
    paths = [f"{letter}:\\{name.replace('/', chr(92))}" for letter in _LETTERS for name in wanted.drivers]
    listed = "".join(
        f'<PathAndCredentials wcm:action="add" wcm:keyValue="{number}"><Path>{path}</Path></PathAndCredentials>\n'
        for number, path in enumerate(paths, start=1)
    )
    return _component("PnpCustomizationsWinPE", f"<DriverPaths>\n{listed}</DriverPaths>\n")


def _setup(wanted: Wanted) -> str:
    """EFI, MSR and the rest for Windows, on the only disk."""
    create = "".join(
        f'<CreatePartition wcm:action="add"><Order>{order}</Order>{size}<Type>{kind}</Type></CreatePartition>\n'
        for order, size, kind in (
            (1, "<Size>260</Size>", "EFI"),
            (2, "<Size>16</Size>", "MSR"),
            (3, "<Extend>true</Extend>", "Primary"),
        )
    )
    formats = "".join(
        f'<ModifyPartition wcm:action="add"><Order>{order}</Order><PartitionID>{number}</PartitionID>'
        f"<Format>{form}</Format><Label>{name}</Label></ModifyPartition>\n"
        for order, number, form, name in ((1, 1, "FAT32", "System"), (2, 3, "NTFS", "Windows"))
    )
    return _component(
        "Setup",
        '<DiskConfiguration><Disk wcm:action="add"><DiskID>0</DiskID><WillWipeDisk>true</WillWipeDisk>\n'
        f"<CreatePartitions>{create}</CreatePartitions><ModifyPartitions>{formats}</ModifyPartitions></Disk>"
        "<WillShowUI>OnError</WillShowUI></DiskConfiguration>\n"
        '<ImageInstall><OSImage><InstallFrom><MetaData wcm:action="add"><Key>/IMAGE/NAME</Key>'
        f"<Value>{escape(wanted.edition)}</Value></MetaData></InstallFrom>"
        "<InstallTo><DiskID>0</DiskID><PartitionID>3</PartitionID></InstallTo>"
        "<WillShowUI>OnError</WillShowUI></OSImage></ImageInstall>\n"
        "<UserData><AcceptEula>true</AcceptEula></UserData>\n",
    )


def _deployment(inside: str) -> str:
    return _component("Deployment", inside + "\n")


def _build_and_seal() -> str:
    return (
        "<Generalize><ForceShutdownNow>true</ForceShutdownNow><Mode>OOBE</Mode></Generalize>\n"
        '<RunSynchronous><RunSynchronousCommand wcm:action="add"><Order>1</Order>'
        f"<Path>{escape(_COMMAND)}</Path><Description>vmrole build</Description>"
        "</RunSynchronousCommand></RunSynchronous>"
    )

"""Answer files for tests of the check: sound ones with one thing in them that is told, or is not."""

from __future__ import annotations

from vmrole_unattend.windows.check import Deployment, Diagnostic, check

ROOT = '<unattend xmlns="urn:schemas-microsoft-com:unattend" xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State">'
KEYS = 'processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"'
ADMINISTRATOR = (  # "Geheim.1"
    "<AdministratorPassword><Value>RwBlAGgAZQBpAG0ALgAxAEEAZABtAGkAbgBpAHMAdAByAGEAdABvAHIAUABhAHMAcwB3AG8AcgBkAA==</Value>"
    "<PlainText>false</PlainText></AdministratorPassword>"
)
PASSWORD = (  # the same, of an account
    "<Password><Value>RwBlAGgAZQBpAG0ALgAxAFAAYQBzAHMAdwBvAHIAZAA=</Value><PlainText>false</PlainText></Password>"
)
OTTO = f"<LocalAccount><Name>otto</Name><Group>Administrators</Group>{PASSWORD}</LocalAccount>".replace(
    "<LocalAccount>", '<LocalAccount wcm:action="add">'
)
OOBE = (
    "<OOBE><HideEULAPage>true</HideEULAPage><HideOnlineAccountScreens>true</HideOnlineAccountScreens>"
    "<ProtectYourPC>3</ProtectYourPC></OOBE>"
)


def component(name: str, body: str, keys: str = KEYS) -> str:
    """One component with its usual attributes."""
    full = name if name.startswith("Networking") else f"Microsoft-Windows-{name}"
    return f'<component name="{full}" {keys}>\n{body}\n</component>\n'


def settings(phase: str, *components: str) -> str:
    """One pass."""
    return f'<settings pass="{phase}">\n' + "".join(components) + "</settings>\n"


def server(
    *specialize: str,
    name: str = "web-0",
    zone: str = "UTC",
    shell: str = "",
    oobe: str = OOBE,
    accounts: str = f"<UserAccounts>{ADMINISTRATOR}</UserAccounts>",
    welcome: str = "",
    more: str = "",
) -> bytes:
    """A sound file for a generalized server: more components at specialize, settings of the Shell at both."""
    begun = f"<ComputerName>{name}</ComputerName><TimeZone>{zone}</TimeZone>{shell}"
    first = settings("specialize", component("Shell-Setup", begun), *specialize)
    second = settings("oobeSystem", component("Shell-Setup", f"{oobe}\n{accounts}\n{welcome}"))
    return f"{ROOT}\n{first}{second}{more}</unattend>\n".encode()


def items(name: str, *inner: str) -> str:
    """Items of a list, each marked to be added."""
    return "".join(f'<{name} wcm:action="add">{one}</{name}>' for one in inner)


def commands(*lines: str, more: str = "") -> str:
    """Component Deployment that runs lines at specialize."""
    made = items(
        "RunSynchronousCommand",
        *(f"<Order>{at}</Order><Path>{line}</Path>{more}" for at, line in enumerate(lines, start=1)),
    )
    return component("Deployment", f"<RunSynchronous>{made}</RunSynchronous>")


EULA = "<UserData><AcceptEula>true</AcceptEula></UserData>"
LANGUAGE = "<SetupUILanguage><UILanguage>en-US</UILanguage></SetupUILanguage>"
CREATED = (
    "<Order>1</Order><Type>EFI</Type><Size>260</Size>",
    "<Order>2</Order><Type>MSR</Type><Size>16</Size>",
    "<Order>3</Order><Type>Primary</Type><Extend>true</Extend>",
)
MODIFIED = (
    "<Order>1</Order><PartitionID>1</PartitionID><Format>FAT32</Format><Label>System</Label>",
    "<Order>2</Order><PartitionID>2</PartitionID>",
    "<Order>3</Order><PartitionID>3</PartitionID><Format>NTFS</Format><Label>Windows</Label><Letter>C</Letter>",
)
TARGET = "<InstallTo><DiskID>0</DiskID><PartitionID>3</PartitionID></InstallTo>"
IMAGE = "<Key>/IMAGE/INDEX</Key><Value>2</Value>"


def install(
    *,
    created: tuple[str, ...] = CREATED,
    modified: tuple[str, ...] = MODIFIED,
    disk: str = "<DiskID>0</DiskID><WillWipeDisk>true</WillWipeDisk>",
    target: str = TARGET,
    image: str = IMAGE,
    data: str = EULA,
    language: str = LANGUAGE,
    more: str = "",
) -> bytes:
    """A sound file for an installation from media, with one disk of three partitions."""
    parts = f"<CreatePartitions>{items('CreatePartition', *created)}</CreatePartitions>" if created else ""
    parts += f"<ModifyPartitions>{items('ModifyPartition', *modified)}</ModifyPartitions>" if modified else ""
    setup = (
        f"<DiskConfiguration>{items('Disk', disk + parts)}</DiskConfiguration>\n"
        f"<ImageInstall><OSImage><InstallFrom>{items('MetaData', image)}</InstallFrom>{target}</OSImage>"
        f"</ImageInstall>\n{data}{more}"
    )
    international = component("International-Core-WinPE", f"{language}<UILanguage>en-US</UILanguage>")
    windows_pe = settings("windowsPE", international, component("Setup", setup))
    return server().replace(ROOT.encode(), f"{ROOT}\n{windows_pe}".encode())


def told(source: bytes, **options: object) -> list[Diagnostic]:
    """What is said of a file for a generalized image, if nothing else is said of its use."""
    options.setdefault("deployment", Deployment.GENERALIZED)
    return check(source, **options)  # type: ignore[arg-type]


def codes(source: bytes, **options: object) -> list[str]:
    """Severity and code of each finding, as "warning length"."""
    return [f"{one.severity} {one.code}" for one in told(source, **options)]

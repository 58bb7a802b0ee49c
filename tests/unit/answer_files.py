"""Answer files for tests of the check: sound ones with one thing in them that is told, or is not."""

from __future__ import annotations

from unattend.windows.check import Deployment, Finding, check

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


def told(source: bytes, **options: object) -> list[Finding]:
    """What is said of a file for a generalized image, if nothing else is said of its use."""
    options.setdefault("deployment", Deployment.GENERALIZED)
    return check(source, **options)  # type: ignore[arg-type]


def codes(source: bytes, **options: object) -> list[str]:
    """Severity and code of each finding, as "warning length"."""
    return [f"{one.severity} {one.code}" for one in told(source, **options)]

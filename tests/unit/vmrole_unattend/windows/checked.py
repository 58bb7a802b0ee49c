"""Answer files in pieces, and what the check says of them."""

from __future__ import annotations

from vmrole_unattend.windows.check import Deployment, Severity, check

ROOT = '<unattend xmlns="urn:schemas-microsoft-com:unattend" xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State">'


KEYS = 'processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"'


E, W = Severity.ERROR, Severity.WARNING


def component(name: str, body: str, keys: str = KEYS) -> str:
    full = name if name.startswith("Networking") else f"Microsoft-Windows-{name}"
    return f'<component name="{full}" {keys}>\n{body}\n</component>'


def answers(phase: str, name: str, body: str) -> bytes:
    """A file with one component; the body begins on line 4."""
    return f'{ROOT}\n<settings pass="{phase}">\n{component(name, body)}\n</settings></unattend>'.encode()


def found(source: bytes, **options: object) -> list[tuple[Severity, str, int, str]]:
    options.setdefault("deployment", Deployment.UNKNOWN)
    return [(one.severity, one.code, one.line, one.path) for one in check(source, **options)]  # type: ignore[arg-type]


SHELL, DEPLOY, SETUP = "Shell-Setup", "Deployment", "Setup"


def password(value: str, plain: str = "<PlainText>false</PlainText>") -> bytes:
    body = (
        f"<UserAccounts><AdministratorPassword>\n<Value>{value}</Value>{plain}</AdministratorPassword></UserAccounts>"
    )
    return answers("oobeSystem", "Shell-Setup", body)

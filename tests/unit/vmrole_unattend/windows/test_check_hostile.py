"""Files that were made to keep the checks busy."""

from __future__ import annotations

import pytest
from vmrole_unattend.windows.check import check

pytestmark = pytest.mark.slow

COMPONENT = (
    '<unattend xmlns="urn:schemas-microsoft-com:unattend"><settings pass="oobeSystem">'
    '<component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" '
    'publicKeyToken="31bf3856ad364e35" language="neutral">'
)


@pytest.mark.timeout(60)  # Seconds; what grows with the square of the file takes hours.
@pytest.mark.parametrize(
    "body",
    [
        "<OOBE>" + "<x/>" * 200_000 + "</OOBE>",
        "<OOBE>" + "".join(f"<HideEulaPag{i}/>" for i in range(50_000)) + "</OOBE>",
        "<TimeZone>" + "{{" * 400_000 + "</TimeZone>",
        "<TimeZone>" + "__a" * 300_000 + "</TimeZone>",
        "<FirstLogonCommands>"
        + "<SynchronousCommand><Order>0</Order></SynchronousCommand>" * 15_000
        + "</FirstLogonCommands>",
    ],
    ids=["alike", "misspelt", "braces", "underscores", "items"],
)
def test_no_file_keeps_us_busy(body: str) -> None:
    """The largest hostile file is checked in seconds, and what is said about it has an end."""
    said = check(f"{COMPONENT}{body}</component></settings></unattend>".encode())
    assert len(said) <= 300

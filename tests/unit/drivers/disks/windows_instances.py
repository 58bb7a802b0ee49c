"""A Windows instance, the machine that its answers are for, and an answer file of its user."""

from __future__ import annotations

from vmrole_unattend.windows.answers import Answers, Machine

from orchestrator.model import AnswerFormat, Instance, Nic, Os, Role
from tests.world.instances import instance_of

# It names no secret, and skips the pages that ask for one.
OWN = """<unattend xmlns="urn:schemas-microsoft-com:unattend"><settings pass="oobeSystem">
<component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35"
 language="neutral"><OOBE><SkipMachineOOBE>true</SkipMachineOOBE></OOBE></component></settings></unattend>"""

MACHINE = Machine(
    role="web",
    index=0,
    service="shop",
    instance="web-0.shop",
    generation=2,
    instance_id="6a4b1a54-3c1e-4a07-9d2c-0123456789ab",
    mac="52:54:00:00:00:01",
    address="10.90.0.10/24",
    gateway="10.90.0.1",
    local_storage=("cache", "logs"),
    blank_storage=("logs",),
)


def instance(answers: Answers) -> Instance:
    """A Windows instance with these answers."""
    role = Role(
        name="web",
        image="w",
        image_sha256="a" * 64,
        os=Os.WINDOWS,
        answers=AnswerFormat.UNATTEND,
        unattend=answers,
    )
    nic = Nic(mac="52:54:00:00:00:01", address="10.90.0.10", tap="vrt-1", gateway="10.90.0.1")
    return instance_of(role, uid="8b9b6a9c-5b0e-4c39-9d57-0b1f0a0a0a0a", nic=nic)

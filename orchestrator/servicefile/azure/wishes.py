"""What an import is told besides the two files: what they leave to Azure's portal. Values only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from vmrole_unattend.secret import SecretRef, SecretSource
from vmrole_unattend.windows.answers import Windows

PASSWORD = SecretRef(source=SecretSource.CREDENTIAL, name="administrator-password")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The address of the service, images in place of the VHDs, and what the answer file needs.

    `windows` None means that the images are no Windows images that answer from Unattend.xml. Azure ran VM roles on
    Windows Server 2008 R2 only, and took the administrator's password when the service was deployed.
    """

    vip: str = ""
    image: str = ""  # in place of every OsImage
    role_images: Mapping[str, str] = dataclasses.field(default_factory=dict)  # role, as the file names it: image
    windows: Windows | None = Windows.W2008R2
    administrator_password: SecretRef = PASSWORD

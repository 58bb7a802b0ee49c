"""What only some images ask for: UEFI, secure boot, a TPM. Without it those images cannot be used, and others can."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.drivers.tools.command import run
from orchestrator.errors import VmroleError
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, ok, warn

# docs/interop/firmware.json of QEMU; what the administrator has put into /etc comes first.
DESCRIPTIONS = (Path("/etc/qemu/firmware"), Path("/usr/share/qemu/firmware"))
_SECURE = {"secure-boot", "enrolled-keys"}


def uefi(settings: Config) -> Check:
    """There is a UEFI for images that want one, with Microsoft's keys for those that want secure boot."""
    del settings
    install = "apt-get install ovmf"
    kinds = [set(found["features"]) for found in _firmware()]
    if not any(not (features & _SECURE) for features in kinds):
        return warn("uefi", "there is none: images that need UEFI cannot be used", install)
    if not any(features >= _SECURE for features in kinds):
        return warn("uefi", "none has Microsoft's keys: images that need secure boot cannot be used", install)
    return ok("uefi", "images may ask for UEFI and for secure boot")


def tpm(settings: Config) -> Check:
    """A TPM can be made and emulated: swtpm_setup starts swtpm for it, as for a VM of ours."""
    del settings
    # Without certificates: as root we would found the certificate authority that libvirt's own user must write to.
    # In /tmp, for Ubuntu's AppArmor profile lets swtpm go nowhere else that is ours.
    with tempfile.TemporaryDirectory(prefix="vmrole-doctor-", dir="/tmp") as place:
        try:
            run(("swtpm_setup", "--tpm2", "--tpmstate", place))
        except VmroleError as error:
            why = f"images that need a TPM cannot be used: {error}"
            return warn("tpm", why, "apt-get install swtpm swtpm-tools")
    return ok("tpm", "images may ask for a TPM")


def _firmware() -> Iterator[dict[str, Any]]:
    """The descriptions of UEFI firmware for our machine whose file is there; one that cannot be read is left out."""
    for directory in DESCRIPTIONS:
        for path in sorted(directory.glob("*.json")):
            try:
                found = json.loads(path.read_text())
                fits = any(
                    target["architecture"] == "x86_64" and any("q35" in machine for machine in target["machines"])
                    for target in found["targets"]
                )
                there = Path(found["mapping"]["executable"]["filename"]).is_file()
                if "uefi" in found["interface-types"] and fits and there:
                    yield found
            except (OSError, ValueError, KeyError, TypeError):
                continue

"""What only some images ask for: UEFI, secure boot, a TPM. Without it those images cannot be used, and others can."""

from __future__ import annotations

import tempfile

from orchestrator.drivers.hypervisor import firmwares
from orchestrator.drivers.tools.command import run
from orchestrator.errors import VmroleError
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, ok, warn


def uefi(settings: Config) -> Check:
    """There is a UEFI for images that want one, with Microsoft's keys for those that want secure boot."""
    del settings
    install = "apt-get install ovmf"
    kinds = firmwares.features()
    if not any(firmwares.KEYS not in features for features in kinds):
        return warn("uefi", "there is none: images that need UEFI cannot be used", install)
    if not any(features >= {firmwares.SECURE, firmwares.KEYS} for features in kinds):
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

"""What is made of a libvirt that does not give a disk to a VM that runs."""

from __future__ import annotations

import libvirt
import pytest

from orchestrator.drivers.hypervisor.plugging import refusal
from orchestrator.errors import Busy, Permanent, WorldError

# As libvirt 9.0 says it.
_LOCKED = (
    "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainBackupBegin)"
)
_IN_USE = "internal error: unable to execute QEMU command 'blockdev-add': Failed to get \"write\" lock"
_NO_SLOT = "internal error: No more available PCI slots"
_TAKEN = "operation failed: target vdb already exists"


@pytest.mark.parametrize(
    ("text", "code", "kind"),
    [
        (_LOCKED, libvirt.VIR_ERR_OPERATION_TIMEOUT, Busy),
        (_IN_USE, libvirt.VIR_ERR_INTERNAL_ERROR, Busy),
        (_NO_SLOT, libvirt.VIR_ERR_INTERNAL_ERROR, Permanent),
        (_TAKEN, libvirt.VIR_ERR_OPERATION_FAILED, Permanent),
    ],
)
def test_only_the_vm_itself_refuses_for_good(text: str, code: int, kind: type[WorldError]) -> None:
    """Who is at it will be done: for that nobody is booted, and no memory erased. It says what it was, either way."""
    error = libvirt.libvirtError(text)
    error.err = (code, libvirt.VIR_FROM_QEMU, text, libvirt.VIR_ERR_ERROR, None, None, None, -1, -1)
    made = refusal("the VM of web-0.shop does not take local storage cache", error)
    assert type(made) is kind
    assert str(made).startswith("the VM of web-0.shop does not take local storage cache: ")
    assert text[:60] in str(made)

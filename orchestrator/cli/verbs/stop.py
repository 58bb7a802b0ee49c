"""`vmrole stop`: instances are off until they are started."""

from __future__ import annotations

from orchestrator.cli.acting import operating

stop = operating(
    "stop",
    "Shuts instances down: out of rotation first, in the guest's time (stop.within), and off until: vmrole start.",
    "Disk, local storage, generation and address stay, and so does its share of the host's memory. Nothing else "
    "starts or heals it: no restart of the daemon or the host, no apply. A reimage, or what an apply changes of its "
    "VM, it gets when it is started. It can be deleted and scaled away. One stopped during its setup begins anew.",
)

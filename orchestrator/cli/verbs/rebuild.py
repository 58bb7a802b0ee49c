"""`vmrole rebuild`: instances get new disks."""

from __future__ import annotations

from orchestrator.cli.acting import operating

rebuild = operating(
    "rebuild",
    "Gives instances a new system disk and new, empty local storage.",
    "What is stopped stays off, and gets its new disks when it is started.",
)

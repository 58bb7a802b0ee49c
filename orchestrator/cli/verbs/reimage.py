"""`vmrole reimage`: instances get a new system disk."""

from __future__ import annotations

from orchestrator.cli.acting import operating

reimage = operating(
    "reimage",
    "Gives instances a new system disk from the image, the next generation; local storage stays. Of a role with "
    "reimage: warm or prepared they go on from their checkpoint, where they have one.",
    "What is stopped stays off, and gets its new disk when it is started.",
)

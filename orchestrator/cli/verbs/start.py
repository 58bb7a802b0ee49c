"""`vmrole start`: stopped instances run again."""

from __future__ import annotations

from orchestrator.cli.acting import operating

start = operating(
    "start",
    "Starts instances that were stopped: a boot, with everything as it was, and into rotation when it is ready.",
    "One that runs already is left alone.",
)

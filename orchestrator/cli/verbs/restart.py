"""`vmrole restart`: instances boot again."""

from __future__ import annotations

from orchestrator.cli.acting import operating

restart = operating(
    "restart",
    "Restarts instances: the same generation boots again; all its data stays.",
    "What is stopped is left so; named alone, it is refused.",
)

"""Whether a process has ended, held by a descriptor of it (pidfd_open(2)), and whether its parent knows."""

from __future__ import annotations

import select
import signal
from typing import Final

from orchestrator.drivers.tools.deadline import Deadline

_LOOK_S: Final = 0.001


def is_gone(process: int, within_s: float) -> bool:
    """As the kernel has it: the descriptor is readable then."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(within_s * 1000))


def await_noted(process: int, within_s: float) -> None:
    """Until nobody can signal it any more, for its parent knows of its end; or for as long as that may take.

    Until then whoever looks by kill(2) thinks that it lives.
    """
    deadline = Deadline(within_s)
    while not deadline.over and not is_noted(process):
        select.select((), (), (), _LOOK_S)


def is_noted(process: int) -> bool:
    """Whether its parent has taken note of its end."""
    try:
        signal.pidfd_send_signal(process, 0)
    except ProcessLookupError:
        return True
    return False

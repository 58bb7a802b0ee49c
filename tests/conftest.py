"""For every ring: who does not end after the last test is ended, and shows where it stands."""

from __future__ import annotations

import faulthandler
import signal
import sys

ENDS_WITHIN_S = 300

# A shell's background job ignores it, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    """A thread that nobody ends would keep the process for ever, when no test is there any more to be late."""
    faulthandler.dump_traceback_later(ENDS_WITHIN_S, exit=True, file=sys.__stderr__)

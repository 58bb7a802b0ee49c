"""For every ring: who does not end after the last test is ended, and shows where it stands."""

from __future__ import annotations

import faulthandler
import sys

ENDS_WITHIN_S = 300


def pytest_unconfigure() -> None:
    """A thread that nobody ends would keep the process for ever, when no test is there any more to be late."""
    faulthandler.dump_traceback_later(ENDS_WITHIN_S, exit=True, file=sys.__stderr__)

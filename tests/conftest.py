"""For every ring: who does not end after the last test is ended, and shows where it stands. How long an example takes
is no finding.
"""

from __future__ import annotations

import faulthandler
import signal
import sys

from hypothesis import HealthCheck, settings

ENDS_WITHIN_S = 300

# On a machine that others use, too, examples are made slowly, and Hypothesis would fail a test for that.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# A shell's background job ignores it, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    """A thread that nobody ends would keep the process for ever, when no test is there any more to be late."""
    faulthandler.dump_traceback_later(ENDS_WITHIN_S, exit=True, file=sys.__stderr__)

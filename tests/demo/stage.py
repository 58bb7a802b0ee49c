"""How the demo speaks and checks: numbered steps, commands shown as they can be typed, and facts that must hold."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from tests.lab.harness.role import VMROLE, RoleDaemon

_COMMAND_S = 900.0  # Three cold boots with a setup restart each, on a machine that does other things too.


class NotAsSaid(AssertionError):
    """Something was not as the demo promised."""


class Stage:
    """Prints what happens; nothing is decided here."""

    def __init__(self) -> None:
        self._steps = 0
        self._facts = 0
        self._started = time.monotonic()

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One numbered step; says how long it took."""
        self._steps += 1
        print(f"\n{self._steps}. {title}", flush=True)
        started = time.monotonic()
        yield
        print(f"   ({time.monotonic() - started:.1f} s)", flush=True)

    def say(self, text: str) -> None:
        """Prints lines below the step."""
        for line in text.rstrip().splitlines():
            print(f"   {line}", flush=True)

    def fact(self, holds: bool, text: str, otherwise: str = "") -> None:
        """Prints `text` when it holds; raises NotAsSaid with `otherwise` when it does not."""
        if not holds:
            raise NotAsSaid(f"not so: {text}" + (f"\n{otherwise}" if otherwise else ""))
        self._facts += 1
        print(f"   ✓ {text}", flush=True)

    def vmrole(self, daemon: RoleDaemon, *arguments: str) -> None:
        """Runs a command of vmrole with its output on the terminal, progress and all; it must exit 0."""
        print(f"   $ vmrole {' '.join(arguments)}", flush=True)
        self.command(daemon, [VMROLE, *arguments])

    def command(self, daemon: RoleDaemon, argv: Sequence[str]) -> None:
        """Runs any command with the daemon's socket in its environment."""
        environment = {**os.environ, **daemon.environment}
        status = subprocess.run(argv, env=environment, timeout=_COMMAND_S, check=False).returncode
        if status:
            raise NotAsSaid(f"{' '.join(argv)}: exit {status}")

    def close(self) -> None:
        """The last line of a demo that went as said."""
        spent_s = time.monotonic() - self._started
        print(f"\nEverything was as said: {self._steps} steps, {self._facts} facts checked, {spent_s:.0f} s.")
        sys.stdout.flush()

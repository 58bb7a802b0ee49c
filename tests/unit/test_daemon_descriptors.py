"""Many files at once: the daemon may open what the host allows, and nothing stops working beyond the old limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# In a process of its own: its soft limit is lowered, the daemon raises it; then more is open than select(2) knows.
_MANY = """
import os, resource, sys
from pathlib import Path
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
from orchestrator.host import process
from orchestrator.drivers.tools import command
from orchestrator.drivers.hypervisor import accelerator
from orchestrator.drivers.hypervisor.domain_xml import Accelerator
assert process.raise_descriptor_limit() == hard
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
command.follow(["echo", "heard"], lambda word: print(word, end=""), within_s=60, limits=command.Limits())
guest = accelerator.Guest("our own", (), "the-word")
print(accelerator.boot(Path(sys.argv[1]), Accelerator.TCG, guest, "", 60).why_not or "booted")
"""


def test_a_daemon_with_a_thousand_files_goes_on(tmp_path: Path) -> None:
    """The limit is raised as far as it goes, and programs are followed and guests tried with more files than that."""
    emulator = tmp_path / "qemu"
    emulator.write_text("#!/bin/sh\necho the-word\nsleep 60\n")
    emulator.chmod(0o700)
    argv = [sys.executable, "-c", _MANY, str(emulator)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["heard", "booted"]), done.stderr

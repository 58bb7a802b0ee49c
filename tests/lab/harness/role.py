"""vmrole in a lab: its daemon with a configuration of its own, and its command."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab.harness import places
from tests.lab.harness.daemons import Daemon
from tests.lab.harness.enter import REPOSITORY, ROOT_ENV

START_S = 180.0  # The first daemon of a lab tries KVM and TCG, each with a deadline of its own.
COMMAND_S = 1800.0  # A whole deployment with --wait on a slow machine.
# What a daemon has for itself, and leaves for the next one.
_OWN_FILES = frozenset(
    {"vmrole.toml", "daemon.log", "vmrole.lock", "vmrole.db", "vmrole.db-journal", "monitor.sock", "guest.sock"}
)
VMROLE = str(REPOSITORY / ".venv" / "bin" / "vmrole")


class RoleDaemon:
    """One vmrole daemon on a state and a run directory. Killing it leaves HAProxy and the guests as they are."""

    def __init__(self, state: Path, run: Path, settings: Mapping[str, object]) -> None:
        self.state = state
        self.run_dir = run
        self.socket = run / "vmrole.sock"
        self.config = state / "vmrole.toml"
        cache = Path(os.environ[ROOT_ENV]) / "cache-of-daemons"
        for directory in (state / "lib", run, cache):
            directory.mkdir(parents=True, exist_ok=True)
        places.let_qemu_pass(state / "lib" / "images")
        run.chmod(0o755)  # as systemd makes it: QEMU's user gets through it to its disc and its monitor
        if not (state / "lib" / "cache").exists():
            (state / "lib" / "cache").symlink_to(cache)  # Whether KVM works is found out once per lab: half a minute.
        lab = {
            "state_dir": str(state / "lib"),
            "run_dir": str(run),
            "vip_interface": places.OUTSIDE_LINK,
            "libvirt_uri": places.LIBVIRT_URI,
            "secrets_dir": str(state / "secrets"),
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in {**lab, **settings}.items()]
        self.config.write_text("\n".join(lines) + "\n")
        argv = (VMROLE, "daemon", "--config", str(self.config))
        self._daemon = Daemon("vmrole daemon", argv, self.socket, state / "daemon.log")
        self.environment = {"VMROLE_SOCKET": str(self.socket), "VMROLE_CONFIG": str(self.config)}

    def give_secret(self, name: str, text: str) -> None:
        """Keeps a secret as the host's owner does; service files name it `{secret: NAME}`."""
        place = self.state / "secrets"
        place.mkdir(mode=0o700, exist_ok=True)
        (place / name).touch(0o600)
        (place / name).write_text(text)

    def confine(self, *command: str) -> None:
        """From now on it is started by this command, which becomes it."""
        self._daemon.argv = (*command, *self._daemon.argv)

    def start(self) -> None:
        """Starts the daemon and waits until its socket answers."""
        self._daemon.start(START_S)

    def kill(self) -> None:
        """kill -9 of the daemon alone."""
        self._daemon.kill()

    def stop(self) -> int:
        """Asks the daemon to end; returns its exit status."""
        return self._daemon.stop()

    def files_of_instances(self) -> list[str]:
        """What lies in its directories and is of an image or an instance: all but what the daemon has for itself."""
        files = [path for place in (self.state, self.run_dir) for path in place.rglob("*") if not path.is_dir()]
        return sorted(str(path) for path in files if path.name not in _OWN_FILES)

    def running(self) -> bool:
        """Whether the daemon lives."""
        return self._daemon.running()

    @property
    def pid(self) -> int:
        """The daemon's process id; AssertionError when it does not run."""
        if self._daemon.process is None or not self.running():
            raise AssertionError(f"the daemon does not run\n{self.last_words()}")
        return self._daemon.process.pid

    def last_words(self, lines: int = 30) -> str:
        """The end of the daemon's log."""
        return self._daemon.last_words(lines)

    def kill_with_children(self) -> None:
        """Ends the daemon and everything in this lab that has one of its directories on its command line."""
        self.kill()
        kill_naming(str(self.state))
        kill_naming(str(self.run_dir))

    # The command ------------------------------------------------------------------------------------------------

    def run(
        self, *arguments: str, check: bool = True, timeout_s: float = COMMAND_S, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs `vmrole ARGUMENTS` against this daemon; see `Place.run`."""
        command = ["env", *(f"{key}={value}" for key, value in self.environment.items()), VMROLE, *arguments]
        return places.HOST.run(command, check=check, timeout_s=timeout_s, text=text)

    def json(self, *arguments: str) -> Any:
        """What `vmrole ARGUMENTS -o json` answers."""
        return json.loads(self.run(*arguments, "-o", "json").stdout)


def processes_naming(text: str) -> list[int]:
    """Processes of the lab, this one and PID 1 aside, whose command line contains `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in (1, os.getpid()):
            try:
                words = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended while we looked.
            if text.encode() in words:
                found.append(int(entry.name))
    return found


def kill_naming(text: str) -> None:
    """kill -9 of every process of the lab whose command line contains `text`."""
    for pid in processes_naming(text):
        with contextlib.suppress(ProcessLookupError):  # It may end by itself, some when another one does.
            os.kill(pid, signal.SIGKILL)

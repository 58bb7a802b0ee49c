"""The lab from the inside: what tests, the demo and the benchmark use. `enter.py` made the namespaces around us."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.harness import daemons, leftovers, places
from tests.lab.harness.daemons import DaemonError
from tests.lab.harness.enter import ROOT_ENV, LabError
from tests.lab.harness.leftovers import Thing
from tests.lab.harness.role import RoleDaemon
from tests.world.waiting import comes_true

_SWEEP_S = 120.0


class Lab:
    """Real libvirtd on the host side, a client on the other end of a wire, and vmrole when asked for.

    One at a time: a second Lab in the same namespaces shares the running libvirtd with the first.
    """

    host = places.HOST
    client = places.CLIENT
    libvirt_uri = places.LIBVIRT_URI
    outside_link = places.OUTSIDE_LINK
    host_address = places.HOST_ADDRESS
    client_address = places.CLIENT_ADDRESS

    def __init__(self) -> None:
        if ROOT_ENV not in os.environ:
            raise LabError("not inside a lab; run: python -m tests.lab.harness -- COMMAND")
        self.root = Path(os.environ[ROOT_ENV])
        self._virtlogd = daemons.virtlogd(self.root)
        self._libvirtd = daemons.libvirtd(self.root)
        self._undo = contextlib.ExitStack()
        self._before = frozenset[Thing]()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self._virtlogd.kill)
            undo.callback(self._libvirtd.kill)
            self.start_libvirtd()
            self._before = leftovers.look()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def leave_running(self) -> None:
        """Lets every daemon live on when this Lab is left: they end with the namespaces."""
        self._undo.pop_all()

    # libvirt ---------------------------------------------------------------------------------------------------

    def start_libvirtd(self) -> None:
        """Starts virtlogd and libvirtd where they do not run, and waits until a call is answered."""
        self._virtlogd.start()
        self._libvirtd.start()
        if not comes_true(daemons.answers_libvirt, daemons.START_S):
            raise DaemonError(f"libvirtd takes connections but no calls\n{self._libvirtd.last_words()}")

    def kill_libvirtd(self) -> None:
        """kill -9 of libvirtd; its guests run on."""
        self._libvirtd.kill()

    def virsh(self, *arguments: str) -> str:
        """What virsh prints."""
        return self.host.run(["virsh", *arguments]).stdout

    # vmrole ----------------------------------------------------------------------------------------------------

    def daemon(self, state: Path | None = None, run: Path | None = None, **settings: object) -> RoleDaemon:
        """A vmrole daemon, not yet started, with its state under `state` (default: ROOT/vmrole).

        `run` defaults to a new directory in the lab's /run: short, because sockets lie in it. `settings` are keys of
        its configuration file beside those that the lab needs. Killed when the lab is left.
        """
        run = run or Path(tempfile.mkdtemp(prefix="vmrole-", dir="/run"))
        daemon = RoleDaemon(state or self.root / "vmrole", run, settings)
        self._undo.callback(daemon.kill_with_children)
        return daemon

    # Proof -----------------------------------------------------------------------------------------------------

    def leftovers(self, state: Path | None = None, within_s: float = 60.0) -> list[str]:
        """What exists now and did not when the lab was entered, in sentences; [] when there is nothing.

        Processes that are just ending get `within_s` seconds to go. `state` adds every file below it.
        """
        comes_true(lambda: not self._new(state), within_s, look_s=0.25)
        return sorted(thing.what for thing in self._new(state))

    def sweep(self, state: Path | None = None) -> None:
        """Takes away whatever came since the lab was entered, so that one failed test does not fail the next.

        AssertionError when something cannot be taken away: libvirt may need some seconds to notice that a guest died.
        """

        def swept() -> bool:
            for thing in sorted(self._new(state)):
                thing.remove()
            return not self._new(state)

        if not comes_true(swept, _SWEEP_S, look_s=0.25):
            raise AssertionError(f"cannot be swept: {self.leftovers(state)}")

    def _new(self, state: Path | None) -> frozenset[Thing]:
        return leftovers.look(state) - self._before

    def guest(self, domain: str, argv: Sequence[str], within_s: float = 300.0) -> str:
        """Runs a command in a guest through its agent and returns what it printed; AssertionError when it failed."""
        started = self._agent(domain, "guest-exec", {"path": argv[0], "arg": list(argv[1:]), "capture-output": True})
        status: dict[str, Any] = {}

        def exited() -> bool:
            status.update(self._agent(domain, "guest-exec-status", {"pid": started["pid"]}))
            return bool(status["exited"])

        if not comes_true(exited, within_s, look_s=0.1):
            raise AssertionError(f"{domain}: {' '.join(argv)} did not end within {within_s:.0f} s")
        printed = _text(status.get("out-data", ""))
        if status.get("exitcode") != 0:
            raise AssertionError(
                f"{domain}: {' '.join(argv)}: {status} {printed} {_text(status.get('err-data', ''))}"
            )
        return printed

    def _agent(self, domain: str, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        call = json.dumps({"execute": command, "arguments": arguments})
        answer = json.loads(self.virsh("qemu-agent-command", "--timeout", "60", domain, call))
        result: dict[str, Any] = answer["return"]
        return result


def _text(encoded: str) -> str:
    """What the agent sends of a command's output: base64."""
    return base64.b64decode(encoded).decode(errors="replace")

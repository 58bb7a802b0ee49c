"""The Inside port: commands and files of a guest, by its agent."""

from __future__ import annotations

import pytest

from orchestrator.errors import NotFound, Permanent, Transient
from orchestrator.model import Instance, Ran
from tests.contract.suites.guest import until_another_boot
from tests.contract.suites.hypervisor import started
from tests.contract.suites.stage import Stage, make_instance

PART = 200_000  # more than an agent is given in a call
FILE = "/root/part"
UNKNOWN_PID = 999_999_999


class InsideContract:
    """Subclasses give the fixture `stage`."""

    def test_commands_and_files(self, stage: Stage) -> None:
        """A command tells its status and both its outputs, as often as it is asked; a file comes back as it was
        written, in parts, from any place; what there is not is told as that.
        """
        with pytest.raises(Transient):
            stage.inside.begin(make_instance(stage), ("true",), b"")
        instance = started(stage)
        until_another_boot(stage, instance, set_up=True)

        ran, again = run(stage, instance, ("/bin/sh", "-c", "cat; echo trouble >&2; exit 3"), b"given\n")
        assert ran == again == Ran(status=3, output=b"given\n", errors=b"trouble\n")
        assert run(stage, instance, ("true",))[0].status == 0
        with pytest.raises(NotFound):
            stage.inside.begin(instance, ("/no/such/program",), b"")
        with pytest.raises(Permanent):
            stage.inside.ended(instance, UNKNOWN_PID)

        first, second = bytes(range(256)) * (PART // 256), b"the end" * 1000
        stage.inside.write(instance, FILE, 0, first)
        stage.inside.write(instance, FILE, len(first), second)
        assert stage.inside.read(instance, FILE, 0, PART * 2) == first + second
        assert stage.inside.read(instance, FILE, len(first) - 4, 8) == (first + second)[len(first) - 4 :][:8]
        assert stage.inside.read(instance, FILE, len(first) + len(second), 8) == b""
        stage.inside.write(instance, FILE, 0, b"anew")
        assert stage.inside.read(instance, FILE, 0, PART) == b"anew"
        with pytest.raises(NotFound):
            stage.inside.read(instance, "/no/such/file", 0, 1)


def run(stage: Stage, instance: Instance, argv: tuple[str, ...], given: bytes = b"") -> tuple[Ran, Ran]:
    """How a command ended, asked twice."""
    pid = stage.inside.begin(instance, argv, given)
    found: list[Ran] = []

    def ended() -> bool:
        ran = stage.inside.ended(instance, pid)
        found.extend([ran] if ran else [])
        return bool(found)

    stage.until(ended)
    again = stage.inside.ended(instance, pid)
    assert again is not None
    return found[-1], again

"""A drive that is being detached while its instance goes on to another boot, whose guest may use it again."""

from __future__ import annotations

import pytest

from orchestrator.control.attaching import Attaching
from orchestrator.errors import Conflict
from orchestrator.model import Verb
from tests.trouble.drive_lives import WEB, plain, plugged
from tests.trouble.warm_lives import drives_of
from tests.world.fabric import Fabric


@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE])
@pytest.mark.parametrize("whole", [False, True])
def test_who_starts_again_meanwhile_keeps_it(verb: Verb, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On its way, or up again: its guest let go in the boot before. Asked again it comes away."""
    fabric = plain()
    machine, find = fabric.host.machine, fabric.control.instance
    attaching = Attaching(fabric.present, drives_of(fabric), machine, find, patience=1000.0)  # Turns take their time.
    attaching.attach("db-0", "web-0", mounted=True)
    unplug, looks = machine.hypervisor.unplug, []

    def slow(*of: object) -> bool:
        looks.append(of)
        if len(looks) > 1:
            return unplug(*of)  # type: ignore[arg-type]
        begin_again(fabric, verb, whole=whole)
        return False  # The kernel has not let go of it yet.

    monkeypatch.setattr(machine.hypervisor, "unplug", slow)
    with pytest.raises(Conflict, match="started again meanwhile" if whole else "nobody can take drive db-0"):
        attaching.detach("db-0")
    fabric.until(fabric.quiet)
    assert (plugged(fabric), fabric.world.machines[WEB].mounted) == ({"db-0"}, {"db-0"})
    assert (attaching.detach("db-0").holder, plugged(fabric), fabric.world.torn_out) == (None, set(), set())


def begin_again(fabric: Fabric, verb: Verb, *, whole: bool) -> None:
    """Asks for that, and waits for its end where that is said."""
    fabric.act(verb, WEB)
    if whole:
        fabric.until(fabric.quiet)
    else:
        fabric.round()

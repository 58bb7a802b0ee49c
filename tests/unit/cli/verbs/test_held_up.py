"""A service that does not go, because one of its instances cannot be read: told, and what to type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.control import records
from orchestrator.errors import StaleRevision
from orchestrator.ports import Write
from tests.world.command_line import runner
from tests.world.living import serving
from tests.world.waiting import until

LOST = "web-0.shop"
WHY = "web-0.shop cannot be read (phase: "
TYPE = "vmrole delete service shop --forget-unreadable"


def test_what_holds_a_service_up_is_told_and_forgotten_by_who_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By who asks, waits, looks; nobody waits for what does not come; then all of it goes."""
    run = runner(capsys)
    with serving(tmp_path) as daemon:
        monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))

        def damaged() -> bool:
            document = daemon.store.get(records.STATE, LOST)
            assert document is not None
            body = {**document.body, "phase": "levitating"}
            try:
                daemon.store.commit([Write(records.STATE, LOST, body, document.revision)])
            except StaleRevision:
                return False
            return True

        until(damaged, what="a record that nobody writes")
        status, out, err = run("delete", "service", "shop", "--wait", "--timeout", "60s")
        assert (status, out) == (5, "shop: being deleted\n")
        assert f"shop stays for now: {WHY}" in err
        assert f"error: shop stays: {WHY}" in err
        assert err.count(TYPE) == 2
        assert run("describe", "shop")[1].count(f"being deleted; {WHY}") == 1
        (row,) = json.loads(run("get", "services", "-o", "json")[1])
        assert row["held_up"].startswith(WHY)
        status, out, err = run("delete", "service", "shop", "--forget-unreadable", "--wait", "--timeout", "60s")
        assert (status, out) == (0, "shop: being deleted\nshop: gone\n"), err
        assert "stays" not in err
        assert not daemon.world.machines

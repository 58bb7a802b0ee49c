"""The progress bars of `image add`, on something that says that it is a terminal."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from pathlib import Path

import pytest

from orchestrator.cli.adding import adding
from orchestrator.model.intake import Intake
from tests.world.api_daemon import Daemon
from tests.world.disk_files import content, dynamic


class Terminal(io.StringIO):
    """Keeps what it is told."""

    def isatty(self) -> bool:
        """It says so."""
        return True


@pytest.mark.slow
def test_a_terminal_shows_what_was_sent_and_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the upload, then how far the daemon is."""
    programs = tmp_path / "programs"
    programs.mkdir()
    real = shutil.which("qemu-img")
    slow = f'[ $1 = convert ] || exec {real} "$@"\nprintf \'(42.00/100%%)\\r\'; sleep 2; exec {real} "$@"'
    (programs / "qemu-img").write_text(f"#!/bin/sh\n{slow}\n")
    (programs / "qemu-img").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    data = dynamic(bytes(content()))
    with Daemon(tmp_path) as daemon, contextlib.redirect_stderr(Terminal()) as told:
        client = daemon.client()
        with adding(client, "disk", len(data), convert=True) as advance:
            client.add_image([(io.BytesIO(data), len(data))], Intake(name="disk", convert=True), advance)
    assert "adding disk" in told.getvalue()
    assert "100%" in told.getvalue()
    assert "converting disk" in told.getvalue().partition("100%")[2]
    assert "42%" in told.getvalue()


def test_elsewhere_nothing_is_shown(tmp_path: Path) -> None:
    """A log or a pipe gets no bars."""
    with (
        Daemon(tmp_path) as daemon,
        contextlib.redirect_stderr(io.StringIO()) as told,
        adding(daemon.client(), "disk", 2, convert=True) as advance,
    ):
        advance(2)
    assert told.getvalue() == ""

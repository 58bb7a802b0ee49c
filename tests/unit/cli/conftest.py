"""What the tests of the command line share: a daemon, and the command line itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.world.api_daemon import Daemon
from tests.world.command_line import Run, runner


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose world stands still."""
    with Daemon(tmp_path_factory.mktemp("daemon")) as running:
        yield running


@pytest.fixture
def daemon(shared: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """It, with the image `micro` and nothing else; the environment names its socket."""
    shared.wipe()
    shared.give_image()
    monkeypatch.setenv("VMROLE_SOCKET", str(shared.socket))
    return shared


@pytest.fixture
def run(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line against the test's daemon; gives exit status, stdout and stderr."""
    monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
    return runner(capsys)

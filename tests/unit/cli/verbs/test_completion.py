"""`vmrole completion bash`, as a real bash runs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import names
from tests.world.api_daemon import Daemon

GOOD_SHOP = "service: shop\nroles: {web: {image: micro, instances: 2}}\n"
BIN = Path(sys.executable).parent
# A minute is how long other commands wait for an answer; a shell that waits so long is a shell that hangs.
WITHIN_S = 45.0
PRESS_TAB = """
source <(vmrole completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
handler=$(complete -p vmrole | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$handler vmrole >&2
printf '%s\n' "${COMPREPLY[@]}"
"""


def completed(socket_path: Path, *words: str, **environment: str) -> tuple[set[str], str]:
    """What bash offers for the last word, and whatever was printed beside it."""
    found = {"PATH": f"{BIN}:{os.environ['PATH']}", "VMROLE_SOCKET": str(socket_path)}
    done = subprocess.run(
        ["bash", "-c", PRESS_TAB, "bash", *words],
        env={**os.environ, **found, **environment},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    return set(done.stdout.split()), done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("vmrole", "conf"), {"config"}),
        (("vmrole", "reimage", "web-1"), {"web-1.shop"}),
        (("vmrole", "delete", "service", ""), {"shop"}),
        (("vmrole", "image", "show", "mi"), {"micro"}),
    ],
)
def test_bash_offers_the_names_that_there_are(daemon: Daemon, words: tuple[str, ...], expected: set[str]) -> None:
    """Verbs, instances, services and images, as the daemon has them now."""
    daemon.client().apply(GOOD_SHOP)
    assert completed(daemon.socket, *words, VMROLE_COMPLETE_WITHIN="40") == (expected, "")


def test_no_daemon_is_no_name_and_no_word(tmp_path: Path) -> None:
    """A shell must not show errors in the middle of a line."""
    assert completed(tmp_path / "none", "vmrole", "why", "w") == (set(), "")


@pytest.mark.parametrize(("said", "within_s"), [("2.5", 2.5), ("1e9", 60.0), ("nan", 1.0), ("0", 1.0), ("soon", 1.0)])
def test_a_daemon_far_away_is_given_longer(monkeypatch: pytest.MonkeyPatch, said: str, within_s: float) -> None:
    """Seconds, up to a minute; what makes no sense is the usual time."""
    monkeypatch.setenv("VMROLE_COMPLETE_WITHIN", said)
    assert names.within_s() == within_s


@pytest.mark.parametrize("accepts", [True, False], ids=["silent", "busy"])
def test_a_daemon_that_does_not_answer_is_not_waited_for(tmp_path: Path, accepts: bool) -> None:
    """Neither one that takes the connection and is silent, nor one whose queue is full."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(str(tmp_path / "s"))
        listener.listen(16 if accepts else 0)
        if not accepts:
            other.connect(str(tmp_path / "s"))
        assert completed(tmp_path / "s", "vmrole", "why", "w") == (set(), "")

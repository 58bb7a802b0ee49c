"""A service without a VIP on the command line: nothing is asked of who has no client, and nothing empty is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.verbs.service_files import write
from tests.world.api_daemon import Daemon
from tests.world.command_line import Run

QUIET = """service: jobs
roles:
  worker:
    image: micro
    endpoints:
      rpc: {type: internal, port: 8080}
"""
FACED = QUIET.replace("roles:", "vip: 203.0.113.10\nroles:").replace("rpc: {type: internal,", "rpc: {")


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test stands in an empty directory."""
    monkeypatch.chdir(tmp_path)


def test_what_is_shown_says_nothing_of_an_address(run: Run, daemon: Daemon) -> None:
    """In `get -o yaml`, which can be applied again, in the list, and in `describe`; staging is as it is elsewhere."""
    write(quiet_yaml=QUIET)
    assert run("apply", "-f", "quiet.yaml")[0] == 0
    status, text, _ = run("get", "services", "jobs", "-o", "yaml")
    assert (status, "vip" in text.casefold()) == (0, False)
    write(again_yaml=text)
    assert run("apply", "-f", "again.yaml") == (0, "jobs: unchanged\n", "")
    assert "VIP" not in run("describe", "jobs")[1]
    assert run("apply", "-f", "quiet.yaml", "--slot", "staging")[0] == 0
    status, out, _ = run("swap", "jobs", "--force")
    assert (status, "without an address" in out) == (0, True)
    assert daemon.control.service("jobs").vip == ""


def test_a_difference_says_what_becomes_of_the_address(run: Run) -> None:
    """Given up and taken again, with the endpoint that it was for; `diff` and `apply` alike; no rollout is begun."""
    write(quiet_yaml=QUIET, faced_yaml=FACED)
    assert run("apply", "-f", "faced.yaml")[0] == 0
    for file, words in (
        ("quiet.yaml", "the host gives the address up, and no client reaches the service; no restart"),
        ("faced.yaml", "clients reach the service there; no restart"),
    ):
        status, out, _ = run("diff", "-f", file)
        assert (status, words in out) == (1, True), out
        assert "reimage" not in out
        assert words in run("apply", "-f", file)[1]
    assert run("rollout", "history", "jobs")[0] == 0


def test_an_endpoint_for_clients_needs_one(run: Run) -> None:
    """With the line of the endpoint, the key that is missing, and what to write; nothing is applied."""
    write(faced_yaml=FACED.replace("vip: 203.0.113.10\n", ""))
    for verb in ("check", "apply"):
        words = (verb, "faced.yaml") if verb == "check" else (verb, "-f", "faced.yaml")
        status, out, err = run(*words)
        assert status in (1, 2)
        assert (
            "faced.yaml:6: vip: is missing: endpoint rpc of role worker is for clients (write: vip: ADDRESS"
            in out + err
        )
    assert "jobs" not in run("get", "services")[1]

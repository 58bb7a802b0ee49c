"""What somebody types who knows other tools, and what he is shown by then: each was met on a first day."""

from __future__ import annotations

import dataclasses
import re

import pytest

from orchestrator.control import records
from orchestrator.model import Phase, Verb
from tests.world.api_daemon import SHOP, Daemon
from tests.world.command_line import Run


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """It, with the service `shop`."""
    daemon.control.apply(SHOP)
    return daemon


@pytest.mark.parametrize(
    ("asked", "is_that"), [(("help",), ("--help",)), (("help", "image", "add"), ("image", "add", "--help"))]
)
def test_help_is_a_command_too(run: Run, asked: tuple[str, ...], is_that: tuple[str, ...]) -> None:
    """As git's: the very text of the option."""
    assert run(*asked) == run(*is_that)
    assert run(*asked)[0] == 0


def test_help_of_what_there_is_not_says_so(run: Run) -> None:
    """With what may be meant; a command without commands of its own has none below it."""
    assert run("help", "aply")[::2] == (2, run("aply")[2])
    status, _, err = run("help", "get", "instances")
    assert (status, "vmrole get has no commands of its own" in err) == (2, True)


def test_verbs_stand_below_headings(run: Run) -> None:
    """Each of them, once."""
    out = run("--help")[1]
    headings = re.findall(r"^(\S.*):$", out, re.MULTILINE)
    assert headings[1:3] == ["Services", "What there is, and why"]
    verbs = re.findall(r"^  ([a-z][a-z-]+)  ", out, re.MULTILINE)
    assert sorted(verbs) == sorted(set(verbs))
    assert {"apply", "why", "console", "image", "doctor", "token", "help"} <= set(verbs)


def test_what_an_instance_is_to_be_is_shown_while_it_is_not(run: Run, daemon: Daemon) -> None:
    """A boot that a setup has added is no wish that was left undone."""
    instance = daemon.control.instances("shop")[0]
    assert re.search(r"^Asked for: +generation 1, boot 1$", run("describe", "web-0")[1], re.MULTILINE)
    there = dataclasses.replace(instance, phase=Phase.SERVING, boot=2)
    daemon.store.commit([records.put_state(there)])
    assert "Asked for" not in run("describe", "web-0")[1]
    assert re.search(r"^Boot: +2$", run("describe", "web-0")[1], re.MULTILINE)


def test_who_is_protected_is_said_behind_the_table(run: Run) -> None:
    """It is easily forgotten; what scripts read stays as it was."""
    run("protect", "web-1")
    status, out, err = run("get", "instances")
    assert (status, err) == (0, "protected, so that no verb, apply or healing touches them: web-1.shop\n")
    assert "protected" not in out
    assert run("get", "instances", "-o", "wide")[2] == err
    assert run("get", "instances", "web-0")[2] == run("get", "instances", "-o", "json")[2] == ""


def test_events_have_an_end_and_a_beginning(run: Run, daemon: Daemon) -> None:
    """The newest so many, as `tail` has them; both at once are refused."""
    for index in range(3):
        daemon.control.act(Verb.RESTART, f"web-{index}.shop")
    every = run("events", "shop", "--no-headers")[1].splitlines()
    assert run("events", "shop", "-n", "2", "--no-headers")[1].splitlines() == every[-2:]
    assert run("events", "-n", "2", "-f")[0] == 2


def test_a_name_that_goes_leaves_the_image(run: Run) -> None:
    """Which is said, with the names that it still has."""
    assert run("image", "tag", "small", "micro")[0] == 0
    assert run("image", "rm", "small")[1] == "small: the name is removed; its image stays: micro\n"


def test_a_tag_the_other_way_round_is_told(run: Run) -> None:
    """As docker has it: what there is first, then the new name."""
    status, _, err = run("image", "tag", "micro", "small")
    assert (status, "hint: the new name comes first: vmrole image tag small micro" in err) == (3, True)


def test_an_image_is_shown_for_people(run: Run) -> None:
    """With clocks and units; numbers since 1970 are JSON's."""
    out = run("image", "show", "micro")[1]
    assert re.search(r"^Starts from: +bios, a virtio disk$", out, re.MULTILINE)
    assert "_s" not in out
    assert out == run("describe", "micro")[1]
    assert '"added_at_s"' in run("image", "show", "micro", "-o", "json")[1]

"""`vmrole image trust` by its route and its command: a suspicion is shown, taken back, and nobody else's."""

from __future__ import annotations

import dataclasses
import json

import pytest

from orchestrator.control import records
from orchestrator.errors import NotFound
from orchestrator.model import Image
from tests.world.api_daemon import Daemon
from tests.world.command_line import Run
from tests.world.images import DIGEST

BECAUSE = "web.shop: 2 times an instance has failed with its image, which is new"


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """It, with an image that healing has said to be suspect."""
    suspect(daemon)
    return daemon


def suspect(daemon: Daemon) -> None:
    """As healing writes it."""
    image = daemon.present.load(Image, DIGEST)
    daemon.present.commit([records.put(dataclasses.replace(image, suspect=BECAUSE))])


def test_a_suspicion_is_shown_until_it_is_taken_back(run: Run, daemon: Daemon) -> None:
    """By the list, with its reason in the wide one, and by `image show`; asking again is no fault."""
    name = daemon.client().image(DIGEST)["names"][0]
    for form in ((), ("-o", "wide")):
        status, out, _ = run("image", "ls", *form)
        assert status == 0
        assert "suspect" in out
        assert (BECAUSE in out) is bool(form)
    assert BECAUSE in run("image", "show", name)[1]
    assert run("image", "trust", name) == (0, f"{name}: trusted\n", "")
    assert run("image", "trust", DIGEST) == (0, f"{name}: trusted\n", "")
    (shown,) = json.loads(run("image", "ls", "-o", "json")[1])
    assert (shown["suspect"], BECAUSE in run("image", "show", name)[1]) == ("", False)


def test_its_route_answers_with_the_image(daemon: Daemon) -> None:
    """As it is then; when it was trusted is recorded, for what failed before that is no evidence any more."""
    before = daemon.present.load(Image, DIGEST)
    answer = daemon.client().trust_image(DIGEST)
    after = daemon.present.load(Image, DIGEST)
    assert (answer["sha256"], answer["suspect"]) == (DIGEST, "")
    assert after.trusted_at_s > before.trusted_at_s == 0.0
    assert dataclasses.replace(after, suspect=BECAUSE, trusted_at_s=0.0, revision=before.revision) == before


def test_an_image_that_there_is_not(run: Run, daemon: Daemon) -> None:
    """Refused, with what to do; the other one stays suspect."""
    with pytest.raises(NotFound):
        daemon.client().trust_image("nosuch")
    status, out, err = run("image", "trust", "nosuch")
    assert (status, out) == (3, "")
    assert "hint: " in err
    assert daemon.present.load(Image, DIGEST).suspect == BECAUSE

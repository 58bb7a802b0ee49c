"""Nights drawn from seeds, with blame that is known. More of them: python -m tests.world.healing_simulation 5000."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.control import healing
from orchestrator.rules import blame, standing
from tests.world.healing_simulation import BLAMED, LABELS, NEARLY, Night, confusion

SEEDS = 2 * len(LABELS)  # nights of each kind; one takes a second or more


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nights full of trouble have much to say."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_nobody_pays_for_somebody_else_and_every_blame_is_right() -> None:
    """Bad images, bad hosts, flapping probes, rollouts and verbs: no more are out by us than a role can bear."""
    seen: Counter[tuple[str, str]] = Counter()
    for seed in range(SEEDS):
        night = Night(seed)
        night.run()
        seen[night.label, "+".join(sorted(night.seen)) or "guest"] += 1
    print(confusion(seen))
    assert {label: str(whose) for label, whose in BLAMED.items()} == {
        label: blamed for label, blamed in seen if label in BLAMED
    }


@pytest.mark.parametrize("seed", range(len(NEARLY)), ids=NEARLY)
def test_what_only_looks_like_somebody_else_s_fault_is_blamed_on_nobody(seed: int) -> None:
    """Each a counter-example of a line of the table: healing goes on, and no image is suspect."""
    night = Night(seed, nearly=True)
    night.run()
    assert night.seen == set()


def _blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame, "TABLE", ())


def _always_blames_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = healing.evidence

    def hasty(*args: Any) -> blame.Evidence:
        return dataclasses.replace(evidence(*args), arriving=True, proven=False, template_failures=2, older=1)

    monkeypatch.setattr(healing, "evidence", hasty)


def _lets_rollouts_go_by_their_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing.Course, "_bound", lambda self, role: None)


@pytest.mark.parametrize(
    ("broken", "seeds"),
    [
        (_blames_nobody, (2, 4)),
        (_always_blames_the_image, (0,)),
        (_lets_rollouts_go_by_their_own_number, (39,)),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_is_broken_is_seen(broken: Any, seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that decides otherwise does not come through these nights."""
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        nights(seeds)


def nights(seeds: tuple[int, ...]) -> None:
    """One after the other."""
    for seed in seeds:
        Night(seed).run()

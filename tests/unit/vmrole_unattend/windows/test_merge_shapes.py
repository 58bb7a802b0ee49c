"""Merging with answer files of the shapes that people publish: nothing of theirs is lost, no damage is a crash."""

from __future__ import annotations

import random
import re

import pytest
from vmrole_unattend import AnswersInvalid
from vmrole_unattend.windows import document
from vmrole_unattend.windows.check import check
from vmrole_unattend.windows.merge import merge

from tests.unit.vmrole_unattend.windows.merged import OURS, lost
from tests.world.answer_shapes import Shapes
from tests.world.damage import damaged

pytestmark = pytest.mark.slow

SHAPES = Shapes()
REFUSED_MAX = 5
"""Files whose names Windows would not take, or that are none."""
INSTALLS = re.compile(rb'<settings pass="windowsPE">.*?</settings>\s*', re.DOTALL)
"""What most published files do to a disk, for which a merge is refused on purpose."""


@pytest.mark.parametrize("ours", sorted(OURS))
def test_a_published_shape_loses_nothing(ours: str) -> None:
    """Each setting of his stays, or a decision names it; a second merge has nothing to add."""
    refused = 0
    for number in range(SHAPES.count):
        theirs = INSTALLS.sub(b"", SHAPES.source(number))
        try:
            merged = merge(theirs, OURS[ours])
        except AnswersInvalid:
            refused += 1
            continue
        assert lost(theirs, merged) == [], number
        assert merge(merged.xml, OURS[ours]).xml == merged.xml, number
    assert refused < REFUSED_MAX


def test_damage_is_refused_or_read() -> None:
    """Cut, doubled, swapped or changed anywhere: findings, a merge, or a refusal; nothing else."""
    chance = random.Random(0)
    for number in range(SHAPES.count):
        for source in damaged(SHAPES.source(number), chance, 3):
            check(source)
            try:
                merged = merge(source, OURS["ours"])
            except AnswersInvalid:
                continue
            document.parse(merged.xml)

"""Answer files of the shapes that people publish raise no false alarm: each is told what the published one was."""

from __future__ import annotations

import collections
import time

import pytest
from vmrole_unattend.windows.check import Deployment, Severity, check

from tests.world.answer_shapes import Shapes

SHAPES = Shapes()
ERRORS = {"computer-name", "disk-wipe", "product-key"}
"""What is an error in published files: a name of 25 letters, a disk that would be wiped, a template's empty key."""


@pytest.mark.parametrize("number", range(SHAPES.count))
def test_a_published_shape_is_told_what_it_was(number: int) -> None:
    """Whoever makes a rule stricter sees here how many files that are in use it hits, and looks at them."""
    source = SHAPES.source(number)
    for use, expected in SHAPES.expected(number).items():
        findings = [one for one in check(source, deployment=Deployment(use)) if one.severity is not Severity.NOTE]
        codes = collections.Counter(one.code for one in findings)
        told = " ".join(f"{code}*{often}" if often > 1 else code for code, often in sorted(codes.items()))
        assert told == expected, [(one.code, one.path, one.message) for one in findings]
        errors = {one.code for one in findings if one.severity is Severity.ERROR}
        assert errors <= (ERRORS if use == "generalized" else ERRORS - {"disk-wipe"})


def test_they_are_checked_in_no_time() -> None:
    """All of them: some 15 ms each on a slow machine."""
    began = time.process_time()
    for number in range(SHAPES.count):
        check(SHAPES.source(number))
    assert time.process_time() - began < 0.1 * SHAPES.count

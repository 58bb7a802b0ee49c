"""What Windows stops at, asks about or passes over in an answer file is said once, with its way out."""

from __future__ import annotations

import pytest

from tests.unit.vmrole_unattend import xml_values as values
from tests.world.answer_files import told

CASES = values.FILES + values.FRAME + values.VALUES + values.COMMANDS + values.MEDIA + values.NETWORK


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_fault_is_said_once_with_its_way_out(case: values.Case) -> None:
    """By its severity and its code, and nothing else is said of the file."""
    found = told(case.source, **case.options)
    assert [f"{one.severity} {one.code}" for one in found] == ([case.said] if case.said else [])
    for one in found:
        assert one.mend
        assert case.word in f"{one.message} {one.mend}", one

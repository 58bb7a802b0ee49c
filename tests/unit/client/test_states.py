"""A client's words for phases say what the model's table says."""

from __future__ import annotations

import pytest

from orchestrator.client import states
from orchestrator.model import Phase
from orchestrator.model.phase import FIRST


@pytest.mark.parametrize("phase", list(Phase), ids=str)
def test_a_client_and_the_model_say_the_same_of_a_phase(phase: Phase) -> None:
    """Each function agrees with the table, for each phase there is."""
    traits = phase.traits
    assert states.serves(phase) == traits.serves
    assert states.is_off(phase) == traits.is_off
    assert states.has_failed(phase) == traits.has_failed
    assert states.winds_down(phase) == (traits.drains or traits.erases)
    assert states.is_there(phase) != (traits.is_off or phase is FIRST)
    assert (phase == states.GONE) == traits.is_gone


def test_a_phase_that_a_client_does_not_know_is_on_the_way() -> None:
    """The daemon may be newer than its client."""
    word = "restored"
    known = (states.serves, states.is_off, states.has_failed, states.winds_down)
    assert not any(is_so(word) for is_so in known)
    assert states.is_there(word)

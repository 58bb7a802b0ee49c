"""The Vips port: what every implementation does."""

from __future__ import annotations

from orchestrator.ports import Vips

ONE, OTHER = "203.0.113.31", "203.0.113.32"
SIX = "2001:db8:113::31"


class VipsContract:
    """Subclasses give the fixture `vips`."""

    def test_exactly_those_are_held(self, vips: Vips) -> None:
        """What is missing comes, what is too many goes, and it may be said twice."""
        for wanted in ({ONE}, {ONE, OTHER}, {OTHER, SIX}, {SIX}, set[str](), {ONE, SIX}):
            for _ in range(2):
                held = vips.hold(wanted)
                assert (held.put_back, held.refused) == (frozenset(), {})
                assert vips.held() == wanted

    def test_what_comes_after_it_went_was_nobody_else(self, vips: Vips) -> None:
        """An address that was given up and is wanted again was not taken off by somebody."""
        vips.hold({ONE})
        vips.hold(())
        assert vips.hold({ONE}).put_back == frozenset()

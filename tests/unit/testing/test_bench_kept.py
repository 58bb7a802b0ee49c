"""What the benchmark reads of the ledger: for how long a checkpoint keeps its instance from its way on."""

from __future__ import annotations

import json

from tests.bench.kept import pauses_s

LEDGER = [
    (1.0, "web-0.shop", "saving", "starting -> saving"),
    (2.0, "web-1.shop", "saving", "starting -> saving"),
    (2.5, "web-0.shop", "saving", "its memory is saved to disk"),
    (3.0, "web-0.shop", "restoring", "saving -> restoring: its checkpoint is taken"),
    (3.5, "shop", "", "an instance was asked for"),
    (4.0, "web-0.shop", "starting", "restoring -> starting: its clock is right"),
    (6.0, "web-1.shop", "restoring", "saving -> restoring: its checkpoint is taken"),
    (7.0, "web-1.shop", "starting", "restoring -> starting: its clock is right"),
    (8.0, "web-2.shop", "saving", "starting -> saving"),
    (9.0, "web-2.shop", "starting", "saving -> starting: no checkpoint: it is protected"),
    (90.0, "web-2.shop", "restoring", "requested -> restoring: warm, from its checkpoint"),
    (91.0, "web-2.shop", "starting", "restoring -> starting: its clock is right"),
]


def test_a_pause_is_that_of_its_own_instance() -> None:
    """Two at once are told apart; a reimage is no pause, nor is what was kept from nothing."""
    rows = [dict(zip(("at_s", "subject", "phase", "message"), row, strict=True)) for row in LEDGER]
    assert pauses_s(json.dumps(rows)) == [3.0, 5.0]

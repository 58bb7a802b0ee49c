"""A Windows that cloudbase-init sets up: what is said of it while Setup is done and cloudbase-init is not."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.drivers.guest import windows_setup
from orchestrator.drivers.guest.windows_setup import COMPLETE, Status
from orchestrator.model import AnswerFormat
from tests.world.windows_agent import WEB

CLOUDBASE = dataclasses.replace(WEB, role=dataclasses.replace(WEB.role, answers=AnswerFormat.CONFIG_DRIVE))
# Its image was generalized with an answer file of cloudbase-init's own, which stays in Panther.
BEGUN = Status(boot="20261122023500.123456", image_state=COMPLETE, computer="WIN-ABC", cached=True)
AT_WORK = "Windows Setup has finished; cloudbase-init does what the config drive asks for"


@pytest.mark.parametrize(
    "status",
    [
        BEGUN,
        dataclasses.replace(BEGUN, computer="WEB-0"),
        dataclasses.replace(BEGUN, computer="WEB-0", instance=WEB.name, generation="1"),
        dataclasses.replace(BEGUN, instance="other-0.shop", generation="1", setup_boot=BEGUN.boot),
    ],
)
def test_cloudbaseinits_own_answer_file_is_no_fault(status: Status) -> None:
    """Until our script has written down that all is done, cloudbase-init is at work, and nobody is told to reseal."""
    assert windows_setup.unfinished(status, CLOUDBASE, "web-0") == AT_WORK


def test_when_all_is_done_the_name_must_be_right() -> None:
    """The end that our script writes counts; a name that cloudbase-init did not give is told then."""
    done = dataclasses.replace(
        BEGUN, computer="web-0", instance=WEB.name, generation="1", setup_boot="20261122023000.123456"
    )
    assert windows_setup.unfinished(done, CLOUDBASE, "web-0") == ""
    assert "called WIN-ABC" in windows_setup.unfinished(
        dataclasses.replace(done, computer="WIN-ABC"), CLOUDBASE, "web-0"
    )

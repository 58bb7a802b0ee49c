"""The comparison with other tools: what is taken off, what is counted, and the tables of docs/peers.md."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.bench.peers import asker, stage, table
from tests.bench.peers.samples import Asked, Sample, first_answer_s, lost, shutdown_s
from tests.world.places import REPOSITORY

SAMPLE = Sample(tool="hand", image="debian", together=1, qemu_s=0.5, answer_s=20.5, returned_s=1.0)
FOUND: dict[str, Any] = {
    "machine": {
        "processor": "A processor",
        "cores": 2,
        "kernel": "6.1",
        "qemu": "7.2.1",
        "accelerator": "TCG",
        "load": 3.0,
    },
    "guest": {"cpu": "qemu64", "memory_mib": {"debian": 512, "micro": 128}},
    "versions": {"hand": "libvirt 9.0.0"},
    "absent": {"ganeti": "is not installed: no such command"},
}


def found(*samples: Sample) -> dict[str, Any]:
    """What a run has written."""
    return FOUND | {"samples": [sample.written() for sample in samples]}


def test_a_machines_own_boot_is_taken_off() -> None:
    """From the start of its QEMU to its agent's answer; the old guest's shutdown as well, where it had one."""
    assert (SAMPLE.boot_s, SAMPLE.control_s) == (20.0, 0.5)
    cold = replace(SAMPLE, qemu_s=4.5, answer_s=30.0, shutdown_s=3.5)
    assert (cold.boot_s, cold.control_s) == (25.5, 1.0)


@pytest.mark.parametrize(
    "wrong", [{"qemu_s": 21.0}, {"qemu_s": -0.1}, {"shutdown_s": 0.6}, {"shutdown_s": -1.0}], ids=str
)
def test_a_sample_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    """Nobody answers before his QEMU has started, nor is shut down for longer than until then."""
    with pytest.raises(ValueError, match="hand: "):
        replace(SAMPLE, **wrong)  # type: ignore[arg-type]


def test_a_sample_is_read_as_it_was_written() -> None:
    """Through JSON, with what is derived of it left aside."""
    whole = replace(SAMPLE, serves_s=70.0, lost=3, sent=4)
    assert Sample.read(json.loads(json.dumps(whole.written()))) == whole


def test_lost_is_what_got_no_answer_of_what_was_sent_meanwhile() -> None:
    """What was sent before the reset and after the first answer counts for nothing."""
    asked = [Asked(0.0, 0.1, False), Asked(1.0, 1.1, True), Asked(2.0, 3.0, False), Asked(4.0, 4.1, True)]
    assert lost(asked, 0.5, 3.5) == (1, 2)
    assert lost(asked, 5.0, 6.0) == (0, 0)


def test_the_first_answer_is_of_the_new_machine() -> None:
    """The old one may have answered after the reset had begun, and a later request may be answered sooner."""
    asked = [Asked(1.0, 1.1, True), Asked(2.0, 2.9, True), Asked(2.2, 2.4, True), Asked(2.5, 2.6, False)]
    assert first_answer_s(asked, 1.5) == 2.4
    assert first_answer_s(asked, 2.3) is None


def test_a_shutdown_is_what_the_ledger_says() -> None:
    """Of this reset, not of an earlier one; none where there was none."""
    told = [
        {"at_s": at_s, "phase": phase}
        for at_s, phase in ((10.0, "stopping"), (13.0, "erasing"), (20.0, "draining"), (21.0, "stopping"), (25.5, ""))
    ]
    assert shutdown_s(told, 0.0) == 3.0
    assert shutdown_s(told, 15.0) == 4.5
    assert shutdown_s(told, 22.0) == 0.0


def test_how_far_ahead_is_told_of_the_best_peer() -> None:
    """By medians: another one may be the best at another thing, and a single sample makes nobody the best."""
    warm = Sample(tool="vmrole warm", image="debian", together=1, qemu_s=0.5, answer_s=1.5, returned_s=4.0)
    slow = replace(SAMPLE, tool="kcli", qemu_s=2.0, answer_s=16.0)
    lucky = replace(slow, qemu_s=0.1)
    told = table.verdicts(found(warm, SAMPLE, slow, slow, lucky))
    assert [(verdict.best, verdict.times, verdict.met) for verdict in told] == [
        ("hand", 1.0, False),
        ("kcli", pytest.approx(16.0 / 1.5), True),
    ]
    assert table.verdicts(found(SAMPLE)) == []
    assert table.verdicts(found(warm)) == []


def test_a_table_has_medians_ranges_and_who_is_missing() -> None:
    """Each image and number of machines has a table of its own."""
    eight = [replace(SAMPLE, image="micro", together=8, answer_s=answer_s) for answer_s in (10.0, 12.0, 20.0)]
    crowded = replace(SAMPLE, together=8, answer_s=90.0)
    text = table.markdown(found(replace(SAMPLE, serves_s=70.0, lost=3, sent=4), crowded, *eight))
    assert (
        "| hand | 0.50 s (0.50 to 0.50) | 20.00 s (20.00 to 20.00) | 20.50 s (20.50 to 20.50) "
        "| 70.00 s (70.00 to 70.00) | 3 | 1 |"
    ) in text
    assert "| hand | 0.50 s (0.50 to 0.50) | 11.50 s (9.50 to 19.50) | 12.00 s (10.00 to 20.00) | - | - | 3 |" in text
    assert text.index("One machine, debian") < text.index("Eight at once, micro")
    assert "Missing: ganeti is not installed: no such command" in text
    assert "2 cores of A processor, at a load of 3" in text


def test_the_documents_tables_are_of_the_run_that_is_kept() -> None:
    """docs/peers.md has what the runs in docs/ make of it, to the letter; the README names each verdict's figures."""
    for run in ("peers-held.json", "peers.json"):
        kept = json.loads((REPOSITORY / "docs" / run).read_text())
        assert table.markdown(kept).strip() in (REPOSITORY / "docs" / "peers.md").read_text()
    readme = (REPOSITORY / "README.md").read_text()
    for verdict in table.verdicts(kept):
        assert f"`{verdict.name}`" in readme
        assert f"{verdict.times:.2g}" in readme.split(f"`{verdict.name}`", 1)[1].split("\n", 1)[0]


@pytest.mark.parametrize(
    ("status", "answered"),
    [(b"HTTP/1.0 200 OK\r\n\r\nclean", True), (b"HTTP/1.0 503 No\r\n\r\n", False), (b"", False)],
)
def test_an_answer_is_a_good_one_alone(status: bytes, answered: bool) -> None:
    """A balancer that has nobody to ask answers, too."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(status)
        writer.close()

    async def ask() -> bool:
        async with await asyncio.start_server(talk, "127.0.0.1") as server:
            port = server.sockets[0].getsockname()[1]
            return await asker.asked("127.0.0.1", port, "/")

    assert asyncio.run(ask()) is answered


def test_every_tool_has_addresses_of_its_own() -> None:
    """Of each of the eight, with its MAC, and none is the network's or the cluster's."""
    seats = [stage.Stage.seat_in(REPOSITORY, tool, number) for tool in stage.TOOLS for number in range(stage.EIGHT)]
    assert len({seat.mac for seat in seats}) == len({seat.address for seat in seats}) == len(seats)
    assert not {"10.91.0.1", "10.91.0.2"} & {seat.address for seat in seats}


def test_the_answers_start_the_page_in_the_first_boot_where_there_is_no_other() -> None:
    """vmrole's guests start again to complete their setup; it is the same page."""
    assert "  - [systemctl, enable, --now, page.service]\n" in stage.answers(now=True)
    assert "  - [systemctl, enable, page.service]\n" in stage.answers(now=False)

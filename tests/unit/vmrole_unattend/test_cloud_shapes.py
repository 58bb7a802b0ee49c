"""User-data of the shapes that people publish: no false alarm, no crash on a damaged one, and nothing lost of it."""

from __future__ import annotations

import collections
import dataclasses
import email
import random
from pathlib import Path
from typing import Any

import pytest
from vmrole_unattend import AnswersInvalid, _cloud_schema, cloud_check, nocloud
from vmrole_unattend.cloud_check import Severity

from tests.world.cloudinit_reader import consumed
from tests.world.damage import damaged
from tests.world.linux_answers import ANSWERS
from tests.world.user_data_shapes import UserData

SHAPES = UserData()
MEASURED_BY = "cloud-init 22.4"
"""Whose schema the expected findings are of: another says other things of the same keys."""
NO_SCHEMA = Path("/nonexistent/schema.json")
SHOP = dataclasses.replace(
    ANSWERS,
    local_storage=("cache",),
    grows=True,
    install_agent=True,
    ssh_host_keys={"ed25519_private": "ours", "ed25519_public": "ours"},
)
ADDS_TO = ("packages", "runcmd", "ssh_keys")
"""Lists and mappings of his that get entries of ours, behind his."""


def _warned(text: str, schema_file: Path) -> str:
    """Codes of warnings, with how often."""
    findings = cloud_check.check(text, schema_file=schema_file)
    assert all(finding.severity is not Severity.ERROR for finding in findings)
    codes = collections.Counter(finding.code for finding in findings if finding.severity is not Severity.NOTE)
    return " ".join(f"{code}*{often}" if often > 1 else code for code, often in sorted(codes.items()))


@pytest.mark.parametrize("number", range(SHAPES.count))
def test_a_published_shape_is_told_what_it_was(number: int) -> None:
    """Whoever makes a rule stricter sees here how much user-data in use it hits; none of it is refused."""
    text, (without, by_schema) = SHAPES.text(number), SHAPES.expected(number)
    assert _warned(text, NO_SCHEMA) == without, text
    schema = _cloud_schema.find()
    assert schema is not None
    told = _warned(text, schema)
    if _cloud_schema.release(schema).startswith(MEASURED_BY):
        assert told == by_schema, text


def test_most_of_them_are_sound() -> None:
    """Of which nothing is said by our own rules, and little by the schema."""
    expected = [SHAPES.expected(number) for number in range(SHAPES.count)]
    assert SHAPES.count >= 190
    assert sum(not without for without, _ in expected) > 0.9 * SHAPES.count
    assert sum(not by_schema for _, by_schema in expected) > 0.6 * SHAPES.count


def test_damage_ends_in_findings_or_a_refusal() -> None:
    """Cut, doubled, swapped or changed anywhere: what is no user-data any more is refused, and nothing breaks."""
    chance = random.Random(0)
    for number in range(SHAPES.count):
        for source in damaged(SHAPES.text(number).encode(), chance, 3):
            text = source.decode(errors="surrogateescape")
            refused = any(finding.code == "refused" for finding in cloud_check.check(text, schema_file=NO_SCHEMA))
            try:
                nocloud.files(dataclasses.replace(SHOP, user_data=text))
            except AnswersInvalid:
                assert refused, "the check and the disc differ"
            else:
                assert not refused, "the check and the disc differ"


def test_it_arrives_to_the_letter() -> None:
    """Whatever ours is put around it, his part is in the message as he wrote it."""
    for number in range(SHAPES.count):
        text = SHAPES.text(number)
        message = email.message_from_bytes(_user_data(text))
        bodies = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
        assert bodies.count(text.encode()) == 1


def _user_data(text: str) -> bytes:
    return nocloud.files(dataclasses.replace(SHOP, user_data=text))["user-data"]


@pytest.mark.slow
def test_cloud_init_merges_ours_and_loses_nothing_of_theirs(tmp_path: Path) -> None:
    """By its own code: every key of his is what it was; of lists that get entries of ours, his stand first."""
    texts = [SHAPES.text(number) for number in range(SHAPES.count)]
    alone = consumed(tmp_path, texts)
    with_ours = consumed(tmp_path, [_user_data(text).decode() for text in texts])
    for text, before, after in zip(texts, alone, with_ours, strict=True):
        his, merged = before.merged, after.merged
        for key, value in his.items():
            if key != "power_state":  # whether setup ends in a restart is the role's to say
                assert _kept(key, value, merged.get(key)), text


def _kept(key: str, his: Any, merged: Any) -> bool:
    if key in ADDS_TO and isinstance(his, list) and isinstance(merged, list):
        return merged[: len(his)] == his
    if key in ADDS_TO and isinstance(his, dict) and isinstance(merged, dict):
        return his.items() <= merged.items()
    return bool(his == merged)

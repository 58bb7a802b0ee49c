"""The result of one check, and what all of them need."""

from __future__ import annotations

import dataclasses
import enum
import os
from pathlib import Path


class Verdict(enum.StrEnum):
    """PASS: as it should be. WARN: works, with a drawback that is named. FAIL: vmrole cannot work."""

    PASS = "PASS"  # noqa: S105 - a verdict
    WARN = "WARN"
    FAIL = "FAIL"


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """What was probed and how it went; `remedy` says what to do and is "" for PASS."""

    name: str
    verdict: Verdict
    message: str
    remedy: str = ""


def ok(name: str, message: str) -> Check:
    """As it should be."""
    return Check(name, Verdict.PASS, message)


def warn(name: str, message: str, remedy: str) -> Check:
    """Works, but."""
    return Check(name, Verdict.WARN, message, remedy)


def fail(name: str, message: str, remedy: str) -> Check:
    """Cannot work."""
    return Check(name, Verdict.FAIL, message, remedy)


def existing(directory: Path) -> Path:
    """The directory, or the nearest one above it that exists."""
    return next(one for one in (directory, *directory.parents) if one.is_dir())


def in_the_way(directory: Path) -> Path | None:
    """What stands where the directory, or one above it, is to be, and is no directory; None when nothing does."""
    nearest = next(one for one in (directory, *directory.parents) if os.path.lexists(one))
    return None if nearest.is_dir() else nearest

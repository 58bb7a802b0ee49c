"""Where the repository is, and what tests compare with."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN_FILES = REPOSITORY / "tests" / "golden"

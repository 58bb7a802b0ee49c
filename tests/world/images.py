"""The record of an image of which there are no bytes."""

from __future__ import annotations

import dataclasses

from orchestrator.model import DiskFormat, Image, Os

DIGEST = "a" * 64
MICRO = Image(
    sha256=DIGEST,
    format=DiskFormat.QCOW2,
    os=Os.LINUX,
    size_bytes=1,
    virtual_size_bytes=1,
    names=("micro",),
    added_at_s=0.0,
)


def image(**changes: object) -> Image:
    """The micro image with these changes."""
    return dataclasses.replace(MICRO, **changes)  # type: ignore[arg-type]

"""Whose the images are: what only root can try."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.tools.layout import Layout
from tests.lab.harness.lab import Lab


def test_an_image_that_was_given_away_is_taken_back(
    lab: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A start makes an image that another user owns ours again, and says that he could have changed it; one that is
    ours is not spoken of.
    """
    del lab
    layout = Layout(tmp_path / "state", tmp_path / "run")
    files = LocalImageFiles(layout, virtual_size_max=1 << 30)
    path = layout.images / f"{'ab' * 32}.qcow2"
    path.write_bytes(b"as it was added")
    os.chown(path, 65534, 65534)
    path.chmod(0o644)
    files.sweep()
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o444)
    assert "65534" in caplog.text
    caplog.clear()
    files.sweep()
    assert caplog.text == ""

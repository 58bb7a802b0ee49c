"""The windows recipe on the real media: `make test-windows WINDOWS_ISO=… VIRTIO_WIN=… WINDOWS_EDITION=…`.

Takes from half an hour with KVM to a day without. What it says helps most when it fails: docs/windows-image.md tells
what to report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from vmrole_images.windows import Machine, Wanted, build

_MISSING = (
    "{name} is not set: these tests want Windows media, "
    "such as make test-windows WINDOWS_ISO=/isos/server.iso VIRTIO_WIN=/isos/virtio-win.iso "
    "WINDOWS_EDITION='Windows Server 2022 SERVERSTANDARD'"
)


def _given(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        pytest.fail(_MISSING.format(name=name), pytrace=False)
    return value


@pytest.mark.timeout(0)  # the recipe has its own end
def test_windows_becomes_an_image(tmp_path: Path) -> None:
    """Setup runs without a question, the script says what it installed, and a sealed, standalone image is left."""
    wanted = Wanted(edition=_given("WINDOWS_EDITION"), release=os.environ.get("WINDOWS_RELEASE", "2022"))
    iso, virtio_win = Path(_given("WINDOWS_ISO")), Path(_given("VIRTIO_WIN"))
    output = Path(os.environ.get("WINDOWS_IMAGE", tmp_path / "windows.qcow2"))
    screen = os.environ.get("WINDOWS_SCREEN")
    within_s = float(os.environ.get("WINDOWS_WITHIN_S", 6 * 3600))
    computer = Machine(screen=Path(screen) if screen else None, within_s=within_s)
    build(wanted, computer, iso, virtio_win, output, lambda line: print(line, file=sys.stderr, flush=True))
    lock = json.loads(output.with_name(output.name + ".lock.json").read_text())
    assert lock["said_by_the_guest"]["cached"] == "0"
    assert "qemu-ga" in lock["said_by_the_guest"]
    subprocess.run(["qemu-img", "check", "-q", output], check=True)

"""A Windows that is reimaged by a boot of its checkpoint's disk, on the setup-simulator."""

from __future__ import annotations

from typing import Final

import vmrole_images

from tests.lab.harness import enter
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import instance, ready
from tests.lab.windows_files import file_on_c

__all__ = ["ready"]  # fixtures

NAME: Final = "web-0.shop"
SERVICE: Final = """service: shop
roles:
  web:
    image: windows
    reimage: warm
    size: {vcpus: 1, memory: 256 MiB}
    setup: {within: 10 min}
    ready: {within: 10 min}
    answers:
      unattend:
        administratorPassword: {secret: administrator}
        timeZone: W. Europe Standard Time
"""


def test_a_windows_boots_from_its_checkpoint(lab: Lab, ready: RoleDaemon) -> None:
    """Shut down when it has started for the first time, kept, and booted: no setup but the first. Why no memory is
    kept of it is told.
    """
    ready.give_secret("administrator", "pa55&<word>")
    image = vmrole_images.ensure("setup-simulator", enter.REPOSITORY / "build" / "images").path
    ready.run("image", "add", str(image), "--name", "windows", "--os", "windows", "--disk", "virtio")
    ready.run("apply", "-f", "-", text=SERVICE)
    ready.run("wait", "shop", "--for=serving", "--timeout", "600")
    assert [path.name for path in (ready.state / "lib" / "checkpoints" / NAME).iterdir()] == ["1.qcow2"]
    before = instance(ready, "web-0")
    file_on_c(lab, NAME, r"C:\marker", "written")
    said = ready.run("reimage", "web-0", "--wait").stderr
    assert f"{NAME}: prepared, a boot from its checkpoint: only Linux guests are restored" in said
    after = instance(ready, "web-0")
    assert (after["generation"], after["boot"], before["generation"]) == (2, before["boot"], 1)
    assert file_on_c(lab, NAME, r"C:\marker") == ""
    told = ready.run("events", "web-0").stdout
    assert told.count("answered -> setup") == 1

"""The README's service file with everything in it, on real machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import URL, apply, instance

README = Path(__file__).resolve().parents[3] / "README.md"


@pytest.mark.timeout(4500)
def test_the_readmes_service_file_does_as_printed(lab: Lab, daemon: RoleDaemon, debian_image: Path) -> None:
    """Its instances serve what it says, to whoever asks the VIP, and the same file applied again changes nothing.

    Only its deadlines are longer: the machine may be shared.
    """
    text = README.read_text().split("```yaml\n", 1)[1].split("```", 1)[0]
    assert "within: 10 min}" in text
    text = text.replace("within: 10 min}", "within: 50 min}").replace("within: 5 min\n", "within: 30 min\n")
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    apply(daemon, text)
    assert [one["phase"] for one in daemon.json("get", "instances")] == ["serving", "serving"]
    assert lab.client.run(["curl", "--silent", "--max-time", "20", f"{URL}healthz"]).stdout == "well"
    assert daemon.run("diff", "-f", "-", text=text).stdout == ""
    keys = lab.guest("web-1.shop", ["/bin/sh", "-c", "cat /home/debian/.ssh/authorized_keys"])
    assert "you@example" in keys
    assert instance(daemon, "web-1")["standing"] == "up"
    daemon.run("delete", "service", "shop", "--wait")

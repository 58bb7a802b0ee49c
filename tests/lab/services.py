"""A service of the daemon in the lab: applied, looked at, marked from within."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon

VIP = "203.0.113.10"


URL = f"http://{VIP}/"
SERVES_S = 600.0  # under TCG, beside other tests


SERVICE = """service: {name}
vip: {vip}
roles:
  web:
    image: micro
    instances: {instances}
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz}}}}
    localStorage:
      cache: {{size: 32 MiB}}
    setup: {{within: {setup}}}
    ready: {{within: 3 min}}
    answers:
      userData: |
        #!/bin/sh
        {script}
"""


@pytest.fixture
def ready(daemon: RoleDaemon, micro_image: Path) -> RoleDaemon:
    """A daemon that knows the micro image."""
    daemon.run("image", "add", str(micro_image), "--name", "micro")
    return daemon


def service(
    instances: int = 1, *, name: str = "shop", vip: str = VIP, script: str = "true", setup: str = "5 min"
) -> str:
    """A service file."""
    return SERVICE.format(name=name, instances=instances, vip=vip, script=script, setup=setup)


def apply(daemon: RoleDaemon, text: str, *, wait: bool = True) -> None:
    """Applies a service and, unless told otherwise, waits until all its instances serve."""
    daemon.run("apply", "-f", "-", *(["--wait"] if wait else []), text=text)


def instance(daemon: RoleDaemon, name: str = "web-0") -> dict[str, Any]:
    """One instance as the API shows it."""
    found: list[dict[str, Any]] = daemon.json("get", "instances", name)
    return found[0]


def mark(lab: Lab, domain: str) -> None:
    """Writes a marker to the system disk and one to local storage, as a guest would."""
    lab.guest(domain, ["/bin/sh", "-c", "echo kept > /marker; echo kept > /local/cache/marker; sync"])


def markers(lab: Lab, domain: str) -> str:
    """Which of the two markers the guest sees."""
    return lab.guest(
        domain, ["/bin/sh", "-c", "cat /marker 2>/dev/null || echo gone; cat /local/cache/marker || echo gone"]
    )

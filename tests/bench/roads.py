"""A reimage by each road against one that is made of the image, of a busybox and of a whole Debian."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable
from typing import Final

from orchestrator.model import Road
from tests.bench.peers.stage import PAGE
from tests.bench.stopwatch import timed
from tests.lab.harness.role import RoleDaemon

Samples = tuple[str, float | None, list[float]]  # as in __main__
LIMITS: Final = {Road.PREPARED: 0.55, Road.WARM: 0.1}
WORDS: Final = {Road.PREPARED: "prepared, a boot from its checkpoint", Road.WARM: "warm, from its checkpoint"}
DEBIAN: Final = f"""service: bench
vip: {{vip}}
roles:
  web:
    image: debian
    instances: 1
    reimage: {{road}}
    size: {{{{vcpus: 1, memory: 512 MiB}}}}
    endpoints:
      http: {{{{port: 80, target: 8080, protocol: http, probe: {{{{path: /}}}}}}}}
    answers:
      userData: |
        #cloud-config
        write_files:
{textwrap.indent(PAGE, " " * 8)}        runcmd:
          - [systemctl, enable, page.service]
"""


def ratio(daemon: RoleDaemon, apply: Callable[[Road], None], road: Road, *, reimages: int) -> list[float]:
    """Reimages of web-0 of `bench` by the road, each ÷ the median of three from the image."""
    apply(Road.COLD)
    cold = [_reimage_s(daemon) for _ in range(3)]
    apply(road)
    daemon.run("reimage", "web-0", "--cold", "--wait")
    return [each / statistics.median(cold) for each in _taken_s(daemon, road, reimages, cold)]


def debian(daemon: RoleDaemon, vip: str) -> dict[str, Samples]:
    """The same of the debian image, in seconds as well: of one instance whose role is changed from road to road."""
    cold, found = list[float](), dict[str, Samples]()
    for road, reimages in ((Road.COLD, 2), (Road.PREPARED, 3), (Road.WARM, 5)):
        daemon.run("apply", "-f", "-", "--wait", text=DEBIAN.format(vip=vip, road=road))
        if road is Road.COLD:
            cold = [_reimage_s(daemon) for _ in range(reimages)]
            found["debian_cold_s"] = ("s", None, cold)
            continue
        daemon.run("reimage", "web-0", "--cold", "--wait")
        taken = _taken_s(daemon, road, reimages, cold)
        found[f"debian_{road}_s"] = ("s", None, taken)
        found[f"debian_{road}_ratio"] = ("ratio", LIMITS[road], [each / statistics.median(cold) for each in taken])
    daemon.run("delete", "service", "bench", "--wait")
    return found


def _taken_s(daemon: RoleDaemon, road: Road, reimages: int, cold: list[float]) -> list[float]:
    taken = [_reimage_s(daemon) for _ in range(reimages)]
    print(f"  cold {cold}, {road} {taken} s", flush=True)
    assert WORDS[road] in daemon.run("why", "web-0").stdout
    return taken


def _reimage_s(daemon: RoleDaemon) -> float:
    return timed(lambda: daemon.run("reimage", "web-0", "--wait"))

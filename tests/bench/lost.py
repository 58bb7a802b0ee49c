"""Requests that are lost while a service is rolled through its upgrade domains, and while it is swapped, on either
balancer; and what the same costs where it is done wrongly.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from orchestrator.model import Carrier, Road
from tests.contract.suites.exchange import Load as Exchanged
from tests.lab import deployments
from tests.lab.harness.lab import Lab
from tests.lab.harness.load import Load
from tests.lab.harness.role import RoleDaemon

REQUESTS_MIN: Final = 10_000  # fewer would say little about none lost
INSTANCES: Final = 5
CONTROLS: Final = ("lost_slow_requests_without_drain", "lost_by_swaps_in_the_wrong_order")  # which must lose some
_RATE_RPS: Final = 120.0
_SLOW_RPS: Final = 20.0
_SLOW: Final = "/cgi-bin/slow"  # takes half a second
_END: Final = {
    Carrier.HAPROXY: "{port: 80, target: 8080, protocol: http, probe: {path: /healthz}}",
    Carrier.NFTABLES: "{port: 80, target: 8080, protocol: tcp, balancer: nftables, probe: {path: /healthz}}",
}
Samples = tuple[str, float | None, list[float]]  # as in __main__


@dataclasses.dataclass(frozen=True)
class Roll:
    """What is asked for while five are reimaged one after the other, and by which road."""

    road: Road
    drain: str
    path: str
    rate_rps: float
    requests: int = 0  # at least


ROLLS: Final = (
    Roll(Road.COLD, "30 s", "/", _RATE_RPS, REQUESTS_MIN),
    Roll(Road.COLD, "30 s", _SLOW, _SLOW_RPS),
    Roll(Road.COLD, "0 s", _SLOW, _SLOW_RPS),
    Roll(Road.WARM, "30 s", "/", _RATE_RPS, REQUESTS_MIN),
    Roll(Road.WARM, "30 s", _SLOW, _SLOW_RPS),
)

SERVICE: Final = """service: bench
vip: {vip}
upgrade: {{domains: 5}}
roles:
  web:
    image: micro
    instances: {instances}
    reimage: {road}
    size: {{vcpus: 1, memory: 128 MiB}}
    drain: {drain}
    endpoints:
      http: {end}
    answers:
      userData: |
        #!/bin/sh
        mkdir -p /etc/vmrole/start.d
        cat > /etc/vmrole/start.d/slow <<'START'
        #!/bin/sh
        mkdir -p /run/vmrole/www/cgi-bin
        cat > /run/vmrole/www/cgi-bin/slow <<'CGI'
        #!/bin/sh
        printf 'Content-Type: text/plain\\r\\nContent-Length: 12\\r\\n\\r\\nbegin\\n'
        sleep 0.5
        printf 'ended\\n'
        CGI
        chmod 755 /run/vmrole/www/cgi-bin/slow
        START
        chmod 755 /etc/vmrole/start.d/slow
"""


def lost_requests(lab: Lab, daemon: RoleDaemon, place: Path, vip: str) -> dict[str, Samples]:
    """A rolling reimage of five loses nothing of ten thousand requests, and of those that take half a second, whether
    they are made of the image or restored; with the drain switched off it loses some of those.
    """
    found: dict[str, Samples] = {}
    for carrier in Carrier:
        kept, slow, cut, warm, warm_slow = (_rolled(lab, daemon, place, vip, carrier, roll) for roll in ROLLS)
        found |= {
            f"lost_requests_{carrier}": ("requests", 0.0, [kept.failed]),
            f"lost_requests_sent_{carrier}": ("requests", float(REQUESTS_MIN), [kept.ok + kept.failed]),
            f"lost_slow_requests_{carrier}": ("requests", 0.0, [slow.failed]),
            f"{CONTROLS[0]}_{carrier}": ("requests", None, [cut.failed]),
            f"lost_warm_requests_{carrier}": ("requests", 0.0, [warm.failed]),
            f"lost_warm_requests_sent_{carrier}": ("requests", float(REQUESTS_MIN), [warm.ok + warm.failed]),
            f"lost_slow_warm_requests_{carrier}": ("requests", 0.0, [warm_slow.failed]),
        }
    return found


def _rolled(lab: Lab, daemon: RoleDaemon, place: Path, vip: str, carrier: Carrier, roll: Roll) -> Rolled:
    text = SERVICE.format(vip=vip, instances=INSTANCES, drain=roll.drain, road=roll.road, end=_END[carrier])
    daemon.run("apply", "-f", "-", "--wait", text=text)
    with Load(lab.client, f"http://{vip}{roll.path}", roll.rate_rps, place / "load.json") as load:
        times = _reimage(daemon, roll)
        account = Rolled(load.account())
    print(f"  {carrier}, {roll.road}, drain {roll.drain}: {times} times, {account}", flush=True)
    daemon.run("delete", "service", "bench", "--wait")
    return account


class Rolled:
    """The account of a load that a reimage was rolled under."""

    def __init__(self, account: dict[str, object]) -> None:
        self.ok, self.failed = (_number(account[key]) for key in ("ok", "failed"))
        self._reasons = account["reasons"]

    def __str__(self) -> str:
        return f"ok {self.ok:.0f}, failed {self.failed:.0f} {self._reasons}"


def _reimage(daemon: RoleDaemon, roll: Roll) -> int:
    """All five, as often as so many requests take, and once at least; returns how often."""
    until_s = time.monotonic() + 1.02 * roll.requests / roll.rate_rps
    times = 0
    while times == 0 or time.monotonic() < until_s:
        taken = daemon.run("reimage", "bench", "--wait").stderr
        assert taken.count(f": {roll.road}, ") >= INSTANCES or roll.road is Road.COLD, taken
        times += 1
    return times


def _number(value: object) -> float:
    assert isinstance(value, int)
    return float(value)


def lost_by_swaps(lab: Lab, daemon: RoleDaemon) -> dict[str, Samples]:
    """Twenty swaps lose nothing of ten thousand requests; one in the wrong order loses some. No VM is needed, and the
    daemon stands aside: what answers for one is this process.
    """
    found: dict[str, Samples] = {}
    daemon.stop()
    for carrier, ports in deployments.PORTS.items():
        seen = _staged(lab, deployments.swapped_under_load, ports)
        wrong = _staged(lab, deployments.swapped_in_the_wrong_order, ports)
        sent = len(seen.lost) + len(seen.answers)
        print(f"  {carrier}: {len(seen.lost)} of {sent}, in the wrong order {len(wrong.lost)}", flush=True)
        found |= {
            f"lost_by_swaps_{carrier}": ("requests", 0.0, [float(len(seen.lost))]),
            f"lost_by_swaps_sent_{carrier}": ("requests", float(REQUESTS_MIN), [float(sent)]),
            f"{CONTROLS[1]}_{carrier}": ("requests", None, [float(len(wrong.lost))]),
        }
    daemon.start()
    return found


def _staged(lab: Lab, do: Callable[[deployments.Stage, Sequence[int]], Exchanged], ports: Sequence[int]) -> Exchanged:
    """On two deployments of their own."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)  # HAProxy is nobody there.
        with deployments.deployed(lab, Path(place) / "haproxy") as stage:
            return do(stage, ports)

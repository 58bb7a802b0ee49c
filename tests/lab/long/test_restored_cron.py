"""A cron of a guest that goes on from its saved memory two days later: busybox's, as Alpine has it."""

from __future__ import annotations

import math
import time
from typing import Final

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import VIP, apply, ready

__all__ = ["ready"]  # fixtures

NAME: Final = "web-0.shop"
MINUTE_S, DAY_S = 60.0, 86400.0
WATCHED_S: Final = 200.0  # how long it is looked at after the restore
SERVICE: Final = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    instances: 1
    reimage: warm
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz}}}}
    ready: {{within: 3 min}}
    answers:
      userData: |
        #!/bin/sh
        mkdir -p /etc/vmrole/start.d /etc/crontabs
        echo '* * * * * date +%s >> /run/ticks' > /etc/crontabs/root
        cat > /etc/vmrole/start.d/behind <<'START'
        #!/bin/sh
        date -s "@$(($(date +%s) - 172800))"
        crond -c /etc/crontabs
        START
        chmod 755 /etc/vmrole/start.d/behind
"""


def test_cron_does_not_storm(lab: Lab, ready: RoleDaemon) -> None:
    """A job of each minute, of which two days hold 2880: what runs is what is due by the right clock."""
    apply(ready, SERVICE)
    assert f"{NAME}: warm, from its checkpoint" in ready.run("reimage", "web-0", "--wait").stderr
    began_s = max(e["at_s"] for e in ready.json("events", NAME) if e["message"].startswith("restoring ->"))
    time.sleep(WATCHED_S)
    told = lab.guest(NAME, ["/bin/sh", "-c", "pidof crond; cat /run/ticks 2> /dev/null || true"]).split()
    now_s = time.time()
    since = [float(at) for at in told[1:] if float(at) > began_s - DAY_S]
    due = math.floor(now_s / MINUTE_S) - math.floor(began_s / MINUTE_S)
    assert len(since) <= due + 1, since
    assert len(since) >= due - 1, since
    ready.run("delete", "service", "shop", "--wait")

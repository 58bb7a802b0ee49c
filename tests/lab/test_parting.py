"""Two real virtual machines that know of each other, and one that is told of its end and waited for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply, instance, ready, service
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures

WEB, OTHER = "web-0.shop", "web-1.shop"
COMES_S = 600.0
ASKED_S = 60.0
# Waits for its end as a service of the guest would, needs some time for it, and lets go.
WAITS = """
(
    while :; do
        answer=$(/usr/local/bin/vmrole-guest stopping)
        case $answer in *'"why"'*) break ;; esac
        sleep 1
    done
    sleep 3
    printf '%s\\n' "$answer" >/local/cache/parted
    sync
    /usr/local/bin/vmrole-guest let-go >>/local/cache/parted
    sync
) >/dev/null 2>&1 </dev/null &
"""
# Has the port for itself, hears unasked what becomes of its peers and of itself, and lets go when it is to end.
SUBSCRIBES = """
for place in /sys/class/virtio-ports/*; do
    read -r name <"$place/name"
    [ "$name" = com.vmrole.guest.0 ] && port=/dev/${place##*/}
done
read -r boot </proc/sys/kernel/random/boot_id
say() {
    printf '\\n{"jsonrpc":"2.0","id":"%s","method":"%s","params":{%s"boot":"%s"}}\\n' "$1" "$1" "$2" "$boot" >&3
}
(
    exec 3<>"$port"
    say subscribe '"to":["peers","stopping"],'
    while read -r line <&3; do
        printf '%s\\n' "$line" >>/run/heard
        case $line in *'"method": "stopping"'*'"why"'*) say let_go '' ;; esac
    done
) >/dev/null 2>&1 </dev/null &
"""


def says(lab: Lab, *words: str) -> dict[str, Any]:
    """What the host answers the guest's client."""
    answer: dict[str, Any] = json.loads(lab.guest(WEB, ["/usr/local/bin/vmrole-guest", *words], ASKED_S))
    result: dict[str, Any] = answer["result"]
    return result


def peers(lab: Lab, *words: str) -> tuple[int, dict[str, str], list[str]]:
    """What a guest is told of the others: the number, how they stand, and who is gone."""
    found = says(lab, "peers", *words)
    return found["number"], {one["name"]: one["state"] for one in found["peers"]}, found["gone"]


def subscribes(lab: Lab, name: str) -> None:
    """Has a program in the guest keep its channel, and hear of changes."""
    lab.guest(name, ["/bin/sh", "-c", SUBSCRIBES], ASKED_S)
    until(lambda: any("to" in each.get("result", {}) for each in heard(lab, name)), COMES_S, what="its subscription")


def heard(lab: Lab, name: str) -> list[dict[str, Any]]:
    """Each message that it has heard."""
    said = lab.guest(name, ["/bin/sh", "-c", "cat /run/heard 2>/dev/null; exit 0"], ASKED_S)
    return [json.loads(line) for line in said.splitlines() if line]


def told_to(lab: Lab, name: str) -> list[dict[str, str]]:
    """How its peers stand, as it was told unasked, in order."""
    told = [each["params"] for each in heard(lab, name) if each.get("method") == "peers" and "id" not in each]
    return [peer for each in told for peer in each["peers"]]


@pytest.fixture
def two(ready: RoleDaemon) -> RoleDaemon:
    """A daemon with two instances that serve."""
    apply(ready, service(instances=2))
    return ready


def test_a_guest_knows_its_peers_and_is_told_of_its_end(lab: Lab, two: RoleDaemon) -> None:
    """Who they are and how they stand; and a restart waits until it has let go, which the ledger tells. So does the
    end of a client's lease, at which nothing drains.
    """
    number, stand, _ = peers(lab)
    assert stand == {OTHER: "serving"}
    mine, address = instance(two)["address"], says(lab, "peers")["peers"][0]["address"]
    assert address == instance(two, "web-1")["address"]
    subscribes(lab, OTHER)
    assert says(lab, "busy", "--for", "3600")["done"]
    until(
        lambda: {"name": WEB, "role": "web", "address": mine, "state": "busy"} in told_to(lab, OTHER),
        COMES_S,
        what="word",
    )
    assert says(lab, "ready")["done"]
    two.run("stop", OTHER, "--wait")
    assert "its guest learns of its stop" in two.run("events", OTHER).stdout
    assert "its guest has let go" in two.run("events", OTHER).stdout
    changed = peers(lab, "--after", str(number))
    assert (changed[1], changed[2]) == ({OTHER: "stopped"}, [])

    lab.guest(WEB, ["/bin/sh", "-c", WAITS], ASKED_S)
    until(lambda: says(lab, "stopping") == {"stopping": None}, COMES_S, what="its asking")
    two.run("restart", WEB, "--wait")
    parted = lab.guest(WEB, ["cat", "/local/cache/parted"])
    assert '"why": "restart"' in parted
    assert '"let_go": true' in parted
    told = two.run("events", WEB).stdout
    assert "its guest learns of its restart and has 30 s for it (drain)" in told
    assert "draining -> restarting: its guest has let go" in told
    assert instance(two)["generation"] == 1

    two.run("scale", "shop", "web=1")
    until(lambda: OTHER in peers(lab, "--after", str(number))[2], COMES_S, what="the other one's end")

    lab.guest(WEB, ["/bin/sh", "-c", WAITS], ASKED_S)
    until(lambda: says(lab, "stopping") == {"stopping": None}, COMES_S, what="its asking in its new boot")
    two.run("lease", "shop", "--for", "10m", "--", "true")
    until(lambda: "its guest has let go" in told_of(two, "its guest learns of its reimage"), COMES_S, what="its word")


def told_of(daemon: RoleDaemon, beginning: str) -> str:
    """What the ledger tells of the instance from there on; "" before."""
    return daemon.run("events", WEB).stdout.partition(beginning)[2]


ASKS = """#!/bin/sh
mkdir -p /etc/vmrole/start.d
cat > /etc/vmrole/start.d/parts <<'END'
#!/bin/sh
rm -f /run/asked
(
    while :; do
        answer=$(/usr/local/bin/vmrole-guest stopping)
        case $answer in
        *'"stopping": null'*) echo asked > /run/asked ;;
        *'"why"'*) break ;;
        esac
        sleep 1
    done
    printf '%s\\n' "$answer" >> /local/cache/told
    sync
    /usr/local/bin/vmrole-guest let-go
) > /dev/null 2>&1 < /dev/null &
END
chmod 755 /etc/vmrole/start.d/parts
"""


def starts(daemon: RoleDaemon, within: str) -> None:
    """Deploys one that asks of its end, and never says that it is ready."""
    text = service(script=ASKS.replace("\n", "\n        "))
    apply(daemon, text.replace("ready: {within: 3 min}", f"ready: {{within: {within}, guest: true}}"), wait=False)


def let_go(daemon: RoleDaemon, reason: str) -> bool:
    """Whether its guest was told of that, and has let go since."""
    return "its guest has let go" in told_of(daemon, f"its guest learns of its {reason} and has 30 s for it")


def test_one_that_is_never_ready_is_told_of_its_healing(ready: RoleDaemon) -> None:
    """It has asked, is waited for until it lets go, and is begun anew then. A host that is busy may have healed it
    before it has asked; it is healed again.
    """
    starts(ready, "90 s")
    until(lambda: let_go(ready, "restart") or let_go(ready, "reimage"), COMES_S, what="its word, as it is healed")
    assert "serving" not in ready.run("events", WEB).stdout


def test_one_that_has_not_served_is_told_of_its_end(lab: Lab, ready: RoleDaemon) -> None:
    """Stopped while it starts, and removed while it starts: each time it has asked, is waited for until it lets go,
    and is shut down then.
    """
    starts(ready, "60 min")

    def asks() -> bool:
        if instance(ready)["phase"] != "starting":
            return False
        try:
            return lab.guest(WEB, ["cat", "/run/asked"], ASKED_S).strip() == "asked"
        except AssertionError:
            return False

    until(asks, COMES_S, what="its asking, as it starts")
    ready.run("stop", WEB, "--wait")
    assert let_go(ready, "stop")
    ready.run("start", WEB)
    until(asks, COMES_S, what="its asking, as it starts again")
    assert '"why": "stop"' in lab.guest(WEB, ["cat", "/local/cache/told"])
    ready.run("delete", "service", "shop", "--wait")
    assert let_go(ready, "removal")

"""`make demo`: the whole life of a service on real virtual machines, told and checked step by step.

Runs inside a lab (`tests/lab/harness`). Exits 1 as soon as something is not as said. With KEEP=1 in the environment
it stops before the deletion; the lab then stays up.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tests.demo.stage import NotAsSaid, Stage
from tests.lab.harness import answers
from tests.lab.harness.enter import REPOSITORY
from tests.lab.harness.lab import Lab
from tests.lab.harness.load import Load
from tests.lab.harness.role import RoleDaemon

IMAGE = REPOSITORY / "build" / "images" / "micro.qcow2"
EXAMPLE = Path("docs/examples/shop.yaml")
VIP_URL = "http://203.0.113.10/"
INSTANCES = ("web-0.shop", "web-1.shop", "web-2.shop")
FIRST = INSTANCES[0]
SYSTEM_MARKER = "/var/lib/marker"
LOCAL_MARKER = "/local/cache/marker"
ANSWERS_S = 60.0
LOAD_RPS = 40.0


def main() -> int:
    """Returns 0 when everything was as said."""
    keep = bool(os.environ.get("KEEP"))
    stage = Stage()
    with Lab() as lab:
        daemon = lab.daemon(run=Path("/run/vmrole"))  # The default: inside, `vmrole` finds it unasked.
        try:
            _deploy(stage, lab, daemon)
            _mark(stage, lab)
            _restart(stage, lab, daemon)
            _reimage(stage, lab, daemon)
            _explain(stage, daemon)
            if keep:
                _hand_over(stage, lab, daemon)
                lab.leave_running()
            else:
                _delete(stage, lab, daemon)
        except AssertionError as error:
            print(f"\nNOT AS SAID: {error}\n\nThe daemon's last words:\n{daemon.last_words(40)}", file=sys.stderr)
            if keep:
                lab.leave_running()
            return 1
    stage.close()
    return 0


def _deploy(stage: Stage, lab: Lab, daemon: RoleDaemon) -> None:
    with stage.step("A host of its own: namespaces, libvirtd and the vmrole daemon"):
        stage.say(f"host {lab.host_address}, client {lab.client_address}; your network is not touched")
        daemon.start()
        stage.vmrole(daemon, "doctor")
    with stage.step("An image goes into the repository"):
        stage.vmrole(daemon, "image", "add", str(IMAGE), "--name", "micro")
        stage.vmrole(daemon, "image", "ls")
    with stage.step("A service: three instances behind one virtual address"):
        stage.command(daemon, ["cat", str(EXAMPLE)])
        stage.vmrole(daemon, "apply", "-f", str(EXAMPLE), "--wait")
        stage.vmrole(daemon, "get", "instances")
    with stage.step("A client outside asks the virtual address"):
        answered = answers.distinct(lab.client, VIP_URL, len(INSTANCES), ANSWERS_S)
        for name, answer in sorted(answered.items()):
            stage.say(f"{name}: generation {answer['generation']}, boot {answer['boot']}, at {answer['address']}")
        stage.fact(set(answered) == set(INSTANCES), "all three instances answered through the virtual address")


def _mark(stage: Stage, lab: Lab) -> None:
    with stage.step(f"Two markers in {FIRST}: one on its system disk, one on its local storage"):
        lab.guest(FIRST, ["/bin/sh", "-c", f"echo kept > {SYSTEM_MARKER}; echo kept > {LOCAL_MARKER}; sync"])
        stage.fact(_markers(lab) == {SYSTEM_MARKER, LOCAL_MARKER}, "both markers are there")


def _restart(stage: Stage, lab: Lab, daemon: RoleDaemon) -> None:
    with stage.step(f"Restart of {FIRST}: the same generation, the next boot, everything kept"):
        before, boot_before = _record(daemon, FIRST), _boot_id(lab)
        stage.vmrole(daemon, "restart", FIRST, "--wait")
        after = _record(daemon, FIRST)
        stage.fact(_boot_id(lab) != boot_before, "the guest reports another boot id")
        stage.fact(after["generation"] == before["generation"], f"still generation {after['generation']}")
        stage.fact(after["boot"] == before["boot"] + 1, f"boot {before['boot']} became boot {after['boot']}")
        stage.fact(_markers(lab) == {SYSTEM_MARKER, LOCAL_MARKER}, "both markers stayed")


def _reimage(stage: Stage, lab: Lab, daemon: RoleDaemon) -> None:
    with stage.step(f"Reimage of {FIRST} while a client asks {LOAD_RPS:.0f} times a second"):
        before = _record(daemon, FIRST)
        with Load(lab.client, VIP_URL, LOAD_RPS, lab.root / "load.json") as load:
            stage.vmrole(daemon, "reimage", FIRST, "--wait")
            answers.distinct(lab.client, VIP_URL, len(INSTANCES), ANSWERS_S)
        after, account = _record(daemon, FIRST), load.account()
        stage.fact(
            after["generation"] == before["generation"] + 1,
            f"generation {before['generation']} became generation {after['generation']}",
        )
        stage.fact(_markers(lab) == {LOCAL_MARKER}, "the system disk is new, the local storage was kept")
        stage.fact(account["failed"] == 0, f"no request failed of {account['ok']}", otherwise=str(account["reasons"]))


def _explain(stage: Stage, daemon: RoleDaemon) -> None:
    with stage.step("What vmrole knows of it"):
        stage.vmrole(daemon, "why", FIRST)
        stage.vmrole(daemon, "get", "instances", "-o", "wide")
        stage.vmrole(daemon, "events", FIRST)
        stage.vmrole(daemon, "verify")


def _hand_over(stage: Stage, lab: Lab, daemon: RoleDaemon) -> None:
    """What the user needs to go on by hand; `enter.py` adds how to get in and how to end it."""
    with (lab.root / "environment").open("a") as environment:  # ROOT/enter reads it.
        environment.writelines(f"\n{name}={value}" for name, value in daemon.environment.items())
    with stage.step("It stays up; inside the lab you can say"):
        stage.say("vmrole get instances -w")
        stage.say(f"vmrole reimage {FIRST} --wait")
        stage.say(f"nsenter --net=/run/netns/client python3 -m tests.lab.harness.answers {VIP_URL} --distinct 3")
        stage.say(f"vmrole console {FIRST}           (leave it with Ctrl-])")


def _delete(stage: Stage, lab: Lab, daemon: RoleDaemon) -> None:
    with stage.step("Delete everything; nothing is left"):
        stage.vmrole(daemon, "delete", "service", "shop", "--wait")
        stage.vmrole(daemon, "image", "rm", "micro")
        stage.fact(daemon.stop() == 0, "the daemon ended when asked")
        left = lab.leftovers()
        stage.fact(
            left == [], "no domain, network, link, address, nft table, namespace or process is left", str(left)
        )
        of_instances = daemon.files_of_instances()
        stage.fact(of_instances == [], "no image, overlay, disc, console or local storage is left", str(of_instances))


def _record(daemon: RoleDaemon, name: str) -> dict[str, Any]:
    """One instance as `vmrole get instances -o json` shows it."""
    records: list[dict[str, Any]] = daemon.json("get", "instances")
    for record in records:
        if record["name"] == name:
            return record
    raise NotAsSaid(f"{name} is not among {[record['name'] for record in records]}")


def _markers(lab: Lab) -> set[str]:
    """Which of the two markers the guest finds."""
    script = f'for marker in {SYSTEM_MARKER} {LOCAL_MARKER}; do [ ! -e "$marker" ] || echo "$marker"; done'
    return set(lab.guest(FIRST, ["/bin/sh", "-c", script]).split())


def _boot_id(lab: Lab) -> str:
    return lab.guest(FIRST, ["/bin/cat", "/proc/sys/kernel/random/boot_id"]).strip()


if __name__ == "__main__":
    sys.exit(main())

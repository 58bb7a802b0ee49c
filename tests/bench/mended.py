"""How long what somebody else took away of the network of instances that serve is gone."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.lab.harness.lab import Lab
from tests.world.waiting import comes_true

ROUNDS = 5
SETTLES_S = 3.0
WITHIN_S = 60.0  # as long as the audit takes that would find it anyway


def mended_s(lab: Lab, vip: str, instance: str) -> list[float]:
    """Each time the slower of two: a VIP that is deleted, and a VM's port that is taken off its bridge."""
    interface = words(lab, ["ip", "-o", "address", "show", "to", vip])[1]
    tap = lab.virsh("domiflist", instance).split("---\n")[-1].split()[0]
    bridge = words(lab, ["ip", "-o", "link", "show", tap], after="master")[0]
    gone: list[float] = []
    for _ in range(ROUNDS):
        address = gone_for_s(
            lambda: lab.host.run(["ip", "address", "del", f"{vip}/32", "dev", interface]),
            lambda: vip in lab.host.run(["ip", "-o", "address", "show", "dev", interface]).stdout,
        )
        port = gone_for_s(
            lambda: lab.host.run(["ip", "link", "set", tap, "nomaster"]),
            lambda: f"master {bridge}" in lab.host.run(["ip", "-o", "link", "show", tap]).stdout,
        )
        print(f"  the VIP {address:.2f} s, a port {port:.2f} s", flush=True)
        gone.append(max(address, port))
    return gone


def network_mended_s(lab: Lab, network: str, instances: list[str]) -> list[float]:
    """From the moment at which a whole network is gone until it runs and has the ports of all these VMs again."""
    taps = [lab.virsh("domiflist", each).split("---\n")[-1].split()[0] for each in instances]
    bridge = words(lab, ["ip", "-o", "link", "show", taps[0]], after="master")[0]
    gone: list[float] = []
    for _ in range(ROUNDS):
        network_s = gone_for_s(
            lambda: lab.virsh("net-destroy", network),
            lambda: all(f"master {bridge}" in lab.host.run(["ip", "-o", "link", "show", tap]).stdout for tap in taps),
        )
        print(f"  the network {network_s:.2f} s", flush=True)
        gone.append(network_s)
        time.sleep(SETTLES_S)
    return gone


def gone_for_s(take_away: Callable[[], object], is_there: Callable[[], bool]) -> float:
    """Seconds from when it was gone until it was there again. AssertionError when it stays away."""
    take_away()
    began = time.monotonic()
    assert comes_true(is_there, WITHIN_S, 0.0), "it stays away"
    return time.monotonic() - began


def words(lab: Lab, argv: list[str], *, after: str = "") -> list[str]:
    """What a command prints, after a word of it."""
    return lab.host.run(argv).stdout.partition(after)[2].split() if after else lab.host.run(argv).stdout.split()

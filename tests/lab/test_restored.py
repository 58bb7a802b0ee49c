"""What must be true of guests that go on from their saved memory, of two of one role, two days later.

Each has its clock set two days back before it is kept, so a restore is one of a guest that was away for so long.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import VIP, apply, ready
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures

NAMES: Final = ("web-0.shop", "web-1.shop")
DRAWS: Final = 2000
SHOWS_S: Final = 60.0
SERVICE: Final = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    instances: 2
    reimage: warm
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz}}}}
    ready: {{within: 3 min}}
    answers:
      userData: |
        #!/bin/sh
        cat /proc/sys/kernel/random/uuid > /drawn-at-setup
        mkdir -p /etc/vmrole/start.d
        cat > /etc/vmrole/start.d/behind <<'START'
        #!/bin/sh
        date -s "@$(($(date +%s) - 172800))"
        START
        chmod 755 /etc/vmrole/start.d/behind
"""
NOW: Final = "date +%s"
# Each number by a call of its own.
DRAW: Final = f'dd if=/dev/urandom bs=16 count={DRAWS} 2> /dev/null | hexdump -v -e \'16/1 "%02x" "\\n"\''
IDENTITY: Final = """hostname; cat /sys/class/net/eth0/address /drawn-at-setup
ip -4 -o addr show eth0 | tr -s ' ' | cut -d' ' -f4"""
# Names, kinds, modes, owners and sizes of all that is there, and the bytes of all files, as they are on the disk.
CONTENT: Final = """cd /; sync; echo 3 > /proc/sys/vm/drop_caches
find . -xdev -path ./var/log -prune -o -exec stat -c '%N %f %u:%g %s %Y' {} +
find . -xdev -path ./var/log -prune -o -type f -exec sha256sum {} +"""
VANDALISE: Final = """set -e; cd /
echo new | tee /etc/new /root/new /usr/local/bin/new > /dev/null
printf changed | dd of=/usr/sbin/mke2fs bs=1 seek=4096 conv=notrunc 2> /dev/null
echo added >> /etc/hosts; chmod 0600 /etc/passwd; chown 1:1 /etc/group; rm -r /usr/lib/vmrole/modules; mv /boot /boat
hostname somebody-else; echo somebody-else > /etc/hostname; echo other > /drawn-at-setup; sync"""
# udhcpc asks for its lease again when it is told to, and has its script write the file anew.
RENEWED: Final = """rm -f /run/resolv.conf; kill -USR1 $(pidof udhcpc)
for _ in $(seq 100); do [ -s /run/resolv.conf ] && break; usleep 100000; done
cat /run/resolv.conf /run/vmrole/address"""


def sh(lab: Lab, name: str, script: str) -> str:
    """What a shell of the guest says."""
    return lab.guest(name, ["/bin/sh", "-c", script])


def seconds_off(lab: Lab, name: str) -> float:
    """How far off the guest's clock is, to the second."""
    host_s = float(lab.host.run(["date", "+%s"]).stdout)
    return abs(float(sh(lab, name, NOW)) - host_s)


def test_two_of_one_role_go_on_as_themselves(lab: Lab, ready: RoleDaemon) -> None:
    """Each with the address, the name and the secret that are its own and no one else's, random numbers that nobody
    has drawn before, the disk of then, byte for byte, the time of now, its lease renewed, and names that lead on.
    """
    apply(ready, SERVICE)
    address = {one["name"]: one["address"] for one in ready.json("get", "instances", "shop")}
    drawn = [frozenset(sh(lab, name, DRAW).split()) for name in NAMES]
    before = {name: (sh(lab, name, IDENTITY).split(), sh(lab, name, CONTENT).splitlines()) for name in NAMES}
    assert all(seconds_off(lab, name) < 60 for name in NAMES), "it goes on from what was kept as soon as that is"
    for name in NAMES:
        sh(lab, name, VANDALISE)

    said = ready.run("reimage", "web.shop", "--together", "2", "--wait").stderr

    drawn += [frozenset(sh(lab, name, DRAW).split()) for name in NAMES]
    for name, other in (NAMES, NAMES[::-1]):
        assert f"{name}: warm, from its checkpoint" in said, said
        assert seconds_off(lab, name) < 60
        identity, content = before[name]
        assert sh(lab, name, IDENTITY).split() == identity
        assert len(content) > 400
        assert sorted(set(sh(lab, name, CONTENT).splitlines()) ^ set(content)) == []
        lease = sh(lab, name, RENEWED)
        assert "nameserver " in lease, "its lease is not renewed"
        assert lease.split()[-1] == address[name]
        until(lambda name=name, other=other: address[other] in resolved(lab, name, other), SHOWS_S)
    assert not set(before[NAMES[0]][0]) & set(before[NAMES[1]][0]), "two have something in common"
    assert [len(one) for one in drawn] == [DRAWS] * 4
    assert [len(one & other) for one, other in combinations(drawn, 2)] == [0] * 6
    ready.run("delete", "service", "shop", "--wait")


def resolved(lab: Lab, name: str, other: str) -> str:
    """What the name server of its network tells a guest of another's name."""
    return sh(lab, name, f"nslookup {other.partition('.')[0]} 2>&1 || true")

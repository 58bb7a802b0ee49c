"""What must be true of whole Debians that go on from their saved memory, two of one role, two days later.

Each has its clock set two days back before it is kept, so every restore is one of a guest that was away for so long.
One setup of both, and two warm reimages, for all of the tests here.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import gzip
import json
import math
import shlex
import socket
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest

from tests.lab.debian_guests import SERVICE
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CommandError
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply
from tests.world.waiting import until

NAMES: Final = ("web-0.shop", "web-1.shop")
CLOCK_OFF_S: Final = 0.1
READS: Final = 20  # of the clock: a busy machine answers quickly now and then
DRAWS: Final = 4000
WATCHED_S: Final = 150.0  # how long timers are looked at after the last restore
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0
AGENT_S: Final = 1800.0  # of a machine that others use as well
UNITS: Final = """          - path: /etc/systemd/system/behind.service
            content: |
              [Unit]
              DefaultDependencies=no
              ConditionPathExists=/var/lib/set-up
              After=local-fs.target
              Before=time-set.target timers.target sysinit.target
              [Service]
              Type=oneshot
              ExecStart=/usr/bin/date -s "2 days ago"
              [Install]
              RequiredBy=sysinit.target
          - path: /etc/systemd/system/tick@.service
            content: |
              [Service]
              Type=oneshot
              ExecStart=/bin/sh -c "date +%%s >> /run/ticks-%i"
          - path: /etc/systemd/system/tick@minutely.timer
            content: |
              [Timer]
              OnCalendar=minutely
              AccuracySec=1us
              [Install]
              WantedBy=timers.target
          - path: /etc/systemd/system/tick@often.timer
            content: |
              [Timer]
              OnCalendar=*:*:0/5
              AccuracySec=1us
              [Install]
              WantedBy=timers.target
          - path: /etc/systemd/system/tick@monotonic.timer
            content: |
              [Timer]
              OnActiveSec=20
              OnUnitActiveSec=20
              AccuracySec=1us
              [Install]
              WantedBy=timers.target
          - path: /etc/systemd/system/tick@hourly.timer
            content: |
              [Timer]
              OnCalendar=hourly
              Persistent=true
              AccuracySec=1us
              [Install]
              WantedBy=timers.target
"""
ENABLED: Final = """          - [systemctl, enable, behind.service, tick@often.timer, tick@monotonic.timer]
          - [systemctl, enable, tick@minutely.timer, tick@hourly.timer]
          - [touch, /var/lib/set-up]
"""
WARM: Final = (
    SERVICE.replace("image: debian", "image: debian\n    reimage: warm")
    .replace("instances: 1", "instances: 2")
    .replace("{vcpus: 2,", "{vcpus: 1,")
    .replace("    localStorage:\n      cache: {size: 32 MiB}\n", "")
    .replace("        runcmd:\n", f"{UNITS}        runcmd:\n")
    + ENABLED
)
DRAW: Final = f"import os; print(*(os.urandom(16).hex() for _ in range({DRAWS})))"
# All but what a system that runs writes by itself, and what its agent writes as it sets the clock (/etc/adjtime):
# names, kinds, modes, owners, sizes, times and targets of links; and the bytes of thousands of files, as on the disk.
CONTENT: Final = """cd /; sync; echo 3 > /proc/sys/vm/drop_caches
find . -xdev \\( -path ./var/log -o -path ./var/lib/systemd -o -path ./var/tmp -o -path ./tmp \\
  -o -path ./run -o -path ./etc/adjtime \\) -prune -o \\
  -printf '%P %y %m %U:%G %s %T@ %l\\n' | grep -v '^etc d ' | LC_ALL=C sort
find ./etc ./usr/bin ./usr/local ./root ./srv ./var/lib/dpkg ./var/lib/cloud \\
  -xdev -type f ! -path ./etc/adjtime -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"""
VANDALISE: Final = """set -e; cd /
echo new | tee /etc/new /root/new /srv/page/new /var/lib/dpkg/new /usr/local/bin/new > /dev/null
printf changed | dd of=/usr/bin/less bs=1 seek=4096 conv=notrunc status=none
echo added >> /etc/hosts; : > /etc/debian_version; chmod 0600 /etc/services; chown 1:1 /etc/networks
rm -r /usr/share/zoneinfo; mv /usr/lib/python3 /usr/lib/python4; ln -sf /nowhere /etc/localtime
hostname somebody-else; echo somebody-else > /etc/hostname; rm /etc/ssh/ssh_host_*; echo 0 > /etc/machine-id; sync"""
IDENTITY: Final = """cat /etc/machine-id /proc/sys/kernel/hostname /etc/hostname /sys/class/net/eth0/address
hostname -f; ip -4 -o address show dev eth0 | awk '{print $4}'; sha256sum /etc/ssh/ssh_host_*_key"""
RENEWED: Final = """lease() { stat -c %.9Y /run/systemd/netif/leases/*; }
before=$(lease); networkctl renew eth0
for _ in $(seq 120); do [ "$(lease)" = "$before" ] || break; sleep 0.5; done
[ "$(lease)" = "$before" ] && echo same || echo renewed; grep ^ADDRESS= /run/systemd/netif/leases/*"""
RESOLVED: Final = "resolvectl flush-caches; getent ahostsv4 {name} | awk '{{print $1; exit}}'"


@dataclasses.dataclass(frozen=True)
class Life:
    """What was seen of an instance in one generation, as soon as it was ready."""

    record: dict[str, Any]
    clock_off_s: float
    identity: list[str]
    keys: list[str]  # what sshd shows to who connects
    boot_id: str
    drawn: frozenset[str]
    content: list[str]


@dataclasses.dataclass(frozen=True)
class Seen:
    """Of both instances: three lives each, and what became of the connections that were open at the end of each."""

    lab: Lab
    daemon: RoleDaemon
    lives: dict[str, list[Life]]
    cut: list[str]
    said: list[str]
    restored_at_s: dict[str, float]

    def sh(self, name: str, script: str) -> str:
        """What a shell of the guest says."""
        return sh(self.lab, name, script)


def sh(lab: Lab, name: str, script: str) -> str:
    """What a shell of the guest says, however long that takes: it leaves its agent time to be asked."""
    inner = f"(nice -n 19 sh -c {shlex.quote(script)} > /run/said 2>&1; echo $? > /run/ended)"
    lab.guest(name, ["/bin/sh", "-c", f"rm -f /run/ended; {inner} < /dev/null > /dev/null 2>&1 &"], AGENT_S)
    ended = _answer(lab, name, "cat /run/ended 2> /dev/null || true").strip()
    text = gzip.decompress(base64.b64decode(_answer(lab, name, "gzip -c /run/said | base64 -w 0"))).decode()
    assert ended == "0", (name, ended, text[-2000:])
    return text


def _answer(lab: Lab, name: str, script: str) -> str:
    """What is said once something is; the agent may be silent for a while, as on a busy machine it may be."""
    said = ""

    def heard() -> bool:
        nonlocal said
        with contextlib.suppress(CommandError):
            said = lab.guest(name, ["/bin/sh", "-c", script], AGENT_S)
        return bool(said)

    until(heard, AGENT_S, what=f"{name}: {script}")
    return said


def clock_off_s(lab: Lab, name: str) -> float:
    """How far off the guest's clock is at least (seconds), for the question itself takes time."""
    ask = json.dumps({"execute": "guest-get-time"})
    offs = []
    for _ in range(READS):
        before_s = time.time()
        guest_s = json.loads(lab.virsh("qemu-agent-command", name, ask))["return"] / 1e9
        offs.append(max(before_s - guest_s, guest_s - time.time(), 0.0))
    return max(offs)


def life(lab: Lab, daemon: RoleDaemon, name: str) -> Life:
    """What there is to be seen of it."""
    off_s = clock_off_s(lab, name)
    drawn = lab.guest(name, ["/usr/bin/python3", "-c", DRAW], AGENT_S).split()
    record = next(one for one in daemon.json("get", "instances", "shop") if one["name"] == name)
    keys = lab.host.run(["ssh-keyscan", "-T", "120", record["address"]]).stdout.splitlines()
    return Life(
        record=record,
        clock_off_s=off_s,
        identity=sh(lab, name, IDENTITY).splitlines(),
        keys=sorted(line.partition(" ")[2] for line in keys if not line.startswith("#")),
        boot_id=sh(lab, name, "cat /proc/sys/kernel/random/boot_id").strip(),
        drawn=frozenset(drawn),
        content=sh(lab, name, CONTENT).splitlines(),
    )


def outcome(connection: socket.socket) -> str:
    """What becomes of a connection that is used again: the name of the error, or "hangs"."""
    end_s = time.monotonic() + 60.0
    while time.monotonic() < end_s:
        try:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        except OSError as error:
            return type(error).__name__
        time.sleep(0.2)
    return "hangs"


@pytest.fixture(scope="module")
def seen(lab_session: Lab, debian_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Two instances that were set up, and were reimaged warm twice, each time after somebody had made havoc."""
    lab_session.start_libvirtd()
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    daemon = lab_session.daemon(tmp_path_factory.mktemp("restored") / "vmrole")
    daemon.start()
    try:
        daemon.run("image", "add", str(debian_image), "--name", "debian")
        apply(daemon, WARM)
        lives = {name: [life(lab_session, daemon, name)] for name in NAMES}
        cut, said = [], []
        for _ in range(2):
            with contextlib.ExitStack() as held:
                before = [
                    held.enter_context(socket.create_connection((lives[name][0].record["address"], 8080), 60.0))
                    for name in NAMES
                ]
                for name in NAMES:
                    sh(lab_session, name, VANDALISE)
                said.append(daemon.run("reimage", "web.shop", "--together", "2", "--wait").stderr)
                for name in NAMES:
                    lives[name].append(life(lab_session, daemon, name))
                cut += [outcome(connection) for connection in before]
        restored_at_s = {name: _restored_at_s(daemon, name) for name in NAMES}
        yield Seen(lab_session, daemon, lives, cut, said, restored_at_s)
    finally:
        daemon.kill_with_children()
        lab_session.start_libvirtd()
        lab_session.sweep()


def _restored_at_s(daemon: RoleDaemon, name: str) -> float:
    """When its last restore began. Its clock was set some seconds later; what is due is due since then."""
    told = daemon.json("events", name)
    return float(max(event["at_s"] for event in told if event["message"].startswith("requested -> restoring")))


pytestmark = pytest.mark.timeout(7200)  # A setup of two takes minutes of both cores without KVM.


def test_they_are_restored_and_counted_right(seen: Seen) -> None:
    """From memory, each time; the boot id repeats, and neither generation nor boot is taken for another."""
    for name in NAMES:
        assert all(f"{name}: warm, from its checkpoint" in said for said in seen.said), seen.said
        records = [one.record for one in seen.lives[name]]
        assert [(one["generation"], one["boot"]) for one in records] == [(1, 2), (2, 2), (3, 2)]
        assert len({one.boot_id for one in seen.lives[name]}) == 1
        assert len({one["vm_uuid"] for one in records}) == 1


def test_the_clock_is_right_as_soon_as_they_are_ready(seen: Seen) -> None:
    """Within a tenth of a second, of guests that are two days behind when they are restored."""
    offs_s = [one.clock_off_s for name in NAMES for one in seen.lives[name]]
    assert [off_s for off_s in offs_s if off_s > CLOCK_OFF_S] == []


def test_nobody_draws_the_same_random_numbers(seen: Seen) -> None:
    """Of all that was drawn, by both instances in all their lives, nothing was drawn twice."""
    drawn = [one.drawn for name in NAMES for one in seen.lives[name]]
    assert [len(numbers) for numbers in drawn] == [DRAWS] * len(drawn)
    assert [len(one & other) for one, other in combinations(drawn, 2)] == [0] * math.comb(len(drawn), 2)


def test_each_is_who_it_was(seen: Seen) -> None:
    """Machine id, host name, MAC, address and SSH host keys, on the disk and as sshd shows them."""
    for name in NAMES:
        first, *others = seen.lives[name]
        assert len(first.identity) >= 7, first.identity  # one key of its host at least
        assert first.keys
        assert first.identity[1] == name.partition(".")[0]
        assert [(one.identity, one.keys) for one in others] == [(first.identity, first.keys)] * 2


def test_two_of_one_role_share_no_identity(seen: Seen) -> None:
    """Nothing of what one is known by is the other's."""
    one, other = (seen.lives[name][-1] for name in NAMES)
    assert [pair for pair in zip(one.identity, other.identity, strict=True) if pair[0] == pair[1]] == []
    assert not set(one.keys) & set(other.keys)
    assert one.boot_id != other.boot_id


def test_what_was_written_since_is_gone_byte_for_byte(seen: Seen) -> None:
    """The whole system: what was new, changed, removed, moved or given away."""
    for name in NAMES:
        first, *others = seen.lives[name]
        assert len(first.content) > 10_000
        for one in others:
            assert sorted(set(one.content) ^ set(first.content)) == []


def test_a_connection_of_before_is_refused(seen: Seen) -> None:
    """Not hung: nobody there knows of it."""
    assert set(seen.cut) <= {"ConnectionResetError", "BrokenPipeError"}, seen.cut
    assert len(seen.cut) == 2 * len(NAMES)


def test_leases_are_renewed_and_names_are_known(seen: Seen) -> None:
    """By the guest's own client, of the network's own servers."""
    addresses = {name: seen.lives[name][0].record["address"] for name in NAMES}
    for name, other in (NAMES, NAMES[::-1]):
        renewed, address = seen.sh(name, RENEWED).split()
        assert (renewed, address) == ("renewed", f"ADDRESS={addresses[name]}")
        assert seen.sh(name, RESOLVED.format(name=other)).strip() == addresses[other]


def test_timers_do_not_storm(seen: Seen) -> None:
    """Two days are made up for by one run each, of 34,560, 2880 and 48 that might be: what is due is what the clock
    says, and what counts the time that it runs has missed none.
    """
    every_s = {"often": 5.0, "monotonic": 20.0, "minutely": MINUTE_S, "hourly": HOUR_S}
    for name in NAMES:
        began_s = seen.restored_at_s[name]
        while time.time() < began_s + WATCHED_S:
            time.sleep(5.0)
        told = seen.sh(
            name,
            "cd /run; for kind in often monotonic minutely hourly; do echo $(cat ticks-$kind 2> /dev/null); done",
        )
        now_s = time.time()
        ran = {
            kind: [float(at) for at in line.split()] for kind, line in zip(every_s, told.splitlines(), strict=True)
        }
        assert [at for at in ran["often"] if at < began_s - DAY_S], ("none ran two days behind", ran)
        for kind, period_s in every_s.items():
            since = [at for at in ran[kind] if at > began_s - DAY_S]
            due = math.floor(now_s / period_s) - math.floor(began_s / period_s)
            assert len(since) <= due + 1, (name, kind, since)
            assert len(since) >= min(due - 1, 1), (name, kind, since)  # A busy guest may be late, and is not deaf.

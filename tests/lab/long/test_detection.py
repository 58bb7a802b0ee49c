"""Trouble of a guest on real virtual machines: each kind is told by its name, and healed where that helps.

The ledger of each life is printed with its times (`pytest -rP`).
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import URL, VIP, apply, instance, ready
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures

COMES_S = 1200.0  # The machine may be shared; healing waits for 5 min where something fails that may pass.
WEB = "web-0.shop"
SH = ["/bin/sh", "-c"]
UNWELL = "it is unwell: the balancer's health check fails"
WELL = "it is well again"
AHEAD_S = 7200
LOOPS = 9  # restarts by itself: more than are taken for anything but a loop
STATE_MIB = 96
SERVICE = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz, interval: 1 s, rise: 2, fall: 2}}}}
    setup: {{within: 15 min}}
    ready: {{watch: true, command: [/bin/test, -e, /run/good], within: 15 min}}
    restart: {{within: 15 min}}
    answers:
      userData: |
        #!/bin/sh
        mkdir -p /etc/vmrole/start.d
        printf '#!/bin/sh\\n: > /run/good\\n' > /etc/vmrole/start.d/good
        chmod 755 /etc/vmrole/start.d/good
"""
# Of each kind that is healed after a while one, so that they are waited for together.
ILL = f"""service: shop
vip: {VIP}
roles:
  hangs:
    image: micro
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz, interval: 1 s, rise: 2, fall: 2}}}}
    setup: {{within: 15 min}}
    ready: {{within: 15 min}}
    stop: {{within: 10 s}}
    restart: {{within: 15 min}}
  silent:
    image: micro
    size: {{vcpus: 1, memory: 128 MiB}}
    setup: {{within: 15 min}}
    ready: {{within: 15 min, silence: 1 min}}
    stop: {{within: 10 s}}
    restart: {{within: 15 min}}
  watched:
    image: micro
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      http: {{port: 81, target: 8080, protocol: http, probe: {{path: /healthz}}}}
    setup: {{within: 15 min}}
    ready: {{watch: true, command: [/bin/test, -e, /run/good], within: 15 min}}
    stop: {{within: 10 s}}
    restart: {{within: 15 min}}
    answers:
      userData: |
        #!/bin/sh
        mkdir -p /etc/vmrole/start.d
        printf '#!/bin/sh\\n: > /run/good\\n' > /etc/vmrole/start.d/good
        chmod 755 /etc/vmrole/start.d/good
"""
# Whose check is a program that fails when it is told to; only a very slow machine makes it late.
CHECKED = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      http:
        port: 80
        target: 8080
        protocol: http
        probe: {{path: /cgi-bin/check, interval: 10 s, timeout: 10 s, rise: 2, fall: 2}}
    setup: {{within: 15 min}}
    ready: {{within: 15 min}}
    answers:
      userData: |
        #!/bin/sh
        mkdir -p /etc/vmrole/start.d
        cat > /etc/vmrole/start.d/check <<'END'
        #!/bin/sh
        mkdir -p /run/vmrole/www/cgi-bin
        cat > /run/vmrole/www/cgi-bin/check <<'CHECK'
        #!/bin/sh
        read -r fails < /run/fails
        [ "$fails" = 0 ] && {{ printf 'Content-Type: text/plain\\r\\n\\r\\nok'; exit; }}
        printf 'Status: 503 Unavailable\\r\\n\\r\\n'
        CHECK
        chmod 755 /run/vmrole/www/cgi-bin/check
        echo 0 > /run/fails
        END
        chmod 755 /etc/vmrole/start.d/check
"""
# A page that wakes the agent which nobody can ask any more.
WAKE = """mkdir -p /run/vmrole/www/cgi-bin
cat > /run/vmrole/www/cgi-bin/wake <<'END'
#!/bin/sh
kill -CONT $(busybox pidof qemu-ga)
printf 'Content-Type: text/plain\\r\\n\\r\\nwoken'
END
chmod 755 /run/vmrole/www/cgi-bin/wake
"""
pytestmark = pytest.mark.timeout(4 * COMES_S)


@pytest.fixture
def small_state(tmp_path: Path) -> Iterator[Path]:
    """A state directory on a file system of its own, with room for the image and little more."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STATE_MIB}m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def serving(ready: RoleDaemon) -> Iterator[RoleDaemon]:
    """A daemon with an instance that serves."""
    apply(ready, SERVICE)
    yield ready
    print(ready.run("events", "shop").stdout)


def at(daemon: RoleDaemon, name: str = "web-0") -> tuple[int, int]:
    """Which boot of which generation it is in."""
    one = instance(daemon, name)
    return one["generation"], one["boot"]


def ledger(daemon: RoleDaemon, name: str = WEB) -> list[str]:
    """What the ledger says of an instance."""
    return [each["message"] for each in daemon.json("events", name)]


def is_told(daemon: RoleDaemon, words: str, name: str = WEB, times: int = 1) -> None:
    """Waits until the ledger of the instance says so for the so manyth time."""

    def told() -> bool:
        return sum(words in line for line in ledger(daemon, name)) >= times

    until(told, COMES_S, what=f"the ledger of {name} to say: {words}")


def answers(lab: Lab) -> bool:
    """Whether a client has an answer of the service."""
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "5", URL]
    return lab.client.run(argv, check=False).stdout.strip() == "200"


def loops(lab: Lab) -> int:
    """How often the guest has begun a loop, as it tells clients; 0 while none is let in."""
    said = lab.client.run(["curl", "-s", "-f", "-m", "5", f"{URL}loops"], check=False).stdout.strip()
    return int(said) if said.isdigit() else 0


def comes_back(lab: Lab, daemon: RoleDaemon, before: tuple[int, int]) -> None:
    """Waits until it serves in a later boot, and answers."""
    until(lambda: at(daemon) > before and instance(daemon)["phase"] == "serving", COMES_S, what="healing")
    until(lambda: answers(lab), COMES_S, what="an answer")


def serves_after(daemon: RoleDaemon, name: str, boot: int) -> bool:
    """Whether it serves in a boot after that one."""
    one = instance(daemon, name)
    return bool(one["phase"] == "serving" and one["boot"] > boot)


def behind(lab: Lab, script: str, name: str = WEB) -> None:
    """Has a script run in the guest when its agent has said that it began."""
    lab.guest(name, [*SH, f"(sleep 2; {script}) >/dev/null 2>&1 </dev/null &"], 60.0)


def is_as_before(lab: Lab, daemon: RoleDaemon, before: tuple[int, int]) -> None:
    """Waits until it serves and answers; it is in the boot in which it was, and nothing was healed."""
    until(lambda: instance(daemon)["phase"] == "serving", COMES_S, what="its way back")
    until(lambda: answers(lab), COMES_S, what="an answer")
    assert at(daemon) == before
    assert instance(daemon)["strikes"] == 0


@pytest.mark.parametrize("kind", ["qemu gone", "kernel panic"])
def test_a_vm_that_dies_is_started_again(lab: Lab, serving: RoleDaemon, kind: str) -> None:
    """At once, and the ledger says what has ended it."""
    before: tuple[int, int] = at(serving)
    if kind == "qemu gone":
        os.kill(int(Path(f"/run/libvirt/qemu/{WEB}.pid").read_text()), signal.SIGKILL)
        is_told(serving, "its QEMU ended unexpectedly")
    else:
        behind(lab, "echo c > /proc/sysrq-trigger")
        is_told(serving, "the guest's kernel panicked")
    comes_back(lab, serving, before)


def test_what_hangs_falls_silent_or_loses_a_service_is_told_and_healed(lab: Lab, ready: RoleDaemon) -> None:
    """A guest of which nothing goes on but its kernel leaves rotation by its check; an agent that nobody else speaks
    for has the silence that its role says; a service that fails after its start is looked for. Each is told as what
    it is while it may yet pass, and is restarted when it does not.
    """
    apply(ready, ILL)
    names = {"hangs-0": UNWELL, "silent-0": "it is unwell: its agent is silent", "watched-0": "ready.command exits 1"}
    before = {name: at(ready, name) for name in names}
    behind(lab, "kill -STOP -1", "hangs-0.shop")
    behind(lab, "kill -STOP $(busybox pidof qemu-ga)", "silent-0.shop")
    lab.guest("watched-0.shop", [*SH, "rm /run/good"], 60.0)
    for name, words in names.items():
        is_told(ready, words, f"{name}.shop")
    until(lambda: not answers(lab), COMES_S, what="its way out of rotation")
    for name in names:
        is_told(ready, "restarting: failed while serving: for too long", f"{name}.shop")
    for name, (generation, boot) in before.items():
        until(functools.partial(serves_after, ready, name, boot), COMES_S, what=f"{name} to be healed")
        assert instance(ready, name)["generation"] == generation, "a restart is the first rung"
    until(lambda: answers(lab), COMES_S, what="an answer")
    print(ready.run("events", "shop").stdout)


def test_a_silent_agent_beside_a_passing_check_is_told_and_left_alone(lab: Lab, serving: RoleDaemon) -> None:
    """It serves on in the boot in which it is, and the ledger has the end of it, too."""
    lab.guest(WEB, [*SH, WAKE], 60.0)
    before = at(serving)
    behind(lab, "kill -STOP $(busybox pidof qemu-ga)")
    is_told(serving, "its agent is broken: it says nothing")
    assert (instance(serving)["phase"], at(serving)) == ("serving", before)
    assert "Its agent is broken since" in serving.run("why", WEB).stdout
    assert answers(lab)
    assert lab.client.run(["curl", "-s", "-m", "60", f"{URL}cgi-bin/wake"]).stdout == "woken"
    is_told(serving, "its agent makes sense again")
    is_as_before(lab, serving, before)
    assert not any(UNWELL in line or "failed" in line for line in ledger(serving))


def test_a_vm_that_somebody_paused_is_told_and_left_alone(lab: Lab, serving: RoleDaemon) -> None:
    """Over a restart of the daemon, until it goes on, in the boot in which it was."""
    before = at(serving)
    lab.virsh("suspend", WEB)
    is_told(serving, "serving -> draining: the VM is paused: somebody paused it")
    until(lambda: not answers(lab), COMES_S, what="its way out of rotation")
    serving.kill()
    serving.start()
    until(lambda: f"virsh resume {WEB}" in instance(serving)["waiting"], COMES_S, what="the remedy")
    assert lab.virsh("domstate", WEB).strip() == "paused"
    lab.virsh("resume", WEB)
    is_as_before(lab, serving, before)


def test_a_clock_that_is_far_off_is_told_and_left_alone(lab: Lab, serving: RoleDaemon) -> None:
    """And that it is right again; a daemon that begins asks at once, not after five minutes."""
    before = at(serving)
    for seconds, words in ((AHEAD_S, "s ahead of the host's"), (-AHEAD_S, "its clock is right again")):
        lab.guest(WEB, [*SH, f"date -s @$(($(date +%s) + {seconds}))"], 60.0)
        serving.kill()
        serving.start()
        is_told(serving, words)
    is_as_before(lab, serving, before)


def test_a_check_that_fails_is_told_when_that_begins_and_when_it_ends(lab: Lab, ready: RoleDaemon) -> None:
    """Out of rotation meanwhile, and in the boot in which it was."""
    apply(ready, CHECKED)
    before = at(ready)

    def fail(times: str) -> None:
        lab.guest(WEB, [*SH, f"echo {times} > /run/new; mv /run/new /run/fails"], 60.0)

    fail("all")
    is_told(ready, UNWELL)
    until(lambda: not answers(lab), COMES_S, what="its way out of rotation")
    fail("0")
    is_told(ready, WELL)
    is_as_before(lab, ready, before)
    print(ready.run("events", "shop").stdout)


def test_a_guest_that_restarts_for_ever_is_told_and_waited_out(lab: Lab, serving: RoleDaemon) -> None:
    """Ever longer pauses, out of rotation, and nobody makes it anew; when it stays up it serves, as it was."""
    generation, boot = at(serving)
    loop = f"""#!/bin/sh
: > /run/good
echo >> /loops
wc -l < /loops > /run/vmrole/www/loops
[ "$(wc -l < /loops)" -gt {LOOPS} ] || {{ sleep 5; sync; busybox reboot -f; }} &
"""
    script = f"cat > /etc/vmrole/start.d/good <<'END'\n{loop}END\nsync"
    lab.guest(WEB, [*SH, script], 60.0)
    behind(lab, "busybox reboot -f")
    is_told(
        serving,
        "the guest restarts for ever, by itself: it is out of rotation, and looked at again after a pause (10 s)",
    )
    is_told(serving, "looked at again after a pause (20 s)")
    until(lambda: loops(lab) > LOOPS, COMES_S, what="its way back")
    assert at(serving) > (generation, boot)
    assert (instance(serving)["generation"], instance(serving)["strikes"]) == (generation, 0)


def test_a_full_disk_of_the_host_pauses_a_guest_that_goes_on_when_there_is_room(
    lab: Lab, small_state: Path, micro_image: Path
) -> None:
    """What the guest was writing is written in the end; nobody is to blame, over a restart of the daemon."""
    daemon = lab.daemon(small_state / "vmrole", disk_reserve_mib=0, disk_overcommit=1000)  # nobody counts here
    daemon.start()
    try:
        daemon.run("image", "add", str(micro_image), "--name", "micro")
        apply(daemon, SERVICE)
        before = at(daemon)
        behind(lab, f"dd if=/dev/urandom of=/big bs=1M count={STATE_MIB} 2>/run/dd; sync; sha256sum /big > /run/sum")
        is_told(daemon, "serving -> draining: the VM is paused: a disk of the host failed or is full")
        until(lambda: "a disk of the host" in instance(daemon)["waiting"], COMES_S, what="the reason")
        daemon.kill()
        daemon.start()
        until(lambda: "a disk of the host" in instance(daemon)["waiting"], COMES_S, what="the reason")
        subprocess.run(["mount", "-o", f"remount,size={4 * STATE_MIB}m", str(small_state)], check=True)
        is_as_before(lab, daemon, before)
        read = "until [ -s /run/sum ]; do sleep 1; done; cat /run/dd; sha256sum -c /run/sum"
        assert "/big: OK" in lab.guest(WEB, [*SH, read], COMES_S)
        print(daemon.run("events", "shop").stdout)
    finally:
        daemon.kill_with_children()

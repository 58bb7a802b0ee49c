"""What only a real libvirt can show: domains of others, dead daemons, dead and panicked VMs, agents that forbid."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import pwd
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import domain_limits
from orchestrator.errors import Foreign, Permanent, Unreachable
from orchestrator.model import Instance, Limits, PausedBy, Power, Silence
from tests.contract.suites.guest import has_started, until_another_boot
from tests.contract.suites.hypervisor import look, started
from tests.contract.suites.stage import make_instance
from tests.lab.harness import places
from tests.lab.harness.lab import Lab
from tests.lab.real_stage import RealStage, real_stage, virtual_machines_of

_FOREIGN_XML = "<domain type='qemu'><name>{name}</name><memory>65536</memory><os><type>hvm</type></os></domain>"


@pytest.fixture
def stage(lab: Lab, micro_image: Path) -> Iterator[RealStage]:
    """A stage of its own for each test."""
    with real_stage(lab, micro_image) as stage:
        yield stage


def test_foreign_domain_is_not_touched(stage: RealStage, lab: Lab) -> None:
    """A domain with our name and without our metadata stays exactly as it is, whatever is asked for."""
    instance = make_instance(stage)
    stage.lay(instance)
    lab.host.run(["virsh", "define", "/dev/stdin"], text=_FOREIGN_XML.format(name=instance.name))
    before = lab.virsh("dumpxml", "--inactive", instance.name)
    assert list(stage.hypervisor.inventory()) == []
    with pytest.raises(Foreign):
        stage.hypervisor.start(instance)
    for verb in ("look", "ask_restart", "ask_shutdown", "reset", "power_off", "eject", "undefine"):
        with pytest.raises(Foreign):
            getattr(stage.hypervisor, verb)(instance.name)
    assert lab.virsh("dumpxml", "--inactive", instance.name) == before


def test_missing_overlay_fails_the_instance(stage: RealStage) -> None:
    """A VM without its overlay is not started, and waiting would not help."""
    with pytest.raises(Permanent, match="No such file"):
        stage.hypervisor.start(make_instance(stage))


def test_a_vm_whose_monitor_is_kept_away(stage: RealStage) -> None:
    """A QEMU that cannot reach our socket, as under a strict profile, runs all the same, and its death is seen."""
    instance = make_instance(stage)
    stage.lay(instance)
    stage.layout.monitor.unlink()
    stage.layout.monitor.touch(mode=0o600)
    stage.hypervisor.start(instance)
    assert look(stage, instance).power is Power.RUNNING
    stage.kill(instance.name)
    stage.until(lambda: (instance.name, "the VM's process has ended") in stage.woken)
    assert look(stage, instance).power is Power.OFF


def test_every_start_succeeds(stage: RealStage, lab: Lab) -> None:
    """No QEMU dies of bringing its monitor before we know its VM, however often it is started."""
    instance = started(stage)
    for _ in range(12):
        stage.hypervisor.power_off(instance.name)
        lab.virsh("start", instance.name)  # Beside us, so that nobody follows it while it starts.
    assert look(stage, instance).power is Power.RUNNING


def test_a_vm_of_a_former_version_is_followed(stage: RealStage, lab: Lab) -> None:
    """A VM whose QEMU does not bring a monitor, because a former version started it, is taken over as it runs: it is
    not ended, what is asked of it is done, and its death is seen.
    """
    instance = started(stage)
    stage.hypervisor.power_off(instance.name)
    xml = lab.virsh("dumpxml", "--inactive", instance.name)
    former = stage.layout.run / "former.sock"
    place = xml.index("path=", xml.index("socket,id=vmrole"))
    former_xml = xml[:place] + f"path={former},server=on,wait=off'/>" + xml[xml.index("\n", place) :]
    lab.host.run(["virsh", "define", "/dev/stdin"], text=former_xml)
    stage.layout.run.chmod(0o777)  # as its directory of monitors was
    lab.virsh("start", instance.name)
    pid = stage.pid(instance.name)
    stage.hypervisor.start(instance)
    stage.hypervisor.reset(instance.name)
    assert (look(stage, instance).power, stage.pid(instance.name)) == (Power.RUNNING, pid)
    stage.kill(instance.name)
    stage.until(lambda: (instance.name, "the VM's process has ended") in stage.woken)


# What a guest that broke out can run: a process of QEMU's user that knows where the socket is. It connects, and for
# each connection tells a reset and hangs up, or listens until it is hung up on; then it tries to take the socket's
# place, and to change libvirt's word for who a VM is. It prints what it heard, and what it could do.
_HOSTILE = """
import os, socket, sys
path, pid_file = sys.argv[1:]
heard, made, did = 0, 0, []
for attempt in range(600):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        try:
            connection.connect(path)
            made += 1
            connection.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\\n{"return": {}, "id": "0"}\\n')
            connection.sendall(b'{"event": "RESET", "data": {}, "timestamp": {"seconds": 9, "microseconds": 0}}\\n')
            if attempt % 300 == 0:
                heard += len(connection.recv(4096))
        except TimeoutError:
            did.append("stay")
        except OSError:
            pass
for what, attempt in (
    ("unlink", lambda: os.unlink(path)),
    ("replace", lambda: os.rename(path, path + ".old")),
    ("squat", lambda: socket.socket(socket.AF_UNIX).bind(path)),
    ("chmod", lambda: os.chmod(path, 0o777)),
    ("forge", lambda: open(pid_file, "w").write("1")),
):
    try:
        attempt()
        did.append(what)
    except OSError:
        pass
print(made > 0, heard, *did)
"""


def test_a_hostile_process_of_qemus_user_changes_nothing(stage: RealStage, lab: Lab) -> None:
    """What has broken out of a guest neither hears another VM's monitor nor is taken for a VM: no reset is counted,
    no VM is thought to have ended, and the VM is heard as before.
    """
    instance = started(stage)
    stage.until(lambda: watched(stage, instance))
    stage.suspend(instance.name)  # Else its own restarts would be taken for those that are forged.
    stage.until(lambda: (instance.name, "stop") in stage.woken)  # All that came before it has been heard by now.
    resets, pid = look(stage, instance).resets, stage.pid(instance.name)
    files = f"/run/libvirt/qemu/{instance.name}.pid"
    attack = places.as_qemu(["/usr/bin/python3", "-c", _HOSTILE, str(stage.layout.monitor), files])
    told = lab.host.run(attack, timeout_s=600).stdout
    assert told.split() == ["True", "0"], told
    seen = look(stage, instance)
    assert (seen.power, seen.resets, stage.pid(instance.name)) == (Power.PAUSED, resets, pid)
    assert (instance.name, "the VM's process has ended") not in stage.woken
    owner = stage.layout.monitor.stat()
    assert (owner.st_uid, stat.S_IMODE(owner.st_mode)) == (0, 0o660)
    stage.resume(instance.name)
    stage.hypervisor.reset(instance.name)
    stage.until(lambda: look(stage, instance).resets > resets)
    assert look(stage, instance).power is Power.RUNNING


def test_dead_vm_wakes_at_once(stage: RealStage) -> None:
    """kill -9 of QEMU wakes the reconciler by the monitor's end, and shows as off, whenever libvirt notices it."""
    instance = started(stage)
    stage.until(lambda: watched(stage, instance))
    stage.kill(instance.name)
    stage.until(lambda: (instance.name, "the VM's process has ended") in stage.woken)
    assert look(stage, instance).power is Power.OFF
    assert look(stage, instance).reason == "its QEMU ended unexpectedly"


def test_the_image_stays_roots(stage: RealStage, lab: Lab) -> None:
    """QEMU runs as a user of its own, and neither while a VM runs nor afterwards is the image that user's: what has
    broken out of a guest can neither change it nor make itself able to.
    """
    instance = make_instance(stage)
    image = stage.layout.image(instance.role.image_sha256, instance.role.image_format)

    def owner() -> tuple[int, int, int]:
        of = image.stat()
        return of.st_uid, of.st_gid, stat.S_IMODE(of.st_mode)

    before = owner()
    assert before == (0, 0, 0o444)
    stage.lay(instance)
    stage.hypervisor.start(instance)
    status = Path(f"/proc/{stage.pid(instance.name)}/status").read_text()
    assert f"Uid:\t{pwd.getpwnam(places.QEMU_USER).pw_uid}\t" in status
    assert stage.layout.overlay(instance).owner() == places.QEMU_USER  # What is the VM's own is its user's.
    assert owner() == before
    other = image.with_name("other")
    for attempt in (
        ["chmod", "u+w", str(image)],
        ["dd", "if=/dev/zero", f"of={image}", "bs=1", "count=16", "conv=notrunc"],
        ["mv", str(image), str(other)],
        ["rm", "-f", str(image)],
    ):
        assert lab.host.run(places.as_qemu(attempt), check=False).returncode != 0, attempt
    assert lab.host.run(places.as_qemu(["head", "-c", "3", str(image)])).stdout == "QFI"  # It may read.
    stage.hypervisor.power_off(instance.name)
    assert owner() == before
    assert hashlib.sha256(image.read_bytes()).hexdigest() == instance.role.image_sha256


def test_an_overlay_is_open_once(stage: RealStage, lab: Lab) -> None:
    """Whatever else wants to write to a running VM's disk is kept away by QEMU's own lock."""
    overlay = str(stage.layout.overlay(started(stage)))
    second = lab.host.run(["qemu-img", "resize", "-f", "qcow2", overlay, "+1G"], check=False)
    assert second.returncode != 0
    assert "lock" in second.stderr


def test_killed_libvirtd_loses_nothing(stage: RealStage, lab: Lab) -> None:
    """Without libvirtd every call says so; the VM runs on, and everybody is woken when libvirtd is back."""
    instance = started(stage)
    pid = stage.pid(instance.name)
    lab.kill_libvirtd()
    with pytest.raises(Unreachable, match="libvirtd does not answer"):
        stage.hypervisor.look(instance.name)
    with pytest.raises(Unreachable):
        stage.guest.identity(instance)
    stage.woken.clear()
    lab.start_libvirtd()
    stage.until(lambda: any(name == "" for name, _ in stage.woken))
    seen = look(stage, instance)
    assert (seen.power, seen.uuid, stage.pid(instance.name)) == (Power.RUNNING, instance.vm_uuid, pid)
    stage.hypervisor.reset(instance.name)
    stage.until(lambda: look(stage, instance).resets > seen.resets)


def test_restarts_of_libvirtd_leak_nothing(stage: RealStage, lab: Lab) -> None:
    """However often libvirtd is killed, the connection to it is one: no descriptor stays behind."""

    def restart() -> None:
        stage.woken.clear()
        lab.kill_libvirtd()
        lab.start_libvirtd()
        stage.until(lambda: any(name == "" for name, _ in stage.woken))

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    restart()
    first = descriptors()
    for _ in range(4):
        restart()
    stage.until(lambda: descriptors() <= first)  # What is just being opened or closed goes; a leak stays.


def test_vm_that_died_without_libvirtd_is_off(stage: RealStage, lab: Lab) -> None:
    """A VM that ended while libvirtd was away is off when it is back, and can be started again."""
    instance = started(stage)
    lab.kill_libvirtd()
    stage.kill(instance.name)
    lab.start_libvirtd()
    stage.until(lambda: is_off(stage, instance))
    stage.hypervisor.start(instance)
    assert look(stage, instance).power is Power.RUNNING


def test_stopped_libvirtd_is_given_up(stage: RealStage, lab: Lab) -> None:
    """A libvirtd that hangs holds a turn for some seconds only; when it goes on, so do we."""
    instance = started(stage)
    with stage.stopped_libvirtd():
        for _ in range(2):  # While it is stopped: a call that waited for it would never come back.
            with pytest.raises(Unreachable):
                stage.hypervisor.look(instance.name)
    stage.until(lambda: not unreachable(stage, instance))
    assert look(stage, instance).power is Power.RUNNING


def test_next_daemon_takes_over_the_monitors(stage: RealStage, lab: Lab) -> None:
    """A daemon that ends leaves the monitor of a running VM to the next one, which sees its resets and its death."""
    instance = started(stage)
    stage.until(lambda: watched(stage, instance))
    stage.close()
    with virtual_machines_of(lab, stage.layout, stage.woken) as machines:
        assert machines.hypervisor.inventory()[0].power is Power.RUNNING
        stage.woken.clear()

        def reset_is_seen() -> bool:
            machines.hypervisor.reset(instance.name)
            time.sleep(0.6)  # Two resets within half a second are one.
            seen = machines.hypervisor.look(instance.name)
            return seen is not None and seen.resets > 0

        stage.until(reset_is_seen)
        stage.kill(instance.name)
        stage.until(lambda: (instance.name, "the VM's process has ended") in stage.woken)


def test_nothing_is_left_behind(stage: RealStage) -> None:
    """An undefined domain leaves no console log, and of all domains there is one socket alone."""
    instance = started(stage)
    stage.until(lambda: any(stage.layout.consoles.iterdir()))
    stage.hypervisor.power_off(instance.name)
    stage.hypervisor.undefine(instance.name)
    assert list(stage.layout.consoles.iterdir()) == []
    ours = {stage.layout.monitor, stage.layout.channel}
    assert {path for path in stage.layout.run.rglob("*") if path.is_socket()} == ours


def test_full_disk_pauses_and_room_resumes(stage: RealStage, lab: Lab) -> None:
    """A VM whose overlay's file system is full is paused, which its domain says; when there is room, starting it lets
    it go on where it was: what it was writing is complete, and it is the same boot.
    """
    place = stage.layout.overlays
    place.mkdir(parents=True)
    with small_disk(lab, place, mib=24):
        instance = make_instance(stage, restart=False)
        stage.lay(instance)
        stage.hypervisor.start(instance)
        boot = until_another_boot(stage, instance, set_up=True)
        instance = dataclasses.replace(instance, boot_id=boot.boot_id)
        stage.until(lambda: has_started(stage, instance))
        # Detached: the agent that runs it is paused with its guest.
        write = (
            "(dd if=/dev/urandom of=/filled bs=1M count=32 conv=fsync; sha256sum </filled >/sum) >/dev/null 2>&1 &"
        )
        lab.guest(instance.name, ["/bin/sh", "-c", write])
        stage.until(lambda: look(stage, instance).power is Power.PAUSED)
        assert look(stage, instance).reason == "a disk of the host failed or is full"
        assert look(stage, instance).paused_by is PausedBy.DISK
        stage.hypervisor.start(instance)
        stage.until(lambda: look(stage, instance).power is Power.PAUSED)

        lab.host.run(["mount", "-o", "remount,size=128M", str(place)])
        stage.hypervisor.start(instance)
        assert look(stage, instance).power is Power.RUNNING
        check = (
            "until [ -s /sum ]; do sleep 1; done; [ $(wc -c </filled) = 33554432 ] && sha256sum </filled | cmp - /sum"
        )
        lab.guest(instance.name, ["/bin/sh", "-c", check], within_s=60)
        assert stage.guest.identity(instance) == boot
        stage.hypervisor.power_off(instance.name)


def test_forbidden_commands_and_a_panic(stage: RealStage, lab: Lab) -> None:
    """A guest whose agent forbids guest-exec is set up and becomes ready by its files alone; when its kernel panics
    it is seen as crashed, stays so, keeps its evidence, and can be ended.
    """
    instance = with_user_data(make_instance(stage), "#!/bin/sh\nmkdir -p /etc/vmrole\n: > /etc/vmrole/no-exec\n")
    stage.lay(instance)
    stage.hypervisor.start(instance)
    setup = until_another_boot(stage, instance, set_up=True)
    assert setup.source == "files"
    instance = dataclasses.replace(instance, boot_id=setup.boot_id)
    stage.until(lambda: has_started(stage, instance))
    with pytest.raises(AssertionError, match="guest-exec has been disabled"):
        lab.guest(instance.name, ["/bin/true"])

    stage.woken.clear()
    panic(lab, instance)
    stage.until(lambda: look(stage, instance).power is Power.CRASHED)
    assert look(stage, instance).reason == "the guest's kernel panicked"
    assert (instance.name, "guest panicked") in stage.woken
    assert isinstance(stage.guest.identity(instance), Silence)
    stage.hypervisor.keep_evidence(instance)
    (place,) = stage.layout.evidence(instance.name).iterdir()
    assert "Kernel panic" in (place / "console.log").read_text()
    assert setup.boot_id in (place / "agent.txt").read_text()
    stage.hypervisor.power_off(instance.name)
    assert look(stage, instance).power is Power.OFF


def watched(stage: RealStage, instance: Instance) -> bool:
    """Whether the monitor is listened to: it tells of a reset."""
    stage.hypervisor.reset(instance.name)
    time.sleep(0.6)  # Two resets within half a second are one.
    return look(stage, instance).resets > 0


def is_off(stage: RealStage, instance: Instance) -> bool:
    """Whether the VM is off, as far as libvirtd can be asked."""
    return not unreachable(stage, instance) and look(stage, instance).power is Power.OFF


def unreachable(stage: RealStage, instance: Instance) -> bool:
    """Whether libvirtd does not answer."""
    try:
        stage.hypervisor.look(instance.name)
    except Unreachable:
        return True
    return False


def with_user_data(instance: Instance, user_data: str) -> Instance:
    """The instance with that on its answer disc."""
    return dataclasses.replace(instance, role=dataclasses.replace(instance.role, user_data=user_data))


@contextlib.contextmanager
def small_disk(lab: Lab, place: Path, *, mib: int) -> Iterator[None]:
    """A file system of that size at `place`."""
    lab.host.run(["mount", "-t", "tmpfs", "-o", f"size={mib}M,mode=711", "tmpfs", str(place)])
    try:
        yield
    finally:
        lab.host.run(["umount", "-l", str(place)])


def panic(lab: Lab, instance: Instance) -> None:
    """Makes the guest's kernel panic, through the agent's file commands, which do not return from it."""
    opened = agent(lab, instance, "guest-file-open", path="/proc/sysrq-trigger", mode="w")
    agent(lab, instance, "guest-file-write", handle=opened, **{"buf-b64": base64.b64encode(b"c").decode()})
    with contextlib.suppress(AssertionError):
        agent(lab, instance, "guest-file-close", handle=opened)


def agent(lab: Lab, instance: Instance, command: str, **arguments: object) -> object:
    """One call of the agent by virsh, beside the driver."""
    call = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(lab.virsh("qemu-agent-command", "--timeout", "3", instance.name, call))["return"]


def test_limits_are_qemus_at_once(stage: RealStage, lab: Lab) -> None:
    """Every disk of a VM is throttled as the role says, from its start and again when that changes while it runs."""
    instance = make_instance(stage)
    limited = dataclasses.replace(instance.role, limits=Limits(disk_rate_mib_per_s=20, disk_operations=300))
    instance = dataclasses.replace(instance, role=limited)
    stage.lay(instance)
    stage.hypervisor.start(instance)

    def throttles() -> set[tuple[int, int]]:
        """Bytes and operations a second, as QEMU itself keeps them for the disks that can be written to."""
        told = json.loads(lab.virsh("qemu-monitor-command", instance.name, '{"execute": "query-block"}'))
        writable = [one["inserted"] for one in told["return"] if "inserted" in one and not one["inserted"]["ro"]]
        assert len(writable) == 1 + len(instance.role.local_storage)
        return {(one["bps"], one["iops"]) for one in writable}

    assert throttles() == {(20 << 20, 300)}
    other = dataclasses.replace(limited, limits=Limits(disk_rate_mib_per_s=50))
    stage.hypervisor.limit(dataclasses.replace(instance, role=other))
    assert throttles() == {(50 << 20, domain_limits.DISK_OPERATIONS)}
    stage.hypervisor.limit(instance)
    assert throttles() == {(20 << 20, 300)}

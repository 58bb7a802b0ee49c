"""Lives with drives, and trouble before and after every call that has an effect: what is in a drive stays, and no
two VMs ever have one. The fake world asserts the latter inside.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

from orchestrator.control import records
from orchestrator.control.attaching import GUEST_ASKED_S, Attaching
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.model import Instance, InstanceName, RoleDrive, Service, Silence, Verb
from tests.trouble.drive_lives import WEB, attaching_of, plain, plugged
from tests.trouble.warm_lives import drives_of
from tests.world.fabric import Died, Fabric, Trouble, die, hang_up, web_role

DB = web_role(name="db", instances=2, drives=(RoleDrive(name="data", drive="db-{index}", mount="/data"),))
ONE = InstanceName("db-0.shop")


def begun(trouble: Trouble | None = None) -> Fabric:
    """Two drives with something in them, and a service that has them."""
    fabric = Fabric(trouble)
    for name in ("db-0", "db-1"):
        drives_of(fabric).create(name, 64)
        fabric.world.drives[name].written = f"orders of {name}"
    fabric.deploy(DB)
    return fabric


def whole(fabric: Fabric) -> bool:
    """Whether each drive holds what it held."""
    return {name: one.written for name, one in fabric.world.drives.items()} == {
        name: f"orders of {name}" for name in ("db-0", "db-1")
    }


def life(fabric: Fabric) -> None:
    """Deployed, restarted, reimaged, rebuilt, deleted and deployed again: the drives are what they were."""
    fabric.until(fabric.quiet)
    for verb in (Verb.RESTART, Verb.REIMAGE, Verb.REBUILD):
        fabric.act(verb, "db.shop")
        fabric.until(fabric.quiet)
        assert whole(fabric), verb
        for machine in fabric.world.machines.values():
            assert machine.drives.keys() == {f"db-{machine.instance.index}"}
    fabric.remove()
    fabric.until(lambda: not fabric.present.all(Service))
    fabric.world.nothing_is_left()
    assert whole(fabric), "the service is gone, and its drives are not"


@functools.cache
def effects() -> int:
    """How many calls with an effect an untroubled life has."""
    fabric = begun()
    life(fabric)
    return len(fabric.trouble.verbs)


@pytest.mark.parametrize("after", [False, True])
def test_the_daemon_dies_at_every_call(after: bool) -> None:
    """And comes back to drives that hold what they held."""
    for at in range(1, effects() + 1):
        life(begun(Trouble(at, after, die)))


@pytest.mark.parametrize("after", [False, True])
def test_the_peer_hangs_up_at_every_call(after: bool) -> None:
    """Nothing is lost by an answer that is."""
    for at in range(1, effects() + 1, 3):
        life(begun(Trouble(at, after, hang_up)))


def test_a_vm_is_killed_at_every_call() -> None:
    """Whatever QEMU does not live to see, the drive does."""
    for at in range(1, effects() + 1, 3):
        fabric = begun(Trouble(at, after=bool(at % 2)))

        def kill(fabric: Fabric = fabric) -> None:
            if ONE in fabric.world.machines:
                fabric.world.kill(ONE)

        fabric.trouble.strike = kill
        life(fabric)


def test_nobody_takes_a_drive_while_somebody_has_it() -> None:
    """At every call of a service's removal: it is refused until the instance is gone, and granted then."""
    fabric = begun()
    fabric.until(fabric.quiet)
    fabric.remove()
    refused = 0
    while fabric.present.all(Service):
        for ask in (
            lambda: fabric.deploy(DB, name="bank", vip="203.0.113.11"),
            lambda: drives_of(fabric).remove("db-0"),
        ):
            if any("db-0" in one.drives for one in fabric.instances()):
                with pytest.raises((InvalidInput, Conflict), match="has"):
                    ask()
                refused += 1
        fabric.round()
    assert refused
    fabric.deploy(DB, name="bank", vip="203.0.113.11")
    fabric.until(fabric.quiet)
    assert whole(fabric)


def test_a_drive_in_use_grows_and_is_not_copied_or_removed() -> None:
    """The VM that runs sees its new size; one that is off has it at its next start. A snapshot has to be whole."""
    fabric = begun()
    fabric.until(fabric.quiet)
    drives = drives_of(fabric)
    drives.grow("db-0", 128)
    assert fabric.world.machines[ONE].drives == {"db-0": 128}
    for ask in (drives.remove, drives.snapshot, lambda name: drives.restore(name, "monday")):
        with pytest.raises(Conflict, match=r"db-0\.shop has drive db-0"):
            ask("db-0")
    assert [found.holder for found in drives.all()] == ["db-0.shop", "db-1.shop"]
    fabric.act(Verb.STOP, ONE)
    fabric.until(fabric.quiet)
    drives.grow("db-0", 256)
    fabric.act(Verb.START, ONE)
    fabric.until(fabric.quiet)
    assert fabric.world.machines[ONE].drives == {"db-0": 256}
    fabric.control.scale("shop", {"db": 1})
    fabric.until(lambda: len(fabric.instances()) == 1)
    drives.snapshot("db-1", "monday")
    drives.remove("db-1")
    with pytest.raises(InvalidInput, match="there is no drive db-1"):
        fabric.control.scale("shop", {"db": 2})


def test_a_drive_whose_file_is_gone_fails_its_instance_with_a_sentence() -> None:
    """Nothing is made in its place: somebody would find an empty disk, and believe it."""
    fabric = begun()
    fabric.until(fabric.quiet)
    lost = fabric.world.drives.pop("db-0")
    fabric.act(Verb.REIMAGE, ONE)
    fabric.until(lambda: fabric.instance(ONE).has_failed)
    assert "drive db-0 is not there" in fabric.instance(ONE).failure
    assert "db-0" not in fabric.world.drives
    fabric.world.drives["db-0"] = lost
    fabric.act(Verb.REIMAGE, ONE)
    fabric.until(fabric.quiet)
    assert whole(fabric)


def test_another_deployment_of_the_service_does_not_get_them() -> None:
    """Staging beside production would be a second VM on the same disk."""
    from orchestrator.model import ServiceSpec, Slot

    fabric = begun()
    with pytest.raises(InvalidInput, match="has it"):
        fabric.control.apply_spec(ServiceSpec(name="shop", vip="203.0.113.10", roles=(DB,)), slot=Slot.STAGING)
    with pytest.raises(NotFound):
        drives_of(fabric).grow("db-7", 64)


def test_a_drive_by_hand_is_kept_until_it_is_detached() -> None:
    """At once in the VM that runs, and in every later one; of nobody else, and free when the instance is gone."""
    fabric = plain()
    done = attaching_of(fabric).attach("db-0", "web-0", mounted=True)
    assert (done.found.holder, done.found.attached, done.told) == (WEB, True, "")
    assert (plugged(fabric), fabric.world.machines[WEB].mounted) == ({"db-0"}, {"db-0"})
    assert attaching_of(fabric).attach("db-0", "web-0", mounted=True).told == "", "asked for again, nothing is done"
    for ask in (
        lambda: attaching_of(fabric).attach("db-0", "web-1"),
        lambda: drives_of(fabric).remove("db-0"),
        lambda: drives_of(fabric).snapshot("db-0"),
    ):
        with pytest.raises(Conflict, match=r"web-0\.shop has drive db-0") as refused:
            ask()
        assert "drive detach db-0" in refused.value.hint
    for verb in (Verb.RESTART, Verb.REIMAGE, Verb.REBUILD, Verb.STOP, Verb.START):
        fabric.act(verb, WEB)
        fabric.until(fabric.quiet)
        fabric.restart()
    assert (plugged(fabric), fabric.world.machines[WEB].mounted) == ({"db-0"}, {"db-0"})
    found = attaching_of(fabric).detach("db-0")
    assert (found.holder, found.attached, plugged(fabric)) == (None, False, set())
    attaching_of(fabric).attach("db-0", "web-1")
    fabric.remove()
    fabric.until(lambda: not fabric.present.all(Service))
    assert [one.holder for one in drives_of(fabric).all()] == [None, None]
    assert whole(fabric)
    assert not fabric.world.torn_out


def test_a_drive_is_not_torn_out_of_a_guest_that_uses_it() -> None:
    """Unless that is asked for; a guest that nobody can ask keeps it as well, and one that is off does not matter."""
    fabric = plain()
    attaching = attaching_of(fabric)
    attaching.attach("db-0", "web-0", mounted=True)
    fabric.world.faults.busy_drives.add("db-0")
    with pytest.raises(Conflict, match=r"busy; by: app") as refused:
        attaching.detach("db-0")
    assert "--force" in refused.value.hint
    fabric.world.faults.busy_drives.clear()
    fabric.world.faults.agent_silent.add(WEB)
    with pytest.raises(Conflict, match="does not answer"):
        attaching.detach("db-0")
    assert (plugged(fabric), fabric.world.torn_out) == ({"db-0"}, set())
    attaching.detach("db-0", force=True)
    assert (plugged(fabric), fabric.world.torn_out) == (set(), {"db-0"})
    fabric.world.faults.agent_silent.clear()
    attaching.attach("db-0", "web-0", mounted=True)
    fabric.world.faults.busy_drives.add("db-0")
    fabric.act(Verb.STOP, WEB)
    fabric.until(fabric.quiet)
    assert attaching.detach("db-0").holder is None


def test_a_guest_that_does_not_let_go_keeps_the_drive() -> None:
    """By record, too: it is nobody else's as long as a VM holds it."""
    fabric = plain()
    attaching = attaching_of(fabric)
    attaching.attach("db-0", "web-0")
    fabric.world.faults.keeps_drives.add(WEB)
    for force in (False, True):
        with pytest.raises(Conflict, match="does not let go"):
            attaching.detach("db-0", force=force)
    assert (plugged(fabric), drives_of(fabric).one("db-0").holder) == ({"db-0"}, WEB)
    fabric.world.faults.keeps_drives.clear()
    assert attaching.detach("db-0").holder is None


@pytest.mark.parametrize("wish", ["attach", "detach"])
def test_what_a_turn_writes_meanwhile_is_no_reason_to_refuse(wish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes wrong, while a guest lets go: as if that had been known before."""
    fabric = plain()
    attaching, hypervisor, learned = attaching_of(fabric), fabric.host.machine.hypervisor, [45.0, 46.0]

    def learning(port: object, name: str) -> None:
        call = getattr(port, name)

        def called(*of: object) -> object:
            if learned:
                fabric.present.commit([records.put_state(replace(fabric.instance(), clock_off_s=learned.pop()))])
            return call(*of)

        monkeypatch.setattr(port, name, called)

    learning(hypervisor, "unplug")
    if wish == "attach":
        learning(attaching, "_put")
    attaching.attach("db-0", "web-0")
    assert plugged(fabric) == {"db-0"}
    assert (attaching.detach("db-0").holder, plugged(fabric), learned) == (None, set(), [])


@pytest.mark.parametrize("verb", ["let_go", "unplug"])
def test_a_guest_that_answers_slowly_has_no_longer_than_another(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt waits 5 s for a guest's kernel at each look, an agent may take 2 s to say that it is not done yet."""
    fabric, looks = plain(), []
    attaching_of(fabric).attach("db-0", "web-0")

    def slowly(*_: object) -> Silence | bool:
        looks.append(verb)
        fabric.world.time_s += 5.0
        return Silence(reason="it is being asked") if verb == "let_go" else False

    machine = fabric.host.machine
    asked = machine.guest if verb == "let_go" else machine.hypervisor
    monkeypatch.setattr(asked, verb, slowly)
    attaching = Attaching(fabric.present, drives_of(fabric), machine, fabric.control.instance)
    with pytest.raises(Conflict):
        attaching.detach("db-0")
    assert len(looks) <= GUEST_ASKED_S / 5.0 + 1


def test_a_vm_that_takes_none_while_it_runs_has_it_later() -> None:
    """And whoever asked is told."""
    fabric = plain()
    fabric.world.faults.takes_no_drive.add(WEB)
    done = attaching_of(fabric).attach("db-0", "web-0")
    assert "no slot is free; it has it when its VM starts next" in done.told
    fabric.act(Verb.REIMAGE, WEB)
    fabric.until(fabric.quiet)
    assert plugged(fabric) == {"db-0"}


@pytest.mark.parametrize("after", [False, True])
def test_the_daemon_dies_while_it_attaches_or_detaches(after: bool) -> None:
    """Asked again it is done; at no time does anybody else get what a VM holds."""
    fabric = plain()
    fabric.trouble.strike, fabric.trouble.after = die, after

    def attach() -> None:
        assert attaching_of(fabric).attach("db-0", "web-0", mounted=True).told == ""

    def detach() -> None:
        attaching_of(fabric).detach("db-0")

    for ask, verbs in ((attach, ["plug", "take_up"]), (detach, ["let_go", "unplug"])):
        for at, verb in enumerate(verbs, start=1):
            fabric.trouble.at, fabric.trouble.calls = at, 0
            with pytest.raises(Died):
                ask()
            assert fabric.trouble.verbs[-1] == verb
            fabric.restart()
            assert drives_of(fabric).one("db-0").holder == WEB
        fabric.trouble.at = -1
        ask()
        held = {"db-0"} if ask is attach else set()
        assert plugged(fabric) == fabric.world.machines[WEB].mounted == held
    assert (drives_of(fabric).one("db-0").holder, fabric.world.torn_out) == (None, set())


def test_file_and_hand_do_not_take_from_each_other() -> None:
    """What a file claims is not attached or detached by hand, and what is attached is claimed by no file."""
    fabric = begun()
    fabric.until(fabric.quiet)
    for ask in (
        lambda: attaching_of(fabric).attach("db-0", "db-0"),
        lambda: attaching_of(fabric).attach("db-0", "db-1"),
        lambda: attaching_of(fabric).detach("db-0"),
    ):
        with pytest.raises(Conflict, match=r"db-0\.shop has drive db-0") as refused:
            ask()
        assert "file" in refused.value.hint
    drives_of(fabric).create("free", 64)
    with pytest.raises(Conflict, match="attached to nobody"):
        attaching_of(fabric).detach("free")
    with pytest.raises(NotFound):
        attaching_of(fabric).attach("free", "web-7")
    with pytest.raises(NotFound):
        attaching_of(fabric).attach("none", "db-0")

    attaching_of(fabric).attach("free", "db-0", mounted=True)
    more = RoleDrive(name="more", drive="free")
    for role, told in (
        (web_role(name="db", instances=1, drives=(*DB.drives, more)), "attached to db-0.shop by hand"),
        (web_role(name="db", drives=(RoleDrive(name="free", drive="db-{index}"),)), "has drive free by hand"),
    ):
        with pytest.raises(InvalidInput, match=told) as found:
            fabric.deploy(role)
        assert "drive detach free" in found.value.hint
    with pytest.raises(InvalidInput, match="by hand"):
        fabric.deploy(web_role(name="x", instances=1, drives=(more,)), name="bank", vip="203.0.113.11")
    attaching_of(fabric).detach("free")
    fabric.deploy(web_role(name="x", instances=1, drives=(more,)), name="bank", vip="203.0.113.11")


def test_nothing_is_attached_to_who_is_on_his_way() -> None:
    """Nor detached: his VM is being made or ended. A protected one is left alone."""
    fabric = plain()
    attaching_of(fabric).attach("db-1", "web-1")
    fabric.act(Verb.REIMAGE, "shop")
    refused = 0
    while not fabric.quiet():
        one = fabric.instance(WEB)
        traits = one.phase.traits
        if one.going or one.restart_asked or not (traits.serves or traits.is_off):
            with pytest.raises(Conflict, match="now"):
                attaching_of(fabric).attach("db-0", "web-0")
            refused += 1
        fabric.round()
    assert refused
    fabric.control.protect("shop", on=True)
    for ask in (lambda: attaching_of(fabric).attach("db-0", "web-0"), lambda: attaching_of(fabric).detach("db-1")):
        with pytest.raises(Conflict, match="is protected"):
            ask()
    assert all(not one.goal.attached for one in fabric.present.all(Instance) if one.name == WEB)

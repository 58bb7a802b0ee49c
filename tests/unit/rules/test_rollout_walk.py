"""The pure decision of rollouts, over whole walks in a small world of its own: what must hold after every step."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from dataclasses import replace

import pytest

from orchestrator.errors import Conflict
from orchestrator.model import (
    Goal,
    Healing,
    Incarnation,
    Instance,
    InstanceName,
    OnFailure,
    Operation,
    Order,
    Phase,
    Progress,
    Role,
    Upgrade,
    Verb,
    Walk,
    Walking,
)
from orchestrator.model.cause import recorded
from orchestrator.rules.rollout import advance, release
from orchestrator.rules.standing import Course
from tests.world.instances import instance_of

SEEDS = 200
STEP_S = 5.0
STEPS_MAX = 3000
TROUBLE_STEPS = 120
WAY = (Phase.DRAINING, Phase.STOPPING, Phase.REQUESTED, Phase.SETUP, Phase.STARTING, Phase.READY, Phase.SERVING)


def instance(role: str, index: int, *, phase: Phase = Phase.SERVING) -> Instance:
    """As it serves in its first generation."""
    of = Role(name=role, image="micro", image_sha256="a" * 64)
    return instance_of(
        of,
        index,
        goal=Goal(role=of, wanted=Incarnation(1, 2)),
        phase=phase,
        set_up=True,
        generation=1,
        boot=2,
        phase_since_s=1.0,
        failed_by=recorded("its service crashes") if phase is Phase.FAILED else None,
    )


@dataclasses.dataclass
class Life:
    """Instances on their way, and an operation that walks over them; all of it drawn."""

    chance: random.Random
    upgrade: Upgrade
    counts: dict[str, int]
    healing: dict[str, Healing]
    instances: dict[InstanceName, Instance]
    operation: Operation
    now_s: float = 1000.0
    begun: list[InstanceName] = dataclasses.field(default_factory=list)
    proven: set[InstanceName] = dataclasses.field(default_factory=set)  # have served for the whole soak since
    released: int = 0
    past_canary: bool = False

    @property
    def course(self) -> Course:
        """As the records would say."""
        return Course(upgrade=self.upgrade, counts=self.counts, healing=self.healing, rolls_to=2, back_to=1)

    def may_miss(self, role: str) -> int:
        """What both keys allow, reckoned apart from the rule."""
        of, most = self.counts[role], []
        for said in (self.upgrade, self.healing[role]):
            if said.max_unavailable_percent is not None:
                most.append(max(1, of * said.max_unavailable_percent // 100))
            elif said.max_unavailable is not None:
                most.append(said.max_unavailable)
            elif said is self.upgrade:
                most.append(1)
        return min(most)

    def parts(self) -> list[list[InstanceName]]:
        """Which targets go together, in their order: reckoned apart from the rule."""
        canaries = [name for name, _ in self.operation.targets if name in self.operation.walk.canaries]
        rest = [name for name, _ in self.operation.targets if name not in canaries]
        if self.upgrade.domains is None:
            return [part for part in (canaries, rest) if part]
        down = self.upgrade.order is Order.DESCENDING
        numbers = sorted({_index(name) % self.upgrade.domains for name in rest}, reverse=down)
        by_domain = [[name for name in rest if _index(name) % self.upgrade.domains == number] for number in numbers]
        return [part for part in (canaries, *by_domain) if part]

    def over(self, name: InstanceName) -> bool:
        """Whether the walk has nothing to wait for in it any more."""
        one = self.instances.get(name)
        return one is None or name in self.proven or not one.goal.serve or one.goal.protected or not one.goal.runs

    def out(self, role: str) -> int:
        """How many of a role serve nobody, whatever took them out."""
        return sum(
            one.role_name == role
            and one.goal.serve
            and one.goal.runs
            and not one.goal.protected
            and (one.phase is not Phase.SERVING or one.unwell_since_s > 0 or one.goal.wanted > one.at)
            for one in self.instances.values()
        )

    def decide(self) -> None:
        """One decision of the rule, with what must hold of it."""
        before = self.operation
        decided = advance(before, self.instances, self.course, self.now_s)
        after, changed = decided.operation, decided.changed
        parts = self.parts()
        for one in changed:
            old = self.instances[one.name]
            assert old.goal.wanted < one.goal.wanted, "what is begun has to become another"
            assert old.goal.serve, "what is being removed is left alone"
            assert not old.goal.protected, "what is protected is left alone"
            assert not before.paused, f"{one.name} is begun while it is paused"
            if not old.goal.runs:
                self.instances[one.name] = one
                continue
            part = next(number for number, names in enumerate(parts) if one.name in names)
            served = old.phase is Phase.SERVING and not old.unwell_since_s
            if served:
                may = self.may_miss(one.role_name)
                assert self.out(one.role_name) < may, f"{one.name}: its role misses as many as it may already"
            if served or old.phase is not Phase.FAILED or (before.walk.canaries and not self.past_canary):
                left = [name for earlier in parts[:part] for name in earlier if not self.over(name)]
                assert left == [], f"{one.name} is begun before {left} are done"
            if self.upgrade.walking is Walking.MANUAL:
                assert part < self.released, f"{one.name} is begun and nobody has let its domain go"
            elif before.walk.canaries and not self.past_canary:
                assert one.name in before.walk.canaries, f"{one.name} is begun before the canary was judged"
            self.instances[one.name] = one
            self.begun.append(one.name)
        if after.progress is Progress.FAILED or after.walk.broken:
            assert changed == (), "a rollout that halts begins nobody"
        if before.walk.broken:
            assert (after, changed) == (before, ()), "what is to go back goes no further"
        self.operation = after

    def move(self, *, trouble: bool) -> None:
        """Time passes, and each instance does one thing or none."""
        self.now_s += self.chance.choice([STEP_S, STEP_S, 60.0])
        for name, one in list(self.instances.items()):
            self.instances[name] = self._moved(one, trouble=trouble)
            if not self.instances[name].goal.serve and self.chance.random() < 0.3:
                del self.instances[name]
        self._prove()

    def _prove(self) -> None:
        for name, one in self.instances.items():
            if one.phase is not Phase.SERVING or one.generation < 2 or one.unwell_since_s:
                continue
            if self.now_s - one.phase_since_s >= self.upgrade.soak_s:
                self.proven.add(name)

    def _moved(self, one: Instance, *, trouble: bool) -> Instance:
        chance = self.chance
        if one.phase is Phase.FAILED and one.goal.wanted > one.at:
            return self._enter(one, Phase.STOPPING)
        if one.phase is Phase.SERVING and one.goal.wanted > one.at and not one.goal.protected:
            return self._enter(one, Phase.DRAINING)
        if trouble and chance.random() < 0.01:
            return self._troubled(one)
        if not trouble and one.goal.protected:
            return replace(one, goal=replace(one.goal, protected=False))
        if not trouble and one.unwell_since_s:
            return replace(one, unwell_since_s=0.0)
        if not trouble and one.phase is Phase.FAILED and one.name not in self.begun:  # Somebody has it made anew.
            return replace(one, goal=replace(one.goal, wanted=Incarnation(one.generation + 1, 1)))
        if one.phase in WAY and one.phase is not Phase.SERVING and chance.random() < 0.5:
            return self._enter(one, WAY[WAY.index(one.phase) + 1])
        return one

    def _troubled(self, one: Instance) -> Instance:
        deed = self.chance.randrange(6)
        if deed == 0:
            return replace(self._enter(one, Phase.FAILED), failed_by=recorded("its service crashes"))
        if deed == 1 and one.phase is Phase.SERVING:
            return replace(one, unwell_since_s=self.now_s)
        if deed == 2:
            return replace(one, unwell_since_s=0.0)
        if deed == 3:
            return replace(one, goal=replace(one.goal, serve=False))
        if deed == 4:
            return replace(one, goal=replace(one.goal, protected=not one.goal.protected))
        if deed == 5 and one.phase is Phase.SERVING:  # It is healed by a restart.
            return replace(self._enter(one, Phase.STARTING), boot=one.boot + 1)
        return one

    def _enter(self, one: Instance, phase: Phase) -> Instance:
        if phase is Phase.REQUESTED:
            one = replace(one, generation=one.generation + 1, boot=0, set_up=False, role=one.goal.role)
        if phase is Phase.STARTING:
            one = replace(one, boot=max(one.boot, 2), set_up=True)
        return replace(one, phase=phase, phase_since_s=self.now_s, unwell_since_s=0.0)

    def ask(self) -> None:
        """What people do to a rollout."""
        if self.upgrade.walking is Walking.MANUAL and self.chance.random() < 0.3:
            self.let_go()
        if not self.operation.walk.asks and self.chance.random() < 0.1:
            self.operation = replace(self.operation, paused=not self.operation.paused)
        if self.operation.walk.asks and self.operation.paused and self.chance.random() < 0.3:
            assert all(map(self.over, self.operation.walk.canaries)), "it asks before the canary has done"
            self.past_canary = True
            walk = replace(self.operation.walk, asks=False, judged=True)
            self.operation = replace(self.operation, paused=False, walk=walk)

    def let_go(self) -> None:
        """The next domain, unless one is under way."""
        with contextlib.suppress(Conflict):  # One is under way, it is paused, or nothing waits any more.
            _, self.operation = release(self.operation, self.instances, self.course, self.now_s)
        self.released = self.operation.walk.released


def _index(name: InstanceName) -> int:
    return int(name.partition(".")[0].rpartition("-")[2])


def drawn(seed: int) -> Life:
    """Another service, another way to upgrade it, somebody out already."""
    chance = random.Random(seed)
    missed: dict[str, int] = chance.choice([{}, {"max_unavailable": chance.randint(1, 4)}])
    if chance.random() < 0.3:
        missed = {"max_unavailable_percent": chance.choice([1, 25, 50, 100])}
    counts = {role: chance.randint(1, 7) for role in chance.sample(["web", "db"], chance.randint(1, 2))}
    healing = {
        role: chance.choice(
            [Healing(), Healing(max_unavailable=chance.randint(1, 3)), Healing(max_unavailable_percent=20)]
        )
        for role in counts
    }
    upgrade = Upgrade(
        domains=chance.choice([None, None, 1, 2, 5, 20]),
        walking=chance.choice([Walking.AUTO, Walking.AUTO, Walking.MANUAL]),
        order=chance.choice(list(Order)),
        soak_s=chance.choice([0.0, 0.0, 30.0, 600.0]),
        within_s=None,
        on_failure=chance.choice(list(OnFailure)),
        canary=chance.choice([0, 0, 1, 2]),
        **missed,
    )
    everyone = {}
    for role, count in counts.items():
        for index in range(count):
            phase = Phase.FAILED if chance.random() < 0.05 else Phase.SERVING
            one = instance(role, index, phase=phase)
            everyone[one.name] = one
    targets = tuple((name, Incarnation(2, 1)) for name in everyone)
    walk = Walk(canaries=tuple(name for name, _ in targets[: upgrade.canary]))
    operation = Operation(
        id="x", verb=Verb.REIMAGE, subject="shop", service="shop", targets=targets, walk=walk, created_at_s=1000.0
    )
    return Life(
        chance=chance, upgrade=upgrade, counts=counts, healing=healing, instances=everyone, operation=operation
    )


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_must_hold_of_every_walk(seed: int) -> None:
    """Never more out by our doing than may be missed, soaks respected, domains in their order, halted is halted.

    What nothing is wrong with comes to its end.
    """
    life = drawn(seed)
    for step in range(STEPS_MAX):
        life.decide()
        if life.operation.progress is not Progress.RUNNING or life.operation.walk.broken:
            break
        life.ask()
        life.move(trouble=step < TROUBLE_STEPS and seed % 2 == 1)
    else:
        raise AssertionError(f"it does not come to its end: {life.operation.message}")
    if life.operation.walk.broken:
        life.decide()
    if seed % 2 == 0:
        assert life.operation.progress is Progress.DONE
        assert all(one.generation >= 2 for one in life.instances.values())

"""Nights of a host, drawn from seeds, under the daemon's own loop: some fall ill, and it is known whose fault it is.

In each a label says what was done to the world. Meanwhile no healthy guest is taken out beside more than its role can
bear, nor made anew for somebody else's fault; and in the end what was blamed is compared with the label.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import random
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator

from orchestrator.control import records
from orchestrator.control.deployment import Capacity
from orchestrator.control.healing import Budget
from orchestrator.control.loop import Reconciler
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.drivers.fake import FakeStore, fake_host
from orchestrator.errors import Conflict, Whose
from orchestrator.model import (
    Healing,
    Image,
    Instance,
    InstanceName,
    Ladder,
    LocalStorage,
    Phase,
    Progress,
    Ready,
    ServiceSpec,
    Upgrade,
    Verb,
)
from orchestrator.model.cause import Kind
from orchestrator.rules.healing import brake_of
from tests.world.fabric import web_role
from tests.world.images import DIGEST, MICRO, image
from tests.world.simulation import Bugs, Over, SimulatedWorld, Turns

BAD_DIGEST = "b" * 64
BAD_DATA = "#cloud-config\nbad: 1\n"
LABELS = ("guest", "flapping", "host", "strain", "image", "answers", "balancer", "service", "together", "busy")
NEARLY = ("two at once", "changed host", "served image", "most of it")
"""What looks like one of those that are somebody else's fault, and is not."""

BLAMED = {
    "host": Whose.HOST,
    "strain": Whose.HOST,
    "image": Whose.IMAGE,
    "answers": Whose.ANSWERS,
    "balancer": Whose.BALANCER,
    "service": Whose.SERVICE,
}
ONE_OF = 11  # of so many nights is one a counter-example
QUIET_S = 1200.0  # before the night: no change of a file is young any more
NIGHT_S = 1800.0
PIECE_S = 20.0
_GOING_OUT = (Phase.RESTARTING, Phase.STOPPING, Phase.HALTING)
_STEPS_MAX = 60_000


class Night:
    """One seed. `run` raises AssertionError when it is not as it ought to be; `seen` then has who was blamed.
    `nearly`: a counter-example, in which nobody else is to blame.
    """

    def __init__(self, seed: int, *, nearly: bool = False) -> None:
        self.seed = seed
        self.label = NEARLY[seed % len(NEARLY)] if nearly else LABELS[seed % len(LABELS)]
        self.chance = random.Random(seed)
        self.world = SimulatedWorld(self._waits)
        self.world.images |= {DIGEST, BAD_DIGEST}
        self.store = FakeStore()
        self.store.commit([records.put(MICRO), records.put(image(sha256=BAD_DIGEST, names=("fresh",)))])
        self.present = Present(self.store)
        self.strain = ""
        self.seen: set[Whose] = set()  # blamed for the instances that the label is about
        self.guilty: set[InstanceName] = set()  # whose own fault it is, or that are built of what is bad
        self._taken: set[InstanceName] = set()  # out by our own doing
        self._was_ill: set[InstanceName] = set()  # when it left, for whatever reason
        self._before: dict[InstanceName, Instance] = {}
        self._settled: Callable[[], bool] = lambda: False
        self._steps = 0
        self._flaps_at_s = self._well_at_s = float("inf")
        self._bugs = Bugs()
        self._begin()

    def _begin(self) -> None:
        self.turns = Turns()
        host = fake_host(self.world)
        self.daemon = Reconciler(
            self.store, host, present=self.present, pool=self.turns, budget=Budget(strain=lambda: self.strain)
        )
        self.control = Control(
            self.store,
            find_image=lambda name: self.present.find(Image, BAD_DIGEST if name == "fresh" else DIGEST),
            capacity=Capacity(pool="10.90.0.0/16", memory_mib=64_000),
            clock=self.world,
            wake=self.daemon.wake,
            seats=host.front.balancer.seats,
            traffic=host.front.balancer.traffic,
            present=self.present,
        )

    # The night

    def run(self) -> None:
        """All serve; then the night; at its end whoever was blamed is compared with the label."""
        with self._listening():
            for number in range(self.chance.randint(2, 3)):
                self._apply(number)
            self._live(self._all_serve)
            self.world.pass_time(QUIET_S)
            self.daemon.wake_all()
            self._live(self._all_serve)
            getattr(self, f"_{self.label.replace(' ', '_')}")()
            end_s = self.world.time_s + NIGHT_S
            self._live(lambda: self.world.time_s >= end_s)
        expected = {BLAMED[self.label]} if self.label in BLAMED else set()
        assert self.seen == expected, f"{self.label}: blamed {sorted(self.seen)}; {self._told()}"
        suspects = [one.names for one in self.present.all(Image) if one.suspect]
        assert suspects == [] or self.label == "image", f"{self.label}: {suspects} are suspect"
        if self.label in ("image", "answers"):
            suspect = self.present.load(Image, BAD_DIGEST).suspect
            assert bool(suspect) is (self.label == "image"), f"{self.label}: suspect because of {suspect!r}"
            rollout = max(self.control.rollouts("s0"), key=lambda one: one.to_revision)
            assert rollout.progress is Progress.FAILED, f"its rollout goes on: {rollout.message}"

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        loop = logging.getLogger("orchestrator.control.loop")
        uuid4 = uuid.uuid4
        uuid.uuid4 = lambda: uuid.UUID(int=self.chance.getrandbits(128), version=4)
        loop.addHandler(self._bugs)
        try:
            yield
        finally:
            loop.removeHandler(self._bugs)
            uuid.uuid4 = uuid4

    def _live(self, settled: Callable[[], bool]) -> None:
        self._settled = settled
        with contextlib.suppress(Over):
            self.daemon.run()
        self._begin()  # Each part of the night has a daemon of its own: what it knows is in the records.

    def _waits(self, within_s: float) -> None:
        self._steps += 1
        assert self._steps < _STEPS_MAX, f"it does not come to rest: {self._told()}"
        if self._bugs.first is not None:
            raise AssertionError(repr(self._bugs.first)) from self._bugs.first
        if self.turns.waiting:
            self.turns.waiting.pop(self.chance.randrange(len(self.turns.waiting)))()
            self._check()
            return
        if self._settled():
            raise Over
        self.world.pass_time(min(within_s, 1.0 if within_s < 1.0 else PIECE_S))
        if self.world.time_s >= self._flaps_at_s:
            self._flap()
        if self.world.time_s >= self._well_at_s:
            self.world.faults.check_fails.clear()

    def _told(self) -> list[str]:
        instances = self.present.all(Instance)
        return [f"{one.name} {one.phase}: {one.waiting or one.failure}" for one in instances if one.cause]

    def _all_serve(self) -> bool:
        return all(one.phase is Phase.SERVING and not one.unwell_since_s for one in self.present.all(Instance))

    # What is done to the world

    def _apply(self, number: int, **changes: object) -> None:
        count = 5 + number
        ladder = Ladder.RESTART if self.label == "flapping" and self.seed % 4 == 1 else Ladder.REIMAGE
        whole = {
            "instances": count,
            "local_storage": (LocalStorage(name="cache", size_mib=64),),
            "ready": Ready(within_s=90.0),
            "healing": Healing(ladder=ladder, max_unavailable=(1, 2, None)[self.seed // len(LABELS) % 3]),
            **changes,
        }
        upgrade = Upgrade(max_unavailable=1 + self.seed // 20 % 2)
        spec = ServiceSpec(
            name=f"s{number}", vip=f"203.0.113.{10 + number}", roles=(web_role(**whole),), upgrade=upgrade
        )
        self.control.apply_spec(spec)

    def _some(self, number: int, service: str = "s0") -> list[InstanceName]:
        names = sorted(self.present.instances_of(service))
        return self.chance.sample(names, number)

    def _ill(self, names: list[InstanceName], *, own_fault: bool) -> None:
        self.world.faults.check_fails.update(names)
        if own_fault:
            self.guilty.update(names)

    def _guest(self) -> None:
        names = self._some(1)
        self._ill(names, own_fault=True)
        if self.chance.random() < 0.5:
            self.world.faults.services_never_start.update(names)

    def _flapping(self) -> None:
        self.guilty.update(self._some(2))
        self._flap()

    def _flap(self) -> None:
        for name in sorted(self.guilty):
            if self.chance.random() < 0.5:
                self.world.faults.check_fails.symmetric_difference_update({name})
        self._flaps_at_s = self.world.time_s + self.chance.uniform(20.0, 500.0)

    def _host(self) -> None:
        for service in ("s0", "s1"):
            self._ill(self._some(2, service), own_fault=False)
            self.world.pass_time(self.chance.uniform(0.0, 10.0))

    def _strain(self) -> None:
        self.strain = "memory: for 40 % of the last minute nothing could go on without it"
        self._ill(self._some(self.chance.randint(1, 2)), own_fault=False)

    def _image(self) -> None:
        self.world.faults.bad_images.add(BAD_DIGEST)
        self._apply(0, image="fresh", image_sha256=BAD_DIGEST)

    def _answers(self) -> None:
        self.world.faults.bad_user_data.add(BAD_DATA)
        self._apply(0, user_data=BAD_DATA)

    def _balancer(self) -> None:
        self.world.faults.balancer_blind.update(self._some(self.chance.randint(1, 2)))

    def _service(self) -> None:
        self._apply(0, drain_s=3.0)
        self._ill(self._some(5), own_fault=False)

    def _together(self) -> None:
        self._ill(self._some(self.chance.randint(3, 5)), own_fault=False)

    def _busy(self) -> None:
        """A rollout, restarts that somebody asks for, and guests that fall ill, all at once."""
        self._apply(0, user_data="#cloud-config\nnew: 1\n")
        self._ill(self._some(1), own_fault=True)
        self._ill(self._some(1, "s1"), own_fault=True)
        for name in self._some(2, "s1"):
            with contextlib.suppress(Conflict):
                self.control.act(Verb.RESTART, name)

    def _two_at_once(self) -> None:
        """Of two services, and fewer than fall ill by their host."""
        self._ill([*self._some(1), *self._some(1, "s1")], own_fault=True)

    def _changed_host(self) -> None:
        """Three of two services at once, and the file of one of them was changed just before; for a while alone."""
        self._apply(1, drain_s=3.0)
        self._well_at_s = self.world.time_s + 800.0
        self._ill([*self._some(2), *self._some(1, "s1")], own_fault=True)

    def _served_image(self) -> None:
        """A new image from which others serve by then, and one that never comes up; the last have the old one."""
        third = sorted(self.present.instances_of("s0"))[2]
        self.guilty.add(third)
        self._apply(0, image="fresh", image_sha256=BAD_DIGEST)
        self.world.faults.services_never_start.add(third)

    def _most_of_it(self) -> None:
        """All but one of a role, just after a change of its file: one serves as it was changed."""
        self._apply(0, drain_s=3.0)
        self._ill(self._some(4), own_fault=False)

    # What must hold

    def _check(self) -> None:
        now = {one.name: one for one in self.present.all(Instance)}
        for name, after in now.items():
            before = self._before.get(name)
            if before is after:
                continue
            if before is not None and before.phase is Phase.SERVING and after.phase is not Phase.SERVING:
                self._was_ill.discard(name)
                self._was_ill.update([name] * bool(before.unwell_since_s))
            if after.phase in _GOING_OUT and not (after.by_request and name in self._was_ill):
                self._taken.add(name)  # Who restarts one that nobody is sent to takes nothing from anybody.
            elif after.phase in (Phase.SERVING, Phase.FAILED, Phase.STOPPED):
                self._taken.discard(name)
            self._note_blame(after)
            if before is not None and after.reimages != before.reimages:
                own = name in self.guilty or after.role.image_sha256 == BAD_DIGEST or after.role.user_data == BAD_DATA
                assert own, f"{name} is made anew for somebody else's fault: {after.failure}"
        if now != self._before:
            self._before = now
            self._check_budget()

    def _note_blame(self, one: Instance) -> None:
        cause = one.failed_by if one.has_failed else one.waits_for
        while cause is not None:
            if cause.kind in (Kind.BLAMED, Kind.BALANCER_ALONE) and cause.whose is not None:
                self.seen.add(cause.whose)
            cause = cause.also or cause.reason

    def _check_budget(self) -> None:
        gone = [one for name, one in self._before.items() if name in self._taken and not self._of_itself(one)]
        out = Counter((one.service, one.role_name) for one in gone)
        for (service, role), number in out.items():
            spec = self.control.service(service).spec
            size = len(self.present.instances_of(service))  # of one role each
            bound = next(one for one in spec.roles if one.name == role).healing.bound(size)
            most = spec.upgrade.may_miss(size) if bound is None else bound
            assert number <= most, f"{number} of {role}.{service} are out by our own doing: {self._told()}"

    def _of_itself(self, one: Instance) -> bool:
        """Whether it is out by its own fault by now: it waits for its next rung, and would be ill without us."""
        waits = brake_of(one.waits_for) in (Kind.HEALED_OFTEN, Kind.REIMAGES_SPENT) or one.sick_since_s > 0
        return waits and (one.name in self.guilty or one.sick_since_s > 0)


def confusion(seen: Counter[tuple[str, str]]) -> str:
    """What was done, against who was blamed, as a table."""
    columns = sorted({blamed for _, blamed in seen})
    rows = [["", *columns]] + [
        [label, *(str(seen[label, one] or "") for one in columns)] for label in (*LABELS, *NEARLY)
    ]
    return "\n".join("  ".join(cell.rjust(12) for cell in row) for row in rows)


def night(seed: int) -> tuple[str, str, str]:
    """Of one seed its label, who was blamed, and what was not as it ought to be ("" for nothing)."""
    logging.disable(logging.WARNING)
    one = Night(seed, nearly=seed % ONE_OF == 0)
    try:
        one.run()
        fault = ""
    except AssertionError as error:
        fault = f"seed {seed}: {error}"[:1000]
    return one.label, "+".join(sorted(one.seen)) or "guest", fault


def main() -> None:
    """python -m tests.world.healing_simulation SEEDS [FIRST]; an interrupt ends it with what was seen so far."""
    parser = argparse.ArgumentParser(prog="python -m tests.world.healing_simulation", description=__doc__)
    parser.add_argument("seeds", type=int)
    parser.add_argument("first", type=int, nargs="?", default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    seen: Counter[tuple[str, str]] = Counter()
    faults = 0
    with multiprocessing.Pool(asked.workers, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        with contextlib.suppress(KeyboardInterrupt):
            for label, blamed, fault in pool.imap_unordered(night, range(asked.first, asked.first + asked.seeds)):
                seen[label, blamed] += 1
                if fault:
                    faults += 1
                    print(fault, flush=True)
        pool.terminate()
    print(confusion(seen))
    print(f"{seen.total()} of {asked.seeds} nights, {faults} not as they ought to be")
    raise SystemExit(bool(faults) or seen.total() < asked.seeds)


if __name__ == "__main__":
    main()

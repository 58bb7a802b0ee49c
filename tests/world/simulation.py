"""Whole lives of services in the fake world, under the daemon's own loop, with everything drawn from a seed.

The loop is the product's own. At its seams are a pool whose turns are done one at a time in any order, and a clock
whose waiting lets the world go on. Requests, faults, crashes and jumps of the clock come between turns and inside
them, before and after any call that has an effect. After every step the invariants are checked; at the end all faults
are gone, and what was accepted last must have come true.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import random
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, cast

from orchestrator.control import records, verify
from orchestrator.control.deployment import Capacity
from orchestrator.control.loop import Reconciler
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.drivers.fake import FakeMachine, FakeStore, World, fake_host
from orchestrator.drivers.fake.faults import Faults
from orchestrator.errors import Conflict, InvalidInput, NotFound, Transient, Unreachable
from orchestrator.model import (
    Checkpoints,
    Image,
    Instance,
    InstanceEndpoint,
    InstanceName,
    Lease,
    Nic,
    OnFailure,
    Operation,
    Order,
    PausedBy,
    Phase,
    Ports,
    Power,
    Progress,
    Ready,
    Road,
    Role,
    Service,
    ServiceSpec,
    Setup,
    Slot,
    Upgrade,
    Verb,
    Walking,
    instance_name,
    pool_name,
)
from orchestrator.model.standstill import Standstill
from orchestrator.ports import Store
from tests.world.fabric import Died, Troubled, troubled, web_role
from tests.world.images import DIGEST, MICRO
from tests.world.instances import instance_of
from tests.world.simulated_slots import Swaps, production_of

HAPPENINGS = 0.12  # so often, where time might pass
REPAIRS = 0.1  # so often, of the requests
ROLLOUTS = 0.15  # so often: back, a pause, or on
STRIKES = 0.012  # so often, at each call that has an effect
SETTLED_WITHIN = 20  # times that somebody takes up what waits for him
STEPS = 500  # of trouble in one life: turns, requests, faults
CALM_STEPS_MAX = 6_000  # after the trouble, until everything is as was wished
SERVICE = "shop"
SLOTS = 0.6  # so often, of the requests in a life with a staging slot
PAUSES = 0.2  # so often, of the requests in a life in which automation is paused
PAUSED_OF = 5  # every so many seeds
STAGED_OF = 3  # every so many seeds; the others are the lives that they were
LEASES = 0.6  # so often, of the requests in a life in which instances are leased
LEASED_OF = 11  # every so many seeds
PARTING_OF = 4  # likewise: guests ask to be told of their end
PARTINGS = 0.4  # so often, of what happens in such a life
WARM_OF = 7  # likewise: reimages go on from checkpoints
ROLES_MAX, INSTANCES_MAX = 2, 3
JUMP_MAX_S = 3600.0
_PORTS = ("disks", "media", "evidence", "balancer", "doors", "vips", "network")
_DOORS = {
    "web": InstanceEndpoint(name="ssh", ports=Ports(10022, 10121), target=22),
    "db": InstanceEndpoint(name="ssh", ports=Ports(20022, 20121), target=22),
}


class Over(BaseException):
    """The simulation has seen enough of this daemon."""


class Turns(Executor):
    """A pool whose turns wait until the simulation does them."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []
        self.done: set[object] = set()  # of which records there has been one
        self._keys: list[tuple[object, ...]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Remembers the call; of one record there is never more than one."""
        assert args not in self._keys, f"two turns of {args} at once"
        self._keys.append(args)
        self.waiting.append(lambda: self._done(fn, args))
        return Future()

    def _done(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._keys.remove(args)
        fn(*args)
        self.done.update(args)


class Bugs(logging.Handler):
    """What the loop tells its log of: the first exception that is no error of the world's."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.first: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps it."""
        if record.exc_info and self.first is None:
            self.first = record.exc_info[1]


class Mischief:
    """Strikes at calls with an effect, before or after it. Stands in for `life.Trouble`."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def around(self, verb: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, perhaps with a strike."""

        def troubled(*args: Any, **kwargs: Any) -> Any:
            self._simulation.strike(verb)
            result = call(*args, **kwargs)
            self._simulation.strike(verb)
            return result

        return troubled


class SimulatedWorld(World):
    """A world whose waiting is the simulation's to fill."""

    def __init__(self, waits: Callable[[float], None]) -> None:
        super().__init__()
        self._waits = waits

    def wait(self, changed: threading.Condition, within_s: float) -> None:
        """See ports.Clock."""
        self._waits(within_s)


class Neighbours:
    """What lies on the host under names like ours, and is no record's: a VM that does not say whose it is, and local
    storage that somebody may want.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        nic = Nic(mac="52:54:00:00:00:01", address="10.91.0.10", tap="vrt-other")
        running = instance_of(web_role(), service="other", nic=nic)
        self._machine = FakeMachine(running, claimed=False, has_port=True)
        self._machine.start_boot(world.time_s)
        self._boot = self._machine.boot_id
        self._kept = instance_name(SERVICE, "db", 9)
        self.names = {running.name, self._kept}
        world.machines[running.name] = self._machine
        world.overlays[running.name] = {running.generation}
        world.discs[running.name] = running.generation
        for name in self.names:
            world.storage[name] = {"cache": "theirs"}

    def check(self) -> None:
        """Nobody has touched them."""
        world, name = self._world, self._machine.instance.name
        assert world.machines.get(name) is self._machine, "a VM that is not ours is gone"
        as_it_was = self._machine.power is Power.RUNNING and self._machine.boot_id == self._boot
        assert as_it_was, "a VM that is not ours was ended"
        assert name in world.overlays, "the disk of a VM that is not ours is gone"
        assert name in world.discs, "the disc of a VM that is not ours is gone"
        assert all(world.storage.get(one) == {"cache": "theirs"} for one in self.names), "kept storage is gone"

    def come_back(self) -> None:
        """After a restart of the host, which took what lay in memory."""
        name = self._machine.instance.name
        self._machine.start_boot(self._world.time_s)
        self._boot, self._machine.has_port = self._machine.boot_id, True
        self._world.discs[name] = self._machine.instance.generation

    def leave(self) -> None:
        """Their owner takes them away."""
        self.check()
        del self._world.machines[self._machine.instance.name]
        for places in (self._world.overlays, self._world.discs, self._world.storage):
            for name in self.names & places.keys():
                del places[name]


class Simulation:
    """One life. `run` raises AssertionError with the last steps when it is not as it ought to be."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.world = SimulatedWorld(self._waits)
        self.world.images.add(DIGEST)
        self.neighbours = Neighbours(self.world)
        self.store = FakeStore()
        self.store.commit([records.put(MICRO)])
        self._reader = Present(self.store)  # outlives every daemon
        self.steps: deque[str] = deque(maxlen=40)
        self.wanted: dict[str, ServiceSpec] = {}  # what was accepted last, by deployment; not what shall end
        self.staged = seed % STAGED_OF == STAGED_OF - 1
        self.paused = seed % PAUSED_OF == PAUSED_OF - 3
        self.leased = seed % LEASED_OF == LEASED_OF - 4
        self._had: dict[str, tuple[str, int]] = {}  # by lease: whose VM its client has had, by uid and generation
        self.warm = seed % WARM_OF == WARM_OF - 2
        self.parting = seed % PARTING_OF == PARTING_OF - 3
        self._still: set[str] = set()  # whose automation stood still when it was looked at last; "": the host's
        self._staging_vip = "203.0.113.11" if self.staged and seed % 2 else ""
        self.swaps = Swaps()
        self._asked: Callable[[], None] | None = None  # a request that got no answer: it is sent again
        self._calm = False
        self._inside = False  # a request is under way
        self._left = STEPS
        self._settled: Callable[[], bool] = lambda: False
        self._before: dict[InstanceName, Instance] = {}
        self._marked: dict[InstanceName, tuple[int, int]] = {}  # whose local storage was written, as what
        self._evidence_refused = False
        self._bugs = Bugs()
        plain = fake_host(self.world)
        mischief = cast("Any", Mischief(self))
        self._host = troubled(plain, mischief)
        self._plain = plain
        self._troubled = cast("Store", Troubled(self.store, mischief))
        self._begin()

    def _begin(self) -> None:
        """A daemon starts: everything but the store and the world is new."""
        self.turns = Turns()
        self.present = Present(self._troubled)
        self.daemon = Reconciler(
            self._troubled, self._host, present=self.present, pool=self.turns, goes_back=self._goes_back
        )
        self.control = Control(
            self._troubled,
            find_image=lambda _: self.present.find(Image, DIGEST),
            capacity=Capacity(pool="10.90.0.0/16", memory_mib=64_000),
            clock=self.world,
            wake=self.daemon.wake,
            seats=self._plain.front.balancer.seats,
            traffic=self._plain.front.balancer.traffic,
            present=self.present,
            attendance=self.daemon.attendance,
        )

    # The life

    def run(self) -> None:
        """Trouble, then calm, then what was wished; then the end of everything."""
        with self._listening():
            try:
                self._settle()
                self._check_wish()
                if self.chance.random() < 0.5:
                    self._step("evidence refuses from now on", self._refuse_evidence)
                self._step("the end is asked for", self._remove)
                self._live(lambda: self.control.services() == [] and self._known() == {})
                if self._evidence_refused:  # It holds up nothing, and so some may be left.
                    self.world.evidence.clear()
                self.neighbours.leave()
                self.world.nothing_is_left()
            except AssertionError as error:
                told = "\n  ".join(self.steps)
                raise AssertionError(f"{error}\nseed {self.seed}; the last steps:\n  {told}") from error

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        loop = logging.getLogger("orchestrator.control.loop")
        root = logging.getLogger("orchestrator")
        before, propagates = root.level, root.propagate
        uuid4 = uuid.uuid4
        uuid.uuid4 = lambda: uuid.UUID(int=self.chance.getrandbits(128), version=4)  # Else no life is the same again.
        loop.addHandler(self._bugs)
        root.propagate = False
        try:
            yield
        finally:
            loop.removeHandler(self._bugs)
            uuid.uuid4 = uuid4
            root.level, root.propagate = before, propagates

    def _live(self, settled: Callable[[], bool]) -> None:
        """Daemons, one after the other as they die, until one that has begun to look finds it settled."""
        self._settled = settled
        for _ in range(CALM_STEPS_MAX):
            try:
                self.daemon.run()
            except Over:
                self._begin()
                return
            except Died:
                self.steps.append("  the daemon died and is started again")
                self._begin()
            except Transient:  # The store did not answer at the start: systemd starts the daemon again.
                self._begin()
        raise AssertionError(f"it does not come to rest: {self._told()}")

    def _waits(self, within_s: float) -> None:
        """What happens while the loop waits: one turn, one request, one fault, or time passes."""
        self._left -= 1
        assert self._left > -CALM_STEPS_MAX, f"it does not come to rest: {self._told()}"
        if not self._calm and self._left <= 0:
            self._end_trouble()
        if self._settled():
            raise Over
        if self.turns.waiting and self.chance.random() < 0.8:
            turn = self.turns.waiting.pop(self.chance.randrange(len(self.turns.waiting)))
            turn()
            self._check()
            return
        if not self._calm and self.chance.random() < HAPPENINGS:
            self._happening()
            return
        if not self.turns.waiting:
            late_s = self.chance.choice([0.0, 1.0, 10.0] if self._calm else [0.0, 0.3, 2.0])  # A busy host is.
            self._pass_time(min(within_s, 120.0) + late_s)

    def _pass_time(self, seconds: float) -> None:
        """In pieces in which a guest does one thing at a time."""
        while seconds > 0:
            piece = min(seconds, 1.0)
            self.world.pass_time(piece)
            seconds -= piece
        self.world.check()

    def _part(self) -> None:
        """A guest asks to be told of its end, or lets go."""
        if running := [name for name, one in self.world.machines.items() if one.power is Power.RUNNING]:
            name, lets_go = self.chance.choice(running), self.chance.random() < 0.3
            words = "lets go" if lets_go else "asks to be told of its end"
            self._step(f"{name}: its guest {words}", lambda: self.world.part(name, lets_go=lets_go))

    def _happening(self) -> None:
        if self.parting and self.chance.random() < PARTINGS:
            self._part()
            return
        what = self.chance.choice([self._request, self._request, *[self._fault] * 5])
        what()
        self._check()

    def _step(self, words: str, call: Callable[[], object]) -> None:
        self.steps.append(f"{self.world.time_s - 1_800_000_000:9.1f}  {words}")
        call()

    # What people ask for

    def _request(self) -> None:
        """One request; who gets no answer asks again."""
        if self._asked is not None:
            self._ask_again()
            return
        if self.staged and self.chance.random() < SLOTS:
            self._request_of_slots()
            return
        if self.paused and self.chance.random() < PAUSES:
            self._pause()
            return
        if self.leased and self.chance.random() < LEASES:
            self._lease()
            return
        if self.chance.random() < REPAIRS:
            self._step("verify --repair", self._repair)
            return
        if self.chance.random() < ROLLOUTS:
            self._roll()
            return
        wish = self.chance.choice([self._apply, self._apply, self._act, self._act, self._act, self._remove])
        if wish is self._remove and self.chance.random() < 0.7:
            return
        if wish is self._act:
            self._act()
            return
        if wish is self._remove:
            self._step("delete", self._remove)
            return
        spec = self._spec()
        roles = ", ".join(f"{role.instances} {role.name} as {role.user_data[-2]}" for role in spec.roles)
        self._step(f"apply: {roles}", lambda: self._apply(spec))

    def _spec(self) -> ServiceSpec:
        chance = self.chance
        names = chance.sample(["web", "db"], chance.randint(1, ROLES_MAX))
        if self.staged and "web" not in names:  # Else there would be few swaps that nobody refuses.
            names.append("web")
        roles = []
        for name in sorted(names):
            role: Role = web_role(
                name=name,
                instances=chance.randint(0 if len(names) > 1 else 1, INSTANCES_MAX),
                user_data=f"#cloud-config\n# {chance.randint(1, 3)}\n",
                ready=Ready(within_s=chance.choice([60.0, 300.0])),
                setup=Setup(within_s=chance.choice([60.0, 900.0])),
            )
            if name != "web":
                role = dataclasses.replace(role, endpoints=())
            if self.warm:  # A role that once had local storage keeps it, and is told of: so one of them has.
                drawn = chance.random()
                road = Road.WARM if drawn < 0.5 else Road.PREPARED if drawn < 0.8 else Road.COLD
                warm = road is Road.WARM
                refreshed = Checkpoints(
                    refresh=road is not Road.COLD and drawn * 10 % 1 < 0.5, memory=warm and drawn * 100 % 1 < 0.5
                )
                storage = role.local_storage if name == "db" else ()
                role = dataclasses.replace(role, local_storage=storage, reimage=road, checkpoint=refreshed)
            if self.staged or not role.user_data.endswith("1\n"):
                role = dataclasses.replace(role, instance_endpoints=(_DOORS[name],))
            roles.append(role)
        return ServiceSpec(
            name=SERVICE,
            vip="203.0.113.10",
            staging_vip=self._staging_vip,
            roles=tuple(roles),
            upgrade=self._upgrade(),
        )

    def _upgrade(self) -> Upgrade:
        """How what comes is rolled out; half of the time as ever."""
        chance = self.chance
        if chance.random() < 0.5:
            return Upgrade()
        part = chance.choice([None, 50])
        return Upgrade(
            domains=chance.choice([None, 2, 5]),
            max_unavailable=None if part else chance.choice([None, 2]),
            max_unavailable_percent=part,
            walking=chance.choice([Walking.AUTO, Walking.AUTO, Walking.MANUAL]),
            order=chance.choice(list(Order)),
            within_s=chance.choice([None, None, 300.0]),
            soak_s=chance.choice([0.0, 20.0]),
            on_failure=chance.choice(list(OnFailure)),
            canary=chance.choice([0, 0, 1]),
        )

    def _request_of_slots(self) -> None:
        """What is asked for of staging, or of both."""
        chance = self.chance
        match chance.choice(["apply", "apply", "swap", "swap", "swap", "force", "force", "act", "roll", "delete"]):
            case "apply":
                spec = self._spec()
                roles = ", ".join(f"{role.instances} {role.name} as {role.user_data[-2]}" for role in spec.roles)
                self._step(f"apply to staging: {roles}", lambda: self._apply(spec, Slot.STAGING))
            case "swap":
                self._step("swap", lambda: self._swap(force=False))
            case "force":
                self._step("swap --force", lambda: self._swap(force=True))
            case "act":
                subjects = ["shop@staging", "web.shop@staging", "web-0.shop--b", "db-0.shop--b"]
                self._act_on(chance.choice(subjects))
            case "roll":
                self._roll(f"{SERVICE}@staging")
            case _:
                address = chance.choice([f"{SERVICE}@{slot}" for slot in Slot])
                if chance.random() < 0.3:
                    self._step(f"delete {address}", lambda: self._remove(address))

    def _swap(self, *, force: bool) -> None:
        """Whoever gets no answer looks before he asks again."""
        before = production_of(self._services())

        def ask() -> None:
            if production_of(self._services()) == before:
                self.control.swap(SERVICE, force=force)
            assert production_of(self._services()) != before, "a swap was answered and has not been"

        self._ask(ask)

    def _services(self) -> list[Service]:
        """As they lie in the store."""
        return self._reader.all(Service)

    def _apply(self, spec: ServiceSpec, slot: Slot = Slot.PRODUCTION) -> None:
        def ask() -> None:
            applied = self.control.apply_spec(spec, slot=slot)
            assert applied.service is not None
            self.wanted[applied.service.name] = spec

        self._ask(ask)

    def _remove(self, address: str = SERVICE) -> None:
        """All that the service has, or what is in one slot."""
        slots = [slot for slot in Slot if address in (SERVICE, f"{SERVICE}@{slot}")]
        going = [one.name for one in self._services() if one.slot in slots]

        def ask() -> None:
            with contextlib.suppress(NotFound):
                self.control.remove(address)
            for name in going:
                self.wanted.pop(name, None)

        self._ask(ask)

    def _repair(self) -> None:
        """As the daemon does it."""

        def recorded(name: str) -> bool:
            return bool(self.present.find(Instance, name) or self.present.find(Service, name))

        with contextlib.suppress(Transient):
            strays = verify.findings(self._host, self.present.all(Service), self.present.all(Instance))
            removed = verify.repair(self._host, strays, recorded)
            self.steps.extend(f"  removed: {one.code} {one.subject}" for one in removed)

    def _roll(self, address: str = SERVICE) -> None:
        """Back to some revision, a pause, or on with it."""
        if self.chance.random() < 0.5:
            to = self.chance.choice([None, None, *range(1, 6)])
            self._step(f"undo of {address} to {to or 'the one before'}", lambda: self._undo(address, to))
            return
        verb = self.chance.choice(["pause", "resume", "next_domain"])
        words = f"{verb} the rollout of {address}"
        self._step(words, lambda: self._ask(lambda: getattr(self.control, verb)(address)))

    def _goes_back(self, address: str, revision: int, at: int) -> None:
        """A rollout does, by itself; what is wanted is what the service is then."""
        inside, self._inside = self._inside, True
        try:
            self.control.undo(address, to=revision, expected=at, by_itself=True)
        finally:  # Also when the answer is lost: it asks no second time where it was done.
            self._inside = inside
            known = next((one for one in self._services() if one.address == address), None)
            if known is not None and not known.removing:
                self.wanted[known.name] = known.spec

    def _undo(self, address: str, to: int | None) -> None:
        """One that was done and not answered may be refused when it is sent again: a revision fell out by it."""
        sent = False

        def ask() -> None:
            nonlocal sent
            again, sent = sent, True
            try:
                applied = self.control.undo(address, to=to)
            except (NotFound, Conflict):
                known = next((one for one in self._services() if one.address == address), None)
                if again and known is not None and not known.removing:
                    self.wanted[known.name] = known.spec
                raise
            assert applied.service is not None
            self.wanted[applied.service.name] = applied.service.spec

        self._ask(ask)

    def _pause(self) -> None:
        """Automation of all, or of the service, stands still, or goes on."""
        service = self.chance.choice(["", SERVICE])
        if self.chance.random() < 0.5:
            self._step(f"pause {service}", lambda: self._ask(lambda: self.control.stand_still(service)))
        else:
            self._step(f"resume {service}", lambda: self._ask(lambda: self.control.go_on(service)))

    def _lease(self) -> None:
        """Somebody asks for an instance, says that he is there, leaves it to its time, or gives it back."""
        known = self._reader.all(Lease)
        deed = self.chance.choice(["lend", "lend", "lend", "attend", "leave", "end"])
        if deed == "lend" or not known:
            role, for_s = self.chance.choice(["web", "db"]), self.chance.choice([20.0, 120.0, 900.0])
            self._step(f"lease {role}", lambda: self._ask(lambda: self.control.lend(SERVICE, role=role, for_s=for_s)))
            return
        of = self.chance.choice(known).id
        deeds: dict[str, Callable[[], object]] = {
            "attend": lambda: self.control.attend(of),
            "leave": lambda: self.control.attend(of, on=False),
            "end": lambda: self.control.end_lease(of),
        }
        self._step(f"{deed} {of}", lambda: self._ask(deeds[deed]))

    def _check_leases(self) -> None:
        """Two clients never have one VM, and nobody is served by what one of them has had."""
        now = self._known()
        for lease in self._reader.all(Lease):
            mine = now.get(lease.instance)
            if lease.given and lease.id not in self._had and mine is not None and mine.goal.lease == lease.id:
                had = (mine.uid, mine.generation)
                assert had not in self._had.values(), f"{lease.instance} is given to a second client"
                self._had[lease.id] = had
        spent = set(self._had.values())
        for name, one in now.items():
            if (one.uid, one.generation) in spent:
                assert not one.serving, f"{name} serves as a client has left it"
                assert name not in self.world.seats_taken, f"{name} is in a pool as a client has left it"

    def _act(self) -> None:
        self._act_on(self.chance.choice(["shop", "web.shop", "web-0.shop", "web-1.shop", "db.shop", "db-0.shop"]))

    def _act_on(self, subject: str) -> None:
        verb, together = self.chance.choice(list(Verb)), self.chance.choice([1, 1, 2])
        self._step(
            f"{verb} {subject}, {together} together",
            lambda: self._ask(lambda: self.control.act(verb, subject, together=together)),
        )

    def _ask(self, request: Callable[[], object]) -> None:
        """Sends a request: it is accepted, refused, or nothing is known of it; then it is sent again until it is."""
        self._asked = lambda: self._ask(request)
        inside, self._inside = self._inside, True
        try:
            request()
        except (NotFound, Conflict, InvalidInput) as refused:
            self.steps.append(f"  refused: {refused}")
        except Transient as unanswered:
            self.steps.append(f"  no answer: {unanswered}")
            return
        finally:
            self._inside = inside
            self.swaps.answered(self._services())
        self._asked = None

    def _ask_again(self) -> None:
        if self._asked is not None:
            self._step("the request is sent again", self._asked)

    # What goes wrong

    def strike(self, verb: str) -> None:
        """At a call that has an effect, before or after it: the daemon dies, an answer is lost, somebody asks."""
        if self._calm or self.chance.random() > STRIKES:
            return
        what = self.chance.random()
        if what < 0.3:
            self.steps.append(f"  kill -9 at {verb}")
            raise Died
        if what < 0.6:
            self._evidence_refused |= verb == "erase_evidence"
            self.steps.append(f"  an answer is lost at {verb}")
            raise Unreachable("the peer hung up")
        if not self._inside and not self.present.unfolding.locked():
            self._request()

    def _fault(self) -> None:
        names = list(self._known()) or [instance_name(SERVICE, "web", 0)]
        name, faults, world = self.chance.choice(names), self.world.faults, self.world
        machine = world.machines.get(name)
        sets = {
            "its check fails": faults.check_fails,
            "its services never start": faults.services_never_start,
            "its setup never ends": faults.setup_never_ends,
            "it is deaf": faults.deaf_to_requests,
            "its agent is silent": faults.agent_silent,
            "it is frozen": faults.frozen,
            "it lies about its boot": faults.other_boot_each_look,
            "its VM is somebody else's": faults.foreign,
        }
        if self.chance.random() < 0.4:
            words = self.chance.choice(list(sets))
            if self.chance.random() < 0.6:
                self._step(f"{name}: {words}: no more", lambda: sets[words].discard(name))
            else:
                self._step(f"{name}: {words}", lambda: sets[words].add(name))
        elif self.chance.random() < 0.5 and machine is not None:
            self._strike_machine(name)
        else:
            self._strike_host()

    def _strike_machine(self, name: InstanceName) -> None:
        world, machine = self.world, self.world.machines[name]
        running = machine.power is Power.RUNNING
        deeds: dict[str, Callable[[], object]] = {"kill -9 of the VM": lambda: world.kill(name)}
        if running:
            deeds |= {
                "the guest restarts by itself": lambda: machine.start_boot(world.time_s),
                "somebody pauses the VM": lambda: world.pause(name, PausedBy.USER),
                "a full disk pauses the VM": lambda: world.pause(name, PausedBy.DISK),
                "its port is taken off its bridge": lambda: world.unplugged.add(name),
                "its port is deleted": lambda: world.delete_port(name),
                "three connections": lambda: world.connections.__setitem__(name, 3),
            }
        if machine.power is Power.PAUSED:
            deeds["it goes on"] = lambda: world.resume(name)
        words = self.chance.choice(list(deeds))
        self._step(f"{name}: {words}", deeds[words])

    def _strike_host(self) -> None:
        world, faults, chance = self.world, self.world.faults, self.chance
        on = chance.random() < 0.4
        port = chance.choice(_PORTS)
        jump_s = chance.uniform(-JUMP_MAX_S, JUMP_MAX_S)

        def refuse() -> None:
            faults.refuses.pop(port, None)
            if on:
                self._evidence_refused |= port == "evidence"
                faults.refuses[port] = Unreachable(f"{port} is away")

        def jump() -> None:
            self._check()  # What was written before is compared with the time of then.
            world.set_back_s += jump_s

        deeds: dict[str, Callable[[], object]] = {
            f"libvirt is away: {on}": lambda: setattr(faults, "libvirt_is_away", on),
            f"the disk is full: {on}": lambda: setattr(faults, "disk_is_full", on),
            f"no network can start: {on}": lambda: setattr(faults, "network_cannot_start", on),
            f"a sick member cannot drain: {on}": lambda: setattr(faults, "sick_cannot_drain", on),
            f"{port} refuses: {on}": refuse,
            f"the clock is set by {-jump_s:.0f} s": jump,
            "the VIP is removed": world.vips.clear,
            "HAProxy is killed": world.seats_taken.clear,
            "all connections end": world.connections.clear,
            "events were lost": self.daemon.wake_all,
        }
        if chance.random() < 0.05:
            self._step("the host starts again", self._restart_host)
        words = chance.choice(list(deeds))
        with contextlib.suppress(Transient):
            self._step(words, deeds[words])

    def _restart_host(self) -> None:
        self.world.restart_host()
        self.swaps.forget()
        self.neighbours.come_back()
        raise Died

    def _end_trouble(self) -> None:
        self._calm = True
        self._left = 0
        self.world.faults = Faults()
        self.world.connections.clear()
        for name, machine in self.world.machines.items():
            if machine.power is Power.PAUSED:
                self.world.resume(name)
        self.steps.append("all is calm")
        self.turns.done.clear()
        self._ask_again()
        for one in self._reader.all(Standstill):
            self._step(
                f"resume {one.service}",
                functools.partial(self._ask, functools.partial(self.control.go_on, one.service)),
            )
        if self.chance.random() < 0.5:  # The others must see by themselves what nobody has told them of.
            raise Died

    def _refuse_evidence(self) -> None:
        self._evidence_refused = True
        self.world.faults.refuses["evidence"] = Unreachable("evidence is away")

    # What must hold

    def _known(self) -> dict[InstanceName, Instance]:
        """The records as they lie in the store, by a present of our own."""
        return {one.name: one for one in self._reader.all(Instance)}

    def _check(self) -> None:
        """After every step."""
        if self._bugs.first is not None:
            raise AssertionError(f"{type(self._bugs.first).__name__}: {self._bugs.first}") from self._bugs.first
        self.world.check()
        self.neighbours.check()
        self._check_leases()
        now = self._known()
        addresses = [machine.instance.nic.address for machine in self.world.machines.values()]
        assert len(set(addresses)) == len(addresses), "two VMs have one address"
        seats = [seat.address for seat in self.world.seats_taken.values()]
        assert len(set(seats)) == len(seats), "two members have one address"
        assert self.world.images == {DIGEST}, "an image has gone"
        self.swaps.check(self._services(), self.world.frontends, self.world.seats_taken.keys())
        still = {one.service for one in self._reader.all(Standstill)}
        self._still &= still  # Who goes on heals at once, before the next look.
        for name, after in now.items():
            before = self._before.get(name)
            if before is not None and before is not after and before.uid == after.uid:
                self._check_change(before, after)
            self._check_storage(after)
        for name in self._marked.keys() - now.keys():
            del self._marked[name]
        self._before = now
        self._still = still

    def _check_change(self, before: Instance, after: Instance) -> None:
        name = after.name
        assert after.generation >= before.generation, f"{name}: back to generation {after.generation}"
        assert after.generation <= before.generation + 1, f"{name}: a generation is left out"
        if after.generation == before.generation:
            assert after.boot >= before.boot or after.boot == 0, f"{name}: back to boot {after.boot}"
        if self._still & {"", SERVICE}:
            healed = after.healed_at_s not in (before.healed_at_s, 0.0) or after.reimages != before.reimages
            assert not healed, f"{name}: healed, and automation is paused"
        if before.state_revision and not after.role.builds_like(before.role):  # Else it has had no turn.
            # One that was to go comes back as the last file has it; where a call is struck, between two checks.
            again = before.phase is Phase.GONE or not before.goal.serve
            asked = after.goal.wanted.generation >= after.generation or again
            assert after.generation > before.generation, f"{name}: another template in the same generation"
            assert asked, f"{name}: healing has changed its template"
        moved = after.phase_since_s != before.phase_since_s
        assert not moved or after.phase_since_s <= self.world.now_s(), f"{name}: its phase began later than now"
        assert not moved or after.phase_since_s == self.world.now_s(), f"{name}: a recorded time was moved"

    def _check_storage(self, instance: Instance) -> None:
        """Local storage outlives everything but a rebuild and the end of its instance."""
        name, disks = instance.name, self.world.storage.get(instance.name, {})
        mark = (instance.storage, instance.uid and hash(instance.uid))
        if self._marked.get(name) == mark and instance.goal.serve and instance.storage == instance.goal.storage:
            assert disks.get("cache") == "written", f"{name}: its local storage is lost in {instance.phase}"
        elif instance.phase is Phase.SERVING and instance.storage == instance.goal.storage and disks:
            disks["cache"] = "written"
            self._marked[name] = mark
        else:
            self._marked.pop(name, None)

    def _settle(self) -> None:
        """Trouble, then calm; the operator takes up what healing has left to him, until nothing is."""
        for _ in range(SETTLED_WITHIN):
            self._live(self._at_rest)
            self._left = 0
            halted = [one.name for one in self._known().values() if one.phase is Phase.STOPPED]
            failed = [one.name for one in self._known().values() if one.phase is Phase.FAILED]
            for name in halted:
                self.steps.append(f"start of {name}, which was stopped")
                self._ask(functools.partial(self.control.act, Verb.START, name))
            for name in failed:
                self.steps.append(f"reimage of {name}, which failed")
                self._ask(functools.partial(self.control.act, Verb.REIMAGE, name))
            if waits := self._waiting_rollout():
                self._go_on(waits)
                continue
            stale = any(one.stale for one in self._known().values())
            if stale and not failed and not halted:
                for one in [one for one in self._services() if one.name in self.wanted]:
                    again = functools.partial(self._apply, self.wanted[one.name], one.slot)
                    self._step(f"apply again to {one.slot}", again)
            if not failed and not halted and not stale:
                return
        raise AssertionError(f"something fails again and again: {self._told()}")

    def _at_rest(self) -> bool:
        if not self._calm or self.turns.waiting:
            return False
        if any(one.progress is Progress.RUNNING and not _waits(one) for one in self._reader.all(Operation)):
            return False
        services = self._reader.all(Service)
        if any(one.removing for one in services) or self._reader.all(Lease):
            return False
        looked_at = {*(("service", one.name) for one in services), *(("instance", name) for name in self._known())}
        if not looked_at <= self.turns.done:
            return False  # What nobody tells of is seen when it is looked at.
        return all(map(_at_rest, self._known().values())) and self._names() == self._wished()

    def _waiting_rollout(self) -> Operation | None:
        running = (one for one in self._reader.all(Operation) if one.progress is Progress.RUNNING)
        return next(filter(_waits, running), None)

    def _go_on(self, waiting: Operation) -> None:
        """As it asks for."""
        verb = "next_domain" if waiting.walk.unreleased else "resume"
        service = self._reader.find(Service, waiting.service)
        address = service.address if service is not None else waiting.service
        self._step(f"{verb} of the rollout", lambda: self._ask(lambda: getattr(self.control, verb)(address)))

    def _findings(self) -> list[verify.Finding]:
        findings = verify.findings(self._plain, self._reader.all(Service), list(self._known().values()))
        return [one for one in findings if one.subject not in self.neighbours.names]

    def _names(self) -> set[str]:
        return {str(name) for name in self._known()}

    def _wished(self) -> set[str]:
        return {
            instance_name(service, role.name, index)
            for service, spec in self.wanted.items()
            for role in spec.roles
            for index in range(role.instances)
        }

    def _check_wish(self) -> None:
        """What was accepted last is so, and nothing else; host and records agree."""
        if not self.wanted:
            return
        roles = {(service, role.name): role for service, spec in self.wanted.items() for role in spec.roles}
        self._check_front()
        for name, one in self._known().items():
            role = roles[one.service, one.role_name]
            assert one.role.template() == role.template(), f"{name} is not as was applied"
            assert self.world.services_run(self.world.machines[name]), f"{name} serves and does not run"
            assert (name in self.world.seats_taken) is bool(one.role.endpoints), f"{name}: its place in the pool"
            doors = {pool_name(one.service, one.role_name, end.name) for end in one.role.instance_endpoints}
            assert self.world.doors.get(name, set()) == doors, f"{name}: its own doors"
            assert name not in self.world.discs, f"{name}: its answer disc is still there"
        assert self._findings() == []

    def _check_front(self) -> None:
        """Each slot's address leads to what is in it, and to nothing else."""
        for one in self._services():
            pools = {end.pool for end in self.world.frontends if end.vip and end.vip == one.vip}
            pooled = {pool_name(one.name, role.name, end.name) for role in one.spec.roles for end in role.faces}
            assert pools == (pooled if one.vip else set()), f"{one.address}: what its address leads to"

    def _told(self) -> list[str]:
        operations = [one for one in self._reader.all(Operation) if one.progress is Progress.RUNNING]
        instances = self._known().values()
        return [
            *(f"{one.id}: {one.message}" for one in operations),
            *(f"{one.name} {one.phase}: {one.waiting or one.failure}" for one in instances),
        ]


def _at_rest(instance: Instance) -> bool:
    """Whether nothing more happens to it by itself."""
    match instance.phase:
        case Phase.FAILED:
            return not instance.retry_at_s and not instance.revisit_at_s
        case Phase.STOPPED:
            return not instance.goal.runs
        case Phase.SERVING:  # What it waits for there has been seen, and is not mended yet.
            return instance.goal.wanted <= instance.at and instance.goal.serve and not instance.waiting
        case _:
            return False


def _waits(operation: Operation) -> bool:
    """Whether it waits for somebody: to resume it, to let its next domain go, to mend what has failed."""
    return operation.paused or bool(operation.walk.unreleased) or "has failed: vmrole" in operation.message


def simulate(seed: int) -> None:
    """One life; raises AssertionError."""
    Simulation(seed).run()

"""A whole life in the fake world: deploy, restart, reimage, rebuild, delete, with trouble to order at every call."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, cast

from orchestrator.control import records
from orchestrator.control.deployment import Capacity
from orchestrator.control.loop import Key, Reconciler
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.drivers.fake import FakeStore, World, fake_host
from orchestrator.errors import Conflict, NotFound, Unreachable
from orchestrator.model import (
    Endpoint,
    Image,
    Instance,
    Lease,
    LocalStorage,
    Operation,
    Phase,
    Progress,
    Role,
    Service,
    ServiceSpec,
    Size,
    Verb,
)
from orchestrator.ports import Front, Host, Machine, Store
from tests.world.images import DIGEST, MICRO

ROUNDS_MAX = 900
SERVICES_EVERY = 5  # A service is looked at less often than its instances, as in the real loop.
EFFECTS = frozenset(
    {
        "lay_overlay",
        "prepare_checkpoint",
        "keep_checkpoint",
        "renew_overlay",
        "erase_checkpoint",
        "erase_memory",
        "save",
        "restore",
        "awaken",
        "write_out",
        "erase_overlay",
        "lay_local_storage",
        "erase_local_storage",
        "write",
        "erase",
        "start",
        "ask_restart",
        "ask_shutdown",
        "reset",
        "power_off",
        "eject",
        "undefine",
        "keep_evidence",
        "erase_evidence",
        "erase_blobs",
        "shape",
        "join",
        "drain",
        "heed",
        "leave",
        "reach",
        "lay",
        "call",
        "lift",
        "hold",
        "commit",
        "taken",
        "plug",
        "unplug",
        "take_up",
        "let_go",
        "plug_disks",
        "unplug_disks",
        "put_aside",
        "take_back",
    }
)


class Died(BaseException):
    """kill -9 of the daemon, at this very instruction."""


@dataclasses.dataclass(slots=True)
class Trouble:
    """Strikes once: at the `at`-th call that has an effect, before or after the effect."""

    at: int = -1
    after: bool = False
    strike: Callable[[], None] = lambda: None
    calls: int = 0
    verbs: list[str] = dataclasses.field(default_factory=list)

    def around(self, verb: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, with the strike before or after it when its turn has come."""

        def troubled(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            self.verbs.append(verb)
            mine = self.calls == self.at
            if mine and not self.after:
                self.strike()
            result = call(*args, **kwargs)
            if mine and self.after:
                self.strike()
            return result

        return troubled


class Troubled:
    """A port in front of which trouble stands."""

    def __init__(self, port: object, trouble: Trouble) -> None:
        self._port = port
        self._trouble = trouble

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._port, verb)
        call = self._trouble.around(verb, call) if verb in EFFECTS else call
        self.__dict__[verb] = call  # Asked for once.
        return call


def troubled(host: Host, trouble: Trouble) -> Host:
    """The host with trouble before each of its ports, its time apart."""

    def ports_of(side: Any) -> dict[str, Any]:
        ports = {field.name: getattr(side, field.name) for field in dataclasses.fields(side)}
        return {name: port if name == "clock" else Troubled(port, trouble) for name, port in ports.items()}

    return Host(machine=Machine(**ports_of(host.machine)), front=Front(**ports_of(host.front)))


def die() -> None:
    """The process ends here."""
    raise Died


def hang_up() -> None:
    """The peer is gone: before the effect, or after it with the answer lost."""
    raise Unreachable("the peer hung up")


def web_role(**changes: Any) -> Role:
    """A role with one endpoint and local storage."""
    role = Role(
        name="web",
        image="micro",
        image_sha256=DIGEST,
        instances=2,
        size=Size(vcpus=1, memory_mib=128),
        endpoints=(Endpoint(name="http", port=80, target=8080),),
        local_storage=(LocalStorage(name="cache", size_mib=64),),
        drain_s=2.0,
    )
    return dataclasses.replace(role, **changes)


class Fabric:
    """A fake world, a store that outlives the daemon, and a daemon that may die and come back."""

    def __init__(self, trouble: Trouble | None = None, *, store: Store | None = None) -> None:
        self.world = World()
        self.world.images.add(DIGEST)
        self.store: Store = store or FakeStore()
        self.store.commit([records.put(MICRO)])
        self.present = Present(self.store)
        self.trouble = trouble or Trouble()
        plain = fake_host(self.world)
        self.host = troubled(plain, self.trouble)
        self.control = Control(
            self.store,
            find_image=lambda _: self.present.find(Image, DIGEST),
            capacity=Capacity(
                pool="10.90.0.0/16", memory_mib=64_000, laid=plain.machine.network.laid, pci=plain.machine.pci.look
            ),
            clock=self.world,
            wake=lambda _kind, _key: None,
            seats=plain.front.balancer.seats,
            traffic=plain.front.balancer.traffic,
            probed=plain.front.balancer.probed,
            present=self.present,
        )
        self.deaths = 0
        self._start()

    def _start(self) -> None:
        self.daemon = Reconciler(
            cast(Store, Troubled(self.store, self.trouble)),
            self.host,
            workers=1,
            goes_back=lambda service, to, at: self.control.undo(service, to=to, expected=at, by_itself=True),
        )
        self.control.attendance = self.daemon.attendance
        self._rounds = 0

    def round(self, seconds: float = 0.8) -> None:
        """Attends to everything once, then lets time pass; a daemon that dies is started again."""
        self._rounds += 1
        for key in self._keys():
            if key[0] == "service" and self._rounds % SERVICES_EVERY != 1:
                continue
            try:
                self.daemon.attend(key)
            except Died:
                self.deaths += 1
                self._start()
            self.world.check()
        self.world.pass_time(seconds)

    def _keys(self) -> Iterator[Key]:
        for service in self.present.all(Service):
            yield ("service", service.name)
        for operation in self.present.all(Operation):
            yield ("operation", operation.id)
        for instance in self.present.all(Instance):
            yield ("instance", instance.name)
        for service in {lease.service for lease in self.present.all(Lease)}:
            yield ("lease", service)

    def until(self, settled: Callable[[], bool], *, rounds: int = ROUNDS_MAX) -> None:
        """Rounds until `settled`; an AssertionError with what everybody waits for when it never is."""
        for _ in range(rounds):
            if settled():
                return
            self.round()
        raise AssertionError([(one.name, one.phase, one.waiting, one.failure) for one in self.instances()])

    def instances(self) -> list[Instance]:
        """All records, by name."""
        return self.present.all(Instance)

    def instance(self, name: str = "web-0.shop") -> Instance:
        """One record."""
        return self.present.load(Instance, name)

    def quiet(self) -> bool:
        """Everyone serves, or is off as it was asked to be, or is gone, and no operation runs."""
        running = [one for one in self.present.all(Operation) if one.progress is Progress.RUNNING]
        removing = [one for one in self.present.all(Service) if one.removing]
        unsettled = [one for one in self.instances() if not settled(one)]
        return not running and not removing and not unsettled

    def deploy(self, *roles: Role, name: str = "shop", vip: str = "203.0.113.10") -> None:
        """Applies a service with these roles; with one of a kind when none is named."""
        self.control.apply_spec(ServiceSpec(name=name, vip=vip, roles=roles or (web_role(),)))

    def restart(self) -> None:
        """As a daemon that is ended and started again."""
        self._start()

    def act(self, verb: Verb, subject: str) -> None:
        """Asks, unless the service is gone already."""
        with contextlib.suppress(NotFound, Conflict):
            self.control.act(verb, subject)

    def remove(self) -> None:
        """Asks for the end of the service, unless it has come already."""
        with contextlib.suppress(NotFound):
            self.control.remove("shop")


def settled(instance: Instance) -> bool:
    """Whether the instance is where it was asked to be."""
    if not instance.goal.runs:
        return instance.phase is Phase.STOPPED
    return instance.phase is Phase.SERVING and instance.goal.wanted <= instance.at


def whole_life(fabric: Fabric) -> None:
    """Deploy, restart, reimage, rebuild, delete: what survives what, and that nothing is left in the end."""
    fabric.deploy()
    fabric.until(fabric.quiet)
    _mark(fabric)
    before = {one.name: one for one in fabric.instances()}

    fabric.act(Verb.RESTART, "web-0.shop")
    fabric.until(fabric.quiet)
    for one in fabric.instances():
        if one.generation == before[one.name].generation:
            assert _markers(fabric, one) == ("written", "written"), f"{one.name}: a restart keeps everything"

    fabric.act(Verb.REIMAGE, "shop")
    fabric.until(fabric.quiet)
    for one in fabric.instances():
        assert one.generation > before[one.name].generation
        assert _markers(fabric, one) == ("", "written"), f"{one.name}: a reimage keeps local storage only"

    fabric.act(Verb.REBUILD, "web-1.shop")
    fabric.until(fabric.quiet)
    for one in fabric.instances():
        kept = "" if one.name == "web-1.shop" else "written"
        assert _markers(fabric, one)[1] == kept, f"{one.name}: a rebuild makes local storage new"
        assert one.boot >= 2
        assert one.name in fabric.world.seats_taken
        assert one.name not in fabric.world.discs, f"{one.name}: its answer disc is still there"

    fabric.remove()
    fabric.until(lambda: not fabric.present.all(Service))
    assert not fabric.instances()
    fabric.world.nothing_is_left()


def _mark(fabric: Fabric) -> None:
    for one in fabric.instances():
        fabric.world.machines[one.name].system_marker = "written"
        fabric.world.storage[one.name]["cache"] = "written"


def _markers(fabric: Fabric, instance: Instance) -> tuple[str, str]:
    return fabric.world.machines[instance.name].system_marker, fabric.world.storage[instance.name]["cache"]

"""Records and a world of a fleet that serves, made without deploying it: so many instances, ten to a service."""

from __future__ import annotations

import uuid

from orchestrator.control import records
from orchestrator.drivers.fake import FakeMachine, World
from orchestrator.model import (
    Endpoint,
    HttpProbe,
    Instance,
    InstanceName,
    LocalStorage,
    Mode,
    Nic,
    Phase,
    Power,
    Role,
    Seat,
    Service,
    ServiceSpec,
    Size,
    Standing,
    instance_name,
    pool_name,
)
from orchestrator.ports import Store, Write
from orchestrator.rules import addressing
from tests.world.images import DIGEST, image
from tests.world.instances import instance_of

OF_A_SERVICE = 10
POOL = "10.0.0.0/9"
TARGET = 8080  # where each one serves
SERVED_FOR_S = 3600.0


def _service(number: int, now_s: float) -> Service:
    role = Role(
        name="web",
        image="micro",
        image_sha256=DIGEST,
        instances=OF_A_SERVICE,
        size=Size(vcpus=1, memory_mib=128),
        endpoints=(Endpoint(name="http", port=80, target=TARGET, mode=Mode.HTTP, probe=HttpProbe(path="/healthz")),),
        local_storage=(LocalStorage(name="cache", size_mib=64),),
        user_data="#cloud-config\npackages: [nginx]\n",
        drain_s=2.0,
    )
    spec = ServiceSpec(name=f"svc{number}", vip=f"198.18.{number // 250}.{number % 250 + 1}", roles=(role,))
    pool = f"10.{number // 256}.{number % 256}.0/24"
    return Service(
        spec=spec,
        network=addressing.allocate_network(spec.name, pool, ()),
        created_at_s=now_s,
        uid=str(uuid.uuid4()),
    )


def _instances(service: Service, now_s: float) -> list[Instance]:
    [role] = service.spec.roles
    taken: list[Nic] = []
    found = []
    for index in range(role.instances):
        name = instance_name(service.name, role.name, index)
        nic = addressing.allocate_nic(service.network, taken, name)
        taken.append(nic)
        instance = instance_of(
            role,
            index,
            service=service.name,
            uid=str(uuid.uuid4()),
            network=service.network.name,
            nic=nic,
            phase=Phase.SERVING,
            phase_since_s=now_s - SERVED_FOR_S,
            set_up=True,
            boot=2,
            boot_id=str(uuid.uuid4()),
            storage=1,
            served_at_s=now_s - SERVED_FOR_S,
            made_at_s=now_s - SERVED_FOR_S,
        )
        found.append(instance)
    return found


def record(store: Store, instances: int, now_s: float) -> None:
    """Writes the records of a fleet of so many, but for its image."""
    for number in range(instances // OF_A_SERVICE):
        service = _service(number, now_s)
        templates = [records.put_template(role) for role in service.spec.roles] if number == 0 else []
        people = _instances(service, now_s)
        halves = [write for one in people for write in (records.put_wish(one), records.put_state(one))]
        store.commit([*templates, records.put(service), *halves])


def people(world: World, instances: list[Instance]) -> None:
    """The world as it is when all of them have served for long."""
    world.images.add(DIGEST)
    now_s = world.now_s()
    networks: dict[str, set[InstanceName]] = {}
    for one in instances:
        machine = FakeMachine(
            one,
            power=Power.RUNNING,
            disc=True,
            booted_at_s=now_s - SERVED_FOR_S,
            boots=2,
            boot_id=one.boot_id,
            setup_boot_id=str(uuid.uuid5(uuid.UUID(one.uid), "set up")),
            has_port=True,
        )
        world.machines[one.name] = machine
        world.overlays[one.name] = {one.generation}
        world.discs[one.name] = one.generation
        world.set_up[one.name] = machine.setup_boot_id
        world.storage[one.name] = {"cache": ""}
        pools = tuple(pool_name(one.service, one.role_name, end.name) for end in one.role.endpoints)
        world.seats_taken[one.name] = Seat(address=one.nic.address, standing=Standing.UP, connections=0, pools=pools)
        networks.setdefault(one.service, set()).add(one.name)
    world.networks = {service: frozenset(names) for service, names in networks.items()}


def image_put(now_s: float) -> Write:
    """The write of the image that all of them have."""
    return records.put(image(added_at_s=now_s))

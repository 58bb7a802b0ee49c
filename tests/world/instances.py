"""Instances with everything that anybody may ask of them: the one place where tests make them."""

from __future__ import annotations

import dataclasses
import uuid

from orchestrator.model import (
    Checkpoint,
    Digested,
    Goal,
    HostFit,
    Instance,
    Nic,
    Role,
    Size,
    instance_name,
)

FIT = HostFit(qemu="7.2", cpu="a", boot="b")
NIC = Nic(mac="52:54:00:12:34:56", address="10.77.0.10", tap="vr-shop-0")


def instance(**changes: object) -> Instance:
    """web-0.shop in its first generation."""
    role = Role(name="web", image="micro", image_sha256="ab" * 32, size=Size(vcpus=2, memory_mib=256))
    return instance_of(role, **{"uid": "6a4b1a54-3c1e-4a07-9d2c-0123456789ab", **changes})


def instance_of(role: Role, index: int = 0, *, service: str = "shop", **changes: object) -> Instance:
    """That one of the role, as it was asked for; all share a port and an address unless told otherwise."""
    name = instance_name(service, role.name, index)
    plain = Instance(
        name=name,
        uid=str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        service=service,
        role_name=role.name,
        index=index,
        network=f"vmrole-{service}",
        nic=NIC,
        goal=Goal(role=role),
        role=role,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def checkpoint(**changes: object) -> Checkpoint:
    """Of a first generation that went through its setup, with its memory, kept on a host as `FIT` says."""
    plain = Checkpoint(
        generation=1,
        boot=2,
        boot_id="boot",
        template="",
        place="",
        fit=FIT,
        layer=Digested("a", 1),
        memory=Digested("b", 1),
        taken_at_s=0.0,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]

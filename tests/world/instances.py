"""An instance with everything that a driver may ask of it."""

from __future__ import annotations

import dataclasses

from orchestrator.model import (
    Goal,
    Instance,
    Nic,
    Role,
    Size,
    instance_name,
)


def instance(**changes: object) -> Instance:
    """web-0.shop in its first generation."""
    role = Role(name="web", image="micro", image_sha256="ab" * 32, size=Size(vcpus=2, memory_mib=256))
    plain = Instance(
        name=instance_name("shop", "web", 0),
        uid="6a4b1a54-3c1e-4a07-9d2c-0123456789ab",
        service="shop",
        role_name="web",
        index=0,
        network="vmrole-shop",
        nic=Nic(mac="52:54:00:12:34:56", address="10.77.0.10", tap="vr-shop-0"),
        goal=Goal(role=role),
        role=role,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]

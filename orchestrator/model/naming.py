"""How things are named, and what a name may be."""

from __future__ import annotations

import enum
import re
from typing import NewType

from orchestrator.errors import InvalidInput

InstanceName = NewType("InstanceName", str)  # "web-0.shop": the DNS name, unique on the host
PoolName = NewType("PoolName", str)  # "shop.web.http": one endpoint of one role

# RFC 1123 section 2.1, shortened so that "role-9999" still fits in a DNS label and a bridge can carry it.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
# What is made of such names is longer: "role-99" is an instance's, "service--b" that of a second deployment.
_MADE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
Path = tuple[str | int, ...]
Labels = tuple[tuple[str, str], ...]  # key and value, by key
Unknown = tuple[tuple[Path, str], ...]  # where in a record a newer version has put what this one does not know: JSON
BRIDGE_PREFIX = "vrb-"
TAP_PREFIX = "vrt-"
MAC_PREFIX = "52:54:00"  # QEMU's own, locally administered
SECOND = "--b"  # what marks a service's second deployment, in its name and in those of its instances
INSTANCES_MAX = 100  # per role; the DHCP range of a service has room for 250


def label(text: str, what: str = "name") -> str:
    """`text` when it is an RFC 1123 label of at most 40 characters; raises InvalidInput otherwise."""
    if not _LABEL.fullmatch(text):
        raise InvalidInput(
            f"{what} {text[:80]!r} cannot be used",
            hint="use 1 to 40 lower-case letters, digits and '-', beginning and ending with a letter or digit",
        )
    return text


def made_label(text: str, what: str = "name") -> str:
    """`text` when it is a label as they are made of names that `label` takes; raises InvalidInput otherwise."""
    if not _MADE.fullmatch(text):
        raise InvalidInput(f"{what} {text[:80]!r} cannot be used", hint="name what there is: vmrole get instances")
    return text


class Slot(enum.StrEnum):
    """What a deployment is to clients: a service has one of each at most, and a swap exchanges them."""

    PRODUCTION = "production"
    STAGING = "staging"


def service_name(text: str) -> str:
    """As `label`, of a service: what its second deployment is called is nobody's to take."""
    name = label(text)
    if name.endswith(SECOND):
        raise InvalidInput(
            f"name {text[:80]!r} cannot be used: {SECOND!r} at the end marks the second deployment of a service",
            hint=f"choose another; to deploy {name.removesuffix(SECOND)} beside itself: vmrole apply --slot staging",
        )
    return name


def deployments_of(service: str) -> tuple[str, str]:
    """What the deployments of a service are called, whichever slots they are in: the first has its very name."""
    return service, service + SECOND


def service_of(deployment: str) -> str:
    """The service that a deployment is of, by its name."""
    return deployment.removesuffix(SECOND)


def other_deployment(deployment: str) -> str:
    """What the other deployment of the same service is called."""
    return service_of(deployment) if deployment.endswith(SECOND) else deployment + SECOND


def image_name(text: str) -> str:
    """`text` when it can name an image: a label that may hold dots and underscores; raises InvalidInput."""
    if not _IMAGE_NAME.fullmatch(text) or ".." in text or _SHA256.fullmatch(text):
        raise InvalidInput(
            f"image name {text[:80]!r} cannot be used",
            hint="use 1 to 63 lower-case letters, digits, '.', '_' and '-'; the first and last a letter or digit",
        )
    return text


def is_sha256(text: str) -> bool:
    """Whether `text` is a digest as we write it: 64 lower-case hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


def instance_name(service: str, role: str, index: int) -> InstanceName:
    """`web-0.shop`: what the domain, the host name and the DNS name are made of."""
    return InstanceName(f"{role}-{index}.{service}")


def place_of(name: InstanceName) -> tuple[str, int]:
    """The role and the index that an instance's name is made of: `instance_name` backwards."""
    role, _, index = name.partition(".")[0].rpartition("-")
    return role, int(index)


def pool_name(service: str, role: str, endpoint: str) -> PoolName:
    """`shop.web.http`: labels hold no dots, so no two endpoints share a pool name."""
    return PoolName(f"{service}.{role}.{endpoint}")

"""`size: {disk: …}`: what a role may ask for, what it changes, and what all disks together may come to."""

from __future__ import annotations

import dataclasses
import json

import pytest
from vmrole_unattend import nocloud

from orchestrator import servicefile
from orchestrator.control import deployment
from orchestrator.control.deployment import Capacity
from orchestrator.errors import InvalidInput
from orchestrator.model import DiskFormat, Image, LocalStorage, Os, Role, Service, ServiceNetwork, ServiceSpec, Size
from orchestrator.servicefile.difference import difference

GIB = 1024
IMAGE = Image(
    sha256="a" * 64,
    format=DiskFormat.QCOW2,
    os=Os.LINUX,
    size_bytes=1,
    virtual_size_bytes=(3 * GIB << 20) + 512,
    names=("debian",),
    added_at_s=0.0,
)
TEXT = """service: shop
roles:
  web:
    image: debian
    size: {{{size}}}
"""


def parsed(size: str) -> ServiceSpec:
    """The service file with that size."""
    return servicefile.parse(TEXT.format(size=size), lambda _: IMAGE)


def test_the_disk_is_as_large_as_is_asked() -> None:
    """Or as the image, when nothing is asked."""
    assert parsed("disk: 20 GiB").roles[0].size.disk_mib == 20 * GIB
    assert parsed("memory: 1 GiB").roles[0].size.disk_mib is None
    assert parsed("disk: 3073 MiB").roles[0].image_mib == 3 * GIB


@pytest.mark.parametrize("size", ["1 GiB", "3 GiB", "3072 MiB"])
def test_a_disk_is_not_smaller_than_its_image(size: str) -> None:
    """What is in it would be cut off: the line, the key and the least size are said."""
    with pytest.raises(InvalidInput) as caught:
        parsed(f"disk: {size}")
    (problem,) = caught.value.problems
    assert (problem.key, problem.line, problem.hint) == ("roles.web.size.disk", 5, "3073 MiB or more")


@pytest.mark.parametrize("size", ["0 MiB", "20", "-1 GiB", "65 TiB", "many"])
def test_a_size_that_cannot_be_is_refused(size: str) -> None:
    """As any size."""
    with pytest.raises(InvalidInput):
        parsed(f"disk: {size}")


def test_another_size_is_a_reimage() -> None:
    """And it is told in the words of the file."""
    before, after = parsed("memory: 1 GiB"), parsed("memory: 1 GiB, disk: 20 GiB")
    (change,) = difference(before, after)
    assert (change.key, change.before, change.after) == ("roles.web.size.disk", "", "20480 MiB")
    assert "reimage" in change.effect
    assert before.roles[0].template() != after.roles[0].template()


def test_a_larger_image_of_the_same_bytes_changes_nothing() -> None:
    """What an image's disk has is no wish of the user's."""
    role = parsed("memory: 1 GiB").roles[0]
    assert dataclasses.replace(role, image_mib=0).template() == role.template()
    spec = parsed("memory: 1 GiB")
    assert difference(spec, dataclasses.replace(spec, roles=(dataclasses.replace(role, image_mib=0),))) == ()


def service(name: str, *roles: Role) -> ServiceSpec:
    """A service of these roles."""
    return ServiceSpec(name=name, vip="", roles=roles)


def role(instances: int, disk_mib: int | None, *storage_mib: int) -> Role:
    """A role whose image has 3 GiB."""
    storage = tuple(LocalStorage(name=f"s{number}", size_mib=size) for number, size in enumerate(storage_mib))
    return Role(
        name="web",
        image="debian",
        image_sha256="a" * 64,
        image_mib=3 * GIB,
        instances=instances,
        size=Size(disk_mib=disk_mib),
        local_storage=storage,
    )


def test_all_disks_are_admitted_as_large_as_they_may_become() -> None:
    """Overlays by what is asked, or their image, and local storage, of all services together."""
    capacity = Capacity(pool="10.90.0.0/16", memory_mib=1 << 30, disk_mib=100 * GIB)
    network = ServiceNetwork(name="vmrole-db", bridge="vr-db", subnet="10.90.1.0/24", gateway="10.90.1.1")
    other = Service(spec=service("db", role(1, None, 7 * GIB)), network=network)
    deployment.check(service("shop", role(4, 20 * GIB, 2 * GIB)), [other], capacity)
    with pytest.raises(InvalidInput) as caught:
        deployment.check(service("shop", role(4, 20 * GIB, 3 * GIB)), [other], capacity)
    assert "102400 MiB, 10240 MiB are promised" in str(caught.value)
    assert caught.value.problems[0].key == "roles.web.size.disk"
    assert "disk_overcommit" in caught.value.hint
    unlimited = dataclasses.replace(capacity, disk_mib=None)
    deployment.check(service("shop", role(1000, 20 * GIB)), [other], unlimited)


def test_a_guest_is_told_to_grow_when_its_disk_is_larger() -> None:
    """Before the user's own words, which may say otherwise; and never when nothing was asked."""
    base = nocloud.Answers(
        instance_id="i-1",
        hostname="web-0",
        service="shop",
        instance="web-0.shop",
        generation=1,
        mac="52:54:00:12:34:56",
        user_data="#cloud-config\ngrowpart: {mode: off}\n",
    )
    assert b"growpart" not in nocloud.files(dataclasses.replace(base, user_data=""))["user-data"]
    text = nocloud.files(dataclasses.replace(base, grows=True))["user-data"].decode()
    config = {"growpart": {"mode": "auto", "devices": ["/"]}, "resize_rootfs": True}
    assert json.dumps(config) in text
    assert text.index("resize_rootfs") < text.index("mode: off")

"""What apply and diff say that would change: the file's own words, with units, and never a secret."""

from __future__ import annotations

from dataclasses import replace

import pytest
from vmrole_unattend.secret import SecretRef, SecretSource
from vmrole_unattend.windows.answers import Answers

from orchestrator.model import (
    Carrier,
    DiskBus,
    Endpoint,
    Hardware,
    Healing,
    HttpProbe,
    Ladder,
    LocalStorage,
    Mode,
    Ready,
    Road,
    Role,
    ServiceSpec,
    Setup,
    Size,
    Stop,
    TcpProbe,
    Topology,
)
from orchestrator.servicefile.difference import difference

ROLE = Role(name="web", image="micro", image_sha256="a" * 64, instances=3)
REIMAGE = "rolling reimage, one instance at a time"
AT_ONCE = "holds at once; no restart"
HTTP = Endpoint(name="mode", port=80, target=8080, mode=Mode.HTTP)  # a name that is a word of the file, too
DISK = LocalStorage(name="d", size_mib=64)
FILE = SecretRef(source=SecretSource.FILE, name="/etc/vmrole/admin")


def changed(before: Role, after: Role) -> list[tuple[str, str, str, str]]:
    """Key, before, after and effect of each change."""
    specs = (ServiceSpec(name="shop", vip="203.0.113.10", roles=(role,)) for role in (before, after))
    return [(one.key, one.before, one.after, one.effect) for one in difference(*specs)]


@pytest.mark.parametrize(
    ("role", "told"),
    [
        (replace(ROLE, reimage=Road.WARM, local_storage=(DISK,)), ""),
        (replace(ROLE, reimage=Road.PREPARED, local_storage=(DISK,)), ""),
        (
            replace(ROLE, reimage=Road.WARM, hardware=Hardware(disk_bus=DiskBus.SATA)),
            "the disk that was kept, without its memory: its disk is not",
        ),
        (
            replace(ROLE, reimage=Road.WARM, keep_failed_disk=True),
            "begin with the image all the same: the disk that is",
        ),
        (
            replace(ROLE, reimage=Road.PREPARED, keep_failed_disk=True),
            "begin with the image all the same: the disk that is",
        ),
        (replace(ROLE, local_storage=(DISK,), keep_failed_disk=True), ""),
    ],
)
def test_a_road_that_a_role_cannot_take_is_told_where_it_is_asked_for(role: Role, told: str) -> None:
    """Of a change, of a new role, and of a new service: nobody should learn it with his first reimage."""
    spec = ServiceSpec(name="shop", vip="203.0.113.10", roles=(replace(role, reimage=Road.COLD),))
    asked = replace(spec, roles=(role,))
    effects = [one.effect for one in difference(None, asked)]
    effects += [one.effect for one in difference(replace(spec, roles=(replace(role, name="other"),)), asked)][:1]
    if role.reimage is not Road.COLD:
        effects += [one.effect for one in difference(spec, asked)]
    assert [told in effect for effect in effects] == [True] * len(effects)
    assert any("reimages" in effect for effect in effects) is bool(told)


@pytest.mark.parametrize(
    ("after", "key", "was", "becomes", "effect"),
    [
        (replace(ROLE, instances=4), "instances", "3", "4", "1 instance is deployed"),
        (replace(ROLE, instances=1), "instances", "3", "1", "2 instances are removed"),
        (replace(ROLE, size=Size(memory_mib=2048)), "size.memory", "512 MiB", "2048 MiB", REIMAGE),
        (replace(ROLE, size=Size(memory_mib=1 << 21)), "size.memory", "512 MiB", "2097152 MiB", REIMAGE),
        (replace(ROLE, drain_s=7.5), "drain", "30 s", "7.5 s", "no restart"),
        (replace(ROLE, stop=Stop(within_s=180)), "stop.within", "", "180 s", "no restart"),
        (replace(ROLE, setup=Setup(restart=False)), "setup.restart", "true", "false", REIMAGE),
        (replace(ROLE, healing=Healing(ladder=Ladder.OFF)), "healing.ladder", "reimage", "off", AT_ONCE),
        (replace(ROLE, healing=Healing(max_unavailable_percent=20)), "healing.maxUnavailable", "", "20 %", AT_ONCE),
        (replace(ROLE, reimage=Road.WARM), "reimage", "cold", "warm", "no restart"),
        (replace(ROLE, topology=Topology.WALK), "topology", "blast", "walk", "no restart"),
        (replace(ROLE, ready=Ready(within_s=60)), "ready.within", "300 s", "60 s", "no restart"),
        (replace(ROLE, ready=Ready(units=("a", "b"))), "ready.units", "", "a, b", "no restart"),
        (replace(ROLE, admin_password=FILE), "answers.adminPassword", "", "file /etc/vmrole/admin", REIMAGE),
        (replace(ROLE, user_data_from=FILE), "answers.userData", "", "file /etc/vmrole/admin", REIMAGE),
        (replace(ROLE, image="b", image_sha256="b" * 64), "image", f"micro ({'a' * 12})", f"b ({'b' * 12})", REIMAGE),
        (replace(ROLE, local_storage=(DISK,)), "localStorage.d.size", "", "64 MiB", REIMAGE),
    ],
)  # fmt: skip
def test_a_change_is_told_as_the_file_says_it(after: Role, key: str, was: str, becomes: str, effect: str) -> None:
    """One leaf changed is one line."""
    assert changed(ROLE, after) == [(f"roles.web.{key}", was, becomes, effect)]


@pytest.mark.parametrize(
    ("was", "becomes", "effect"),
    [
        ("203.0.113.10", "", "the host gives the address up, and no client reaches the service; no restart"),
        ("", "203.0.113.10", "clients reach the service there; no restart"),
        ("203.0.113.11", "203.0.113.10", "the address moves; no restart"),
        ("", "", ""),
    ],
)
def test_what_becomes_of_the_address_is_told(was: str, becomes: str, effect: str) -> None:
    """Given up, new, another: each in words of its own, and no instance is made anew for it."""
    before, after = (ServiceSpec(name="shop", vip=vip, roles=(ROLE,)) for vip in (was, becomes))
    changes = [(one.key, one.before, one.after, one.effect) for one in difference(before, after)]
    assert changes == ([("vip", was, becomes, effect)] if effect else [])


@pytest.mark.parametrize(
    ("after", "becomes", "effect"),
    [
        ((replace(DISK, size_mib=128),), "128 MiB", "; it grows, and keeps what is in it"),
        ((replace(DISK, size_mib=32),), "32 MiB", "; disks that have 64 MiB keep them until a rebuild"),
        ((), "", "; what is in it is kept until a rebuild"),
    ],
)
def test_what_a_reimage_does_to_local_storage_is_told(
    after: tuple[LocalStorage, ...], becomes: str, effect: str
) -> None:
    """It grows, keeps its size or goes out of sight: the difference says which, and no more than what happens."""
    before = replace(ROLE, local_storage=(DISK,))
    assert changed(before, replace(ROLE, local_storage=after)) == [
        ("roles.web.localStorage.d.size", "64 MiB", becomes, REIMAGE + effect)
    ]


def test_members_are_told_by_their_names() -> None:
    """An endpoint that comes, and one of whose probe a part changes."""
    probed = replace(HTTP, probe=HttpProbe(path="/healthz"))
    assert [change[:3] for change in changed(ROLE, replace(ROLE, endpoints=(probed,)))] == [
        ("roles.web.endpoints.mode.port", "", "80"),
        ("roles.web.endpoints.mode.target", "", "8080"),
        ("roles.web.endpoints.mode.protocol", "", "http"),
        ("roles.web.endpoints.mode.probe.path", "", "/healthz"),
    ]
    other = replace(HTTP, probe=HttpProbe(path="/", port=81))
    before, after = replace(ROLE, endpoints=(probed,)), replace(ROLE, endpoints=(other,))
    assert [change[:3] for change in changed(before, after)] == [
        ("roles.web.endpoints.mode.probe.path", "/healthz", "/"),
        ("roles.web.endpoints.mode.probe.port", "", "81"),
    ]


@pytest.mark.parametrize(
    ("mode", "was", "now", "told"),
    [
        (Mode.TCP, None, Carrier.NFTABLES, ("haproxy", "nftables")),
        (Mode.TCP, Carrier.NFTABLES, Carrier.HAPROXY, ("nftables", "haproxy")),
        (Mode.TCP, None, Carrier.HAPROXY, None),
        (Mode.HTTP, None, None, None),
        (Mode.UDP, None, None, None),
    ],
)
def test_who_carries_an_endpoint_is_told_where_it_changes(
    mode: Mode, was: Carrier | None, now: Carrier | None, told: tuple[str, str] | None
) -> None:
    """A record of a former version says nothing and has HAProxy: whom it moves is told, and it rolls nothing."""
    before, after = (replace(ROLE, endpoints=(replace(HTTP, mode=mode, balancer=one),)) for one in (was, now))
    effect = "no restart; clients connect by the other from then on, and what is open may be cut"
    assert changed(before, after) == ([("roles.web.endpoints.mode.balancer", *told, effect)] if told else [])


@pytest.mark.parametrize(
    ("field", "old", "new"), [("user_data", "#!/bin/sh", "hunter2"), ("vendor_data", "", "hunter2")]
)
def test_a_text_that_may_be_secret_is_not_shown(field: str, old: str, new: str) -> None:
    """Nor is a section of wishes with scripts in it."""
    before = replace(ROLE, user_data=old) if field == "user_data" else ROLE
    after = replace(ROLE, user_data=new) if field == "user_data" else replace(ROLE, vendor_data=new)
    told = changed(before, after)
    assert len(told) == 1
    assert "hunter2" not in str(told)
    told = changed(replace(ROLE, unattend=Answers()), replace(ROLE, unattend=Answers(first_logon=("hunter2",))))
    assert told == [("roles.web.answers.unattend", "…", "… (changed)", REIMAGE)]


def test_no_difference_is_lost_for_want_of_words() -> None:
    """A probe of TCP says nothing in the file; that it comes is told all the same."""
    after = replace(ROLE, endpoints=(replace(HTTP, probe=TcpProbe()),))
    assert changed(replace(ROLE, endpoints=(HTTP,)), after)
    assert changed(ROLE, ROLE) == []

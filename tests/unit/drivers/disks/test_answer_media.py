"""Answer discs on the host: whole or absent, for nobody else's eyes, gone when erased."""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest
from vmrole_unattend.network_config import Network

from orchestrator.drivers.disks.answer_media import AnswerDiscs, cloud_answers
from orchestrator.drivers.secrets import HostSecrets
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import NoSpace, Permanent, Transient, Whose
from orchestrator.model import InstanceName, LocalStorage, Nic, Role, RoleNetwork
from tests.world.instances import instance_of

_ROLE = Role(
    name="web",
    image="micro",
    image_sha256="0" * 64,
    local_storage=(LocalStorage(name="cache", size_mib=64),),
    user_data="#!/bin/sh\necho hunter2\n",
)
_INSTANCE = instance_of(_ROLE, uid="7b0f3f0e-0000-4000-8000-000000000001")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Places of a daemon of its own."""
    return Layout(state=tmp_path / "state", run=tmp_path / "run")


@pytest.fixture
def discs(layout: Layout) -> AnswerDiscs:
    """The driver on an empty host."""
    return AnswerDiscs(layout, HostSecrets(Path("/nowhere"), environment={}).of)


def test_a_disc_says_who_the_instance_is(layout: Layout, discs: AnswerDiscs) -> None:
    """The disc of a generation names that generation, its id, its MAC address and its storage, and no other."""
    discs.write(_INSTANCE)
    path = layout.disc(_INSTANCE)

    def read(name: str) -> str:
        argv = ["isoinfo", "-R", "-i", str(path), "-x", f"/{name}"]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout

    assert f'"instance-id": "{_INSTANCE.vm_uuid}"' in read("meta-data")
    assert '"vmrole-generation": 1' in read("meta-data")
    assert '"52:54:00:12:34:56"' in read("network-config")
    assert "storages='cache'" in read("user-data")
    assert "hunter2" in read("user-data")


@pytest.mark.parametrize(
    ("network", "private", "beside"),
    [
        (RoleNetwork(mtu=1400), "dhcp4", None),
        (RoleNetwork(dns=("192.0.2.53",)), "10.90.0.10/24 by 10.90.0.1 asks 192.0.2.53", None),
        (RoleNetwork(search=("example",)), "10.90.0.10/24 by 10.90.0.1 asks 10.90.0.1 in example", None),
        (RoleNetwork(bridge="br0", addresses=("192.0.2.10/24",)), "dhcp4", "192.0.2.10/24"),
        (
            RoleNetwork(bridge="br0", addresses=("192.0.2.10/24",), gateway="192.0.2.1"),
            "10.90.0.10/24 asks 10.90.0.1",
            "192.0.2.10/24 by 192.0.2.1",
        ),
        (RoleNetwork(bridge="br0"), "dhcp4", "dhcp4 without routes without names"),
        (RoleNetwork(bridge="br0", gateway="dhcp"), "10.90.0.10/24 asks 10.90.0.1", "dhcp4 without names"),
    ],
)
def test_a_guest_has_one_way_to_everywhere(network: RoleNetwork, private: str, beside: str | None) -> None:
    """By DHCP, while that says what the role does; else written down, by the bridge's router where there is one."""

    def told(one: Network) -> str:
        words = [one.address or "dhcp4"]
        words += [f"by {one.gateway}"] if one.gateway else []
        words += [f"asks {','.join(one.dns)}"] if one.dns else []
        words += [f"without {name}" for name in ("routes", "names") if not getattr(one, name)]
        return " ".join([*words, *([f"in {','.join(one.search)}"] if one.search else [])])

    nic = Nic(mac="52:54:00:5a:00:0a", address="10.90.0.10", tap="vrt-0123456789", gateway="10.90.0.1")
    of = dataclasses.replace(_INSTANCE, nic=nic, role=dataclasses.replace(_ROLE, network=network))
    made = cloud_answers(of, HostSecrets(Path("/nowhere"), environment={}).of)
    assert told(made.network) == private
    assert [told(one) for one in made.more] == ([beside] if beside else [])
    assert [one.mac for one in made.more] == ([of.lan.mac] if of.lan else [])


def test_a_disc_is_for_its_owner_alone(layout: Layout, discs: AnswerDiscs) -> None:
    """The file is 0600, and the directories above it cannot be listed, whatever the umask."""
    before = os.umask(0)
    try:
        discs.write(_INSTANCE)
    finally:
        os.umask(before)
    path = layout.disc(_INSTANCE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o711
    assert stat.S_IMODE(layout.discs.stat().st_mode) == 0o711


def test_a_disc_is_written_once_for_each_generation(layout: Layout, discs: AnswerDiscs) -> None:
    """Repeating changes nothing; the next generation gets a path and an id of its own."""
    discs.write(_INSTANCE)
    first = layout.disc(_INSTANCE)
    before = first.stat().st_mtime_ns
    discs.write(_INSTANCE)
    assert first.stat().st_mtime_ns == before
    later = dataclasses.replace(_INSTANCE, generation=2)
    discs.write(later)
    assert layout.disc(later) != first
    assert layout.disc(later).read_bytes() != first.read_bytes()


def test_erasing_leaves_nothing(layout: Layout, discs: AnswerDiscs) -> None:
    """Every generation's disc and what was half written go, twice is as once, and no other instance is touched."""
    other = dataclasses.replace(_INSTANCE, name=InstanceName("web-1.shop"))
    discs.erase(_INSTANCE.name)
    for instance in (_INSTANCE, dataclasses.replace(_INSTANCE, generation=2), other):
        discs.write(instance)
    (layout.disc_dir(_INSTANCE.name) / ".3.iso.new").write_bytes(b"half")
    assert discs.inventory() == {_INSTANCE.name, other.name}
    discs.erase(_INSTANCE.name)
    discs.erase(_INSTANCE.name)
    assert discs.inventory() == {other.name}
    assert not layout.disc_dir(_INSTANCE.name).exists()
    assert layout.disc(other).exists()


def test_an_empty_host_has_no_discs(discs: AnswerDiscs) -> None:
    """Before the first disc there is no directory, and that is fine."""
    assert discs.inventory() == frozenset()


def test_what_a_crash_left_is_written_over(layout: Layout, discs: AnswerDiscs) -> None:
    """Half a disc from a daemon that died is never taken for a disc."""
    discs.write(_INSTANCE)
    whole = layout.disc(_INSTANCE).read_bytes()
    discs.erase(_INSTANCE.name)
    layout.disc_dir(_INSTANCE.name).mkdir()
    (layout.disc_dir(_INSTANCE.name) / ".1.iso.new").write_bytes(b"x" * 1_000_000)
    discs.write(_INSTANCE)
    assert layout.disc(_INSTANCE).read_bytes() == whole
    assert [file.name for file in layout.disc_dir(_INSTANCE.name).iterdir()] == ["1.iso"]


def test_answers_that_are_refused_fail_the_instance_with_a_hint(layout: Layout, discs: AnswerDiscs) -> None:
    """Looking again cannot help, and nothing is left on the host."""
    bad = dataclasses.replace(_INSTANCE, role=dataclasses.replace(_ROLE, user_data="hello"))
    with pytest.raises(Permanent) as refused:
        discs.write(bad)
    assert "web" in str(refused.value)
    assert refused.value.whose is Whose.ANSWERS
    assert refused.value.hint
    assert not layout.disc(bad).exists()


def test_a_full_disk_loses_nothing(discs: AnswerDiscs, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room is told as such and leaves no disc; with room again the same call writes it."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(NoSpace):
            discs.write(_INSTANCE)
    assert not layout.disc(_INSTANCE).exists()
    discs.write(_INSTANCE)
    assert layout.disc(_INSTANCE).exists()


def test_a_place_that_cannot_be_written_is_tried_again_later(tmp_path: Path) -> None:
    """A file where the directory should be is an error of the world with a hint, not a crash."""
    (tmp_path / "run").write_text("")
    discs = AnswerDiscs(
        Layout(state=tmp_path / "state", run=tmp_path / "run"), HostSecrets(Path("/nowhere"), environment={}).of
    )
    for act in (lambda: discs.write(_INSTANCE), lambda: discs.erase(_INSTANCE.name)):
        with pytest.raises(Transient) as refused:
            act()
        assert refused.value.hint

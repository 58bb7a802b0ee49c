"""The contracts of Disks and AnswerMedia on the fake and on real files, and what only real files can show."""

from __future__ import annotations

import dataclasses
import email
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.drivers.disks import host_keys, memory_place
from orchestrator.drivers.disks.answer_media import AnswerDiscs
from orchestrator.drivers.disks.overlays import QemuImgDisks
from orchestrator.drivers.fake import World, fake_host
from orchestrator.drivers.fake.world import FakeMemory
from orchestrator.drivers.secrets import HostSecrets
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import ImageCorrupt, NoSpace, Permanent
from orchestrator.model import Checkpoints, Firmware, Hardware, HostFit, Instance, InstanceName
from orchestrator.ports import AnswerMedia, Disks
from tests.contract.suites.disks import AnswerMediaContract, DisksContract, next_generation
from tests.contract.suites.stage import kept
from tests.world.fabric import Fabric, web_role
from tests.world.images import DIGEST

MIB = 1024 * 1024
PART = 0.6  # of the room that there is: two have none together


@pytest.fixture
def instance() -> Instance:
    """An instance with one local storage, as it was just requested."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    return fabric.instance()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Places below the test's directory, with one image."""
    layout = Layout(tmp_path / "state", tmp_path / "run", tpms=tmp_path / "swtpm")
    layout.images.mkdir(parents=True)
    image = layout.images / f"{DIGEST}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "16M"], check=True)
    image.chmod(0o444)
    return layout


def with_memory_in_ram(instance: Instance) -> Instance:
    """The instance of a role that says so."""
    role = dataclasses.replace(instance.goal.role, checkpoint=Checkpoints(memory=True))
    return dataclasses.replace(instance, role=role, goal=dataclasses.replace(instance.goal, role=role))


def with_firmware_and_tpm(layout: Layout, instance: Instance) -> tuple[Instance, Path]:
    """The instance of an image that asks for both, and where its TPM's emulator has written, as another user."""
    role = dataclasses.replace(instance.role, hardware=Hardware(firmware=Firmware.UEFI, tpm=True))
    secured = dataclasses.replace(instance, role=role, goal=dataclasses.replace(instance.goal, role=role))
    layout.nvram_dir(instance.name).mkdir(parents=True)
    layout.nvram(secured).write_bytes(b"boot order")
    tpm = layout.tpm(secured.vm_uuid) / "tpm2"
    tpm.mkdir(parents=True, mode=0o700)
    (tpm / "tpm2-00.permall").write_bytes(b"sealed")
    (tpm / "tpm2-00.permall").chmod(0o600)
    for path in (tpm, tpm / "tpm2-00.permall"):
        os.chown(path, 65534, 65534)
    return secured, tpm


class TestFakeDisks(DisksContract):
    """The fake world's disks."""

    @pytest.fixture
    def disks(self) -> Disks:
        """In memory."""
        self.world = World()
        self.world.images.add(DIGEST)
        return fake_host(self.world).machine.disks

    @pytest.fixture
    def save_memory(self, disks: Disks) -> Callable[[Instance], None]:
        """As the fake hypervisor does."""

        def save(instance: Instance) -> None:
            self.world.memories[instance.name] = FakeMemory(
                generation=instance.generation,
                uuid=instance.vm_uuid,
                boot_id="",
                boots=1,
                setup_boot_id="",
                up_s=1.0,
                at_s=1.0,
                system_marker="",
            )

        return save


class TestQemuImgDisks(DisksContract):
    """Real files."""

    @pytest.fixture
    def disks(self, layout: Layout) -> Disks:
        """By qemu-img."""
        return QemuImgDisks(layout)

    @pytest.fixture
    def save_memory(self, layout: Layout) -> Callable[[Instance], None]:
        """As the hypervisor does."""

        def save(instance: Instance) -> None:
            layout.memory(instance.name, instance.generation).write_bytes(b"what it remembers" * 1000)

        return save

    def test_a_checkpoint_is_known_by_its_bytes(
        self, disks: Disks, layout: Layout, instance: Instance, save_memory: Callable[[Instance], None]
    ) -> None:
        """Its layer lies on the image and can be changed by nobody, its memory read by nobody; one bit is enough."""
        disks.lay_overlay(instance)
        subprocess.run(["qemu-io", "-c", "write -P 7 0 64k", str(layout.overlay(instance))], check=True)
        disks.prepare_checkpoint(instance, memory=True)
        save_memory(instance)
        files = disks.keep_checkpoint(instance, memory=True)
        assert files is not None
        saved = kept(instance, files, HostFit(qemu="", cpu="", boot=""))
        layer, memory = layout.layer(instance.name, 1), layout.memory(instance.name, 1)
        assert [path.stat().st_mode & 0o777 for path in (layer, memory)] == [0o444, 0o600]
        assert layer.parent.stat().st_mode & 0o007 == 0, "it is a guest's disk: others do not get there"
        argv = ["qemu-img", "info", "--backing-chain", "--output=json", str(layout.overlay(instance))]
        chain = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
        image = str(layout.images / f"{DIGEST}.qcow2")
        assert [each["filename"] for each in chain] == [str(layout.overlay(instance)), str(layer), image]
        assert {each["virtual-size"] for each in chain} == {16 * MIB}
        subprocess.run(["qemu-io", "-c", "read -P 7 0 64k", str(layout.overlay(instance))], check=True)

        for path, damage in ((layer, disks.layer_damage), (memory, disks.memory_damage)):
            whole, mode = path.read_bytes(), path.stat().st_mode
            at = len(whole) // 2
            for damaged in (whole[:at], whole + b"0", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
                disks.read_ahead(saved)
                path.chmod(0o600)
                path.write_bytes(damaged)
                path.chmod(mode)
                assert "is not what was kept" in damage(saved)
            path.chmod(0o600)
            path.write_bytes(whole)
            path.chmod(0o666)
            assert "could have been changed" in damage(saved)
            path.chmod(mode)
            os.chown(path, 65534, -1)
            assert "could have been changed" in damage(saved), "who owns it may change its mode"
            os.chown(path, os.geteuid(), -1)
            assert damage(saved) == ""

    def test_what_firmware_and_tpm_remember_comes_back(
        self, disks: Disks, layout: Layout, instance: Instance
    ) -> None:
        """Byte for byte, to whom it belonged, whatever has been written since or is there no more; and no link that
        an emulator leaves is followed.
        """
        secured, tpm = with_firmware_and_tpm(layout, instance)
        disks.lay_overlay(secured)
        disks.prepare_checkpoint(secured, memory=False)
        (tpm / "link").symlink_to("/etc/shadow")
        files = disks.keep_checkpoint(secured, memory=False)
        assert files is not None
        assert disks.keep_checkpoint(secured, memory=False) == files
        board = layout.board(instance.name, 1)
        assert board.stat().st_mode & 0o777 == 0o600, "a TPM keeps secrets"
        assert b"root:" not in board.read_bytes()
        saved = next_generation(kept(secured, files, HostFit(qemu="", cpu="", boot="")))
        saved = dataclasses.replace(saved, layered=2)
        for written in ("changed", "gone"):
            if written == "changed":
                (tpm / "tpm2-00.permall").write_bytes(b"written since")
                (tpm / "new").write_bytes(b"new since")
            else:
                shutil.rmtree(tpm.parent)
            disks.renew_overlay(saved)
            assert {path.name: path.read_bytes() for path in tpm.iterdir()} == {"tpm2-00.permall": b"sealed"}
            modes = [(path.stat().st_mode & 0o777, path.stat().st_uid) for path in (tpm, tpm / "tpm2-00.permall")]
            assert modes == [(0o700, 65534), (0o600, 65534)]
            assert layout.nvram(saved).read_bytes() == b"boot order"
        whole = board.read_bytes()
        for damage, word in ((whole[:-1] + b"?", "is not what was kept"), (None, "is not there")):
            board.unlink()
            if damage is not None:
                board.write_bytes(damage)
                board.chmod(0o600)
            assert f"the board of its checkpoint {word}" == disks.layer_damage(saved)
            with pytest.raises(Permanent, match="not what was kept"):
                disks.renew_overlay(saved)

    def test_an_emulator_s_user_comes_in_last(
        self, disks: Disks, layout: Layout, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """He could lead a path of what is still to be laid elsewhere, and root would write there."""
        secured, tpm = with_firmware_and_tpm(layout, instance)
        disks.lay_overlay(secured)
        disks.prepare_checkpoint(secured, memory=False)
        files = disks.keep_checkpoint(secured, memory=False)
        assert files is not None
        given, chown = list[Path](), os.chown

        def seen(path: Path, *owner: int, follow_symlinks: bool = True) -> None:
            assert tpm.parent.stat().st_uid == os.geteuid(), f"{path} is given to him when he is in already"
            given.append(path)
            chown(path, *owner, follow_symlinks=follow_symlinks)

        monkeypatch.setattr(os, "chown", seen)
        disks.renew_overlay(kept(secured, files, HostFit(qemu="", cpu="", boot="")))
        assert [path for path in given if path.is_relative_to(tpm.parent)][-1] == tpm.parent

    def test_what_was_given_back_and_nobody_took_goes(self, disks: Disks, layout: Layout, instance: Instance) -> None:
        """libvirt erases a TPM's state with its domain: of one that never came to be, nobody else would."""
        secured, tpm = with_firmware_and_tpm(layout, instance)
        other = layout.tpm("0" * 8 + "-0000-0000-0000-" + "0" * 12)
        other.mkdir()
        disks.lay_overlay(secured)
        disks.prepare_checkpoint(secured, memory=False)
        files = disks.keep_checkpoint(secured, memory=False)
        assert files is not None
        assert disks.inventory() == {instance.name: frozenset({"overlay:1", "layer:1", "board:1"})}
        shutil.rmtree(tpm.parent)
        disks.renew_overlay(kept(secured, files, HostFit(qemu="", cpu="", boot="")))
        assert tpm.exists()
        disks.erase_checkpoint(instance.name)
        assert list(layout.tpms.iterdir()) == [other]

    def test_a_memory_in_ram_is_nobody_else_s(
        self, disks: Disks, layout: Layout, instance: Instance, save_memory: Callable[[Instance], None]
    ) -> None:
        """On a tmpfs, in directories for nobody else, known by its bytes; and nothing stays of it."""
        in_ram = with_memory_in_ram(instance)
        disks.lay_overlay(in_ram)
        assert disks.prepare_checkpoint(in_ram, memory=True) == ""
        save_memory(in_ram)
        files = disks.keep_checkpoint(in_ram, memory=True)
        assert files is not None
        memory = layout.memory(in_ram.name, 1)
        kind = subprocess.run(["stat", "-f", "-c", "%T", str(memory)], check=True, capture_output=True, text=True)
        assert kind.stdout == "tmpfs\n"
        modes = [path.stat().st_mode & 0o777 for path in (memory, memory.parent, layout.memories)]
        assert modes == [0o600, 0o700, 0o700]
        assert {path.name for path in layout.checkpoint_dir(in_ram.name).iterdir()} == {"1.qcow2"}
        assert disks.inventory()[in_ram.name] == {"overlay:1", "layer:1", "memory:1"}

        saved = kept(in_ram, files, HostFit(qemu="", cpu="", boot=""))
        assert disks.memory_damage(saved) == ""
        memory.write_bytes(memory.read_bytes()[:-1] + b"?")
        assert "is not what was kept" in disks.memory_damage(saved)
        memory.unlink()
        assert "is not there" in disks.memory_damage(saved), "as after a boot of the host"
        disks.erase_checkpoint(in_ram.name)
        assert not layout.memories.exists()

    def test_what_is_to_be_in_ram_no_more_is_not_left_there(
        self, disks: Disks, layout: Layout, instance: Instance, save_memory: Callable[[Instance], None]
    ) -> None:
        """Nor does one half of a saving lie here and the other there."""
        in_ram = with_memory_in_ram(instance)
        disks.lay_overlay(in_ram)
        disks.prepare_checkpoint(in_ram, memory=True)
        save_memory(in_ram)
        disks.prepare_checkpoint(instance, memory=True)
        assert not layout.memories.exists()
        save_memory(instance)
        assert layout.memory(instance.name, 1).parent == layout.checkpoint_dir(instance.name)
        disks.prepare_checkpoint(in_ram, memory=True)
        save_memory(in_ram)
        disks.erase_memory(in_ram.name)
        assert disks.inventory() == {instance.name: frozenset({"overlay:1"})}
        assert not layout.memories.exists()

    def test_without_a_place_in_ram_it_lies_on_disk(self, layout: Layout, instance: Instance) -> None:
        """It says why: no tmpfs, or no room."""
        elsewhere = dataclasses.replace(layout, shm=Path("/proc"))  # what checkpoint_memory_dir says
        why = QemuImgDisks(elsewhere).prepare_checkpoint(with_memory_in_ram(instance), memory=True)
        assert why == "/proc is no tmpfs"
        assert layout.memory(instance.name, 1).parent == layout.checkpoint_dir(instance.name)
        why = memory_place.choose(layout, instance.name, 2**60, in_ram=True)
        assert "has no room for" in why
        assert not layout.memory_dir(instance.name).exists()
        memory_place.erase(layout, instance.name)
        assert not layout.memories.exists()

    @pytest.mark.parametrize("made", ["readable", "theirs", "link", "file"])
    def test_what_somebody_else_has_put_there_is_not_taken(
        self, layout: Layout, instance: Instance, made: str, tmp_path: Path
    ) -> None:
        """Anybody may make a file of that name in /dev/shm: a memory holds secrets. Nothing of it is touched."""
        top, target = layout.memories, tmp_path / "target"
        target.mkdir()
        (target / instance.name).mkdir()
        if made == "link":
            target.chmod(0o700)
            top.symlink_to(target)
        elif made == "file":
            top.write_text("mine")
        else:
            shutil.copytree(target, top)
            top.chmod(0o755 if made == "readable" else 0o700)
            os.chown(top, 65534 if made == "theirs" else os.geteuid(), -1)
        try:
            disks = QemuImgDisks(layout)
            why = disks.prepare_checkpoint(with_memory_in_ram(instance), memory=True)
            assert why == f"{top} is somebody else's, or open to others"
            assert layout.memory(instance.name, 1).parent == layout.checkpoint_dir(instance.name)
            disks.erase_checkpoint(instance.name)
            assert top.is_file() if made == "file" else (top / instance.name).is_dir()
            if made != "file":
                (top / instance.name / "1.memory").touch()
            assert disks.inventory() == {}, "whoever may write there would give names to what is reported"
        finally:
            top.unlink() if made in ("link", "file") else shutil.rmtree(top)

    def test_a_place_whose_directory_others_may_write_to_is_not_taken(
        self, layout: Layout, instance: Instance, tmp_path: Path
    ) -> None:
        """Who may, puts another in the place of ours, whatever that is."""
        (above := tmp_path / "open").mkdir()
        above.chmod(0o777)
        there = dataclasses.replace(layout, shm=above)
        there.memories.mkdir(mode=0o700)
        assert not there.keeps_in_ram()
        above.chmod(0o1777)
        assert there.keeps_in_ram()
        assert there.memory(instance.name, 1).parent == there.checkpoint_dir(instance.name)

    def test_many_take_and_leave_places_in_ram_at_once(self, layout: Layout) -> None:
        """The last one to leave removes the directory of all, in which another is just getting its place."""
        names = [InstanceName(f"web-{index}.shop") for index in range(4)]
        why: list[str] = []

        def come_and_go(name: InstanceName) -> None:
            for _ in range(500):
                why.append(memory_place.choose(layout, name, 0, in_ram=True))
                assert layout.memory_dir(name).is_dir()
                memory_place.erase(layout, name)

        with ThreadPoolExecutor(len(names)) as pool:
            for done in [pool.submit(come_and_go, name) for name in names]:
                done.result()
        assert set(why) == {""}
        assert not layout.memories.exists()

    def test_what_is_promised_to_one_memory_is_no_room_for_another(
        self, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Instances of a role become ready at once: each would find the room of all."""
        monkeypatch.setattr(memory_place, "_available_bytes", lambda: memory_place.LEFT_BYTES + 24 * MIB)
        first, second = InstanceName("web-0.shop"), InstanceName("web-1.shop")
        assert memory_place.choose(layout, first, 16 * MIB, in_ram=True) == ""
        assert "MiB of memory left" in memory_place.choose(layout, second, 16 * MIB, in_ram=True)
        assert memory_place.choose(layout, first, 16 * MIB, in_ram=True) == "", "its own place is made anew"
        (layout.memory_dir(first) / "1.memory.part").write_bytes(b"?" * 12 * MIB)
        assert memory_place.choose(layout, second, 16 * MIB, in_ram=True) == ""
        memory_place.erase(layout, second)
        (layout.memory_dir(first) / "1.memory.part").rename(layout.memory(first, 1))
        assert memory_place.choose(layout, second, 24 * MIB, in_ram=True) == ""
        for name in (first, second):
            memory_place.erase(layout, name)
        assert not layout.memories.exists()

    def test_a_memory_without_room_is_not_saved(self, layout: Layout, instance: Instance) -> None:
        """It would take what running guests need."""
        layout.state.mkdir(exist_ok=True)
        size = dataclasses.replace(instance.role.size, memory_mib=1024 * 1024 * 1024)
        large = dataclasses.replace(instance, role=dataclasses.replace(instance.role, size=size))
        with pytest.raises(NoSpace):
            QemuImgDisks(layout).prepare_checkpoint(large, memory=True)
        assert not layout.checkpoint_dir(instance.name).exists()
        QemuImgDisks(layout).prepare_checkpoint(large, memory=False)

    def test_a_memory_saved_by_half_counts_for_nothing(
        self, disks: Disks, layout: Layout, instance: Instance
    ) -> None:
        """Something died: the instance goes on without a checkpoint."""
        disks.lay_overlay(instance)
        disks.prepare_checkpoint(instance, memory=True)
        memory = layout.memory(instance.name, 1)
        half = memory.with_name(memory.name + ".part")
        half.write_bytes(b"half")
        assert disks.keep_checkpoint(instance, memory=True) is None
        assert disks.inventory() == {instance.name: frozenset({"overlay:1"})}
        disks.erase_memory(instance.name)
        assert not half.exists(), "it holds the guest's secrets, and room"

    def test_the_overlay_stands_on_the_image(self, disks: Disks, layout: Layout, instance: Instance) -> None:
        """Its backing file and format are said, it is its owner's alone, and the chain is two long."""
        disks.lay_overlay(instance)
        path = layout.overlay(instance)
        said = subprocess.run(
            ["qemu-img", "info", "--backing-chain", "--output=json", str(path)], check=True, capture_output=True
        )
        overlay, image = json.loads(said.stdout)
        assert overlay["backing-filename"] == image["filename"] == str(layout.images / f"{DIGEST}.qcow2")
        assert overlay["backing-filename-format"] == "qcow2"
        assert "backing-filename" not in image
        assert path.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize(("disk_mib", "size_mib"), [(None, 16), (16, 16), (20 * 1024, 20 * 1024)])
    def test_an_overlay_may_be_larger_than_its_image(
        self, disks: Disks, layout: Layout, instance: Instance, disk_mib: int | None, size_mib: int
    ) -> None:
        """As the role asks; the image stays as it is."""
        size = dataclasses.replace(instance.role.size, disk_mib=disk_mib)
        disks.lay_overlay(dataclasses.replace(instance, role=dataclasses.replace(instance.role, size=size)))
        argv = ["qemu-img", "info", "--backing-chain", "--output=json", str(layout.overlay(instance))]
        overlay, image = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
        assert (overlay["virtual-size"], image["virtual-size"]) == (size_mib * MIB, 16 * MIB)

    def test_a_half_made_overlay_is_made_again(self, disks: Disks, layout: Layout, instance: Instance) -> None:
        """A crash between making and naming leaves nothing that counts."""
        path = layout.overlay(instance)
        path.parent.mkdir(parents=True)
        path.with_name(path.name + ".new").write_bytes(b"half")
        assert disks.inventory() == {}
        disks.lay_overlay(instance)
        assert [one.name for one in path.parent.iterdir()] == [path.name]

    def test_a_writable_image_is_not_built_on(self, disks: Disks, layout: Layout, instance: Instance) -> None:
        """An image that can be written to may have been."""
        (layout.images / f"{DIGEST}.qcow2").chmod(0o644)
        with pytest.raises(ImageCorrupt):
            disks.lay_overlay(instance)

    def test_local_storage_grows_and_keeps_what_is_in_it(
        self, disks: Disks, layout: Layout, instance: Instance
    ) -> None:
        """Laid again it stays; a larger size in the service file makes it larger, a smaller one does not."""
        disks.lay_local_storage(instance)
        path = layout.local_storage(instance.name, "cache")
        assert path.stat().st_size == 64 * MIB
        assert path.stat().st_blocks * 512 < MIB, "a sparse file"
        with path.open("r+b") as file:
            file.write(b"what a guest wrote")
        (storage,) = instance.role.local_storage
        for size_mib, expected_mib in ((64, 64), (128, 128), (32, 128), (128, 128)):
            role = dataclasses.replace(
                instance.role, local_storage=(dataclasses.replace(storage, size_mib=size_mib),)
            )
            disks.lay_local_storage(dataclasses.replace(next_generation(instance), role=role))
            assert path.read_bytes()[:18] == b"what a guest wrote"
            assert path.stat().st_size == expected_mib * MIB
            assert path.stat().st_mode & 0o777 == 0o600


class TestFakeMedia(AnswerMediaContract):
    """The fake world's discs."""

    @pytest.fixture
    def media(self) -> AnswerMedia:
        """In memory."""
        return fake_host(World()).machine.media


class TestAnswerDiscs(AnswerMediaContract):
    """Real discs."""

    @pytest.fixture
    def media(self, layout: Layout, tmp_path: Path) -> AnswerMedia:
        """By pycdlib, on what says of itself that it is memory."""
        mounts = tmp_path / "mountinfo"
        mounts.write_text(f"31 22 0:25 / {tmp_path} rw - tmpfs tmpfs rw\n")
        return AnswerDiscs(layout, HostSecrets(Path("/nowhere"), environment={}).of, mounts)

    def test_kept_host_keys_are_the_same_in_every_generation(
        self, media: AnswerMedia, layout: Layout, instance: Instance
    ) -> None:
        """Made once for each instance by ssh-keygen, handed over by cloud-init, private, and new after they went."""
        keeps = dataclasses.replace(instance, role=dataclasses.replace(instance.role, keep_ssh_host_keys=True))
        other = dataclasses.replace(keeps, name=InstanceName("web-1.shop"))

        def keys(of: Instance) -> dict[str, str]:
            media.write(of)
            disc = subprocess.run(["isoinfo", "-J", "-x", "/user-data", "-i", layout.disc(of)], capture_output=True)
            parts = email.message_from_bytes(disc.stdout).walk()
            (mine,) = [part for part in parts if part.get_filename() == "vmrole-identity"]
            given: dict[str, str] = json.loads(mine.get_payload(decode=True).removeprefix(b"#cloud-config\n"))[
                "ssh_keys"
            ]
            return given

        first = keys(keeps)
        assert keys(next_generation(keeps)) == first
        assert set(keys(other).values()).isdisjoint(first.values())
        assert {f"{kind}_{half}" for kind in host_keys.KINDS for half in ("private", "public")} == set(first)
        for kind in host_keys.KINDS:
            file = layout.identity(instance.name) / kind
            assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
            public = subprocess.run(["ssh-keygen", "-y", "-f", file], capture_output=True, text=True, check=True)
            assert first[f"{kind}_public"].startswith(public.stdout.rsplit(" ", 1)[0].strip())
        media.erase(instance.name)
        media.erase_identity(instance.name)
        assert set(keys(keeps).values()).isdisjoint(first.values())

    def test_a_kept_host_key_is_told_to_nobody(
        self, media: AnswerMedia, layout: Layout, instance: Instance, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No file with a private key is anybody else's to read, over two generations and the removal of the disc, and
        no log line holds one.
        """
        caplog.set_level(logging.DEBUG)
        keeps = dataclasses.replace(instance, role=dataclasses.replace(instance.role, keep_ssh_host_keys=True))
        media.write(keeps)
        private = (layout.identity(instance.name) / "ed25519").read_bytes().splitlines()[1]
        media.erase(instance.name)
        media.write(next_generation(keeps))
        holding = [
            path
            for root in (layout.state, layout.run)
            for path in root.rglob("*")
            if path.is_file() and (private in (text := path.read_bytes()) or b"vmrole-identity" in text)
        ]
        assert layout.disc(next_generation(keeps)) in holding
        assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
        assert private.decode() not in caplog.text
        assert "PRIVATE" not in caplog.text
        assert "PRIVATE" not in repr(keeps)

    def test_half_made_host_keys_are_made_again(
        self, media: AnswerMedia, layout: Layout, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A crash between two keys leaves nothing that counts."""
        keeps = dataclasses.replace(instance, role=dataclasses.replace(instance.role, keep_ssh_host_keys=True))
        whole = host_keys._keygen

        def dies(words: tuple[str, ...]) -> None:
            if "rsa" in words:
                raise OSError(28, "No space left on device")
            whole(words)

        monkeypatch.setattr(host_keys, "_keygen", dies)
        with pytest.raises(NoSpace):
            media.write(keeps)
        assert media.keepers() == frozenset()
        monkeypatch.setattr(host_keys, "_keygen", whole)
        media.write(keeps)
        assert len(list(layout.identity(instance.name).iterdir())) == 6

    def test_kept_host_keys_never_reach_a_disk_by_the_disc(
        self, layout: Layout, instance: Instance, tmp_path: Path
    ) -> None:
        """A disc that holds them is written to memory alone, as one with passwords."""
        keeps = dataclasses.replace(instance, role=dataclasses.replace(instance.role, keep_ssh_host_keys=True))
        mounts = tmp_path / "mountinfo"
        mounts.write_text("22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n")
        with pytest.raises(Permanent, match="must not reach a disk"):
            AnswerDiscs(layout, HostSecrets(Path("/nowhere"), environment={}).of, mounts).write(keeps)
        assert not layout.disc(instance).exists()

    def test_a_disc_is_its_owner_s_alone(self, media: AnswerMedia, layout: Layout, instance: Instance) -> None:
        """It holds secrets: mode 0600 in a directory that nobody else may list."""
        media.write(instance)
        disc = layout.disc(instance)
        assert disc.stat().st_mode & 0o777 == 0o600
        assert disc.read_bytes()[0x8001:0x8006] == b"CD001"


def of_memory(instance: Instance, name: str, memory_mib: int) -> Instance:
    """Another instance, with so much memory."""
    size = dataclasses.replace(instance.role.size, memory_mib=memory_mib)
    role = dataclasses.replace(instance.role, size=size)
    return dataclasses.replace(instance, name=InstanceName(name), role=role)


def test_two_memories_at_once_have_room_together(layout: Layout, instance: Instance) -> None:
    """What the first has yet to save is not the second's: until that is saved, or is not to be."""
    disks = QemuImgDisks(layout)
    large = int(shutil.disk_usage(layout.state).free * PART) // MIB
    first, second = of_memory(instance, "web-0.shop", large), of_memory(instance, "web-1.shop", large)
    for one in (first, second):
        disks.lay_overlay(one)
    for end in (disks.erase_memory, disks.erase_checkpoint, lambda _: disks.prepare_checkpoint(first, memory=False)):
        for _ in range(2):  # It is asked for again with each look.
            disks.prepare_checkpoint(first, memory=True)
        with pytest.raises(NoSpace, match=r"web-1.shop and of 1 others"):
            disks.prepare_checkpoint(second, memory=True)
        disks.prepare_checkpoint(second, memory=False)
        end(first.name)
        disks.prepare_checkpoint(second, memory=True)
        disks.erase_memory(second.name)
    disks.prepare_checkpoint(first, memory=True)
    layout.memory(first.name, first.generation).write_bytes(b"pages of zeros take none")
    disks.prepare_checkpoint(second, memory=True)
    assert disks.keep_checkpoint(first, memory=True) is not None

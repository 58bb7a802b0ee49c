"""Where files lie: pure functions from names to paths. Nothing here looks at the disk but `layer_below`,
`keeps_in_ram` and `memory`.

State survives a restart of the host; run does not need to. Every path stays under its root: names are labels joined
by a dot, and that is asserted here once more.

    STATE/vmrole.db                         the records, mode 0600
    STATE/vmrole.restore                    a backup that the next start restores, mode 0600; see store/pending
    STATE/ip_forward                        that the host did not route before it had guests
    STATE/serve-share                       the program that libvirt runs for each share of a VM
    STATE/images/SHA256.FORMAT              read-only bases, mode 0444
    STATE/incoming/                         images being copied; same file system as images, so that a rename ends it
    STATE/overlays/NAME/GENERATION.qcow2    ephemeral, one per generation
    STATE/checkpoints/NAME/GENERATION.qcow2 the disk of a checkpoint, below overlays, mode 0444, for QEMU's group
    STATE/checkpoints/NAME/GENERATION.memory its memory, mode 0600: it holds what the guest knew, secrets included
    STATE/checkpoints/NAME/GENERATION.board what its firmware and TPM remembered, mode 0600, where they do
    SHM/vmrole-STATE/NAME/GENERATION.memory the same on a tmpfs instead; all of these directories mode 0700
    STATE/storage/NAME/STORAGE.raw          local storage, survives reimage
    STATE/drives/NAME/disk.raw              a drive, mode 0600; its user alone has it removed
    STATE/drives/NAME/snapshots/NAME.raw    what it was, mode 0400, in a directory for nobody else
    STATE/blobs/instances/NAME/BLOB.blob    what a guest has put by, mode 0600 below 0700; survives its VM
    STATE/blobs/roles/SERVICE/ROLE/         the same of all instances of a role
    STATE/names/SERVICE/ROLE                whom the name of a role leads to, for dnsmasq
    STATE/identity/NAME/                    SSH host keys that an instance keeps, mode 0600; survive reimage
    STATE/nvram/NAME/GENERATION.fd          variables of UEFI, one file per generation
    STATE/consoles/NAME.log                 bounded by virtlogd
    STATE/evidence/NAME/                    what is kept of a failed instance
    RUN/discs/NAME/GENERATION.iso           answer discs, mode 0600
    RUN/monitor.sock                        where the QEMU of every VM brings its monitor
    RUN/guest.sock                          and where it brings its guest's runtime channel
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from pathlib import Path

from orchestrator.drivers.tools.ownership import others_hold
from orchestrator.errors import ConfigError
from orchestrator.model import DiskFormat, Instance, InstanceName, is_sha256, label, made_label
from orchestrator.model.blob import BlobOwner, Of

_SOCKET_PATH_MAX_BYTES = 107  # sockaddr_un.sun_path holds 108 with the final zero; unix(7)


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """All places of one daemon below two absolute roots, and a tmpfs where we make a directory of our own."""

    state: Path
    run: Path
    shm: Path = Path("/dev/shm")  # noqa: S108 - what is made there is looked at, see disks.memory_place
    tpms: Path = Path("/var/lib/libvirt/swtpm")  # where libvirt keeps the state of TPMs

    def __post_init__(self) -> None:
        if not (self.state.is_absolute() and self.run.is_absolute()):
            raise ConfigError(f"state {self.state} and run {self.run} must be absolute paths")

    @property
    def records(self) -> Path:
        """The file of the records, mode 0600."""
        return self.state / "vmrole.db"

    @property
    def share_server(self) -> Path:
        """The program that libvirt serves shares by, mode 0755."""
        return self.state / "serve-share"

    @property
    def routing6(self) -> Path:
        """As `routing`, by IPv6."""
        return self.state / "ip6_forward"

    @property
    def routing(self) -> Path:
        """The file that is there while the host routes for guests alone."""
        return self.state / "ip_forward"

    @property
    def images(self) -> Path:
        """Directory of the image repository."""
        return self.state / "images"

    @property
    def incoming(self) -> Path:
        """Directory of images that are still being copied."""
        return self.state / "incoming"

    @property
    def overlays(self) -> Path:
        """Directory with one directory of overlays per instance."""
        return self.state / "overlays"

    @property
    def checkpoints(self) -> Path:
        """Directory with one directory of a checkpoint per instance."""
        return self.state / "checkpoints"

    @property
    def storage(self) -> Path:
        """Directory with one directory of local storage per instance."""
        return self.state / "storage"

    @property
    def drives(self) -> Path:
        """Directory with one directory per drive."""
        return self.state / "drives"

    @property
    def blobs(self) -> Path:
        """Directory with the stores of blobs; mode 0700."""
        return self.state / "blobs"

    def blobs_of(self, owner: BlobOwner) -> Path:
        """One of them."""
        name = _checked(InstanceName(owner.name))
        match owner.of:
            case Of.INSTANCE:
                return self.blobs / "instances" / name
            case Of.ROLE:
                role, _, deployment = name.partition(".")
                return self.blobs / "roles" / deployment / role

    @property
    def consoles(self) -> Path:
        """Directory of console logs."""
        return self.state / "consoles"

    @property
    def names(self) -> Path:
        """Directory with one directory of names of roles per service."""
        return self.state / "names"

    @property
    def to_pass_through(self) -> tuple[Path, ...]:
        """Directories through which QEMU and dnsmasq get to files of their own, and that nobody else need list; mode
        0711.
        """
        own = (self.images, self.overlays, self.checkpoints, self.storage, self.drives)
        return (*own, self.consoles, self.nvrams, self.names)

    @property
    def nvrams(self) -> Path:
        """Directory with one directory of variable stores per instance."""
        return self.state / "nvram"

    @property
    def discs(self) -> Path:
        """Directory with one directory of answer discs per instance; mode 0700 or 0711, discs hold secrets."""
        return self.run / "discs"

    @property
    def monitor(self) -> Path:
        """The socket that every QEMU connects to; ConfigError when RUN is too long for the path of a socket."""
        return self._socket("monitor.sock")

    @property
    def channel(self) -> Path:
        """The socket to which every QEMU brings its guest's runtime channel; ConfigError likewise."""
        return self._socket("guest.sock")

    def _socket(self, name: str) -> Path:
        path = self.run / name
        if len(str(path).encode()) > _SOCKET_PATH_MAX_BYTES:
            raise ConfigError(
                f"{path} is longer than the {_SOCKET_PATH_MAX_BYTES} bytes that the path of a socket can have",
                hint="choose a shorter run directory",
            )
        return path

    @property
    def former_monitors(self) -> Path:
        """Where QEMUs that a former version started listen; nobody looks there any more."""
        return self.run / "monitors"

    def image(self, sha256: str, disk_format: DiskFormat) -> Path:
        """The image with that digest."""
        assert is_sha256(sha256), sha256
        return self.images / f"{sha256}.{disk_format.value}"

    def overlay_dir(self, name: InstanceName) -> Path:
        """All overlays of the instance."""
        return self.overlays / _checked(name)

    def overlay(self, instance: Instance) -> Path:
        """The overlay of the present generation."""
        return self.overlay_dir(instance.name) / f"{_generation(instance)}.qcow2"

    def checkpoint_dir(self, name: InstanceName) -> Path:
        """All checkpoints of the instance."""
        return self.checkpoints / _checked(name)

    def layer(self, name: InstanceName, generation: int) -> Path:
        """The disk of the checkpoint that was taken of the generation."""
        return self.checkpoint_dir(name) / f"{generation}.qcow2"

    def board(self, name: InstanceName, generation: int) -> Path:
        """What its firmware and TPM remembered, where they do."""
        return self.checkpoint_dir(name) / f"{generation}.board"

    def layer_below(self, instance: Instance) -> Path | None:
        """What the present overlay lies on, where that is not the image.

        The overlay of a generation that was saved has become the layer of that number: what lies there now lies on
        it, also while no record knows of a checkpoint, for who had it written may have died just before.
        """
        if instance.from_checkpoint and instance.checkpoint is not None:
            return self.layer(instance.name, instance.checkpoint.generation)
        own = self.layer(instance.name, instance.generation)
        return own if own.exists() else None

    @property
    def memories(self) -> Path:
        """Directory with one directory per instance whose checkpoint's memory lies in RAM: of this state's daemon."""
        return self.shm / f"vmrole-{hashlib.sha256(os.fsencode(self.state)).hexdigest()[:12]}"

    def memory_dir(self, name: InstanceName) -> Path:
        """Where the memory of the instance's checkpoint lies, if that is in RAM: then it is there."""
        return self.memories / _checked(name)

    def keeps_in_ram(self) -> bool:
        """Whether that directory of all is there, and nobody else gets into it: anybody may make one of its name."""
        try:
            found = self.memories.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                return False
            return not others_hold(self.memories)
        except OSError:
            return False

    def memory(self, name: InstanceName, generation: int) -> Path:
        """Its memory: in RAM where we made a place for it there."""
        place = self.memory_dir(name)
        if not (self.keeps_in_ram() and place.is_dir()):
            place = self.checkpoint_dir(name)
        return place / f"{generation}.memory"

    def local_storage_dir(self, name: InstanceName) -> Path:
        """All local storage of the instance."""
        return self.storage / _checked(name)

    def local_storage(self, name: InstanceName, storage: str) -> Path:
        """One local storage disk, raw."""
        return self.local_storage_dir(name) / f"{label(storage, 'local storage')}.raw"

    def disks(self, instance: Instance) -> dict[str, Path]:
        """Its disks beside that of the system, by name, in the order in which its guest sees them."""
        role = instance.role
        own = {one.name: self.local_storage(instance.name, one.name) for one in role.local_storage}
        of_role = {one.name: self.drive(one.of(instance.index)) for one in role.drives}
        return own | of_role | {one.name: self.drive(one.drive) for one in instance.goal.attached if one.mounted}

    def bare_disks(self, instance: Instance) -> dict[str, Path]:
        """Drives that it has as disks and no more, by name, behind the others."""
        return {one.name: self.drive(one.drive) for one in instance.goal.attached if not one.mounted}

    def drive_dir(self, name: str) -> Path:
        """A drive with its snapshots."""
        return self.drives / label(name, "drive")

    def drive(self, name: str) -> Path:
        """The drive itself, raw."""
        return self.drive_dir(name) / "disk.raw"

    def drive_snapshots(self, name: str) -> Path:
        """Directory of the drive's snapshots."""
        return self.drive_dir(name) / "snapshots"

    def drive_snapshot(self, name: str, snapshot: str) -> Path:
        """One of them, raw."""
        return self.drive_snapshots(name) / f"{label(snapshot, 'snapshot')}.raw"

    @property
    def identities(self) -> Path:
        """Directory with one directory of kept keys per instance; mode 0700."""
        return self.state / "identity"

    def identity(self, name: InstanceName) -> Path:
        """What the instance keeps of itself."""
        return self.identities / _checked(name)

    def disc_dir(self, name: InstanceName) -> Path:
        """All answer discs of the instance."""
        return self.discs / _checked(name)

    def disc(self, instance: Instance) -> Path:
        """The answer disc of the present generation."""
        return self.disc_dir(instance.name) / f"{_generation(instance)}.iso"

    def nvram_dir(self, name: InstanceName) -> Path:
        """All variable stores of the instance."""
        return self.nvrams / _checked(name)

    def nvram(self, instance: Instance) -> Path:
        """Where the present generation's UEFI keeps its variables; libvirt makes it, and QEMU writes to it."""
        return self.nvram_dir(instance.name) / f"{_generation(instance)}.fd"

    def tpm(self, vm_uuid: str) -> Path:
        """Directory of a VM's TPM, whose emulator writes to it; libvirt makes and erases it with the domain."""
        return self.tpms / vm_uuid

    def console(self, name: InstanceName) -> Path:
        """What the guest wrote to its serial console, oldest lines dropped."""
        return self.consoles / f"{_checked(name)}.log"

    @property
    def evidence_dir(self) -> Path:
        """Directory with one directory of evidence per instance; mode 0700."""
        return self.state / "evidence"

    def evidence(self, name: InstanceName) -> Path:
        """Directory of what is kept when the instance fails."""
        return self.evidence_dir / _checked(name)


def _checked(name: InstanceName) -> str:
    """The name as a file name: "web-0.shop", two labels and nothing else."""
    instance, dot, service = name.partition(".")
    assert dot, name
    made_label(instance, "instance")
    made_label(service, "service")
    return name


def _generation(instance: Instance) -> int:
    assert instance.generation > 0, instance.generation
    return instance.generation

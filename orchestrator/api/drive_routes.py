"""Drives: disks that outlive whatever they are attached to."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field

from orchestrator.api.guard import said
from orchestrator.api.heeded import WHOLE_BODY
from orchestrator.control.attaching import Attaching
from orchestrator.control.drives import Drives, Found
from orchestrator.model.drive import SIZE_MIB_MAX, SIZE_MIB_MIN, SnapshotFile

_SizeMib = Annotated[int, Field(ge=SIZE_MIB_MIN, le=SIZE_MIB_MAX, strict=True)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DriveView:
    """A drive. Times are seconds since the epoch."""

    name: str
    size_mib: int
    used_bytes: int  # that it takes of the host's disk, its snapshots apart
    missing: bool  # whether its file is not there
    instance: str | None  # which has it, or is to have it
    attached: bool  # to it by hand, not by its service's file
    made_at_s: float
    snapshots: tuple[SnapshotFile, ...]  # the oldest first
    revision: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DriveWish:
    """A drive to be made."""

    __pydantic_config__ = WHOLE_BODY

    name: str
    size_mib: _SizeMib


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SizeWish:
    """How large a drive shall be."""

    __pydantic_config__ = WHOLE_BODY

    size_mib: _SizeMib


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotWish:
    """A snapshot to be taken; "": it is named by the time."""

    __pydantic_config__ = WHOLE_BODY

    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RestoreWish:
    """The snapshot that a drive shall be again."""

    __pydantic_config__ = WHOLE_BODY

    snapshot: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AttachWish:
    """The instance that shall have a drive."""

    __pydantic_config__ = WHOLE_BODY

    instance: str
    name: str = ""  # by which its guest finds it; "": the drive's own
    mounted: bool = False  # the guest formats it if it is blank, and mounts it at /local/NAME


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AttachedView:
    """A drive that an instance was given."""

    drive: DriveView
    told: str  # what has yet to happen until its guest has it; "": it has


def drive_routes(drives: Drives, attaching: Attaching) -> APIRouter:
    """The routes under /v1/drives."""
    router = APIRouter(prefix="/v1/drives", tags=["drives"])

    @router.get("")
    def list_drives() -> list[DriveView]:
        """All drives, by name."""
        return [view_drive(one) for one in drives.all()]

    @router.post("", status_code=201)
    def create_drive(request: Request, wish: DriveWish) -> DriveView:
        """Makes a drive of zeros."""
        said(request, "drive-create", wish.name, f"--size={wish.size_mib}MiB")
        return view_drive(drives.create(wish.name, wish.size_mib))

    @router.put("/{name}/size")
    def grow_drive(request: Request, name: str, wish: SizeWish) -> DriveView:
        """Makes a drive larger."""
        said(request, "drive-grow", name, f"--size={wish.size_mib}MiB")
        return view_drive(drives.grow(name, wish.size_mib))

    @router.post("/{name}/snapshots", status_code=201)
    def take_snapshot(request: Request, name: str, wish: SnapshotWish) -> DriveView:
        """Keeps a drive as it is now; answers when it is copied."""
        said(request, "drive-snapshot", name, wish.name)
        return view_drive(drives.snapshot(name, wish.name))

    @router.delete("/{name}/snapshots/{snapshot}")
    def remove_snapshot(request: Request, name: str, snapshot: str) -> DriveView:
        """Removes a snapshot."""
        said(request, "drive-rm", name, f"--snapshot={snapshot}")
        return view_drive(drives.forget(name, snapshot))

    @router.post("/{name}/restore")
    def restore_drive(request: Request, name: str, wish: RestoreWish) -> DriveView:
        """Makes a drive what a snapshot has kept; what was written since is lost. Answers when it is copied."""
        said(request, "drive-restore", name, wish.snapshot)
        return view_drive(drives.restore(name, wish.snapshot))

    @router.put("/{name}/attachment")
    def attach_drive(request: Request, name: str, wish: AttachWish) -> AttachedView:
        """Gives a drive to an instance, at once where its VM runs, until it is detached. May be asked for again."""
        said(request, "drive-attach", name, wish.instance)
        done = attaching.attach(name, wish.instance, name=wish.name, mounted=wish.mounted)
        return AttachedView(drive=view_drive(done.found), told=done.told)

    @router.delete("/{name}/attachment")
    def detach_drive(request: Request, name: str, force: bool = False) -> DriveView:
        """Takes a drive from the instance that it was attached to; `force`: though its guest uses it."""
        said(request, "drive-detach", name, *(["--force"] if force else []))
        return view_drive(attaching.detach(name, force=force))

    @router.delete("/{name}")
    def remove_drive(request: Request, name: str) -> DriveView:
        """Removes a drive with its snapshots, and answers with what it was."""
        said(request, "drive-rm", name)
        return view_drive(drives.remove(name))

    return router


def view_drive(found: Found) -> DriveView:
    """As it is shown."""
    drive, file = found.drive, found.file
    return DriveView(
        name=drive.name,
        size_mib=drive.size_mib,
        used_bytes=file.used_bytes if file else 0,
        missing=file is None or file.size_bytes is None,
        instance=found.holder,
        attached=found.attached,
        made_at_s=drive.made_at_s,
        snapshots=file.snapshots if file else (),
        revision=drive.revision,
    )

"""`vmrole image`: add, ls, show, verify, rm, build; `test` is `image_canary`'s, `capture` `image_capture`'s."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from orchestrator.cli import names, render
from orchestrator.cli.adding import adding, fetching_bar
from orchestrator.cli.groups import Group
from orchestrator.cli.listing import print_list
from orchestrator.cli.options import Duration, examples, finding, format_option, output_option
from orchestrator.cli.verbs import image_canary, image_capture, image_windows
from orchestrator.cli.verbs.describe import of_image
from orchestrator.client.client import Client
from orchestrator.errors import (
    Conflict,
    ImageRejected,
    InvalidInput,
    NotFound,
    RequestError,
    Unreachable,
    VmroleError,
)

if TYPE_CHECKING:
    from orchestrator.client import wire
    from orchestrator.model import Hardware
    from orchestrator.model.intake import Intake

_RECIPES = ("micro", "debian", "setup-simulator", "windows")
_CHUNK_BYTES = 1 << 20
_FORMATS = ["qcow2", "raw", "vhd", "vhdx", "vmdk"]
_OS = click.option(
    "--os", type=click.Choice(["linux", "windows"]), default="linux", show_default=True, help="What is in it."
)


@click.group(cls=Group, epilog=examples("vmrole image add web.qcow2 --name web", "vmrole image ls"))
def image() -> None:
    """The image repository: read-only base disks that instances are made from."""


@image.command(
    epilog=examples(
        "vmrole image add web.qcow2 --name web",
        "vmrole image add ws2022.vhdx --convert --name ws2022 --os windows --firmware uefi",
        "vmrole image add https://example.org/debian.qcow2 --name debian",
    )
)
@click.argument("file", type=click.Path())
@click.option("--name", required=True, help="What services will call it.")
@_OS
@click.option("--format", type=click.Choice(_FORMATS), help="Raw has to be said; the others are seen.")
@click.option("--sha256", default="", metavar="DIGEST", help="Refuse the file when its digest is another.")
@click.option(
    "--convert", is_flag=True, help="Make a qcow2 of it: all but a standalone qcow2 or raw disk needs that."
)
@click.option(
    "--parent", "parents", multiple=True, type=click.Path(), help="Of a differencing VHD; the nearest first."
)
@click.option(
    "--answers",
    type=click.Choice(["nocloud", "configdrive", "unattend", "none"]),
    help="What it reads its answers from; unattend for Windows and nocloud for Linux unless given.",
)
@click.option(
    "--firmware",
    type=click.Choice(["bios", "uefi", "secure-boot"]),
    default="bios",
    show_default=True,
    help="What it starts with.",
)
@click.option(
    "--disk",
    type=click.Choice(["virtio", "sata", "nvme"]),
    default="virtio",
    show_default=True,
    help="The bus of its disk.",
)
@click.option("--tpm", is_flag=True, help="It wants a TPM 2.0.")
@click.pass_obj
def add(
    client: Client,
    /,
    file: str,
    name: str,
    os: str,
    format: str | None,
    sha256: str,
    convert: bool,
    parents: tuple[str, ...],
    answers: str | None,
    firmware: str,
    disk: str,
    tpm: bool,
) -> None:
    """Copies a disk into the repository and checks it: a file, the one disk in an OVA, or an https:// URL.

    What is compressed (gzip, xz, zstd, bzip2) is unpacked. The machine that it wants is recorded with it.
    """
    if parents and not convert:
        raise InvalidInput("--parent joins disks while they are converted", hint="add --convert")
    from orchestrator.imagefiles import SourceFormat
    from orchestrator.model import AnswerFormat, Os
    from orchestrator.model.intake import Intake

    intake = Intake(
        name=name,
        os=Os(os),
        format=SourceFormat(format) if format else None,
        sha256=sha256.lower() or None,
        convert=convert,
        answers=AnswerFormat(answers) if answers else None,
        hardware=_hardware(firmware, disk, tpm),
    )
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(_local(client, file, intake))
        _show_added(send(client, [place, *map(Path, parents)], intake))


@contextlib.contextmanager
def _local(client: Client, file: str, intake: Intake) -> Iterator[Path]:
    """The file on this host: fetched, when it is a URL."""
    from orchestrator.cli import fetching

    if not fetching.is_url(file):
        yield Path(file)
        return
    known = client.image(intake.name) if _is_known(client, intake.name) else None
    if known is not None and intake.sha256 and intake.sha256 not in (known["sha256"], known["source_sha256"]):
        hint = f"use another name and move this one later: vmrole image tag {intake.name} IMAGE"
        raise Conflict(f"image name {intake.name!r} means {known['sha256'][:12]} already", hint=hint)
    with fetching.fetched(file, intake.sha256, fetching_bar(intake.name)) as path:
        yield path


def _hardware(firmware: str, disk: str, tpm: bool) -> Hardware:
    from orchestrator.model import DiskBus, Firmware, Hardware

    return Hardware(firmware=Firmware(firmware), disk_bus=DiskBus(disk), tpm=tpm)


def send(client: Client, files: Sequence[Path], intake: Intake) -> wire.Image:
    """Sends the first file, and the others as its parents."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(regular(file)) for file in files]
        if len(opened) == 1:
            source, size, intake = _disk(*opened[0], intake, str(files[0]))
            opened = [(source, size)]
        sizes = tuple(size for _, size in opened)
        intake = dataclasses.replace(intake, parts=sizes if len(sizes) > 1 else (), size_bytes=sum(sizes))
        if intake.sha256 is None and _is_known(client, intake.name):
            from orchestrator.cli.verbs import image_appliance

            # The daemon then knows before the upload whether the name means these bytes.
            intake = dataclasses.replace(intake, sha256=image_appliance.digest(opened[0][0]))
        advance = stack.enter_context(adding(client, intake.name, sum(sizes), convert=intake.convert))
        return client.add_image(opened, intake, advance)


def _disk(source: BinaryIO, size: int, intake: Intake, name: str) -> tuple[BinaryIO, int, Intake]:
    """The file itself, or the one disk in an appliance, whose own manifest then says which bytes it must have."""
    from orchestrator.cli.verbs import image_appliance

    found = image_appliance.disk_in(source, name)
    source.seek(0)
    if found is None:
        return source, size, intake
    if intake.sha256 is not None and intake.sha256 != (whole := image_appliance.digest(source)):
        told = f"the digest of {name} is {whole}, not {intake.sha256}"
        raise ImageRejected(told, reason="digest", hint="the file is not the one you mean")
    render.say(f"adding {render.plain(found.name[:200])} of {name}")
    convert = intake.convert or found.is_to_convert
    part = io.BufferedReader(image_appliance.Part(source, found), _CHUNK_BYTES)
    return part, found.size_bytes, dataclasses.replace(intake, sha256=found.sha256, convert=convert)


def _is_known(client: Client, name: str) -> bool:
    try:
        return name in client.image(name)["names"]
    except NotFound:
        return False


@contextlib.contextmanager
def regular(file: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file and its size; a FIFO or a device must not hang us, so it is opened without waiting and refused."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {file}") from error
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}") from error
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, handle)
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInput(f"{file} is not a regular file", hint="name the image's file itself")
        source = stack.enter_context(open(handle, "rb", buffering=0, closefd=False))
        yield source, found.st_size


def _show_added(added: wire.Image) -> None:
    render.show([f"{','.join(added['names'])} sha256:{added['sha256']}"])


@image.command(epilog=examples("vmrole image ls -o wide"))
@output_option
@click.option("--no-headers", is_flag=True, help="Only rows.")
@click.pass_obj
def ls(client: Client, form: str, no_headers: bool) -> None:
    """Lists images."""
    print_list(client, "images", "", form, headers=not no_headers)


@image.command(epilog=examples("vmrole image show micro"))
@click.argument("ref", shell_complete=names.image)
@format_option("text", "json", "yaml", default="text")
@click.pass_obj
def show(client: Client, ref: str, form: str) -> None:
    """Shows an image, by name, digest or name@sha256:digest."""
    found = client.image(ref)
    render.show(of_image(found) if form == "text" else [render.dump(found, form)])


@image.command(epilog=examples("vmrole image verify micro"))
@click.argument("refs", nargs=-1, shell_complete=names.image)
@click.pass_obj
@finding
def verify(client: Client, refs: tuple[str, ...]) -> int:
    """Reads images again, all or those named, and compares their digests.

    Exit status 1 when one differs, more when it cannot tell.
    """
    status = 0
    for ref in refs or [found["sha256"] for found in client.images()]:
        try:
            found = client.verify_image(ref)
        except (NotFound, Unreachable):
            raise
        except VmroleError as error:
            from orchestrator.cli.refusals import report

            report(error)
            status = 1
        else:
            render.show([f"{','.join(found['names'])}: ok"])
    return status


@image.command(epilog=examples("vmrole image rm micro"))
@click.argument("refs", nargs=-1, required=True, shell_complete=names.image)
@click.pass_obj
def rm(client: Client, refs: tuple[str, ...]) -> None:
    """Removes images that no service refers to; of several names, only the one that is given."""
    for ref in refs:
        known = client.image(ref)["names"]
        client.remove_image(ref)
        others = [name for name in known if name != ref] if ref in known else []
        render.show(
            [f"{ref}: the name is removed; its image stays: {', '.join(others)}" if others else f"{ref}: removed"]
        )


@image.command(epilog=examples("vmrole image tag web web-2026-11"))
@click.argument("name")
@click.argument("ref", metavar="IMAGE", shell_complete=names.image)
@click.pass_obj
def tag(client: Client, name: str, ref: str) -> None:
    """Gives an image another name, or moves a name to it. Services keep the bytes that they were applied with."""
    try:
        tagged = client.tag_image(name, ref)
    except NotFound as error:
        if _is_known(client, name):  # As docker has it.
            raise NotFound(str(error), hint=f"the new name comes first: vmrole image tag {ref} {name}") from error
        raise
    render.show([f"{name} sha256:{tagged['image']['sha256']}"])
    before = tagged["before"]
    if before is not None:
        render.say(f"{name} meant sha256:{before['sha256']} before")
        for service in tagged["used_by"]:
            render.say(f"service {service} goes on with that until it is applied again")


@image.command(epilog=examples("vmrole image trust web"))
@click.argument("ref", metavar="IMAGE", shell_complete=names.image)
@click.pass_obj
def trust(client: Client, ref: str) -> None:
    """Takes back that an image is suspect: what healing has failed for it is tried again."""
    found = client.trust_image(ref)
    render.show([f"{','.join(found['names'])}: trusted"])


@image.command(epilog=examples("vmrole image prune --older-than 30d --yes"))
@click.option(
    "--older-than",
    type=Duration(),
    default="0s",
    show_default=True,
    help="Only what was added so long ago: 30d, 12h.",
)
@click.option("--yes", is_flag=True, help="Remove them; without it they are only listed.")
@click.pass_obj
def prune(client: Client, older_than: float, yes: bool) -> None:
    """Lists the images that no service refers to, and removes them with --yes.

    What a service's last ten files name stays: an undo goes back to them.
    """
    found = client.prune_images(older_than_s=older_than) if yes else client.unused_images(older_than_s=older_than)
    for one in found:
        render.show([f"{','.join(one['names'])} sha256:{one['sha256']} {render.size(one['size_bytes'])}"])
    total = render.size(sum(one["size_bytes"] for one in found))
    count = f"{len(found)} image{'' if len(found) == 1 else 's'}"
    if not found:
        older = " that was added so long ago" if older_than else ""
        render.say(f"nothing to remove: every image{older} is in use by a service")
    elif yes:
        render.say(f"{count} removed: {total}")
    else:
        render.say(f"{count} in use by no service: {total}; remove them: --yes")


@image.command(epilog=examples("vmrole image build micro", "vmrole image build debian --name base --to base.qcow2"))
@click.argument("recipe", type=click.Choice(_RECIPES))
@click.option("--name", default="", help="What services will call it; the recipe's name unless given.")
@click.option("--to", type=click.Path(path_type=Path), help="Only build, into this file; nothing is added.")
@image_windows.options
@click.pass_obj
def build(client: Client, /, recipe: str, name: str, to: Path | None, **media: Any) -> None:  # noqa: ANN401
    """Builds a base image and adds it: from Debian packages, as root, or from the media of Windows."""
    import vmrole_images

    windows = image_windows.wanted(recipe, media)
    with contextlib.ExitStack() as undo:
        if to is None:
            client.health()  # before minutes of work
        place = (
            to or Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="vmrole-build-"))) / f"{recipe}.qcow2"
        )
        try:
            if windows is not None:
                report = windows(place, render.say)
            else:
                report = vmrole_images.build(cast("vmrole_images.ImageName", recipe), place, progress=render.say)
        except vmrole_images.BuildError as error:
            raise VmroleError(str(error)) from error
        render.say(f"built in {report.seconds:.1f} s: {render.size(report.size_bytes)}")
        if to is not None:
            render.show([f"{report.path} sha256:{report.sha256}"])
        else:
            from orchestrator.model import Hardware, Os
            from orchestrator.model.intake import Intake

            hardware = image_windows.hardware() if windows is not None else Hardware()
            intake = Intake(name=name or recipe, os=Os(report.os), sha256=report.sha256, hardware=hardware)
            _show_added(send(client, [report.path], intake))


image.add_command(image_canary.test)
image.add_command(image_capture.capture)

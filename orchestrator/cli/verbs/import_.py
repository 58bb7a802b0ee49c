"""`vmrole import`: a service of Azure's Cloud Services as a service file. No translation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import gathering, render
from orchestrator.cli.applying import changed
from orchestrator.cli.options import examples
from orchestrator.cli.reading import read_bytes
from orchestrator.client.client import Client
from orchestrator.errors import Conflict, InvalidInput, RequestError

if TYPE_CHECKING:
    from vmrole_unattend.secret import SecretRef

    from orchestrator.servicefile.azure.definition import Element, Schema

_RELEASES = ["2008r2", "2012", "2012r2", "2016", "2019", "2022", "2025", "none"]


@click.command(
    "import",
    epilog=examples("vmrole import ServiceDefinition.csdef ServiceConfiguration.cscfg --image ws2022 -o shop.yaml"),
)
@click.argument("definition", metavar="DEFINITION.csdef")
@click.argument("configuration", metavar="CONFIGURATION.cscfg")
@click.option("--image", default="", metavar="NAME", help="The image of all roles, instead of their VHDs.")
@click.option("--role-image", "role_images", multiple=True, metavar="ROLE=NAME", help="The image of one role.")
@click.option("--vip", default="", metavar="ADDRESS", help="The address of the service; needed for endpoints.")
@click.option(
    "--windows",
    type=click.Choice(_RELEASES),
    default="2008r2",
    show_default=True,
    help="What the images hold; none: they do not read Unattend.xml.",
)
@click.option(
    "--administrator-password",
    "password",
    default="credential:administrator-password",
    show_default=True,
    metavar="SOURCE:NAME",
    help="Where the daemon finds it: secret:NAME, env:NAME or credential:NAME.",
)
@click.option("--apply", "applies", is_flag=True, help="Apply the service file instead of printing it.")
@click.option("-o", "--output", default="", metavar="FILE", help="Write it to FILE, which must not exist.")
@click.pass_obj
def import_(
    client: Client,
    definition: str,
    configuration: str,
    image: str,
    role_images: tuple[str, ...],
    vip: str,
    windows: str,
    password: str,
    applies: bool,
    output: str,
) -> int:
    """Makes a service file of a ServiceDefinition.csdef and its ServiceConfiguration.cscfg.

    Virtual machine roles only. What the service file cannot say is listed at its top and on stderr.
    """
    from vmrole_unattend.windows.answers import Windows

    from orchestrator.servicefile.azure.definition import Schema
    from orchestrator.servicefile.azure.translate import translate
    from orchestrator.servicefile.azure.wishes import Wishes

    if applies and output:
        raise click.UsageError("either --apply or -o")
    wishes = Wishes(
        vip=_vip(vip),
        image=_image(image) if image else "",
        role_images=dict(_role_image(one) for one in role_images),
        windows=None if windows == "none" else Windows(windows),
        administrator_password=_secret(password),
    )
    imported = translate(_read(definition, Schema.DEFINITION), _read(configuration, Schema.CONFIGURATION), wishes)
    for note in imported.notes:
        render.say(str(note))
    if applies:
        return _apply(client, imported.text)
    if output:
        _write(output, imported.text)
    else:
        render.show(imported.text.rstrip("\n").split("\n"))
    return 0


def _apply(client: Client, text: str) -> int:
    try:
        applied = client.apply(text)
    except InvalidInput as error:
        return gathering.refuse_file(error, "the imported file")
    assert applied["service"] is not None
    verb = "unchanged" if not applied["changes"] else "applied"
    render.show([f"{applied['service']['name']}: {verb}", *changed(applied["changes"])])
    return 0


def _read(file: str, kind: Schema) -> Element:
    """One of the two files; raises NotFound, RequestError or InvalidInput."""
    from orchestrator.servicefile.azure.definition import read

    return read(read_bytes(file, hint=f"name the {kind.suffix} file itself"), file, kind)


def _write(file: str, text: str) -> None:
    try:
        with Path(file).open("x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError as error:
        raise Conflict(f"{file} exists", hint="remove it, or name another file") from error
    except OSError as error:
        raise RequestError(f"{file} cannot be written: {error.strerror}") from error


def _role_image(word: str) -> tuple[str, str]:
    role, equals, image = word.partition("=")
    if not (role and equals):
        raise click.UsageError(f"{word!r} is not ROLE=NAME")
    return role, _image(image)


def _image(name: str) -> str:
    from orchestrator.model import image_name, is_sha256

    plain, at, digest = name.partition("@sha256:")
    if not is_sha256(name):
        image_name(plain)
    if at and not is_sha256(digest):
        raise click.UsageError(f"{name!r} is not NAME@sha256:DIGEST")
    return name


def _vip(address: str) -> str:
    from orchestrator.model import ip

    try:
        return str(ip.address(address)) if address else ""
    except ValueError as error:
        raise click.UsageError(f"{address!r} is no IP address") from error


def _secret(word: str) -> SecretRef:
    from vmrole_unattend.secret import SecretRef, SecretSource

    source, _, name = word.partition(":")
    if source not in list(SecretSource) or not name:
        # What stands there instead may be the password, which is not repeated.
        raise click.UsageError("--administrator-password says where it is: secret:NAME, env:NAME or credential:NAME")
    return SecretRef(source=SecretSource(source), name=name)

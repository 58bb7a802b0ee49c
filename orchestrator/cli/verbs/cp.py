"""`vmrole cp`: a file into a guest, or out of it, through its agent."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import click

from orchestrator.cli import render
from orchestrator.cli.options import examples
from orchestrator.cli.outlet import Outlet
from orchestrator.cli.whole_files import whole_or_none
from orchestrator.client import guest_files, guest_targets
from orchestrator.client.client import Client
from orchestrator.errors import InvalidInput

MIB = 1 << 20
_INSIDE = re.compile(r"([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?):(.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Inside:
    """A path of a guest."""

    instance: str
    path: str

    def __str__(self) -> str:
        return f"{self.instance}:{self.path}"

    @property
    def last(self) -> str:
        """What the file itself is called there; "" when it has no name that could be one here."""
        name = re.split(r"[/\\]", self.path)[-1]
        return "" if name in ("", ".", "..") or not name.isprintable() else name


@click.command(
    epilog=examples(
        "vmrole cp app.tar.gz web-0.shop:/srv/",
        "vmrole cp web-0.shop:/var/log/app.log .",
        "vmrole cp web-0:/etc/fstab -",
    )
)
@click.argument("source")
@click.argument("target")
@click.option("--mode", metavar="OCTAL", help="What the mode of the copy shall be; that of the file unless given.")
@click.option(
    "--limit",
    "most_mib",
    type=click.IntRange(1),
    metavar="MIB",
    default=4096,
    show_default=True,
    help="How much may come out of a guest.",
)
@click.pass_obj
def cp(client: Client, source: str, target: str, mode: str | None, most_mib: int) -> None:
    """Copies a file into a guest or out of it, through its agent: no network and no key is needed.

    One of SOURCE and TARGET is INSTANCE:PATH, with the path in full as the guest has it; the other is a file of this
    host, or - for standard input or output; a terminal is shown nothing that it would obey. A colon in the name of a
    file here is written ./a:b.

    A file is there whole or not at all, in a guest where its agent runs commands: in another, and in a Windows, it is
    written in its place. Owners stay behind, of modes the nine bits go along, and what is replaced leaves its owner.
    """
    inside, outside = _of_guest(source), _of_guest(target)
    bits = _bits(mode)
    if inside is not None and outside is None:
        inside = dataclasses.replace(inside, instance=client.instance(inside.instance)["name"])
        _fetch(client, inside, target, bits, most_mib * MIB)
    elif outside is not None and inside is None:
        outside = dataclasses.replace(outside, instance=client.instance(outside.instance)["name"])
        _bring(client, source, outside, bits)
    else:
        raise click.UsageError("one of the two is in a guest: INSTANCE:PATH, such as web-0.shop:/etc/hosts")


def _of_guest(word: str) -> Inside | None:
    parts = _INSIDE.fullmatch(word)
    return Inside(parts[1], parts[2]) if parts else None


def _bits(mode: str | None) -> int | None:
    if mode is None:
        return None
    if not re.fullmatch(r"0?[0-7]{3}", mode):
        raise click.BadParameter(f"{mode!r} is no mode; write three octal digits, such as 640", param_hint="--mode")
    return int(mode, 8)


def _fetch(client: Client, source: Inside, target: str, mode: int | None, most_bytes: int) -> None:
    file = None if target == "-" else _named(Path(target), source)
    told = guest_files.describe(client, source.instance, source.path)

    def take(into: guest_files.Sink) -> int:
        return guest_files.fetch(
            client,
            source.instance,
            source.path,
            into,
            size_bytes=told.size_bytes,
            most_bytes=most_bytes,
            told=_telling(str(source), told.size_bytes),
        )

    if file is None:
        with Outlet(sys.stdout) as outlet:
            take(outlet)
        return
    with whole_or_none(file) as into:
        count = take(into)
        os.fchmod(into.fileno(), _here(told.mode) if mode is None else mode)
    render.say(f"{file}: {render.size(count)}")


def _named(target: Path, source: Inside) -> Path:
    """The file that is to be made: of a name that this user chose, or the last one of the guest's, never a path."""
    if not target.is_dir():
        if target.name in ("", ".", ".."):
            raise InvalidInput(f"{target} is no name of a file", hint="name a file, or a directory that there is")
        if target.exists() and not target.is_file():
            raise InvalidInput(f"{target} is there, and is no file", hint="give another name")
        return target
    if not source.last:
        raise InvalidInput(f"{source} has no name that a file here could have", hint=f"name it: {target}/NAME")
    return target / source.last


def _here(mode: int | None) -> int:
    """The mode of a file here: what its guest says, less what this user lets no new file have."""
    mask = os.umask(0o077)
    os.umask(mask)
    return (0o644 if mode is None else mode) & ~mask


def _bring(client: Client, source: str, target: Inside, mode: int | None) -> None:
    path = target.path
    if source == "-":
        count = _put(client, sys.stdin.buffer, target.instance, path, mode, _telling(str(target), None))
    else:
        if path.endswith(("/", "\\")):
            path += Path(source).name
        try:
            with Path(source).open("rb") as file:
                facts = os.fstat(file.fileno())
                if stat.S_ISDIR(facts.st_mode):
                    raise IsADirectoryError(21, "it is a directory")
                size = facts.st_size if stat.S_ISREG(facts.st_mode) else None
                mode = stat.S_IMODE(facts.st_mode) if mode is None else mode
                count = _put(client, file, target.instance, path, mode, _telling(source, size))
        except OSError as error:
            raise InvalidInput(f"{source}: {error.strerror}", hint="name a file; pack a directory: tar -c") from error
    render.say(f"{target.instance}:{path}: {render.size(count)}")


def _put(
    client: Client, file: BinaryIO, instance: str, path: str, mode: int | None, told: guest_files.Progress
) -> int:
    def warn(words: str) -> None:
        render.say(f"warning: {render.plain(words)}")

    return guest_targets.put(client, instance, file, path, mode=mode, told=told, warn=warn)


def _telling(what: str, size_bytes: int | None) -> Callable[[int], None]:
    """Tells a terminal how much of it is over there."""
    if not render.is_terminal():
        return lambda _count: None
    of = f" of {render.size(size_bytes)}" if size_bytes else ""

    def tell(count: int) -> None:
        click.echo(f"\r{render.plain(what)}: {render.size(count)}{of} ", nl=count == size_bytes, err=True)

    return tell

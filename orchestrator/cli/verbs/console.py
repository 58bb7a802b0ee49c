"""`vmrole console`: the serial console of an instance."""

from __future__ import annotations

import codecs
import io
import math
import os
import subprocess
import sys
from typing import NoReturn

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples
from orchestrator.cli.screen import AFTERWARDS, Screen
from orchestrator.client import clock
from orchestrator.client.client import RECONNECT_WITHIN_S, Client
from orchestrator.errors import NotFound, RequestError, Unreachable

LOG_BYTES = 65_536
FOLLOW_EVERY_S = 0.5
_UNIX = "+unix://"  # as virsh writes a socket in the place of a port


@click.command(
    epilog=examples("vmrole console web-0.shop", "vmrole console web-0.shop --log", "vmrole console web-0.shop -f")
)
@click.argument("instance", shell_complete=names.subject)
@click.option("--log", is_flag=True, help="Print the end of the console's log instead of attaching.")
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="Print the end of the log, and go on as the guest writes, over reimages, too.",
)
@click.option("--raw", is_flag=True, help="With --log or --follow: as the guest wrote it, terminal escapes included.")
@click.option(
    "--vnc", is_flag=True, help="Print the path of the socket at which a VNC viewer on this host sees its screen."
)
@click.option(
    "--connect",
    metavar="URI",
    envvar="LIBVIRT_DEFAULT_URI",
    default="qemu:///system",
    show_default=True,
    show_envvar=True,
    help="The hypervisor.",
)
@click.pass_obj
def console(client: Client, instance: str, log: bool, follow: bool, raw: bool, vnc: bool, connect: str) -> int:
    """Attaches the serial console of an instance (end with Ctrl-]); without a terminal, prints its log.

    A guest may draw on the screen, as editors do, and no more: what would name the window, reach the clipboard, or
    have the terminal type an answer is shown as a sign.

    Of a daemon on another host there is the log alone, also as it goes on: --follow.

    A screen is there for roles that say `devices: {screen: true}`; its socket is for root on the host alone, and
    another one after each start of the VM.
    """
    name = client.instance(instance)["name"]
    if vnc:
        if log or follow or raw:
            raise click.UsageError("--vnc is about the screen, and the other options about the serial console")
        if client.host:
            hint = "run it there; or have ssh -L lead a port of yours to the socket that it prints there"
            raise RequestError("a screen is seen on its own host alone", hint=hint)
        render.write(f"{_screen(name, connect)}\n")
        return 0
    if follow:
        _follow(client, name, raw=raw)
    if not log and not client.host and sys.stdin.isatty() and sys.stdout.isatty():
        return _attach(["virsh", "--connect", connect, "console", name])
    text = client.console(name, LOG_BYTES)
    if raw:
        _write(text)
    else:
        render.show(render.plain(line.replace("\t", "    ")) for line in text.decode(errors="replace").splitlines())
    return 0


def _screen(name: str, connect: str) -> str:
    """The path of the socket of a screen. Raises NotFound where the VM has none, or does not run."""
    command = ["virsh", "--connect", connect, "domdisplay", "--type", "vnc", name]
    try:
        answer = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RequestError(f"virsh cannot be run: {error.strerror}", hint="install libvirt-clients") from error
    scheme, _, path = answer.stdout.strip().partition(_UNIX)
    if answer.returncode == 0 and scheme == "vnc" and path.startswith("/"):
        return path
    hint = "its role must say: devices: {screen: true}, and its VM run; who is not root asks with sudo"
    raise NotFound(f"{name} has no screen that can be looked at", hint=hint)


def _attach(command: list[str]) -> int:
    """Has a program talk with this terminal: to it goes what is typed, and of what it prints what a `Screen` lets
    through. Its exit status.
    """
    screen, seen = Screen(), sys.stdout.fileno()
    try:
        program = subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, bufsize=0)  # its user's own
    except OSError as error:
        raise RequestError(f"virsh cannot be run: {error.strerror}", hint="or use: --log") from error
    with program, open(seen, "wb", buffering=0, closefd=False) as terminal:
        assert program.stdout is not None
        try:
            while part := program.stdout.read(LOG_BYTES):
                _all_of(terminal, screen.shown(part))
        finally:
            _all_of(terminal, AFTERWARDS)
    return program.returncode


def _all_of(terminal: io.FileIO, text: bytes) -> None:
    while text:
        text = text[terminal.write(text) or 0 :]


def _follow(client: Client, name: str, *, raw: bool) -> NoReturn:
    """Prints the end of the log and what comes; ends with whoever reads it, or by NotFound with the instance.

    A daemon that is away for longer than RECONNECT_WITHIN_S ends it by Unreachable.
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    place, answered_at = "", -math.inf
    while True:
        try:
            text, place = _next(client, name, place)
        except Unreachable:
            if clock.monotonic_s() - answered_at > RECONNECT_WITHIN_S:
                raise
            clock.pause(FOLLOW_EVERY_S)
            continue
        answered_at = clock.monotonic_s()
        if not text:
            clock.pause(FOLLOW_EVERY_S)
        elif raw:
            _write(text)
        else:
            lines = decoder.decode(text).replace("\t", "    ").split("\n")
            render.write("\n".join(render.plain(line) for line in lines))


def _next(client: Client, name: str, place: str) -> tuple[bytes, str]:
    """What comes behind the place, and where it ends; nothing of a VM that has not started, or is being made anew."""
    try:
        return client.console_part(name, LOG_BYTES, place)
    except NotFound:
        client.instance(name)
        return b"", place


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()

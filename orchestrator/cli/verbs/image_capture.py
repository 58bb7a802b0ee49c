"""`vmrole image capture`: an instance's disk becomes an image, by the ordinary verbs about what happens to its VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import Duration, examples
from orchestrator.cli.progress import progress
from orchestrator.cli.reading import read_text
from orchestrator.cli.waiting import end_of, until_over
from orchestrator.client import commands
from orchestrator.client.client import Client
from orchestrator.errors import Conflict, Permanent

if TYPE_CHECKING:
    from orchestrator.client import wire

SEAL_WITHIN_S: Final = 1800.0  # sysprep takes minutes
_WORDS_MOST: Final = 400

# What makes a machine this one, and no other. What has been set up is set up again for another instance.
SEAL_LINUX: Final = """set -e
if command -v cloud-init >/dev/null; then cloud-init clean --logs; fi
rm -rf /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /var/lib/systemd/random-seed /var/lib/vmrole /etc/vmrole
if [ -e /etc/machine-id ]; then : >/etc/machine-id; fi
if [ -f /var/lib/dbus/machine-id ] && [ ! -L /var/lib/dbus/machine-id ]; then rm -f /var/lib/dbus/machine-id; fi
sync
"""
# It leaves the guest on: switched off by itself, it would be started again.
_SEAL_WINDOWS: Final = (
    r"rd /s /q C:\Windows\Setup\vmrole & "
    r"C:\Windows\System32\Sysprep\sysprep.exe /generalize /oobe /quiet /quit"
)


@click.command(
    "capture",
    epilog=examples(
        "vmrole image capture web-0.shop --name web-golden",
        "vmrole image capture web-0.shop --name web-golden --script seal.sh",
    ),
)
@click.argument("instance", shell_complete=names.subject)
@click.option("--name", required=True, help="What services will call the image.")
@click.option(
    "--script", default="", metavar="FILE", help="Seals a Linux guest: /bin/sh in it reads this one instead."
)
@click.option("--as-it-is", is_flag=True, help="Seal nothing: a copy of this machine, to be kept and looked into.")
@click.option(
    "--timeout", type=Duration(), help="Wait at most so long for each operation: 90s, 2h. Exit status 4 then."
)
@click.pass_obj
def capture(client: Client, instance: str, name: str, script: str, as_it_is: bool, timeout: float | None) -> None:
    """Makes an image of an instance's system disk: seals the guest, shuts it down, copies its disk, and reimages it.

    Sealing takes away what makes the machine this one: machine-id, SSH host keys, what its setup has noted; in
    Windows it is sysprep. Local storage is no part of the image. Not sealed, the instance keeps its disk and runs on,
    and what is made of the image takes itself for that instance. Interrupted, it leaves the instance off or running,
    and no image: say it again, or vmrole start.
    """
    if script and as_it_is:
        raise Conflict("--script seals, and --as-it-is seals nothing", hint="leave one of them out")
    given = read_text(script, hint="name a file with a shell script") if script else SEAL_LINUX
    view = client.instance(instance)
    _refuse_taken(client, name)
    was_on = not view["stop_asked"]
    if not was_on and not as_it_is:
        told = f"{view['name']} is off: nobody can seal it"
        raise Conflict(told, hint=f"run: vmrole start {view['name']}; or copy it --as-it-is")
    if was_on and not as_it_is:
        _seal(client, view, given)
    if was_on:
        _done(client, "stop", view["name"], timeout)
    added = client.capture_image(view["name"], name)
    render.show([f"{','.join(added['names'])} sha256:{added['sha256']}"])
    if not was_on:
        render.say(f"{view['name']} stays off, as it was")
        return
    if not as_it_is:
        client.act("reimage", view["name"])  # which it takes when it is started
    _done(client, "start", view["name"], timeout)


def _refuse_taken(client: Client, name: str) -> None:
    """Before anything happens to the guest. The daemon looks again."""
    for image in client.images():
        if name in image["names"]:
            raise Conflict(f"image name {name!r} means {image['sha256'][:12]} already", hint="use another name")


def _seal(client: Client, view: wire.InstanceView, script: str) -> None:
    """Raises Permanent when the guest says that it could not be done: nothing else has happened then."""
    windows = client.image(view["image_sha256"])["os"] == "windows"
    words = ("cmd.exe", "/c", _SEAL_WINDOWS) if windows else ("/bin/sh", "-c", script)
    render.say(f"sealing {view['name']}")
    ended = commands.run(client, view["name"], words, within_s=SEAL_WITHIN_S)
    if ended.status != 0:
        said = " ".join((ended.errors or ended.output).decode(errors="replace").split())
        told = f"{view['name']} could not be sealed, exit status {ended.status}: {render.plain(said[-_WORDS_MOST:])}"
        raise Permanent(told, hint=f"it runs on; look into it, and in the end: vmrole reimage {view['name']}")


def _done(client: Client, verb: wire.Verb, name: str, timeout_s: float | None) -> None:
    until_over(client, client.act(verb, name), end_of(timeout_s), progress())

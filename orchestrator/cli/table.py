"""All verbs of the command line. No verb's work."""

from __future__ import annotations

import importlib
import keyword
from typing import TYPE_CHECKING

import click

from orchestrator import __version__
from orchestrator.cli.groups import Group
from orchestrator.cli.meant import client_of
from orchestrator.cli.options import examples
from orchestrator.cli.refusals import statuses
from orchestrator.client.places import DEFAULT_SOCKET

if TYPE_CHECKING:
    from collections.abc import Sequence

# As the help shows them; each lives in the module of its name.
_SECTIONS = (
    ("Services", ("apply", "diff", "check", "scale", "delete", "rollout", "swap", "wait")),
    ("What there is, and why", ("get", "describe", "why", "events", "evidence")),
    (
        "Instances",
        ("restart", "reimage", "rebuild", "stop", "start", "protect", "unprotect", "lease", "pause", "resume"),
    ),
    ("Into a guest", ("console", "exec", "cp", "ssh", "ssh-config", "ssh-known-hosts", "inventory")),
    ("Images, drives, blobs and answers", ("image", "drive", "blob", "answers", "import")),
    ("The host", ("init", "config", "doctor", "daemon", "verify", "backup", "restore", "export", "support-bundle")),
    ("From elsewhere", ("token", "context")),
    ("This command", ("help", "completion", "version")),
)
_VERBS = tuple(verb for _, verbs in _SECTIONS for verb in verbs)


class Verbs(Group):
    """A group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All verbs."""
        return list(_VERBS)

    def sections(self, ctx: click.Context) -> Sequence[tuple[str, Sequence[str]]]:  # noqa: ARG002
        """By what they are about: so many in one list are read by nobody."""
        return _SECTIONS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb, or None."""
        if cmd_name not in _VERBS:
            return None
        name = cmd_name.replace("-", "_")
        name = f"{name}_" if keyword.iskeyword(name) else name
        found = getattr(importlib.import_module(f"orchestrator.cli.verbs.{name}"), name)
        assert isinstance(found, click.Command)
        return found


@click.command(
    cls=Verbs,
    help=f"Named instances from read-only images on plain Linux hosts.\n\n{statuses()}",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("vmrole image build micro", "vmrole apply -f shop.yaml --wait", "vmrole get instances"),
)
@click.option(
    "--socket",
    metavar="PATH",
    envvar="VMROLE_SOCKET",
    show_envvar=True,
    default="",
    help=f"The daemon's socket; {DEFAULT_SOCKET} unless given.",
)
@click.option(
    "--server",
    metavar="URL",
    envvar="VMROLE_SERVER",
    show_envvar=True,
    default="",
    help="A daemon on another host: https://HOST:PORT, with the token in VMROLE_TOKEN, and its certificate, if it "
    "stands for itself, in the file VMROLE_CA.",
)
@click.option(
    "--context",
    metavar="NAME",
    envvar="VMROLE_CONTEXT",
    show_envvar=True,
    default="",
    help="A daemon on another host, as vmrole context add has named it; the one that was chosen unless given.",
)
@click.version_option(__version__, prog_name="vmrole", message="%(prog)s %(version)s")
@click.pass_context
def vmrole(ctx: click.Context, /, **_options: str) -> None:
    """Everything begins here."""
    ctx.obj = client_of(ctx)

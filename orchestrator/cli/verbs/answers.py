"""`vmrole answers`: looks at an answer file before any machine does. Needs no daemon."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vmrole_unattend.windows.answers import Architecture, Windows

from orchestrator.cli import render
from orchestrator.cli.groups import Group
from orchestrator.cli.options import examples, format_option
from orchestrator.cli.reading import read_bytes

if TYPE_CHECKING:
    from vmrole_unattend.windows.document import Diagnostic


class _Group(Group):
    """A group that imports `diff`, and all that it needs, when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return ["check", "diff"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "diff":
            from orchestrator.cli.verbs import answers_diff

            return answers_diff.diff
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Group, epilog=examples("vmrole answers check Unattend.xml"))
def answers() -> None:
    """Checks an answer file, and explains how it is merged with ours. Needs no daemon."""


@answers.command(
    epilog=examples("vmrole answers check Unattend.xml --os 2022", "vmrole answers check user-data --strict")
)
@click.argument("file", type=click.Path())
@click.option("--os", "release", type=click.Choice([one.value for one in Windows]), help="The image's release.")
@click.option("--arch", type=click.Choice([one.value for one in Architecture]), help="The image's architecture.")
@click.option(
    "--for",
    "use",
    type=click.Choice(["generalized", "install", "cloud-init", "cloudbase-init"]),
    help="Who reads it: the first start of a sysprepped image, Windows' own Setup, or what reads user-data. "
    "Without it, Autounattend.xml is an install, and the first line of user-data tells.",
)
@click.option(
    "--schema", metavar="FILE", help="The schema of cloud-config to go by, if not that of this host's cloud-init."
)
@click.option("--strict", is_flag=True, help="Warnings fail the file too.")
@format_option("text", "json", "yaml")
def check(
    file: str, release: str | None, arch: str | None, use: str | None, schema: str | None, strict: bool, form: str
) -> int:
    """Says what is wrong with the Unattend.xml or user-data FILE, line by line; - is stdin. Exits with 1 on an error.

    An error is what Windows refuses or what surely breaks; what may not do what was meant is a warning. User-data is
    known by how it begins.
    """
    from vmrole_unattend.windows import check as checks

    source = read_bytes(file, hint="name an answer file")
    reader = use if use in ("cloud-init", "cloudbase-init") else ""
    if reader or (use is None and not _is_xml(file, source)):
        from orchestrator.cli.verbs import answers_cloud

        return answers_cloud.check(file, source, reader=reader, schema=schema, strict=strict, form=form)
    if use is None:
        use = "install" if Path(file).name.casefold() == "autounattend.xml" else "unknown"
    found = checks.check(
        source,
        windows=Windows(release) if release else None,
        architecture=Architecture(arch) if arch else None,
        deployment=checks.Deployment(use),
    )
    errors = sum(1 for one in found if one.severity is checks.Severity.ERROR)
    warnings = sum(1 for one in found if one.severity is checks.Severity.WARNING)
    failed = bool(errors or (strict and warnings))
    if form == "text":
        render.show(render.plain(_line(file, one)) for one in found)
        render.say(render.tally(errors, warnings, len(found) - errors - warnings))
    else:
        render.show([render.dump(_value(file, found, failed=failed), form)])
    return 1 if failed else 0


_OF_CLOUD_INIT = (".yaml", ".yml", ".cfg", ".sh", ".ps1", ".mime")
_XML = re.compile(rb"\s*<(?!powershell>|script>)", re.IGNORECASE)


def _is_xml(file: str, source: bytes) -> bool:
    """Whether a file is Windows' answer file: by its name, or by how it begins."""
    if source.startswith((b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")) or file.casefold().endswith(".xml"):
        return True
    if file.casefold().endswith(_OF_CLOUD_INIT):
        return False
    if not source.strip() or b"<unattend" in source:
        return True  # an empty file, or one with something before the XML: what is wrong is said in its words
    return _XML.match(source.removeprefix(b"\xef\xbb\xbf")) is not None


def _line(file: str, one: Diagnostic) -> str:
    place = f"{one.path}: " if one.path else ""
    at = f"{file}:{one.line}" if one.line else file  # what is of the whole file has no line
    return f"{at}: {one.severity}: {place}{one.message} ({one.mend}) [{one.code}]"


def _value(file: str, found: list[Diagnostic], *, failed: bool) -> dict[str, object]:
    rows = [{**dataclasses.asdict(one), "severity": one.severity.value} for one in found]
    return {"file": file, "failed": failed, "findings": rows}
